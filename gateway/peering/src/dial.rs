//! Making links: dialling targets and answering whoever dials us.
//!
//! Each attempt is a task of its own with a deadline, and tells the owner how it ended. Their number is bounded both
//! ways; strangers cost a handshake slot only after they have shown that they receive at the address they claim.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{ConnectionError, Endpoint, Incoming};
use tokio::net::lookup_host;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use weave_mesh::DialId;
use weave_model::{Target, canonical};

use crate::link::{EstablishError, Established};
use crate::port::Port;
use crate::quic;
use crate::reason;
use crate::slots::Slots;
use crate::task::Input;
use crate::tls::Credentials;

/// How long one address is tried; silence ends an attempt a second earlier, by QUIC's idle timeout.
const ATTEMPT: Duration = Duration::from_secs(5);

/// How long a name may take to resolve.
const RESOLVE: Duration = Duration::from_secs(5);

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

/// Attempts under way at a time; the others wait.
const MAX_DIALS: usize = 64;

/// This peer's end of all links.
#[derive(Clone)]
pub(crate) struct Local {
    pub(crate) endpoint: Endpoint,
    pub(crate) port: Arc<Port>,
    /// Of targets that name none.
    pub(crate) default_port: u16,
    pub(crate) credentials: Arc<Credentials>,
}

/// Starts attempts to make links.
pub(crate) struct Dialler {
    local: Local,
    inputs: mpsc::Sender<Input>,
    slots: Arc<Semaphore>,
}

impl Dialler {
    pub(crate) fn new(local: Local, inputs: mpsc::Sender<Input>) -> Dialler {
        Dialler { local, inputs, slots: Arc::new(Semaphore::new(MAX_DIALS)) }
    }

    /// Dials in the background; the owner hears of the end as [`Input::Dialled`].
    pub(crate) fn start(&self, dial: DialId, target: Target) {
        let (local, inputs, slots) = (self.local.clone(), self.inputs.clone(), self.slots.clone());
        tokio::spawn(async move {
            let _slot = slots.acquire().await;
            let outcome = match resolve(&target, local.default_port, &local.port).await {
                Ok(addresses) => try_in_turn(&local.endpoint, &addresses).await,
                Err(reason) => Err(reason),
            };
            // Without an owner there is nobody to tell, and the connection closes by being dropped.
            let _ = inputs.send(Input::Dialled { dial, outcome }).await;
        });
    }
}

/// The addresses of a target that the socket can reach.
async fn resolve(target: &Target, default_port: u16, port: &Port) -> Result<Vec<SocketAddr>, String> {
    let found = match target.socket_address(default_port) {
        Some(address) => vec![address],
        None => {
            let host = target.host();
            let lookup = lookup_host((host, target.port().unwrap_or(default_port)));
            let found = timeout(RESOLVE, lookup)
                .await
                .map_err(|_| format!("the name '{host}' was not resolved within {RESOLVE:?}"))?
                .map_err(|error| format!("the name '{host}' cannot be resolved: {error}"))?;
            found.collect()
        }
    };
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found.into_iter().map(canonical).filter(|address| port.reaches(*address)) {
        if !addresses.contains(&address) && addresses.len() < MAX_ADDRESSES {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(format!("'{target}' has no address that this host's UDP socket can reach"));
    }
    Ok(addresses)
}

/// Tries one address after the other; the reason names each when there are several.
pub(crate) async fn try_in_turn(
    endpoint: &Endpoint,
    addresses: &[SocketAddr],
) -> Result<Established, String> {
    let mut reasons = Vec::new();
    for address in addresses {
        match timeout(ATTEMPT, attempt(endpoint, *address)).await {
            Ok(Ok(established)) => return Ok(established),
            Ok(Err(reason)) => reasons.push((address, reason)),
            Err(_) => reasons.push((address, no_answer(*address))),
        }
    }
    Err(match reasons.as_slice() {
        [(_, only)] => only.clone(),
        all => all.iter().map(|(a, r)| format!("{a}: {r}")).collect::<Vec<_>>().join("; "),
    })
}

async fn attempt(endpoint: &Endpoint, address: SocketAddr) -> Result<Established, String> {
    let connecting = quic::connect(endpoint, address).map_err(|error| error.to_string())?;
    let connection = connecting.await.map_err(|error| match error {
        ConnectionError::TimedOut => no_answer(address),
        other => reason::of_connection(&other),
    })?;
    Established::on(connection).await.map_err(|error| error.to_string())
}

fn no_answer(address: SocketAddr) -> String {
    format!("no answer: is the gateway running there, and UDP port {} open?", address.port())
}

/// Answers whoever dials us, until the endpoint is closed.
pub(crate) async fn listen(local: Local, inputs: mpsc::Sender<Input>) {
    let slots = Arc::new(Slots::default());
    while let Some(incoming) = local.endpoint.accept().await {
        let remote = incoming.remote_address().ip();
        if slots.are_scarce(remote) && incoming.may_retry() && !incoming.remote_address_validated() {
            // Fails only when no retry is possible, and that was just asked.
            let _ = incoming.retry();
            continue;
        }
        let Some(slot) = slots.take(remote) else {
            incoming.ignore();
            continue;
        };
        let (inputs, own) = (inputs.clone(), local.credentials.certificate());
        tokio::spawn(async move {
            let remote = canonical(incoming.remote_address());
            let input = match answer(incoming, &own).await {
                Ok(established) => Input::Accepted(established),
                Err(NotAccepted { reason, refused }) => Input::NotAccepted { remote, reason, refused },
            };
            // The slot is held until the owner has taken note, so a busy owner bounds what waits for it.
            let _ = inputs.send(input).await;
            drop(slot);
        });
    }
}

/// How a handshake of another peer failed.
struct NotAccepted {
    reason: String,
    /// Whether a certificate was refused, ours or theirs: worth an operator's attention.
    refused: bool,
}

async fn answer(incoming: Incoming, own_certificate: &[u8]) -> Result<Established, NotAccepted> {
    let handshake = async {
        let established = Established::on(incoming.await?).await?;
        if established.certificate == own_certificate {
            // We dialled ourselves. The dialling end is the one that can learn from it, so it closes.
            return Err(established.connection.closed().await.into());
        }
        Ok(established)
    };
    match timeout(ATTEMPT, handshake).await {
        Ok(Ok(established)) => Ok(established),
        Ok(Err(error)) => {
            let refused = matches!(&error, EstablishError::Connection(error) if reason::is_refusal(error));
            Err(NotAccepted { reason: error.to_string(), refused })
        }
        Err(_) => Err(NotAccepted { reason: "the handshake took too long".to_owned(), refused: false }),
    }
}
