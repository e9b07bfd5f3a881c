//! One authenticated connection to one host.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cloud_core::Stream;
use russh::client;
use russh::keys::{Algorithm, HashAlg, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate};
use tokio::time::timeout;

use super::error::SshError;
use crate::vault::HostLogin;

/// A dead link is noticed after four of these: one to notice the silence, three unanswered.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// For everything from the first byte to being logged in.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// Sending a farewell to a dead connection must not hold anybody up.
pub(super) const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// A connection as root to a host that has shown the one key it may have.
pub struct Session {
    pub(super) handle: client::Handle<Pinned>,
    /// Our goodbye is said; the connection itself ends a moment later.
    ended: AtomicBool,
}

impl Session {
    /// Speaks SSH on `stream`. Nothing is sent to a host that shows another key.
    pub async fn open(stream: Box<dyn Stream>, login: &HostLogin) -> Result<Session, SshError> {
        let late = |_| SshError::TimedOut("the ssh handshake", HANDSHAKE_LIMIT.as_secs());
        timeout(HANDSHAKE_LIMIT, Session::handshake(stream, login)).await.map_err(late)?
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.ended.load(Ordering::Relaxed) || self.handle.is_closed()
    }

    /// Says goodbye.
    pub async fn close(&self) {
        self.ended.store(true, Ordering::Relaxed);
        let farewell = self.handle.disconnect(russh::Disconnect::ByApplication, "", "");
        // The connection ends either way.
        let _ = timeout(CLOSE_LIMIT, farewell).await;
    }

    async fn handshake(stream: Box<dyn Stream>, login: &HostLogin) -> Result<Session, SshError> {
        // Only the pinned kind: a server with several would otherwise be free to show another.
        let preferred =
            russh::Preferred { key: Cow::Borrowed(&[Algorithm::Ed25519]), ..russh::Preferred::default() };
        let config = client::Config {
            preferred,
            keepalive_interval: Some(KEEPALIVE),
            keepalive_max: 3,
            nodelay: true,
            ..client::Config::default()
        };
        let found = Arc::new(Mutex::new(None));
        let pinned = Pinned { expected: login.host.clone(), found: found.clone() };
        let mut handle = match client::connect_stream(Arc::new(config), stream, pinned).await {
            Ok(handle) => handle,
            Err(error) => {
                let found = found.lock().unwrap_or_else(PoisonError::into_inner).take();
                return Err(match found {
                    Some(found) => SshError::HostKey { expected: fingerprint(&login.host), found },
                    None => error.into(),
                });
            }
        };
        let key = PrivateKeyWithHashAlg::new(Arc::new(login.operator.clone()), None);
        if handle.authenticate_publickey("root", key).await?.success() {
            Ok(Session { handle, ended: AtomicBool::new(false) })
        } else if handle.is_closed() {
            // russh reports a connection that broke meanwhile as a refusal.
            Err(SshError::Lost)
        } else {
            Err(SshError::Refused)
        }
    }
}

/// Accepts exactly one key and learns nothing.
pub(super) struct Pinned {
    expected: PublicKey,
    /// The fingerprint of a key that was refused.
    found: Arc<Mutex<Option<String>>>,
}

impl client::Handler for Pinned {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        let found = match shown {
            // `==` on the keys would compare their comments too.
            PublicKeyOrCertificate::PublicKey { key, .. } if key.key_data() == self.expected.key_data() => {
                return Ok(true);
            }
            PublicKeyOrCertificate::PublicKey { key, .. } => fingerprint(key),
            PublicKeyOrCertificate::Certificate(_) => "a certificate".to_owned(),
        };
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        Ok(false)
    }
}

fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}
