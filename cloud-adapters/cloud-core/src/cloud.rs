//! The trait.

use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::ProviderError;
use crate::values::{HostSpec, HostState, Leftover, Observed, Obstacle, Site};

/// A byte stream to a port of a host.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// One fleet's share of one cloud.
///
/// Calls block; the provisioner makes them on blocking threads inside a tokio runtime, several at a time for different
/// hosts. Every call is idempotent: asked for what is there already, or to remove what is gone, it succeeds and
/// changes nothing. An adapter sees only what bears its fleet's mark.
pub trait Cloud: Send + Sync {
    /// Names the adapter in messages, e.g. `lab`.
    fn name(&self) -> &str;

    /// Makes the network of a site exist.
    fn ensure_site(&self, site: &Site) -> Result<(), ProviderError>;

    /// The address ranges in which hosts of a site stand, or would stand if it were made, as far as the cloud knows.
    fn networks(&self, site: &Site) -> Result<Vec<IpNet>, ProviderError> {
        let _ = site;
        Ok(Vec::new())
    }

    /// Tells what exists, whatever its phase.
    fn observe(&self) -> Result<Observed, ProviderError>;

    /// Names what is in the way of making or keeping hosts here, all of it at once and changing nothing. Clouds make
    /// their hosts themselves and know of none; machines that exist already may be another's, or lack something.
    fn obstacles(&self) -> Vec<Obstacle> {
        Vec::new()
    }

    /// Makes a host exist and returns it, running or still starting; starts one that is stopped. Its site must exist.
    fn create_host(&self, spec: &HostSpec) -> Result<HostState, ProviderError>;

    /// Closes the way to the user-data of a running host, which every process there can read and which holds the
    /// host's SSH key. Only after the first contact that the key proved: the host does not need it again.
    fn hide_user_data(&self, host: &str) -> Result<(), ProviderError> {
        let _ = host;
        Ok(())
    }

    /// Removes a host and all that belongs to it alone.
    fn destroy_host(&self, name: &str) -> Result<(), ProviderError>;

    /// Removes a site; its hosts must be gone.
    fn remove_site(&self, name: &str) -> Result<(), ProviderError>;

    /// Removes everything else that was made for the fleet, then lists whatever still bears its mark.
    fn sweep(&self) -> Result<Vec<Leftover>, ProviderError>;

    /// Opens a stream to a TCP port of a host, from where the operator is.
    fn connect(&self, host: &str, port: u16) -> Result<Box<dyn Stream>, ProviderError>;
}
