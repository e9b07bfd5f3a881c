//! All records this peer knows: at most one version of each peer, each verified.

use std::collections::BTreeMap;

use weave_model::{PeerName, ShortId};
use weave_trust::{Trust, VerifiedPeer};

use crate::graph::Graph;
use crate::record::{Refused, SignedRecord};

/// The verified records of the network.
///
/// Inputs: certificates and records, in any order and any number of times. Invariants: a record is here only with its
/// peer's certificate; versions only grow; at most [`ShortId::COUNT`] peers are known. Two stores that were given the
/// same records hold the same, whatever the order.
#[derive(Debug)]
pub struct Records {
    trust: Trust,
    known: BTreeMap<PeerName, Known>,
}

#[derive(Debug)]
struct Known {
    certificate: VerifiedPeer,
    record: Option<SignedRecord>,
}

impl Records {
    /// Makes an empty store of the network of `trust`.
    pub fn new(trust: Trust) -> Records {
        Records { trust, known: BTreeMap::new() }
    }

    /// Takes a certificate; returns its peer, and whether it was new.
    pub fn accept_certificate(&mut self, der: &[u8], unix_seconds: u64) -> Result<(PeerName, bool), Refused> {
        let peer = self.trust.verify(der, unix_seconds).map_err(|_| Refused::Certificate)?;
        let name = peer.name();
        // The first certificate of a name stays: the CA issues one, and replacing it would orphan the record.
        if self.known.contains_key(&name) {
            return Ok((name, false));
        }
        if self.known.len() >= ShortId::COUNT {
            return Err(Refused::Full);
        }
        self.known.insert(name, Known { certificate: peer, record: None });
        Ok((name, true))
    }

    /// Takes a record; returns whether it is newer than what was known.
    pub fn accept(&mut self, record: SignedRecord) -> Result<bool, Refused> {
        let known = self.known.get_mut(&record.record().peer).ok_or(Refused::NoCertificate)?;
        let old = known.record.as_ref().map(|r| r.record().sequence);
        if old.is_some_and(|old| old >= record.record().sequence) {
            return Ok(false);
        }
        // Checked last: a flood of old versions costs no signature.
        record.verify(&known.certificate)?;
        known.record = Some(record);
        Ok(true)
    }

    /// Forgets a peer.
    pub fn remove(&mut self, peer: PeerName) {
        self.known.remove(&peer);
    }

    /// The record of a peer.
    pub fn get(&self, peer: PeerName) -> Option<&SignedRecord> {
        self.known.get(&peer)?.record.as_ref()
    }

    /// The certificate of a peer.
    pub fn certificate(&self, peer: PeerName) -> Option<&VerifiedPeer> {
        Some(&self.known.get(&peer)?.certificate)
    }

    /// The versions of all records, by peer.
    pub fn summary(&self) -> Vec<(PeerName, u64)> {
        self.iter().map(|r| (r.record().peer, r.record().sequence)).collect()
    }

    /// A hash of [`Records::summary`] (FNV-1a, 64 bits): neighbours with equal hashes know the same.
    ///
    /// Members could make two summaries collide, and would only keep themselves from being told news.
    pub fn digest(&self) -> u64 {
        let step = |hash: u64, octet: u8| (hash ^ u64::from(octet)).wrapping_mul(0x100_0000_01b3);
        self.summary()
            .into_iter()
            .flat_map(|(peer, sequence)| peer.octets().into_iter().chain(sequence.to_be_bytes()))
            .fold(0xcbf2_9ce4_8422_2325, step)
    }

    /// The peers whose records are newer here than in a neighbour's summary, or missing there.
    pub fn newer_than(&self, summary: &[(PeerName, u64)]) -> Vec<PeerName> {
        let theirs: BTreeMap<_, _> = summary.iter().copied().collect();
        self.summary()
            .into_iter()
            .filter(|(peer, sequence)| theirs.get(peer).is_none_or(|their| their < sequence))
            .map(|(peer, _)| peer)
            .collect()
    }

    /// The graph of links that the records claim.
    pub fn graph(&self) -> Graph {
        Graph::new(&self.iter().map(|r| (r.record().peer, r.record().neighbours.clone())).collect())
    }

    fn iter(&self) -> impl Iterator<Item = &SignedRecord> {
        self.known.values().filter_map(|k| k.record.as_ref())
    }
}
