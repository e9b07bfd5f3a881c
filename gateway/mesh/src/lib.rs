//! Who is in the network and how to reach them.
//!
//! So far: signed records, their flooding, and what follows from the graph of links that they claim: routes, alternates
//! and broadcast trees. These are pure functions of the graph, so peers that know the same records agree without
//! talking about it.
//!
//! Not here: sockets and the clock; the machine that makes, measures and keeps links is not written yet.
#![forbid(unsafe_code)]

mod codec;
mod flood;
mod graph;
mod record;
mod records;
mod routes;
mod trees;

pub use codec::{MAX_MESSAGE, Message};
pub use flood::Flood;
pub use graph::{Edge, Graph};
pub use record::{Record, Refused, SignedRecord};
pub use records::Records;
pub use routes::{Path, paths};
pub use trees::trees;

#[cfg(test)]
mod tests;
