//! Links to other peers over QUIC on the shared UDP port, and the task that drives the mesh with them.
//!
//! This is the shell around [`weave_mesh`]: it owns the clock, resolves names, dials, listens and carries messages. It
//! decides nothing about who is linked to whom.
//!
//! Not here: reading the socket (the data threads do, and [`Port::deliver`] what is QUIC's), data, relays, status pages.
#![allow(dead_code, reason = "nothing dials yet")]
#![allow(clippy::disallowed_methods, reason = "shell: clock and sockets")]

mod error;
mod port;
mod quic;
mod tls;

pub use error::PeeringError;
pub use port::{Port, PortCounters};

#[cfg(test)]
mod tests;
