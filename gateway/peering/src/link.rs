//! One link: a QUIC connection with a control stream each way that carries whole messages.
//!
//! A message is its length in four bytes, most significant first, and the bytes. The first one each way is empty: it
//! says that the sender has accepted the other side's certificate. In TLS 1.3 the dialler is done before the listener
//! has judged it, so nothing counts as up before that empty message has come.
//!
//! ```text
//!   dialler                               listener
//!     handshake ────────────────────────────► judges the certificate
//!     empty message ────────────────────────► up
//!     up ◄──────────────────────────────────  empty message
//!     messages ◄────────────────────────────► messages
//! ```

use quinn::{Connection, ConnectionError, ReadExactError, RecvStream, SendStream, Side, VarInt, WriteError};
use rustls::pki_types::CertificateDer;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::mpsc;
use weave_mesh::MAX_MESSAGE;
use weave_model::{LinkId, RelayKeys, canonical};

use crate::reason;
use crate::task::Input;

/// The label of the relay keys in the TLS exporter (RFC 8446 §7.5).
const RELAY_KEYS_LABEL: &[u8] = b"weave relay envelope";

/// How long the reason of the other side's goodbye may stay behind the end of its stream.
const GOODBYE: Duration = Duration::from_secs(1);

/// Why this side closes a connection, for the code that QUIC carries; people read the text beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseCode {
    /// The mesh does not want the link.
    Refused = 1,
    /// The other side broke the rules of links.
    Malformed = 2,
    /// The mesh gives the link up.
    GivenUp = 3,
    /// This peer stops.
    Leaving = 4,
}

/// Closes a connection; the other side is told why.
pub(crate) fn close(connection: &Connection, code: CloseCode, reason: &str) {
    connection.close(VarInt::from_u32(code as u32), reason.as_bytes());
}

/// A connection on which both sides have accepted each other.
pub(crate) struct Established {
    pub(crate) connection: Connection,
    pub(crate) certificate: Vec<u8>,
    pub(crate) remote: SocketAddr,
    pub(crate) relay_keys: RelayKeys,
    pub(crate) send: SendStream,
    pub(crate) receive: RecvStream,
}

