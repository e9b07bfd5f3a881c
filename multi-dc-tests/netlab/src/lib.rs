//! Data centres on one Linux machine: namespaces for routers and hosts, NAT between them, systemd and sshd in every
//! host, a process that holds it all while no command runs.
//!
//! ```text
//!     op ────────────── internet 203.0.113.0/24 ──────────────┐
//!                │                   │                        │
//!              r-aws   1:1 NAT     r-gcp   1:1 NAT        r-onprem   masquerading, dial-out only
//!                │                   │                        │
//!              aws-1               gcp-1                onprem-1  onprem-2
//! ```
//!
//! In the topology `partial` nothing passes between `aws` and `gcp`. A [`Lab`] is made by [`Lab::ensure`], filled by
//! [`Lab::ensure_site`], [`Lab::ensure_host`] and [`Lab::ensure_instance`] and ended by [`down`], each of which may be repeated and killed at any
//! moment. Programs that make labs call [`dispatch_hidden`] first thing in `main`.
//!
//! Not here: the gateway, and SSH beyond its banner.
#![expect(clippy::disallowed_methods, reason = "shell: namespaces, processes, mounts and files are its job")]

mod error;
mod order;
mod plan;
mod range;
mod values;

mod enter;
mod lab;
mod remains;

mod cgroup;
mod folder;
mod protocol;
mod requirements;

mod conntrack;
mod control;
mod keeper;
mod network;
mod rules;

mod attend;
mod boot;
mod capabilities;
mod first_boot;
mod hosts;
mod image;
mod strip;

pub use error::Error;
pub use keeper::dispatch_hidden;
pub use lab::{Lab, down};
pub use order::InstanceConfig;
pub use plan::{OPERATOR, Router};
pub use range::Range;
pub use remains::remains;
pub use requirements::check as check_machine;
pub use values::{Cable, Config, HostConfig, HostStatus, Nat, Phase, Place, SiteStatus, Status, Topology};

#[cfg(test)]
mod tests;
