//! Values that every part of the gateway names: peers, addresses, routes.
//!
//! Not here: behaviour. A type belongs here when two crates that may not see each other exchange it.
#![forbid(unsafe_code)]

mod address;
mod deadlines;
mod mac;
mod peer;
mod routes;

pub use address::{AddressError, Cidr, Target};
pub use deadlines::{Deadlines, Timer};
pub use mac::{Mac, MacError};
pub use peer::{PeerName, ShortId};
pub use routes::{Adjacency, Datagram, LinkId, Neighbour, PeerRoute, RelayKeys, Routes, Tree};

#[cfg(test)]
mod tests;
