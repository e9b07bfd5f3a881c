//! Telling members from strangers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pki_types::{CertificateDer, TrustAnchor, UnixTime};
use weave_model::PeerName;
use webpki::{EndEntityCert, KeyUsage};

use crate::certificate::peer_name;

/// Why a certificate, key or signature was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// No PEM block of the kind needed.
    #[error("no '{0}' block found in the PEM text")]
    NoPemBlock(&'static str),
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

/// The public half of a network CA: recognises certificates of the network's members.
#[derive(Clone)]
pub struct Trust {
    certificate: Arc<[u8]>,
    anchor: Arc<TrustAnchor<'static>>,
}

impl Trust {
    /// Takes the CA's certificate, DER.
    pub fn from_ca_certificate(der: &[u8]) -> Result<Trust, TrustError> {
        let certificate = CertificateDer::from(der);
        let anchor = webpki::anchor_from_trusted_cert(&certificate).map_err(|_| TrustError::Malformed)?;
        Ok(Trust { certificate: der.into(), anchor: Arc::new(anchor.to_owned()) })
    }

    /// Takes the first `CERTIFICATE` block of a PEM text.
    pub fn from_ca_pem(text: &str) -> Result<Trust, TrustError> {
        Trust::from_ca_certificate(&pem_block(text, "CERTIFICATE")?)
    }

    /// The CA's certificate as PEM.
    pub fn to_pem(&self) -> String {
        pem::encode(&pem::Pem::new("CERTIFICATE", self.certificate.to_vec()))
    }

    /// Checks that a certificate was issued to a peer of this network; `unix_seconds` is the time now.
    ///
    /// Says nothing about who presented it: that takes a signature, here or in TLS.
    pub fn verify(&self, certificate_der: &[u8], unix_seconds: u64) -> Result<VerifiedPeer, TrustError> {
        let der = CertificateDer::from(certificate_der);
        let certificate = EndEntityCert::try_from(&der).map_err(|_| TrustError::Malformed)?;
        certificate
            .verify_for_usage(
                &[webpki::ring::ED25519],
                std::slice::from_ref(&*self.anchor),
                &[],
                UnixTime::since_unix_epoch(Duration::from_secs(unix_seconds)),
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
        let name = names
            .next()
            .and_then(peer_name)
            .filter(|_| names.next().is_none())
            .ok_or_else(|| TrustError::NotAPeer("it does not name exactly one peer".to_owned()))?;
        Ok(VerifiedPeer { name, certificate: certificate_der.into() })
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trust")
    }
}

/// A member of the network, by its certificate.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifiedPeer {
    name: PeerName,
    certificate: Arc<[u8]>,
}

impl VerifiedPeer {
    /// The peer the certificate names.
    pub fn name(&self) -> PeerName {
        self.name
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
    pem::parse_many(text)
        .ok()
        .and_then(|blocks| blocks.into_iter().find(|b| b.tag() == label))
        .map(pem::Pem::into_contents)
        .ok_or(TrustError::NoPemBlock(label))
}
