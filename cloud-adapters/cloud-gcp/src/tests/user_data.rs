//! A host to be made, and how much it may be told at its first boot.

use std::collections::BTreeMap;

use cloud_core::{HostSpec, Secret};

use crate::cloud_init::user_data;

/// Made for tests by `ssh-keygen -t ed25519`; it opens nothing.
pub(super) const PRIVATE: &str = include_str!("../../../cloud-core/src/tests/host_key");
pub(super) const PUBLIC: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGoo+w9+mEaN2bgrDLv5bteYEhjsGwXzASO1MGsMHvyE";

pub(super) fn spec(name: &str, index: u8) -> HostSpec {
    HostSpec {
        name: name.to_owned(),
        site: "gcp".to_owned(),
        index,
        operator_public_key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBQ0 operator\n".to_owned(),
        host_private_key: Secret::new(PRIVATE),
        labels: BTreeMap::from([("weave".to_owned(), "test".to_owned())]),
    }
}

#[test]
fn what_the_metadata_would_not_take_is_refused() {
    let long = HostSpec { operator_public_key: "x".repeat(256 * 1024), ..spec("gcp-1", 1) };
    assert!(user_data(&long).unwrap_err().to_string().contains("Compute Engine takes 262144"));
}
