//! What the multi-DC scenarios share: a fleet of the lab that ends with its test, endpoints attached to its switch, the
//! traffic between them and what is seen of it on the way.
//!
//! ```text
//!   Fleet ── weave-provision up ──► lab (netlab) ── attach ──► Endpoint ── Pings, Datagrams, transfer
//!     │                              │
//!     └── status ► Status            └── Capture on any router and host
//! ```
//!
//! The scenarios are in `tests/it`. They know the product by its two programs, not by its crates.
#![expect(clippy::disallowed_methods, reason = "test ground: runs programs, and polls with a deadline")]

mod capture;
#[cfg(feature = "clouds")]
pub mod clouds;
mod datagrams;
mod endpoint;
mod fleet;
mod journal;
mod pings;
mod process;
mod secrets;
mod status;
mod transfer;
mod wait;

pub use capture::{Canary, Capture};
pub use datagrams::{Kind, Listener, send, send_tagged};
pub use endpoint::{Endpoint, attach_all};
pub use fleet::{CLOUDS, Fleet, HOSTS, ordered_pairs};
pub use journal::{Entry, Journal};
pub use pings::{Pings, Replies, Reply, clock};
pub use process::{Background, Run, run, run_until};
pub use secrets::{Secrets, base64};
pub use status::{Gateway, Pair, Status};
pub use transfer::{Moved, transfer};
pub use wait::{wait_for, within};

#[cfg(test)]
mod tests;
