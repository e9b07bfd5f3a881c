//! Tests of the whole crate.

mod cli;
mod journal;
mod plan;
mod quote;
mod state;
