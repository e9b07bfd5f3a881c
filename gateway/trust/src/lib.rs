//! Who belongs to a network: the network CA, the peers' certificates and the check of both.
//!
//! A network *is* an Ed25519 key, the network CA. A peer belongs to it when it holds a certificate that this key
//! signed and can prove that it holds the certificate's own key. Provisioned, password and open networks differ
//! only in where the CA key comes from; there is no second mechanism.
//!
//! Not here: TLS (the shell `peering` feeds these certificates to rustls), files, and the clock.
//!
//! ```text
//!   CA key ── signs ──► certificate(peer name, identity key) ── identity key signs ──► records, TLS handshakes
//! ```
#![forbid(unsafe_code)]

mod certificate;
mod identity;
mod membership;
mod network;
mod password;
mod trust;

pub use identity::{Identity, IdentityKey};
pub use membership::{Membership, NotARenewal};
pub use network::NetworkCa;
pub use password::WeakPassword;
pub use trust::{Trust, TrustError, VerifiedPeer};

#[cfg(test)]
mod tests;
