//! The network CA: the one key that makes a network.

use std::fmt;

use rcgen::{Issuer, PublicKeyData as _};
use ring::hmac;
use weave_model::{NetworkName, PeerName};

use crate::certificate::{ca_params, key_pair, peer_params};
use crate::identity::{Identity, IdentityKey};
use crate::membership::Membership;
use crate::password::{self, WeakPassword};
use crate::trust::{Trust, TrustError};

/// The private key of a network. Shows itself as `***`.
///
/// In provisioned networks only the operator holds it; in password and open networks every peer derives it.
#[derive(Clone)]
pub struct NetworkCa {
    network: NetworkName,
    key: IdentityKey,
}

impl NetworkCa {
    /// Takes 32 random bytes as the private key of a network's CA.
    pub fn from_seed(network: NetworkName, seed: [u8; 32]) -> NetworkCa {
        NetworkCa { network, key: IdentityKey::from_seed(seed) }
    }

    /// Derives the CA of a password network; takes about a tenth of a second and 64 MiB on purpose.
    pub fn from_password(network: NetworkName, password: &str) -> Result<NetworkCa, WeakPassword> {
        password::refuse_weak(password)?;
        let seed = password::stretch(&network, password);
        Ok(NetworkCa::from_seed(network, seed))
    }

    /// The CA of networks without password or provisioning: its key follows from the name, so it keeps nobody out.
    pub fn open(network: NetworkName) -> NetworkCa {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"weave open network, known to all");
        let tag = hmac::sign(&key, network.as_str().as_bytes());
        let seed = tag.as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes");
        NetworkCa::from_seed(network, seed)
    }

    /// Reads what [`NetworkCa::to_pem`] wrote.
    pub fn from_pem(network: NetworkName, text: &str) -> Result<NetworkCa, TrustError> {
        Ok(NetworkCa { network, key: IdentityKey::from_pem(text)? })
    }

    /// The network's name.
    pub fn network(&self) -> &NetworkName {
        &self.network
    }

    /// The private key as a `PRIVATE KEY` block. Keep it at mode 0600.
    pub fn to_pem(&self) -> String {
        self.key.to_pem()
    }

    /// What a peer needs to recognise members of this network.
    pub fn trust(&self) -> Trust {
        let certificate = ca_params(&self.network)
            .self_signed(&key_pair(self.key.seed()))
            .expect("signing fixed parameters with a checked key");
        Trust::from_ca_certificate(self.network.clone(), certificate.der().as_ref())
            .expect("our own certificate is well formed")
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
    ///
    /// Of two certificates of one name the one with the higher `issue` counts; take the time in seconds, or one more than
    /// the last.
    pub fn issue(&self, name: PeerName, identity: &IdentityKey, issue: u64) -> Identity {
        let subject = key_pair(identity.seed());
        let issuer = Issuer::new(ca_params(&self.network), key_pair(self.key.seed()));
        let certificate = peer_params(&self.network, name, subject.der_bytes(), issue)
            .signed_by(&subject, &issuer)
            .expect("signing checked parameters with a checked key");
        Identity::issued(name, identity.clone(), certificate.der().to_vec())
    }

    /// All that the peer of `identity` needs to take part.
    pub fn membership(&self, identity: Identity) -> Membership {
        Membership { identity, trust: self.trust(), psk: self.network_psk() }
    }
}

impl fmt::Debug for NetworkCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
