//! The clouds' APIs emulated, for the tests of the adapters and for scenarios in a lab.
//!
//! ```text
//!   tests of cloud-aws ──► Proxy ──► ec2.py (moto)        EC2, behind a proxy that can fail
//!   tests of cloud-gcp ────────────► compute.py           Compute Engine, which can fail by itself
//!   multi-dc-tests ──► the same, in the namespace where the operator stands
//! ```
//!
//! An emulator is a program that prints its port and ends with its handle, or with the thread that started it. Not
//! here: what is asked of them. The `README.md` beside says whence the parts come.
#![expect(clippy::disallowed_methods, reason = "test ground: starts programs and stands before them")]

pub mod compute;
pub mod ec2;
mod process;
mod proxy;

pub use process::Emulator;
pub use proxy::{Call, Fault, Proxy};

/// Where the programs and their papers lie.
const FOLDER: &str = env!("CARGO_MANIFEST_DIR");
