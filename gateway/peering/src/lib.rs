//! Links to other peers over QUIC on the shared UDP port, and the task that drives the mesh with them.
//!
//! This is the shell around [`weave_mesh`]: it owns the clock, resolves names, dials, listens and carries messages. It
//! decides nothing about who is linked to whom.
//!
//! Not here: reading the socket (the data threads do, and [`Port::deliver`] what is QUIC's), data, relays, status pages.
#![expect(clippy::disallowed_methods, reason = "shell: clock and sockets")]

mod dial;
mod error;
mod link;
mod links;
mod outbox;
mod peering;
mod port;
mod quic;
mod reason;
mod restart;
mod slots;
mod task;
mod tls;

pub use error::PeeringError;
pub use outbox::Event;
pub use peering::{Config, Counters, Peering, Refusal, Status};
pub use port::{Port, PortCounters};

#[cfg(test)]
mod tests;
