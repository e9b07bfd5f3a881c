//! The way from the operator to a port of a host that has a public address.

use std::net::IpAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::cloud::Stream;
use crate::error::ProviderError;

/// Connects to a port of `host` within `limit`. What does not answer may do so later; the error names what else may
/// be in the way, e.g. `security group` for `blocked_by`.
pub async fn dial(
    host: &str,
    address: IpAddr,
    port: u16,
    limit: Duration,
    blocked_by: &str,
) -> Result<Box<dyn Stream>, ProviderError> {
    let closed = |why: String| {
        ProviderError::Retryable(format!(
            "host {host} does not answer at {address}:{port} ({why}); it may be booting, or the operator's address is \
             not the one that its {blocked_by} lets in"
        ))
    };
    let dialled = timeout(limit, TcpStream::connect((address, port))).await;
    let stream = dialled
        .map_err(|_| closed(format!("nothing within {} s", limit.as_secs_f32())))?
        .map_err(|error| closed(error.to_string()))?;
    stream.set_nodelay(true).map_err(|error| closed(error.to_string()))?;
    Ok(Box::new(stream))
}
