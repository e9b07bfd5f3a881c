//! What the machine is told to do, what it tells its owner, and what it shows to people.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use weave_model::{LinkId, PeerName, Routes, ShortId, Target};

use crate::config::{DialId, Remembered};

/// What an operator or the program asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Wants links with these targets, at once.
    Connect {
        /// Whom.
        targets: Vec<Target>,
        /// Whether these replace the targets of before instead of joining them.
        replace: bool,
    },
    /// Stops dialling these targets; links that are up stay up.
    Forget {
        /// Whom.
        targets: Vec<Target>,
    },
    /// The addresses at which this peer may be dialled have changed.
    SetEndpoints(Vec<SocketAddr>),
    /// Withdraws our record and closes all links; nothing else can be done with the machine afterwards.
    Leave,
}

/// What the owner of the machine should know or do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Resolve the target's name, try its addresses, and answer with `handle_link_up` or `handle_dial_failed`.
    Dial {
        /// To be named in the answer.
        dial: DialId,
        /// Whom.
        target: Target,
    },
    /// Close this link; the machine has forgotten it.
    CloseLink {
        /// Which.
        link: LinkId,
        /// Why; its text is sent to the other side.
        reason: CloseReason,
    },
    /// A new picture of how frames reach every peer.
    Routes(Arc<Routes>),
    /// Keep this for the next start.
    Persist(Remembered),
    /// The short id belongs to another peer now, or to none: forget the addresses learned behind it.
    ShortIdFreed(ShortId),
    /// Another daemon runs with this peer's key. One of the two must be stopped; this one does not fight it.
    Clone(PeerName),
}

/// Why the machine gives up a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// Another link with the same peer is kept.
    Duplicate,
    /// The link belongs to an earlier life of the peer.
    Restarted,
    /// Another daemon with the peer's key started later and is linked.
    Cloned,
    /// The peer's certificate was replaced by a later one.
    Replaced,
    /// The peer's certificate is of a CA that is no longer trusted.
    Untrusted,
    /// The other end never said which messages it speaks.
    Silent,
    /// This peer leaves the network.
    Leaving,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CloseReason::Duplicate => "another link with this peer is kept",
            CloseReason::Restarted => "the peer has started anew",
            CloseReason::Cloned => "another daemon runs with this peer's key: stop one of them",
            CloseReason::Replaced => "the peer's certificate was replaced by a later one",
            CloseReason::Untrusted => "the peer's certificate is of a CA that is no longer trusted",
            CloseReason::Silent => "the peer did not say hello",
            CloseReason::Leaving => "the peer leaves the network",
        })
    }
}

/// One link, attempt to make one, or target that cannot be reached, as status shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Who is, or was last found, at the other end.
    pub peer: Option<PeerName>,
    /// Its name for people, once its record is known.
    pub nickname: Option<String>,
    /// The address, or the target as the operator wrote it.
    pub remote: String,
    /// Whether we dialled.
    pub outbound: bool,
    /// How far it is.
    pub state: ConnectionState,
    /// Why the last attempt failed, or why frames do not pass an established link.
    pub reason: Option<String>,
    /// The round trip of an established link.
    pub rtt: Option<Duration>,
    /// When the next attempt is due.
    pub retry_in: Option<Duration>,
}

/// How far a [`Connection`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// The first attempt is under way.
    Connecting,
    /// A link is up.
    Established,
    /// The last attempt failed; the next one waits.
    Failed,
    /// A further attempt is under way.
    Retrying,
}

impl fmt::Display for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ConnectionState::Connecting => "connecting",
            ConnectionState::Established => "established",
            ConnectionState::Failed => "failed",
            ConnectionState::Retrying => "retrying",
        })
    }
}
