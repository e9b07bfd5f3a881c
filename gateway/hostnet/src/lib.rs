//! The host's networking, declared and reconciled: the bridge, its ports, the interfaces of containers.
//!
//! Only what carries the mark (link alias `weave gateway`) is ever changed or removed, apart from the ports that the
//! caller names. Applying twice changes nothing, and removal works after a crash. Not here: the datapath behind the
//! bridge, firewall rules, and who gets which address.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: reads /proc and enters namespaces on threads of its own"
)]

mod host;

mod attach;
mod bridge;

mod address;
mod announce;
mod error;
mod link;
mod netlink;
mod netns;
mod sysctl;
mod wanted;

pub use attach::Attachment;
pub use bridge::Bridge;
pub use error::HostError;
pub use host::{Change, Host};
pub use netns::{Netns, NetnsParseError};

#[cfg(test)]
mod tests;
