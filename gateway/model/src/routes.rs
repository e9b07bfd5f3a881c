//! The forwarding picture that the mesh computes and the datapaths follow.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::peer::{PeerName, ShortId};

/// An authenticated control adjacency, numbered by the shell that made it; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// An immutable picture of how frames reach every other peer.
///
/// The same graph gives the same trees on every peer. A route's `next_hop` and `alternate` are always
/// neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes {
    /// Grows by one with each published picture.
    pub version: u64,
    /// This peer.
    pub local: PeerName,
    /// This peer's number, once it has claimed one.
    pub local_short_id: Option<ShortId>,
    /// Every known peer but this one; unreachable ones have no entry.
    pub peers: BTreeMap<PeerName, PeerRoute>,
    /// Peers with an established link.
    pub neighbours: BTreeMap<PeerName, Neighbour>,
    /// Broadcast trees by the peer at their root, this peer's own included.
    pub trees: BTreeMap<PeerName, Tree>,
}

/// How one peer is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerRoute {
    /// Its number, once it has claimed one; no frame can be addressed to it before.
    pub short_id: Option<ShortId>,
    /// Its name for people.
    pub nickname: String,
    /// Its WireGuard static public key (X25519).
    pub wireguard_key: [u8; 32],
    /// The neighbour to hand its datagrams to; the peer itself when it is a neighbour.
    pub next_hop: PeerName,
    /// Another neighbour whose own path to the peer does not lead back here (RFC 5286 §3).
    pub alternate: Option<PeerName>,
    /// The relays in order, nearest first; empty on a direct path.
    pub via: Vec<PeerName>,
    /// Sum of the measured round trips along the path.
    pub rtt: Duration,
    /// The largest UDP payload that every hop of the path carries, in bytes.
    pub mtu: u16,
}

/// One end of an established link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The link in use.
    pub link: LinkId,
    /// Measured round trip.
    pub rtt: Duration,
    /// The largest UDP payload known to pass, in bytes.
    pub mtu: u16,
}

/// This peer's place in the broadcast tree of one root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// The neighbour that hands us the root's frames; `None` at the root. Frames from others are refused.
    pub parent: Option<PeerName>,
    /// The neighbours to hand the root's frames to.
    pub children: Vec<PeerName>,
}

/// What the datapath needs to know of one neighbour: where it is and the keys of its relay envelopes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adjacency {
    /// The neighbour.
    pub peer: PeerName,
    /// The link in use.
    pub link: LinkId,
    /// The UDP address at which it is reached.
    pub remote: SocketAddr,
    /// Keys of the relay envelopes on this link.
    pub relay_keys: RelayKeys,
}

/// Keys for the MAC of relay envelopes on one link, one a direction.
#[derive(Clone, PartialEq, Eq)]
pub struct RelayKeys {
    /// For envelopes we send.
    pub send: [u8; 16],
    /// For envelopes we receive.
    pub receive: [u8; 16],
}

impl RelayKeys {
    /// Two bits that both ends derive alike and that mostly differ between a link and its replacement.
    pub fn epoch(&self) -> u8 {
        self.send.iter().chain(&self.receive).fold(0, |bits, octet| bits ^ octet) & 3
    }
}

impl fmt::Debug for RelayKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// All that the datapath follows: one immutable value, replaced as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// Paths and trees.
    pub routes: Arc<Routes>,
    /// The neighbours of `routes`, with address and keys.
    pub adjacencies: BTreeMap<PeerName, Adjacency>,
}

/// What the datapath's probes say of the direct path to a neighbour, or of the way in use to another peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathReport {
    /// The peer that was probed.
    pub peer: PeerName,
    /// Whether frames pass. A path is dead after three probes in a row without an answer.
    pub alive: bool,
    /// The least round trip of the last probes; `None` before the first answer.
    pub rtt: Option<Duration>,
    /// The largest overlay packet known to pass unfragmented, in bytes; `None` before the first answer.
    pub mtu: Option<u16>,
}
