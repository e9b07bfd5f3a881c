//! Telling members from strangers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pki_types::{CertificateDer, TrustAnchor, UnixTime};
use weave_model::{NetworkName, PeerName};
use webpki::{EndEntityCert, KeyUsage};

use crate::certificate::{issue_number, parse_dns_name};

/// Why a certificate, key or signature was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// No PEM block of the kind needed.
    #[error("no '{0}' block found in the PEM text")]
    NoPemBlock(&'static str),
    /// A peer's certificate without that of a CA behind it.
    #[error("no CA certificate follows the peer's certificate in the PEM text")]
    NoCa,
    /// A key of another algorithm or encoding.
    #[error("the key is not an Ed25519 key in PKCS#8")]
    NotAnEd25519Key,
    /// A key and a certificate that do not belong together.
    #[error("the key is not the one the certificate was issued for")]
    KeyMismatch,
    /// Bytes that are no X.509 certificate.
    #[error("the certificate cannot be read")]
    Malformed,
    /// Signed by another CA: the peer belongs to another network.
    #[error("the certificate was not issued by this network's CA: password or CA differ")]
    OtherNetwork,
    /// Well signed but not usable as a peer's certificate.
    #[error("the certificate is not valid for a peer: {0}")]
    NotAPeer(String),
    /// A signature that does not verify.
    #[error("the signature does not match")]
    BadSignature,
}

/// Longer certificates are refused unread; ours have about 400 bytes.
const MAX_CERTIFICATE: usize = 1024;

/// Inside every validity: certificates do not run out, so no clock is asked.
const VALID_AT: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1 << 31));

/// The CAs in force of one network: recognises certificates of the network's members.
#[derive(Clone)]
pub struct Trust {
    network: NetworkName,
    /// DER, in the order given.
    certificates: Arc<[Arc<[u8]>]>,
    anchors: Arc<[TrustAnchor<'static>]>,
}

impl Trust {
    /// Takes one CA's certificate, DER.
    pub fn from_ca_certificate(network: NetworkName, der: &[u8]) -> Result<Trust, TrustError> {
        Trust::from_ca_certificates(network, [der])
    }

    /// Takes the certificates of all CAs in force, DER; two while a network changes from one to the next.
    pub fn from_ca_certificates<'a>(
        network: NetworkName,
        ders: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Trust, TrustError> {
        let certificates: Arc<[Arc<[u8]>]> = ders.into_iter().map(Arc::from).collect();
        let anchor = |der: &Arc<[u8]>| {
            let certificate = CertificateDer::from(&**der);
            let anchor = webpki::anchor_from_trusted_cert(&certificate).map_err(|_| TrustError::Malformed)?;
            Ok(anchor.to_owned())
        };
        let anchors = certificates.iter().map(anchor).collect::<Result<_, TrustError>>()?;
        Ok(Trust { network, certificates, anchors })
    }

    /// The name of the network.
    pub fn network(&self) -> &NetworkName {
        &self.network
    }

    /// The CAs' certificates, DER, for TLS.
    pub fn ca_certificates(&self) -> impl Iterator<Item = &[u8]> {
        self.certificates.iter().map(|c| &**c)
    }

    /// These CAs and those of `other`, each once; for a network that changes from one CA to the next.
    pub fn joined(&self, other: &Trust) -> Trust {
        let more = || {
            let pairs = other.certificates.iter().zip(other.anchors.iter());
            pairs.filter(|(certificate, _)| !self.certificates.contains(certificate))
        };
        Trust {
            network: self.network.clone(),
            certificates: self.certificates.iter().cloned().chain(more().map(|(c, _)| c.clone())).collect(),
            anchors: self.anchors.iter().cloned().chain(more().map(|(_, anchor)| anchor.clone())).collect(),
        }
    }

    /// A short name of each CA for people: the first 64 bits of the SHA-256 of its certificate, in hex.
    pub fn fingerprints(&self) -> Vec<String> {
        let short = |der: &Arc<[u8]>| {
            let hash = ring::digest::digest(&ring::digest::SHA256, der);
            hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
        };
        self.certificates.iter().map(short).collect()
    }

