//! One peer's lasting key and the certificate that ties it to a network.

use std::fmt;
use std::sync::Arc;

use ring::signature::{Ed25519KeyPair, KeyPair as _};
use weave_model::PeerName;

use crate::certificate::{pkcs8_from_seed, seed_from_pkcs8};
use crate::trust::{Trust, TrustError};

/// The Ed25519 key of one peer (RFC 8032). Shows itself as `***`.
#[derive(Clone)]
pub struct IdentityKey {
    seed: [u8; 32],
    pair: Arc<Ed25519KeyPair>,
}

impl IdentityKey {
    /// Takes 32 random bytes as the private key.
    pub fn from_seed(seed: [u8; 32]) -> IdentityKey {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("every 32-byte string is a seed");
        IdentityKey { seed, pair: Arc::new(pair) }
    }

    /// Reads a PKCS#8 key (RFC 8410 §7).
    pub fn from_pkcs8_der(der: &[u8]) -> Result<IdentityKey, TrustError> {
        seed_from_pkcs8(der).map(IdentityKey::from_seed).ok_or(TrustError::NotAnEd25519Key)
    }

    /// Reads the first `PRIVATE KEY` block of a PEM text.
    pub fn from_pem(text: &str) -> Result<IdentityKey, TrustError> {
        IdentityKey::from_pkcs8_der(&crate::trust::pem_block(text, "PRIVATE KEY")?)
    }

    /// The key as PKCS#8 version 1.
    pub fn to_pkcs8_der(&self) -> Vec<u8> {
        pkcs8_from_seed(&self.seed)
    }

    /// The key as a `PRIVATE KEY` block.
    pub fn to_pem(&self) -> String {
        pem::encode(&pem::Pem::new("PRIVATE KEY", self.to_pkcs8_der()))
    }

    /// The public key, 32 bytes.
    pub fn public(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// The name that follows from the key: 48 bits of its hash, marked as a locally administered unicast address.
    ///
    /// The first half of the SHA-256 of the public key, bit 1 of the first octet set and bit 0 clear (RFC 9542 §2.1).
    pub fn peer_name(&self) -> PeerName {
        let hash = ring::digest::digest(&ring::digest::SHA256, self.public());
        let [first, rest @ ..]: [u8; 6] = *hash.as_ref().first_chunk().expect("SHA-256 has 32 bytes");
        let [a, b, c, d, e] = rest;
        PeerName::new([first & !1 | 2, a, b, c, d, e])
    }

    /// The X25519 private key of the peer's WireGuard sessions, derived from its identity.
    ///
    /// A derived key needs no file of its own and is lost and replaced together with the identity.
    pub fn wireguard_private_key(&self) -> [u8; 32] {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &self.seed);
        let tag = ring::hmac::sign(&key, b"weave wireguard static key");
        tag.as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
    }

    pub(crate) fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.pair.sign(message).as_ref().try_into().expect("an Ed25519 signature has 64 bytes")
    }
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A peer's name, its key and its certificate in one network.
#[derive(Clone)]
pub struct Identity {
    name: PeerName,
    key: IdentityKey,
    certificate: Arc<[u8]>,
}

impl Identity {
    /// Joins a key and a certificate that was issued for it, as a provisioned peer finds them on disk.
    pub fn new(key: IdentityKey, certificate: Vec<u8>, trust: &Trust) -> Result<Identity, TrustError> {
        let peer = trust.verify(&certificate)?;
        // Only the holder of the certificate's key can sign for it.
        let probe = b"weave identity check";
        peer.verify_signature(probe, &key.sign(probe)).map_err(|_| TrustError::KeyMismatch)?;
        Ok(Identity { name: peer.name(), key, certificate: certificate.into() })
    }

    pub(crate) fn issued(name: PeerName, key: IdentityKey, certificate: Vec<u8>) -> Identity {
        Identity { name, key, certificate: certificate.into() }
    }

    /// The peer's name, as its certificate says it.
    pub fn name(&self) -> PeerName {
        self.name
    }

    /// The certificate, DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// The certificate as a PEM block.
    pub fn certificate_pem(&self) -> String {
        pem::encode(&pem::Pem::new("CERTIFICATE", self.certificate.to_vec()))
    }

    /// The peer's key.
    pub fn key(&self) -> &IdentityKey {
        &self.key
    }

    /// The private key, for TLS.
    pub fn key_pkcs8(&self) -> Vec<u8> {
        self.key.to_pkcs8_der()
    }

    /// Signs with the peer's key (RFC 8032 §5.1.6).
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.name)
    }
}
