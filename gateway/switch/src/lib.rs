//! The learning switch: a frame goes in, a verdict comes out.
//!
//! One [`Switch`] is shared by all worker threads through `&self`. Its table is a fixed array of atomics: no lock, no
//! allocation and no growth, whatever frames arrive. Two threads that race for one entry lose at most one of two
//! observations, which the next frame repeats.
//!
//! Not here: how a verdict is carried out, who is in the mesh, the clock.
#![forbid(unsafe_code)]

mod mac_table;
mod verdict;

pub use mac_table::{Location, MacEntry};
pub use verdict::{Config, Counters, DropReason, Switch, Verdict};

#[cfg(test)]
mod tests;
