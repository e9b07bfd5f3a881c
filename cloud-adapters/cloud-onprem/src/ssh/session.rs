//! One authenticated connection to one host.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cloud_core::Stream;
use russh::client;
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{HashAlg, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use tokio::time::timeout;

use super::error::SshError;
use super::login::{Credential, Elevation, HostKeys, Login};

/// A dead link is noticed after four of these: one to notice the silence, three unanswered.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// For everything from the first byte to being logged in.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// Sending a farewell to a dead connection must not hold anybody up.
pub(super) const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// An agent may hold many keys; sshd hangs up after six refused ones by default (sshd_config(5), MaxAuthTries).
const MOST_IDENTITIES: usize = 6;

/// A connection to a host that has shown the key it must have.
pub struct Session {
    pub(super) handle: client::Handle<Pinned>,
    pub(super) elevation: Elevation,
    /// Our goodbye is said; the connection itself ends a moment later.
    ended: AtomicBool,
}

impl Session {
    /// Speaks SSH on `stream`. Nothing is sent to a host that shows another key.
    pub async fn open(stream: Box<dyn Stream>, login: &Login) -> Result<Session, SshError> {
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

    /// Opens a stream to a port of `host` as the other end sees it.
    pub async fn stream_to(&self, host: &str, port: u16) -> Result<impl Stream + use<>, SshError> {
        // The originator is for logs (RFC 4254 §7.2); ours says nothing about this machine.
        let channel = self.handle.channel_open_direct_tcpip(host, port.into(), "127.0.0.1", 0).await?;
        Ok(channel.into_stream())
    }

    async fn handshake(stream: Box<dyn Stream>, login: &Login) -> Result<Session, SshError> {
        let mut preferred = russh::Preferred::default();
        if let Some(kinds) = login.host_keys.kinds() {
            // Only the pinned kinds: a server with several would otherwise be free to show another.
            preferred.key = Cow::Owned(kinds);
        }
        let config = client::Config {
            preferred,
            keepalive_interval: Some(KEEPALIVE),
            keepalive_max: 3,
            nodelay: true,
            ..client::Config::default()
        };
        let found = Arc::new(Mutex::new(None));
        let pinned = Pinned { expected: login.host_keys.clone(), found: found.clone() };
        let mut handle = match client::connect_stream(Arc::new(config), stream, pinned).await {
            Ok(handle) => handle,
            Err(error) => {
                let found = found.lock().unwrap_or_else(PoisonError::into_inner).take();
                return Err(match found {
                    Some(found) => SshError::HostKey { expected: login.host_keys.to_string(), found },
                    None => error.into(),
                });
            }
        };
        if authenticate(&mut handle, login).await? {
            Ok(Session { handle, elevation: login.elevation.clone(), ended: AtomicBool::new(false) })
        } else if handle.is_closed() {
            // russh reports a connection that broke meanwhile as a refusal.
            Err(SshError::Lost)
        } else {
            Err(SshError::Refused)
        }
    }
}

async fn authenticate(handle: &mut client::Handle<Pinned>, login: &Login) -> Result<bool, SshError> {
    let socket = match &login.credential {
        Credential::Key(key) => {
            let key = PrivateKeyWithHashAlg::new(key.clone(), None);
            return Ok(handle.authenticate_publickey(&login.user, key).await?.success());
        }
        Credential::Agent(socket) => socket,
    };
    let mut client = AgentClient::connect_uds(socket)
        .await
        .map_err(|error| SshError::Agent(format!("cannot be reached at {}: {error}", socket.display())))?;
    let identities = client.request_identities().await;
    let identities =
        identities.map_err(|error| SshError::Agent(format!("does not list its keys: {error}")))?;
    let keys = identities.iter().filter_map(|identity| match identity {
        AgentIdentity::PublicKey { key, .. } => Some(key),
        AgentIdentity::Certificate { .. } => None,
    });
    let mut any = false;
    for key in keys.take(MOST_IDENTITIES) {
        any = true;
        // Of RSA keys, nobody takes SHA-1 signatures any more (RFC 8332 §3).
        let hash = key.algorithm().is_rsa().then_some(HashAlg::Sha512);
        let tried = handle.authenticate_publickey_with(&login.user, key.clone(), hash, &mut client).await;
        if tried.map_err(|error| SshError::Agent(format!("does not sign: {error}")))?.success() {
            return Ok(true);
        }
        if handle.is_closed() {
            return Ok(false);
        }
    }
    if any { Ok(false) } else { Err(SshError::Agent("holds no key".to_owned())) }
}

/// Accepts only the keys it was told and learns nothing.
pub(super) struct Pinned {
    expected: HostKeys,
    /// The fingerprint of a key that was refused.
    found: Arc<Mutex<Option<String>>>,
}

impl client::Handler for Pinned {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        let found = match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } if self.expected.accept(key) => return Ok(true),
            PublicKeyOrCertificate::PublicKey { key, .. } => key.fingerprint(HashAlg::Sha256).to_string(),
            PublicKeyOrCertificate::Certificate(_) => "a certificate".to_owned(),
        };
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        Ok(false)
    }
}
