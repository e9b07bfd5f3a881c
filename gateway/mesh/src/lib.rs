//! Who is in the network and how to reach them.
//!
//! So far: the graph of live links and what follows from it, routes, alternates and broadcast trees. Every function
//! here is a pure function of the graph, so peers that know the same graph agree without talking about it.
//!
//! Not here: sockets and the clock; how a graph becomes known (records, flooding, links) is not written yet.
#![forbid(unsafe_code)]

mod graph;
mod routes;
mod trees;

pub use graph::{Edge, Graph};
pub use routes::{Path, paths};
pub use trees::trees;

#[cfg(test)]
mod tests;