    /// The CAs' certificates as PEM.
    pub fn to_pem(&self) -> String {
        self.certificates.iter().map(|c| pem::encode(&pem::Pem::new("CERTIFICATE", c.to_vec()))).collect()
    }

    /// Checks that a certificate was issued to a peer of this network.
    ///
    /// Says nothing about who presented it: that takes a signature, here or in TLS.
    pub fn verify(&self, certificate_der: &[u8]) -> Result<VerifiedPeer, TrustError> {
        if certificate_der.len() > MAX_CERTIFICATE {
            return Err(TrustError::Malformed);
        }
        let der = CertificateDer::from(certificate_der);
        let certificate = EndEntityCert::try_from(&der).map_err(|_| TrustError::Malformed)?;
        certificate
            .verify_for_usage(
                &[webpki::ring::ED25519],
                &self.anchors,
                &[],
                VALID_AT,
                KeyUsage::client_auth(),
                None,
                None,
            )
            .map_err(|error| match error {
                webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => {
                    TrustError::OtherNetwork
                }
                other => TrustError::NotAPeer(other.to_string()),
            })?;
        let mut names = certificate.valid_dns_names();
        let (network, name) = names
            .next()
            .and_then(parse_dns_name)
            .filter(|_| names.next().is_none())
            .ok_or_else(|| TrustError::NotAPeer("it does not name exactly one peer".to_owned()))?;
        if network != self.network {
            return Err(TrustError::OtherNetwork);
        }
        let issue = issue_number(certificate.serial())
            .ok_or_else(|| TrustError::NotAPeer("it has no issue number".to_owned()))?;
        let key_hash = ring::digest::digest(&ring::digest::SHA256, &certificate.subject_public_key_info());
        let key_hash = *key_hash.as_ref().first_chunk().expect("SHA-256 has 32 bytes");
        Ok(VerifiedPeer { name, issue, key_hash, certificate: certificate_der.into() })
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trust({})", self.network)
    }
}

/// A member of the network, by its certificate.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifiedPeer {
    name: PeerName,
    issue: u64,
    key_hash: [u8; 32],
    certificate: Arc<[u8]>,
}

impl VerifiedPeer {
    /// The peer the certificate names.
    pub fn name(&self) -> PeerName {
        self.name
    }

    /// The issue number: of two certificates of one name the higher counts.
    pub fn issue(&self) -> u64 {
        self.issue
    }

    /// The SHA-256 of its public key (SubjectPublicKeyInfo, DER).
    pub fn key_hash(&self) -> &[u8; 32] {
        &self.key_hash
    }

    /// Whether this certificate replaces `other` of the same name: issued later, or at the same time for a key with a
    /// lower hash, so that everybody chooses alike.
    pub fn replaces(&self, other: &VerifiedPeer) -> bool {
        self.name == other.name
            && (self.issue, std::cmp::Reverse(self.key_hash))
                > (other.issue, std::cmp::Reverse(other.key_hash))
    }

    /// Whether both certificates are of one peer with one key: only the issue, or the CA, differs.
    pub fn is_same_holder(&self, other: &VerifiedPeer) -> bool {
        (self.name, self.key_hash) == (other.name, other.key_hash)
    }

    /// The certificate, DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Checks an Ed25519 signature by the certificate's key.
    pub fn verify_signature(&self, message: &[u8], signature: &[u8]) -> Result<(), TrustError> {
        let der = CertificateDer::from(&*self.certificate);
        EndEntityCert::try_from(&der)
            .and_then(|c| c.verify_signature(webpki::ring::ED25519, message, signature))
            .map_err(|_| TrustError::BadSignature)
    }
}

impl fmt::Debug for VerifiedPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifiedPeer({})", self.name)
    }
}

/// The contents of the first block with this label.
pub(crate) fn pem_block(text: &str, label: &'static str) -> Result<Vec<u8>, TrustError> {
    pem_blocks(text, label).into_iter().next().ok_or(TrustError::NoPemBlock(label))
}

/// The contents of all blocks with this label.
pub(crate) fn pem_blocks(text: &str, label: &str) -> Vec<Vec<u8>> {
    let blocks = pem::parse_many(text).unwrap_or_default();
    blocks.into_iter().filter(|b| b.tag() == label).map(pem::Pem::into_contents).collect()
}
