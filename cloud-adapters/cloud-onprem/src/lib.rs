//! Machines that exist already and are reached by SSH: [`cloud_core::Cloud`] for the operator's own data centres.
#![expect(clippy::disallowed_methods, reason = "shell: sockets are its job")]

pub mod ssh;
