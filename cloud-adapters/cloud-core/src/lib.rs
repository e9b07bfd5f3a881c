//! What the provisioner asks of a cloud: values, one object-safe trait, a fake, and the suite every adapter passes.
//!
//! Not here: any particular cloud, SSH, and what is installed on the hosts. An adapter only makes hosts exist, tells
//! what exists, opens a byte stream to a host's port and makes hosts go away.

mod architecture;
mod blocks;
mod cloud;
mod cloud_init;
mod contract;
mod dial;
mod error;
mod fake;
mod values;

pub use architecture::Architecture;
pub use blocks::{is_ipv4_block, parse_blocks};
pub use cloud::{Cloud, Stream};
pub use cloud_init::{base64, user_data};
pub use contract::check_contract;
pub use dial::dial;
pub use error::{ProviderError, all_of, one_line};
pub use fake::Fake;
pub use ipnet::IpNet;
pub use values::{Addresses, Drift, HostSpec, HostState, Leftover, Observed, Obstacle, Phase, Secret, Site};

#[cfg(test)]
mod tests;
