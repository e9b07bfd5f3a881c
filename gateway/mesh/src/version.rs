//! Which of two records of one peer is the newer.

use std::cmp::Ordering;

use weave_model::PeerName;
use weave_trust::VerifiedPeer;

/// The version of a peer's record, in the order all peers agree on.
///
/// A later certificate comes first, then of two keys the one with the lower hash, as [`VerifiedPeer::replaces`] has it.
/// Under one certificate the sequence counts, and under one sequence the hash of the bytes: a peer that signs two
/// records with one sequence must not leave the network of two minds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// The issue number of the certificate.
    pub issue: u64,
    /// The first bytes of the hash of the certificate's key.
    pub key: u64,
    /// The number the peer gave.
    pub sequence: u64,
    /// A hash of the signed bytes; 0 for a certificate without a record.
    pub hash: u64,
}

impl Version {
    /// The version of a certificate that no record came with yet.
    pub(crate) fn of_certificate(certificate: &VerifiedPeer) -> Version {
        let key = certificate.key_hash().first_chunk().copied().map_or(0, u64::from_be_bytes);
        Version { issue: certificate.issue(), key, sequence: 0, hash: 0 }
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Version) -> Ordering {
        let rank = |v: &Version| (v.issue, std::cmp::Reverse(v.key), v.sequence, v.hash);
        rank(self).cmp(&rank(other))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Version) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A hash of some bytes (SHA-256, the first 64 bits): a member that made two of its own records collide would only
/// keep its own news from spreading.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().first_chunk().copied().map_or(0, u64::from_be_bytes)
}

/// A hash of all versions, by name.
pub(crate) fn digest(versions: impl Iterator<Item = (PeerName, Version)>) -> u64 {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for (peer, Version { issue, key, sequence, hash }) in versions {
        context.update(&peer.octets());
        [issue, key, sequence, hash].iter().for_each(|n| context.update(&n.to_be_bytes()));
    }
    context.finish().as_ref().first_chunk().copied().map_or(0, u64::from_be_bytes)
}