/// Why a connection did not become a link.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EstablishError {
    /// QUIC or TLS failed.
    #[error("{}", reason::of_connection(.0))]
    Connection(#[from] ConnectionError),
    /// The connection is up but does not behave as a link.
    #[error("the other side does not behave as a peer: {0}")]
    NotALink(&'static str),
}

impl Established {
    /// Exchanges the empty messages. The caller sets the deadline.
    pub(crate) async fn on(connection: Connection) -> Result<Established, EstablishError> {
        let result = Established::greet(&connection).await;
        if let Err(EstablishError::NotALink(why)) = &result {
            close(&connection, CloseCode::Malformed, why);
        }
        let (send, receive, certificate, relay_keys) = result?;
        let remote = canonical(connection.remote_address());
        Ok(Established { connection, certificate, remote, relay_keys, send, receive })
    }

    async fn greet(
        connection: &Connection,
    ) -> Result<(SendStream, RecvStream, Vec<u8>, RelayKeys), EstablishError> {
        let certificate = peer_certificate(connection).ok_or(EstablishError::NotALink("no certificate"))?;
        let relay_keys = relay_keys(connection).ok_or(EstablishError::NotALink("no key can be exported"))?;
        let mut send = connection.open_uni().await?;
        write_message(&mut send, &[]).await.map_err(|error| match error {
            WriteError::ConnectionLost(error) => EstablishError::Connection(error),
            _ => EstablishError::NotALink("the control stream was refused"),
        })?;
        let mut receive = connection.accept_uni().await?;
        match read_message(&mut receive).await {
            Ok(message) if message.is_empty() => Ok((send, receive, certificate, relay_keys)),
            Ok(_) => Err(EstablishError::NotALink("the first message is not empty")),
            Err(ReceiveError::Lost(error)) => Err(EstablishError::Connection(error)),
            Err(_) => Err(EstablishError::NotALink("the control stream ended")),
        }
    }
}

/// Hands the link's messages to the owner until the link ends, and then says why it did.
pub(crate) async fn receive(
    link: LinkId,
    connection: Connection,
    mut stream: RecvStream,
    inputs: mpsc::Sender<Input>,
) {
    let error = loop {
        match read_message(&mut stream).await {
            Ok(bytes) => {
                // The owner takes its time: the stream waits, and QUIC's flow control slows the other side.
                if inputs.send(Input::Message { link, bytes }).await.is_err() {
                    return;
                }
            }
            Err(error) => break error,
        }
    };
    let reason = match error {
        ReceiveError::Lost(error) => reason::of_connection(&error),
        ReceiveError::TooLong(_) => {
            let reason = error.to_string();
            close(&connection, CloseCode::Malformed, &reason);
            reason
        }
        ReceiveError::Ended => match tokio::time::timeout(GOODBYE, connection.closed()).await {
            Ok(error) => reason::of_connection(&error),
            Err(_) => {
                let reason = error.to_string();
                close(&connection, CloseCode::Malformed, &reason);
                reason
            }
        },
    };
    // When the owner is gone, so is the interest in the reason.
    let _ = inputs.send(Input::Down { link, reason }).await;
}

/// Sends what the owner gives, one message at a time, and asks for the next when the stream has taken the last.
///
/// Ends when the owner drops the other half of `messages`: then the stream is finished, and what was written has
/// arrived when this returns, unless the link is gone.
pub(crate) async fn send(
    link: LinkId,
    connection: Connection,
    mut stream: SendStream,
    mut messages: mpsc::Receiver<Vec<u8>>,
    inputs: mpsc::Sender<Input>,
) {
    while let Some(message) = messages.recv().await {
        if write_message(&mut stream, &message).await.is_err() {
            // Either the connection is lost, and this changes nothing, or the other side stopped the stream. The
            // receiving half reports both.
            close(&connection, CloseCode::Malformed, "the control stream was refused");
            return;
        }
        if inputs.send(Input::Writable { link }).await.is_err() {
            break;
        }
    }
    if stream.finish().is_ok() {
        let _ = stream.stopped().await;
    }
}

/// Why no further message comes.
#[derive(Debug, thiserror::Error)]
enum ReceiveError {
    #[error("{}", reason::of_connection(.0))]
    Lost(ConnectionError),
    #[error("a message of {0} bytes, longer than the {MAX_MESSAGE} allowed")]
    TooLong(usize),
    #[error("the control stream ended")]
    Ended,
}

impl From<ReadExactError> for ReceiveError {
    fn from(error: ReadExactError) -> Self {
        match error {
            ReadExactError::ReadError(quinn::ReadError::ConnectionLost(error)) => ReceiveError::Lost(error),
            _ => ReceiveError::Ended,
        }
    }
}

async fn read_message(stream: &mut RecvStream) -> Result<Vec<u8>, ReceiveError> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_MESSAGE {
        return Err(ReceiveError::TooLong(length));
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

async fn write_message(stream: &mut SendStream, message: &[u8]) -> Result<(), WriteError> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(message).await
}

fn peer_certificate(connection: &Connection) -> Option<Vec<u8>> {
    let identity = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    Some(identity.first()?.to_vec())
}

/// The first half of what TLS exports is for the dialler's envelopes, the second for the listener's.
fn relay_keys(connection: &Connection) -> Option<RelayKeys> {
    let mut both = [0; 32];
    connection.export_keying_material(&mut both, RELAY_KEYS_LABEL, b"").ok()?;
    let (client, server) = both.split_at(16);
    let (client, server) = (client.try_into().ok()?, server.try_into().ok()?);
    Some(match connection.side() {
        Side::Client => RelayKeys { send: client, receive: server },
        Side::Server => RelayKeys { send: server, receive: client },
    })
}
