//! The user-data of a host, within what EC2 takes.

use cloud_core::{HostSpec, ProviderError, Secret};

pub(crate) use cloud_core::base64;

/// EC2's limit, before base64, which the SDK does not do to user-data by itself.
const MAX_BYTES: usize = 16 * 1024;

/// The cloud-config of a host.
pub(crate) fn user_data(spec: &HostSpec) -> Result<Secret, ProviderError> {
    cloud_core::user_data(spec, "EC2", MAX_BYTES)
}
