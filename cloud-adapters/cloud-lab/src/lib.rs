//! A cloud played by network namespaces on this machine: [`cloud_core::Cloud`] on a [`netlab`] lab.
//!
//! ```text
//!   fleet ── LabCloud ──► lab of the same name     a site named `onprem…` masquerades; all others translate 1:1
//! ```
//!
//! The lab is made with its first site and ended with its last. Programs that use this call
//! [`dispatch_hidden`] first thing in `main`. Not here: anything about namespaces, and the gateway.

mod connect;
mod error;
mod lab_cloud;

pub use lab_cloud::{LabCloud, down};
pub use netlab::{Topology, dispatch_hidden};

#[cfg(test)]
mod tests;
