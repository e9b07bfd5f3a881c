//! Values that every part of the gateway names: peers, addresses, routes.
//!
//! Not here: behaviour. A type belongs here when two crates that may not see each other exchange it.
#![forbid(unsafe_code)]

mod address;
mod deadlines;
mod mac;
mod network;
mod peer;
mod routes;
mod train;

pub use address::{AddressError, Cidr, Target, canonical};
pub use deadlines::{Deadlines, Timer};
pub use mac::{Mac, MacError};
pub use network::{NetworkName, NetworkNameError};
pub use peer::{Egress, PeerName, ShortId};
pub use routes::{Adjacency, Forwarding, LinkId, Neighbour, PathReport, PeerRoute, RelayKeys, Routes, Tree};
pub use train::Train;

#[cfg(test)]
mod tests;
