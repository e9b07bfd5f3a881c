//! Brings up a fleet of gateways across clouds: observe, plan, apply, verify.
//!
//! The clouds are behind `cloud-core`; the hosts are reached by SSH. What a run does follows from what it observes, so
//! every command may be killed at any moment and repeated.
//!
//! ```text
//!   cli ─► observe ─► plan (pure) ─► apply ─► verify
//!              │                       │         │
//!              └── Cloud, Remote ──────┴─────────┘        state: StateDir, Vault (keys), Journal
//! ```
#![expect(clippy::disallowed_methods, reason = "program: reads the clock, files and the environment")]

pub mod apply;
pub mod cli;
pub mod clouds;
pub mod config;
pub mod desired;
pub mod doctor;
pub mod fleet;
pub mod footprint;
pub mod graph;
pub mod import;
pub mod install;
pub mod journal;
pub mod logs;
pub mod observe;
pub mod plan;
pub mod progress;
pub mod remote;
pub mod render;
pub mod retry;
pub mod rotate;
pub mod ssh;
pub mod state;
pub mod upgrade;
pub mod vault;
pub mod verify;

#[cfg(test)]
mod tests;
