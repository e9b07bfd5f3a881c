//! What an operator asks about the datapath.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use weave_model::{PeerName, ShortId};

use crate::counters::{Counters, DropReason, Total};
use crate::probes::{Life, Prober};
use crate::shared::Shared;
use crate::snapshot::{Peer, Snapshot};

/// The datapath at one moment.
#[derive(Clone, Debug)]
pub struct Status {
    /// Threads that move packets.
    pub workers: usize,
    /// Whether trains leave in one system call (UDP GSO); without it throughput is a fifth.
    pub segmentation: bool,
    /// How often a thread panicked and went on; anything but 0 is a bug.
    pub panics: u64,
    /// Every known peer, by name.
    pub peers: Vec<PeerStatus>,
    /// Drops since the start by reason; reasons that never occurred are left out.
    pub drops: Vec<(DropReason, u64)>,
    /// Totals since the start.
    pub totals: Totals,
}

/// Totals of all workers since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Frames read from the TAP, super-frames as one.
    pub tap_read: u64,
    /// Frames written to the TAP, joined ones as one.
    pub tap_written: u64,
    /// Datagrams sent, those of others included.
    pub datagrams_sent: u64,
    /// Datagrams received.
    pub datagrams_received: u64,
    /// Trains that these came in.
    pub trains_received: u64,
    /// Datagrams passed on for others.
    pub relayed: u64,
    /// Times that workers woke up.
    pub wake_ups: u64,
}

/// One peer as the datapath sees it.
#[derive(Clone, Debug)]
pub struct PeerStatus {
    /// Its name.
    pub peer: PeerName,
    /// Its name for people.
    pub nickname: String,
    /// Its number.
    pub short_id: Option<ShortId>,
    /// Its session.
    pub session: SessionStatus,
    /// How its datagrams travel.
    pub path: PathStatus,
    /// What the probes say of the link (of a neighbour) or the way in use; `None` before they know.
    pub alive: Option<bool>,
    /// Smoothed round trip of the probes.
    pub rtt: Option<Duration>,
    /// The largest overlay packet known to pass unfragmented; `None` before a padded probe came back.
    pub mtu: Option<u16>,
    /// What seals its data.
    pub suite: &'static str,
    /// Frames and bytes sent to it.
    pub sent: TrafficStatus,
    /// Frames and bytes that came from it.
    pub received: TrafficStatus,
    /// Packets that wait for the session.
    pub waiting: usize,
}

/// A session's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionStatus {
    /// Nothing has asked for it.
    Idle,
    /// A handshake is under way.
    Handshaking {
        /// Initiations sent so far.
        attempts: u32,
    },
    /// It seals and opens.
    Established {
        /// How old its keys are.
        age: Duration,
    },
}

/// The way that data takes to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathStatus {
    /// No live link leads there.
    None,
    /// To its own address.
    Direct {
        /// The address.
        remote: SocketAddr,
    },
    /// By a relay.
    Via {
        /// The neighbour that relays.
        neighbour: PeerName,
        /// Its address.
        remote: SocketAddr,
        /// Whether it stands in for a next hop that is dead.
        alternate: bool,
    },
}

/// Frames and their bytes in one direction, since the session's key was first seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrafficStatus {
    /// Frames, after cutting.
    pub frames: u64,
    /// Bytes of these frames.
    pub bytes: u64,
}

/// Reads everything; locks each session for a moment.
pub(crate) fn status(shared: &Shared, counters: &[std::sync::Arc<Counters>], cuts: bool) -> Status {
    let snapshot = shared.snapshot.load();
    let mut peers: Vec<_> = snapshot.peers.iter().map(|peer| peer_status(&snapshot, peer)).collect();
    peers.sort_by_key(|peer| peer.peer);
    let sum = |total: Total| counters.iter().map(|c| c.total(total)).sum();
    let dropped = |reason: &DropReason| (*reason, counters.iter().map(|c| c.dropped(*reason)).sum());
    Status {
        // The timers thread counts too.
        workers: counters.len().saturating_sub(1),
        segmentation: cuts,
        panics: shared.panics.load(Ordering::Relaxed),
        peers,
        drops: DropReason::ALL.iter().map(dropped).filter(|(_, count)| *count > 0).collect(),
        totals: Totals {
            tap_read: sum(Total::TapRead),
            tap_written: sum(Total::TapWritten),
            datagrams_sent: sum(Total::DatagramsSent),
            datagrams_received: sum(Total::DatagramsReceived),
            trains_received: sum(Total::TrainsReceived),
            relayed: sum(Total::Relayed),
            wake_ups: sum(Total::WakeUps),
        },
    }
}

fn peer_status(snapshot: &Snapshot, peer: &Peer) -> PeerStatus {
    let state = peer.session.lock();
    let age = state.tunn.as_ref().filter(|_| state.up).and_then(|tunn| tunn.time_since_last_handshake());
    let session = match age {
        Some(age) => SessionStatus::Established { age },
        None if state.handshake.wanted() => {
            SessionStatus::Handshaking { attempts: state.handshake.attempts() }
        }
        None => SessionStatus::Idle,
    };
    let life = state.prober.as_ref().map_or(Life::Unknown, Prober::life);
    let path = match snapshot.way(peer) {
        None => PathStatus::None,
        Some(way) if way.envelope.is_none() => PathStatus::Direct { remote: way.to },
        Some(way) => {
            PathStatus::Via { neighbour: way.adjacent.name, remote: way.to, alternate: way.alternate }
        }
    };
    let traffic = |traffic: &crate::session::Traffic| TrafficStatus {
        frames: traffic.frames.load(Ordering::Relaxed),
        bytes: traffic.bytes.load(Ordering::Relaxed),
    };
    PeerStatus {
        peer: peer.name,
        nickname: peer.nickname.clone(),
        short_id: peer.short_id,
        session,
        path,
        alive: (life != Life::Unknown).then_some(life == Life::Alive),
        rtt: state.rtt(),
        mtu: state.prober.as_ref().and_then(Prober::mtu),
        suite: "WireGuard ChaCha20-Poly1305",
        sent: traffic(&peer.session.sent),
        received: traffic(&peer.session.received),
        waiting: state.waiting(),
    }
}
