//! What a request asks of the node.

use tokio::sync::oneshot;
use weave_api::{PingReport, Report};
use weave_model::{Cidr, Target};

/// Where an answer goes.
pub type Reply<T> = oneshot::Sender<Result<T, Refused>>;

/// The node's reason not to do what it was asked, as one line for the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The request cannot be right.
    #[error("{0}")]
    Invalid(String),
    /// Nobody knows what it names.
    #[error("{0}")]
    Unknown(String),
    /// It is right, but not as things stand.
    #[error("{0}")]
    Conflict(String),
    /// The host or the network did not let it.
    #[error("{0}")]
    Failed(String),
}

/// A request, checked as far as its syntax goes.
#[derive(Debug)]
pub enum Command {
    /// The state of everything.
    Report(Reply<Report>),
    /// Connect to further peers, or to these instead of the targets so far.
    Connect {
        /// The peers.
        targets: Vec<Target>,
        /// Whether they replace the targets so far.
        replace: bool,
        /// Done.
        reply: Reply<()>,
    },
    /// Connect no more to these.
    Forget {
        /// The peers.
        targets: Vec<Target>,
        /// Done.
        reply: Reply<()>,
    },
    /// Give the bridge an address.
    Expose(Cidr, Reply<()>),
    /// Take an address from the bridge.
    Hide(Cidr, Reply<()>),
    /// Send Ethernet frames to a peer, by name or nickname, or to `all`.
    Ping {
        /// Who.
        peer: String,
        /// How many frames to each.
        count: u32,
        /// One line a peer.
        reply: Reply<Vec<PingReport>>,
    },
    /// Forget a peer that is dead, by name or nickname, and take over what it held.
    RemovePeer {
        /// Who.
        peer: String,
        /// How many addresses were taken over.
        reply: Reply<u64>,
    },
    /// Withdraw from the network and end the process.
    Stop(Reply<()>),
}
