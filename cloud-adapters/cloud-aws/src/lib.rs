//! One fleet's share of Amazon EC2: [`cloud_core::Cloud`] over the AWS SDK.
//!
//! ```text
//!   config ──► aws ──► network, hosts, sweep        the calls of the trait, each a short sequence
//!                          │           │
//!                          ▼           ▼
//!                        api         plan, drift, cloud_init, failure
//!          (alone names the SDK)     (pure: states, rules, images, tokens, differences, error classes)
//! ```
//!
//! Everything made bears the tag `weave-fleet`; nothing else is ever changed or removed. Not here: SSH, and what is
//! installed on the hosts.

mod api;
mod aws;
mod cloud_init;
mod config;
mod drift;
mod failure;
mod hosts;
mod network;
mod plan;
mod policy;
mod sweep;

pub use aws::Aws;
pub use cloud_core::Architecture;
pub use config::{AwsConfig, Image};
pub use policy::policy;

#[cfg(test)]
mod tests;
