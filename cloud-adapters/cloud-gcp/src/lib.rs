//! One fleet's share of Google Compute Engine: [`cloud_core::Cloud`] over Google's SDK.
//!
//! ```text
//!   config ──► gcp ──► network, hosts, sweep        the calls of the trait, each a short sequence
//!                          │           │
//!                          ▼           ▼
//!                     api, adc        plan, drift, cloud_init, failure
//!      (api alone names the SDK)      (pure: names, states, rules, request ids, differences, error classes)
//! ```
//!
//! Everything made bears the fleet's mark: labels where Compute Engine has them, otherwise the name's beginning and a
//! description in JSON. Nothing else is ever changed or removed. Not here: SSH, and what is installed on the hosts.
#![expect(clippy::disallowed_methods, reason = "shell: looks for credentials")]

mod adc;
mod api;
mod cloud_init;
mod config;
mod drift;
mod failure;
mod gcp;
mod hosts;
mod network;
mod plan;
mod roles;
mod sweep;

pub use cloud_core::Architecture;
pub use config::GcpConfig;
pub use gcp::Gcp;
pub use roles::roles;

#[cfg(test)]
mod tests;
