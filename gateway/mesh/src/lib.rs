//! Who is in the network and how to reach them.
//!
//! [`Mesh`] joins the parts: links and the wish for more of them, signed records and their spreading, and what follows
//! from the graph of links that the records claim: routes, alternates and broadcast trees. These are pure functions of
//! the records, so peers that know the same records agree without talking about it.
//!
//! ```text
//!   link up ──► hello, digests ──► records of the others ──► graph ──► Routes
//!      ▲                               │      ▲
//!      └── dial ◄── targets, endpoints ┘      └── our own record: neighbours, short id
//! ```
//!
//! Not here: sockets, handshakes, name resolution and the clock (shell `peering`), and the frames themselves.
#![forbid(unsafe_code)]

mod config;
mod events;
mod refused;

mod mesh;
mod status;

mod connector;
mod expiry;
mod links;
mod originate;
mod picture;
mod short_ids;

mod flood;
mod outbox;

mod codec;
mod record;
mod records;
mod version;

mod graph;
mod routes;
mod trees;

pub use codec::MAX_MESSAGE;
pub use config::{Config, DialId, LinkUp, Remembered};
pub use events::{CloseReason, Command, Connection, ConnectionState, Event};
pub use graph::{Edge, Graph};
pub use mesh::{Mesh, NotDead};
pub use record::{Record, SignedRecord};
pub use records::Records;
pub use refused::{Counters, Refused};
pub use version::Version;

#[cfg(test)]
mod tests;
