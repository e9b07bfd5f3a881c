//! How this gateway comes to be a member of its network.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use weave_trust::{Membership, NetworkCa};

use crate::config::{Admission, Config};
use crate::persist::Store;

/// Loads what the provisioner wrote, or derives the network's key and issues a certificate with it.
pub(crate) fn load(config: &Config, store: &Store, unix_seconds: u64) -> anyhow::Result<Membership> {
    let network = config.network.clone();
    let ca = match &config.admission {
        Admission::Provisioned(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("while reading the identity {}", path.display()))?;
            if let Some(mode) = exposed(path) {
                tracing::warn!(
                    "others may read or change the key in {} (mode {mode:o}); `chmod 600` it",
                    path.display()
                );
            }
            return Membership::from_pem(network, &text)
                .with_context(|| format!("the identity {} cannot be used", path.display()));
        }
        Admission::Password(password) => NetworkCa::from_password(network, password.reveal())?,
        Admission::Open => NetworkCa::open(network),
    };
    let (key, issue) = store.key(unix_seconds)?;
    let name = config.name.unwrap_or_else(|| key.peer_name());
    Ok(ca.membership(ca.issue(name, &key, issue)))
}

/// The mode of a file that others than its owner may read or change.
pub(crate) fn exposed(path: &Path) -> Option<u32> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}
