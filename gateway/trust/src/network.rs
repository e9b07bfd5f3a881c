//! The network CA: the one key that makes a network.

use std::fmt;

use rcgen::{Issuer, PublicKeyData as _};
use ring::hmac;
use weave_model::PeerName;

use crate::certificate::{ca_params, key_pair, peer_params};
use crate::identity::{Identity, IdentityKey};
use crate::password::{self, WeakPassword};
use crate::trust::{Trust, TrustError};

/// The private key of a network. Shows itself as `***`.
///
/// In provisioned networks only the operator holds it; in password and open networks every peer derives it.
#[derive(Clone)]
pub struct NetworkCa {
    key: IdentityKey,
}

impl NetworkCa {
    /// Takes 32 random bytes as the CA's private key.
    pub fn from_seed(seed: [u8; 32]) -> NetworkCa {
        NetworkCa { key: IdentityKey::from_seed(seed) }
    }

    /// Derives the CA of a password network; takes about a tenth of a second and 64 MiB on purpose.
    pub fn from_password(password: &str) -> Result<NetworkCa, WeakPassword> {
        password::refuse_weak(password)?;
        Ok(NetworkCa::from_seed(password::stretch(password)))
    }

    /// The CA of networks without password or provisioning: its key is public, so it keeps nobody out.
    pub fn open() -> NetworkCa {
        NetworkCa::from_seed(*b"weave open network, known to all")
    }

    /// Reads what [`NetworkCa::to_pem`] wrote.
    pub fn from_pem(text: &str) -> Result<NetworkCa, TrustError> {
        Ok(NetworkCa { key: IdentityKey::from_pem(text)? })
    }

    /// The private key as a `PRIVATE KEY` block. Keep it at mode 0600.
    pub fn to_pem(&self) -> String {
        self.key.to_pem()
    }

    /// What a peer needs to recognise members of this network.
    pub fn trust(&self) -> Trust {
        let certificate = ca_params()
            .self_signed(&key_pair(self.key.seed()))
            .expect("signing fixed parameters with a checked key");
        Trust::from_ca_certificate(certificate.der().as_ref()).expect("our own certificate is well formed")
    }

    /// The CA's certificate as PEM; public.
    pub fn certificate_pem(&self) -> String {
        self.trust().to_pem()
    }

    /// The pre-shared key that all WireGuard sessions of the network mix in (WireGuard paper §5.4.6).
    pub fn network_psk(&self) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.key.seed());
        let tag = hmac::sign(&key, b"weave wireguard psk");
        tag.as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
    }

    /// Signs a certificate for `name` and the key of `identity`.
    pub fn issue(&self, name: PeerName, identity: &IdentityKey) -> Identity {
        let subject = key_pair(identity.seed());
        let issuer = Issuer::new(ca_params(), key_pair(self.key.seed()));
        let certificate = peer_params(name, subject.der_bytes())
            .signed_by(&subject, &issuer)
            .expect("signing checked parameters with a checked key");
        Identity::issued(name, identity.clone(), certificate.der().to_vec())
    }
}

impl fmt::Debug for NetworkCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
