//! A stream to a host's port from where the operator stands.

use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

use cloud_core::{ProviderError, Stream};
use netlab::{HostStatus, Lab, Place};

use crate::error::provider;

/// One lost packet is sent again after a second; more means that the port is closed by a security group.
const LIMIT: Duration = Duration::from_secs(5);

/// Connects to `port` of a host, inside a tokio runtime.
pub(crate) fn open(
    lab: &Lab,
    name: &str,
    host: &HostStatus,
    port: u16,
) -> Result<Box<dyn Stream>, ProviderError> {
    if tokio::runtime::Handle::try_current().is_err() {
        return Err(ProviderError::Other("a stream to a host needs a tokio runtime around it".to_owned()));
    }
    let to = match (port, host.public) {
        (22, _) => host.ssh,
        (_, Some(public)) => SocketAddrV4::new(public, port),
        (_, None) => {
            return Err(ProviderError::Invalid(format!(
                "host {name} stands behind a router that lets only SSH in, not port {port}"
            )));
        }
    };
    let closed = |error| match error {
        netlab::Error::NotFound(what) => ProviderError::NotFound(what),
        // Refused or lost: the host may be booting, its service restarting.
        error => ProviderError::Retryable(error.to_string()),
    };
    let stream = lab.connect(&Place::Operator, SocketAddr::V4(to), LIMIT).map_err(closed)?;
    let ready = stream.set_nodelay(true).and_then(|()| stream.set_nonblocking(true));
    let stream = ready.and_then(|()| tokio::net::TcpStream::from_std(stream));
    match stream {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => {
            Err(provider(netlab::Error::Failed(format!("preparing the stream to {name}: {error}"))))
        }
    }
}
