//! What a peer keeps on disk to take part in a network, in one PEM text.

use std::fmt;

use weave_model::NetworkName;

use crate::identity::{Identity, IdentityKey};
use crate::trust::{Trust, TrustError, pem_block, pem_blocks};

/// The label of the WireGuard pre-shared key.
const PSK_LABEL: &str = "WEAVE NETWORK PSK";

/// One peer's identity, the CAs it trusts and the network's WireGuard pre-shared key.
#[derive(Clone)]
pub struct Membership {
    /// Who the peer is.
    pub identity: Identity,
    /// Whom it recognises.
    pub trust: Trust,
    /// What all WireGuard sessions of the network mix in.
    pub psk: [u8; 32],
}

impl Membership {
    /// Reads what [`Membership::to_pem`] wrote: the private key, the peer's certificate and behind it the CAs'
    /// certificates, and the pre-shared key.
    pub fn from_pem(network: NetworkName, text: &str) -> Result<Membership, TrustError> {
        let mut certificates = pem_blocks(text, "CERTIFICATE").into_iter();
        let own = certificates.next().ok_or(TrustError::NoPemBlock("CERTIFICATE"))?;
        let anchors: Vec<Vec<u8>> = certificates.collect();
        if anchors.is_empty() {
            return Err(TrustError::NoCa);
        }
        let trust = Trust::from_ca_certificates(network, anchors.iter().map(Vec::as_slice))?;
        let identity = Identity::new(IdentityKey::from_pem(text)?, own, &trust)?;
        let psk = pem_block(text, PSK_LABEL)?.try_into().map_err(|_| TrustError::NoPemBlock(PSK_LABEL))?;
        Ok(Membership { identity, trust, psk })
    }

    /// A short text that differs when the certificate or the set of CAs does; public. The first 128 bits, in hex, of the
    /// SHA-256 of the certificate and the CAs' certificates.
    pub fn mark(&self) -> String {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        context.update(self.identity.certificate());
        self.trust.ca_certificates().for_each(|certificate| context.update(certificate));
        context.finish().as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Everything as PEM. Keep it at mode 0600.
    pub fn to_pem(&self) -> String {
        let psk = pem::encode(&pem::Pem::new(PSK_LABEL, self.psk.to_vec()));
        [self.identity.key().to_pem(), self.identity.certificate_pem(), self.trust.to_pem(), psk].concat()
    }
}

/// Why a membership cannot take the place of another while its peer runs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotARenewal {
    /// It is of another peer, or of the same with another key: links and sessions are bound to the key.
    #[error("it is for another key or name; restart the gateway to take that")]
    OtherKey,
    /// Sessions that are up could not be renewed with peers that have not changed.
    #[error("its pre-shared key is another; restart all gateways of the network to take that")]
    OtherPsk,
    /// Others would go on with the certificate that they know.
    #[error(
        "its certificate has issue number {issue}, not above the {current} of the one in use; issue it anew"
    )]
    NotLater {
        /// The number of the certificate in use.
        current: u64,
        /// That of the one that should follow.
        issue: u64,
    },
    /// Its certificate does not pass its own CAs.
    #[error(transparent)]
    Certificate(#[from] TrustError),
}

impl Membership {
    /// Whether a running peer may go on as `next`: same key, name and pre-shared key, and the same certificate or one that
    /// was issued later, by whichever CA.
    pub fn check_renewal(&self, next: &Membership) -> Result<(), NotARenewal> {
        if self.identity.name() != next.identity.name()
            || self.identity.key().public() != next.identity.key().public()
        {
            return Err(NotARenewal::OtherKey);
        }
        if self.psk != next.psk {
            return Err(NotARenewal::OtherPsk);
        }
        let new = next.trust.verify(next.identity.certificate())?;
        if self.identity.certificate() == next.identity.certificate() {
            return Ok(());
        }
        let (current, issue) = (self.trust.verify(self.identity.certificate())?.issue(), new.issue());
        if issue <= current { Err(NotARenewal::NotLater { current, issue }) } else { Ok(()) }
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Membership({})", self.identity.name())
    }
}
