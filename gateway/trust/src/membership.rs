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

    /// Everything as PEM. Keep it at mode 0600.
    pub fn to_pem(&self) -> String {
        let psk = pem::encode(&pem::Pem::new(PSK_LABEL, self.psk.to_vec()));
        [self.identity.key().to_pem(), self.identity.certificate_pem(), self.trust.to_pem(), psk].concat()
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Membership({})", self.identity.name())
    }
}
