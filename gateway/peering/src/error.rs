//! Why peering could not be started or asked.

use std::io;

/// What goes wrong with peering as a whole; links fail one by one, and the status says why.
#[derive(Debug, thiserror::Error)]
pub enum PeeringError {
    /// The key, the certificate or the provider do not make a TLS configuration.
    #[error("this peer's certificate cannot be used for TLS")]
    Tls(#[source] rustls::Error),
    /// The shared socket does not tell its address.
    #[error("the shared UDP socket cannot be used for QUIC")]
    Socket(#[source] io::Error),
    /// The certificate is not of this peer's key, or not of the CAs that come with it.
    #[error("this peer cannot go on with another certificate")]
    NotARenewal(#[source] weave_mesh::Refused),
    /// A peer is not forgotten as a dead one.
    #[error(transparent)]
    NotDead(#[from] weave_mesh::NotDead),
    /// Peering was stopped.
    #[error("peering has stopped")]
    Stopped,
}
