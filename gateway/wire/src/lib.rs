//! Bytes on the wire: checked views and builders that never allocate for a packet and never panic on input.
//!
//! The normative text is `gateway/docs/wire.md`. Not here: sockets, keys' lifetimes, decisions.
#![forbid(unsafe_code)]

mod accept;
mod bytes;
pub mod checksum;
mod coalesce;
mod demux;
mod envelope;
mod ethernet;
mod fragment;
mod mss;
mod offload;
mod probe;
mod segment;
mod tunnel;

pub use accept::{Accepted, Ends, Refusal, accept};
pub use coalesce::Coalescer;
pub use demux::{Kind, classify};
pub use envelope::{Envelope, EnvelopeError, MAX_HOPS};
pub use ethernet::{EthernetError, Frame};
pub use fragment::{Fragments, Reassembly};
pub use mss::clamp_mss;
pub use offload::{Cut, Offload};
pub use probe::Probe;
pub use segment::{SegmentError, Segments, complete_checksum};
pub use tunnel::{Inner, TunnelError};

#[cfg(test)]
mod tests;
