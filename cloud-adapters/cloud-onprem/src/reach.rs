//! Connections: to a machine's port, directly or through jump hosts, and sessions that are kept.

use std::collections::BTreeMap;
use std::error::Error;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use cloud_core::{ProviderError, Stream};
use russh::ChannelOpenFailure;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::timeout;

use crate::machines::Reach;
use crate::ssh::{Session, SshError};

/// A name, a TCP connection across the world, and two lost packets.
const DIAL_LIMIT: Duration = Duration::from_secs(8);

/// Many machines stand behind one jump host, and each is asked several times in a row: what just failed is not tried
/// again for each of them.
const FAILURE_LASTS: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Slot {
    session: Option<Arc<Session>>,
    failed: Option<(Instant, ProviderError)>,
}

/// Sessions by name of machine or jump host; each is opened when first needed and again when it breaks.
#[derive(Default)]
pub(crate) struct Sessions {
    slots: Mutex<BTreeMap<String, Arc<AsyncMutex<Slot>>>>,
}

impl Sessions {
    /// The session of a machine or jump host.
    pub(crate) async fn get(
        &self,
        name: &str,
        reach: &Reach,
        jumps: &Jumps,
    ) -> Result<Arc<Session>, ProviderError> {
        let slot = self
            .slots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(name.to_owned())
            .or_default()
            .clone();
        // Others who need the same session wait here.
        let mut kept = slot.lock().await;
        if let Some(session) = kept.session.as_ref().filter(|session| !session.is_closed()) {
            return Ok(session.clone());
        }
        if let Some((_, error)) = kept.failed.as_ref().filter(|(when, _)| when.elapsed() < FAILURE_LASTS) {
            return Err(error.clone());
        }
        match open(reach, jumps).await {
            Ok(session) => {
                kept.session = Some(session.clone());
                Ok(session)
            }
            Err(error) => {
                // A refusal comes at once, and whoever mends its cause wants to see the next answer.
                kept.failed = error.is_retryable().then(|| (Instant::now(), error.clone()));
                Err(error)
            }
        }
    }
}

async fn open(reach: &Reach, jumps: &Jumps) -> Result<Arc<Session>, ProviderError> {
    let stream = jumps.dial(reach, reach.port).await?;
    Session::open(stream, &reach.login).await.map(Arc::new).map_err(provider)
}

/// The jump hosts and their sessions.
pub(crate) struct Jumps {
    by_name: BTreeMap<String, Reach>,
    sessions: Sessions,
}

impl Jumps {
    pub(crate) fn new(by_name: BTreeMap<String, Reach>) -> Jumps {
        Jumps { by_name, sessions: Sessions::default() }
    }

    /// Opens a stream to a port of a machine.
    pub(crate) async fn dial(&self, reach: &Reach, port: u16) -> Result<Box<dyn Stream>, ProviderError> {
        let Some(jump) = &reach.jump else { return direct(&reach.address, port).await };
        let through = self.by_name.get(jump);
        let through = through.ok_or_else(|| ProviderError::NotFound(format!("jump host {jump}")))?;
        // Boxed: a jump host may stand behind another.
        let session = Box::pin(self.sessions.get(jump, through, self)).await;
        let session = session.map_err(|error| at(&format!("jump host {jump}"), error))?;
        let opened = timeout(DIAL_LIMIT, session.stream_to(&reach.address, port)).await;
        let place = || format!("jump host {jump} to {} port {port}", reach.address);
        match opened {
            Ok(Ok(stream)) => Ok(Box::new(Jumped { stream, _jump: session })),
            Ok(Err(SshError::Protocol(russh::Error::ChannelOpenFailure(
                ChannelOpenFailure::AdministrativelyProhibited,
            )))) => Err(ProviderError::Permission(format!("{}: it forwards no TCP", place()))),
            Ok(Err(error)) => Err(at(&place(), provider(error))),
            Err(_) => Err(ProviderError::Retryable(format!("{}: no answer", place()))),
        }
    }
}

async fn direct(address: &str, port: u16) -> Result<Box<dyn Stream>, ProviderError> {
    let failed =
        |what: String| ProviderError::Retryable(format!("connecting to {address} port {port}: {what}"));
    let stream = timeout(DIAL_LIMIT, TcpStream::connect((address, port))).await;
    let stream =
        stream.map_err(|_| failed("no answer".to_owned()))?.map_err(|error| failed(error.to_string()))?;
    stream.set_nodelay(true).map_err(|error| failed(error.to_string()))?;
    Ok(Box::new(stream))
}

/// Puts the place in front of what happened there.
pub(crate) fn at(place: &str, error: ProviderError) -> ProviderError {
    use ProviderError::{Conflict, Invalid, NotFound, Other, Permission, Quota, Retryable};
    let put = |text: String| format!("{place}: {text}");
    match error {
        Retryable(text) => Retryable(put(text)),
        Permission(text) => Permission(put(text)),
        Quota(text) => Quota(put(text)),
        Other(text) => Other(put(text)),
        Invalid(text) => Invalid(put(text)),
        error @ (NotFound(_) | Conflict(_)) => error,
    }
}

/// An SSH error in the words of the trait. A machine that exists does not change its mind about a key by itself.
pub(crate) fn provider(error: SshError) -> ProviderError {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(&format!(": {next}"));
        cause = next.source();
    }
    match error {
        SshError::Refused | SshError::Agent(_) => ProviderError::Permission(text),
        error if error.is_retryable() => ProviderError::Retryable(text),
        _ => ProviderError::Other(text),
    }
}

/// A stream that keeps the jump host's session alive.
struct Jumped<S> {
    stream: S,
    _jump: Arc<Session>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Jumped<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Jumped<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
