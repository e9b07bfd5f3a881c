//! Whole gateways in one process under virtual time: what a network does when everything goes wrong.
//!
//! [`run`] draws from a seed which gateways can dial which, lets roads close, frames get lost and gateways restart with
//! and without what they knew, and then compares every gateway's routes, trees, short ids and records with a reference
//! computed from the underlay alone. The same seed does the same again.
//!
//! ```text
//!   seed ──► underlay, targets, faults ──► World: gateways (weave-mesh) ⇄ wires ──► reference ──► what is wrong
//! ```
//!
//! Not here: bytes on real sockets, sessions and frames; frames are represented by whether they pass a road.
#![forbid(unsafe_code)]

mod faults;
mod gateway;
mod reference;
mod simulation;
mod underlay;
mod world;

pub use faults::{Fault, Kept};
pub use gateway::Gateway;
pub use reference::{Ground, faults_in, restlessness_in};
pub use simulation::run;
pub use underlay::{Pair, Road, Underlay, pair};
pub use world::{Wire, World};

#[cfg(test)]
mod tests;
