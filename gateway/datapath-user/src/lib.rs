//! The user datapath: TAP ⇄ worker threads ⇄ one UDP port, complete by itself on any kernel with TUN/TAP.
//!
//! ```text
//!  TAP ──► outbound: clamp, cut, switch ──► session: seal ──► train ──► UDP
//!  TAP ◄── coalesce ◄── inbound: classify, open, accept, switch ◄──── UDP ──► relay: next hop ──► UDP
//!                        timers: handshakes, probes, reports
//! ```
//!
//! Every worker is one thread with its own TAP queue, socket, buffers and counters. What the control plane decides
//! arrives as one immutable snapshot. On the way of a packet nothing is allocated and no lock is taken but that of
//! its session, once for each train.
//!
//! Not here: who the peers are, routes, QUIC, host interfaces beyond the TAP itself.
#![expect(clippy::disallowed_methods, reason = "shell: clock, sockets, threads and the TAP device")]

mod datapath;
mod supervise;
mod worker;

mod content;
mod inbound;
mod outbound;
mod outgoing;
mod relay;
mod train;

mod handshake;
mod path_mtu;
mod probes;
mod session;
mod sessions;
mod timers;

mod bucket;
mod clock;
mod counters;
mod error;
mod shared;
mod snapshot;
mod socket;
mod status;
mod tap;

pub use clock::seconds;
pub use counters::DropReason;
pub use datapath::{Config, Datapath, Parts, default_workers};
pub use error::DatapathError;
pub use socket::bind;
pub use status::{PathStatus, PeerStatus, SessionStatus, Status, Totals, TrafficStatus};
pub use tap::Tap;

#[cfg(test)]
mod tests;
