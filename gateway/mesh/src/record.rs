//! What a peer says of itself, signed by it, so that others can pass it on but not change it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use weave_model::{PeerName, ShortId};
use weave_trust::{Identity, VerifiedPeer};

use crate::codec;
use crate::graph::Edge;

/// The state of one peer as of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who says it.
    pub peer: PeerName,
    /// Grows with each version; starts from the clock, so that a restarted peer supersedes its past.
    pub sequence: u64,
    /// Random at each start of the daemon: tells a restart from a clone.
    pub uid: u64,
    /// The peer's name for people; at most 64 bytes.
    pub nickname: String,
    /// The site it stands in; at most 64 bytes.
    pub site: String,
    /// The program's version; at most 64 bytes.
    pub version: String,
    /// The number it claims.
    pub short_id: Option<ShortId>,
    /// Its WireGuard static public key (X25519).
    pub wireguard_key: [u8; 32],
    /// Addresses at which it may be dialled; at most 16.
    pub endpoints: Vec<SocketAddr>,
    /// Its established links; at most 1,024.
    pub neighbours: BTreeMap<PeerName, Edge>,
}

/// A record with the bytes that were signed and the signature.
///
/// The bytes are kept because another version of the program may have encoded them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRecord {
    record: Arc<Record>,
    bytes: Arc<[u8]>,
    signature: [u8; 64],
}

/// Why bytes of a neighbour were refused; they changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The bytes end too early, go on too long or hold an impossible value.
    #[error("the message is malformed")]
    Malformed,
    /// A kind of message that this version does not know; skipped.
    #[error("the kind of message is unknown")]
    UnknownKind,
    /// The certificate is not of this network.
    #[error("the certificate is not of this network")]
    Certificate,
    /// The record came before its peer's certificate.
    #[error("the peer's certificate is not known yet")]
    NoCertificate,
    /// The record was not signed by its peer.
    #[error("the record's signature is wrong")]
    Signature,
    /// The neighbour speaks no version that we do, or did not say which.
    #[error("no common version of the messages")]
    Version,
    /// As many peers as there are short ids are known already.
    #[error("too many peers")]
    Full,
}

impl SignedRecord {
    /// Signs a record of our own; fields beyond their bounds are cut.
    pub fn sign(record: Record, identity: &Identity) -> SignedRecord {
        let record = codec::bounded(record);
        let bytes = codec::encode_record(&record);
        let signature = identity.sign(&bytes);
        SignedRecord { record: Arc::new(record), bytes: bytes.into(), signature }
    }

    pub(crate) fn from_parts(bytes: &[u8], signature: [u8; 64]) -> Result<SignedRecord, Refused> {
        let record = codec::decode_record(bytes)?;
        Ok(SignedRecord { record: Arc::new(record), bytes: bytes.into(), signature })
    }

    /// What the peer says.
    pub fn record(&self) -> &Record {
        &self.record
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn signature(&self) -> &[u8; 64] {
        &self.signature
    }

    /// Checks that the peer it names has signed it.
    pub(crate) fn verify(&self, peer: &VerifiedPeer) -> Result<(), Refused> {
        if peer.name() != self.record.peer {
            return Err(Refused::Signature);
        }
        peer.verify_signature(&self.bytes, &self.signature).map_err(|_| Refused::Signature)
    }
}
