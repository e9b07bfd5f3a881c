//! What a peer says of itself, signed by it, so that others can pass it on but not change it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use weave_model::{NetworkName, PeerName, ShortId};
use weave_trust::{Identity, VerifiedPeer};

use crate::codec::{self, SignedBytes};
use crate::graph::Edge;
use crate::refused::BadContent;
use crate::version::{Version, hash};

/// The state of one peer as of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who says it.
    pub peer: PeerName,
    /// Grows with each version.
    pub sequence: u64,
    /// Random at each start of the daemon: tells a restart from a clone.
    pub uid: u64,
    /// The peer has left the network; the record stays for a while, so that nobody brings back an older one.
    pub leaving: bool,
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
    /// The neighbours that frames pass to; at most 1,024.
    pub neighbours: BTreeMap<PeerName, Edge>,
}

/// A record with the bytes that were signed and the signature.
///
/// The bytes are kept because another version of the program may have encoded them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRecord {
    record: Arc<Record>,
    signed: SignedBytes,
    hash: u64,
}

/// Precedes the signed bytes in what is signed, with the network's name: a signature can mean nothing else.
const DOMAIN: &[u8; 16] = b"weave record v1\0";

impl SignedRecord {
    /// Signs a record of our own; fields beyond their bounds are cut.
    pub(crate) fn sign(record: Record, identity: &Identity, network: &NetworkName) -> SignedRecord {
        let record = codec::bounded(record);
        let bytes = codec::encode_record(&record);
        let signature = identity.sign(&signed_text(network, &bytes));
        let hash = hash(&bytes);
        SignedRecord {
            record: Arc::new(record),
            signed: SignedBytes { signature, bytes: bytes.into() },
            hash,
        }
    }

    /// Reads what a neighbour passed on; the signature is not checked yet.
    pub(crate) fn read(signed: SignedBytes) -> Result<SignedRecord, BadContent> {
        let record = codec::decode_record(&signed.bytes).ok_or(BadContent::Malformed)?;
        let hash = hash(&signed.bytes);
        Ok(SignedRecord { record: Arc::new(record), signed, hash })
    }

    /// What the peer says.
    pub fn record(&self) -> &Record {
        &self.record
    }

    pub(crate) fn signed(&self) -> &SignedBytes {
        &self.signed
    }

    /// The record's version, signed under `certificate`.
    pub(crate) fn version(&self, certificate: &VerifiedPeer) -> Version {
        Version { sequence: self.record.sequence, hash: self.hash, ..Version::of_certificate(certificate) }
    }

    /// Checks that the peer it names has signed it.
    pub(crate) fn verify(&self, peer: &VerifiedPeer, network: &NetworkName) -> Result<(), BadContent> {
        if peer.name() != self.record.peer {
            return Err(BadContent::Signature);
        }
        let text = signed_text(network, &self.signed.bytes);
        peer.verify_signature(&text, &self.signed.signature).map_err(|_| BadContent::Signature)
    }
}

fn signed_text(network: &NetworkName, bytes: &[u8]) -> Vec<u8> {
    let network = network.as_str().as_bytes();
    // A name has at most 63 bytes.
    [&DOMAIN[..], &[network.len() as u8], network, bytes].concat()
}
