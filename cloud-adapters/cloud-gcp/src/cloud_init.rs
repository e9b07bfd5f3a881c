//! The user-data of a host, within what Compute Engine takes.

use cloud_core::{HostSpec, ProviderError, Secret};

/// Compute Engine's limit for one value of the metadata.
const MAX_BYTES: usize = 256 * 1024;

/// The cloud-config of a host.
pub(crate) fn user_data(spec: &HostSpec) -> Result<Secret, ProviderError> {
    cloud_core::user_data(spec, "Compute Engine", MAX_BYTES)
}
