//! Machines that exist already and are reached by SSH: [`cloud_core::Cloud`] for the operator's own data centres.
//!
//! ```text
//!   OnpremCloud ──► Contact ──► Sessions ──► Jumps ──► TCP, directly or through jump hosts
//!                    └─────► script: what is asked and done there, as root
//! ```
//!
//! Nothing is made here, so the words of the trait mean: *create* a host is to check it and to put the fleet's name into
//! `/etc/weave/fleet`, its mark; *destroy* is to take away everything a fleet leaves on it, the mark last; what
//! *exists* is what bears the mark. A site exists while a host of it does. A host that bears another fleet's mark, or a
//! gateway without any mark, is refused and left alone. A host that does not answer counts as existing.
//!
//! The adapter passes the contract suite on a real machine, with two differences to a cloud that it does not see: the
//! keys in a `HostSpec` are ignored, because the machine has its own and the operator says how to log in; and the hosts
//! are those of the configuration, all others do not exist.
//!
//! [`ssh`] is also the provisioner's client for the hosts of every cloud. Not here: files of configuration, and what a
//! gateway's files are ([`Footprint`] is told).
#![expect(clippy::disallowed_methods, reason = "shell: reads the clock")]

mod contact;
mod init;
mod machines;
mod obstacle;
mod onprem_cloud;
mod reach;
mod script;
pub mod ssh;

pub use init::Init;
pub use machines::{Config, Footprint, Machine, Reach};
pub use onprem_cloud::OnpremCloud;

#[cfg(test)]
mod tests;
