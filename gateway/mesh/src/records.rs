//! All records this peer knows: at most one version of each peer, each verified.

use std::collections::BTreeMap;
use std::time::Instant;

use weave_model::{PeerName, ShortId};
use weave_trust::{Trust, VerifiedPeer};

use crate::graph::Graph;
use crate::record::SignedRecord;
use crate::refused::BadContent;
use crate::version::{self, Version};

/// The verified records of the network.
///
/// Inputs: certificates and records, in any order and any number of times. Invariants: a record is here only with its
/// peer's certificate; versions only grow; at most [`ShortId::COUNT`] peers are known. Two stores that were given the
/// same records hold the same, whatever the order.
#[derive(Debug)]
pub struct Records {
    trust: Trust,
    local: PeerName,
    known: BTreeMap<PeerName, Known>,
    /// What was removed on purpose; neighbours that still hold it must not bring it back.
    buried: BTreeMap<PeerName, Buried>,
    /// How often something changed.
    changes: u64,
}

#[derive(Debug)]
struct Known {
    certificate: VerifiedPeer,
    record: Option<SignedRecord>,
}

#[derive(Debug)]
struct Buried {
    version: Version,
    until: Instant,
}

/// What became of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Certified {
    /// The first of its peer.
    New,
    /// Known already.
    Known,
    /// It took the place of an older one of another key, whose record is gone.
    Replaced,
    /// It took the place of an older one of the same key; the record stays, since that key has signed it.
    Renewed,
    /// A later one is known.
    Outdated,
    /// It bears this peer's name but another key, and would take the place of ours: refused.
    Usurper,
}

/// How a record compares with what was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// It was taken.
    Newer,
    /// It was known.
    Same,
    /// A newer one is known, or its peer was removed since.
    Older,
}

impl Records {
    /// Makes the store of the peer `local`, whose own certificate is the first to be given to it.
    pub(crate) fn new(trust: Trust, local: PeerName) -> Records {
        Records { trust, local, known: BTreeMap::new(), buried: BTreeMap::new(), changes: 0 }
    }

    /// Takes a certificate.
    pub(crate) fn accept_certificate(&mut self, der: &[u8]) -> Result<(PeerName, Certified), BadContent> {
        // The check costs two signatures; most certificates come again and again.
        if let Some((name, _)) = self.known.iter().find(|(_, k)| k.certificate.certificate() == der) {
            return Ok((*name, Certified::Known));
        }
        let certificate = self.trust.verify(der).map_err(|_| BadContent::Certificate)?;
        let name = certificate.name();
        let outcome = match self.known.get(&name) {
            // Another certificate for the same key and issue says the same.
            Some(known)
                if Version::of_certificate(&known.certificate) == Version::of_certificate(&certificate) =>
            {
                return Ok((name, Certified::Known));
            }
            Some(known) if !certificate.replaces(&known.certificate) => {
                return Ok((name, Certified::Outdated));
            }
            Some(_) if name == self.local => return Ok((name, Certified::Usurper)),
            Some(known) if certificate.is_same_holder(&known.certificate) => Certified::Renewed,
            Some(_) => Certified::Replaced,
            None if self.known.len() >= ShortId::COUNT => return Err(BadContent::Full),
            None => Certified::New,
        };
        let kept = self.known.remove(&name).filter(|_| outcome == Certified::Renewed);
        self.known.insert(name, Known { certificate, record: kept.and_then(|known| known.record) });
        self.changes += 1;
        Ok((name, outcome))
    }

    /// Takes other CAs, and this peer's certificate under them, of the same key as before; returns the peers whose
    /// certificate is not of these CAs, and forgets them.
    pub(crate) fn renew(&mut self, trust: Trust, own: &[u8]) -> Result<Vec<PeerName>, BadContent> {
        let certificate = trust.verify(own).map_err(|_| BadContent::Certificate)?;
        let known = self.known.get_mut(&self.local).ok_or(BadContent::NoCertificate)?;
        if !certificate.is_same_holder(&known.certificate) {
            return Err(BadContent::Certificate);
        }
        known.certificate = certificate;
        self.trust = trust;
        let trusted = |known: &Known| self.trust.verify(known.certificate.certificate()).is_ok();
        let strangers: Vec<PeerName> =
            self.known.iter().filter(|(_, known)| !trusted(known)).map(|(peer, _)| *peer).collect();
        strangers.iter().for_each(|peer| drop(self.known.remove(peer)));
        self.changes += 1;
        Ok(strangers)
    }

    /// Takes a record.
    pub(crate) fn accept(&mut self, record: SignedRecord) -> Result<News, BadContent> {
        let peer = record.record().peer;
        let known = self.known.get_mut(&peer).ok_or(BadContent::NoCertificate)?;
        let version = record.version(&known.certificate);
        let old = known.record.as_ref().map(|r| r.version(&known.certificate));
        match old.max(self.buried.get(&peer).map(|b| b.version)) {
            Some(old) if old == version => return Ok(News::Same),
            Some(old) if old > version => return Ok(News::Older),
            _ => {}
        }
        // Checked last: a flood of old versions costs no signature.
        record.verify(&known.certificate, self.trust.network())?;
        known.record = Some(record);
        self.buried.remove(&peer);
        self.changes += 1;
        Ok(News::Newer)
    }

    /// Forgets a peer and, until then, refuses what was known of it.
    pub(crate) fn bury(&mut self, peer: PeerName, until: Instant) {
        if let (Some(version), Some(_)) = (self.version(peer), self.known.get(&peer)) {
            self.buried.insert(peer, Buried { version, until });
            // The names of all that ever were must not pile up; the one that would be forgotten first goes.
            if self.buried.len() > ShortId::COUNT {
                let first = self.buried.iter().min_by_key(|(_, b)| b.until).map(|(peer, _)| *peer);
                first.map(|peer| self.buried.remove(&peer));
            }
        }
        self.remove(peer);
    }

    /// The removed peers that somebody within reach names as a neighbour.
    pub(crate) fn returned(&self, reached: impl Fn(PeerName) -> bool) -> Vec<PeerName> {
        if self.buried.is_empty() {
            return Vec::new();
        }
        let named =
            |peer| self.iter().any(|r| r.record().neighbours.contains_key(peer) && reached(r.record().peer));
        self.buried.keys().filter(|peer| named(peer)).copied().collect()
    }

    /// Takes a removed peer back in.
    pub(crate) fn unbury(&mut self, peer: PeerName) {
        self.buried.remove(&peer);
    }

    /// Ends the refusals whose time is over.
    pub(crate) fn forget_buried(&mut self, now: Instant) {
        self.buried.retain(|_, b| b.until > now);
    }

    /// Forgets a peer.
    pub(crate) fn remove(&mut self, peer: PeerName) {
        if self.known.remove(&peer).is_some() {
            self.changes += 1;
        }
    }

    /// The record of a peer.
    pub fn get(&self, peer: PeerName) -> Option<&SignedRecord> {
        self.known.get(&peer)?.record.as_ref()
    }

    /// All records, by name.
    pub fn iter(&self) -> impl Iterator<Item = &SignedRecord> {
        self.known.values().filter_map(|k| k.record.as_ref())
    }

    /// The certificate of a peer.
    pub fn certificate(&self, peer: PeerName) -> Option<&VerifiedPeer> {
        Some(&self.known.get(&peer)?.certificate)
    }

    /// The version of a peer's record.
    pub fn version(&self, peer: PeerName) -> Option<Version> {
        let known = self.known.get(&peer)?;
        Some(known.record.as_ref()?.version(&known.certificate))
    }

    /// The versions of all records, by name.
    pub fn versions(&self) -> impl Iterator<Item = (PeerName, Version)> {
        self.known.iter().filter_map(|(peer, k)| Some((*peer, k.record.as_ref()?.version(&k.certificate))))
    }

    /// A hash of [`Records::versions`]: neighbours with equal hashes know the same.
    pub fn digest(&self) -> u64 {
        version::digest(self.versions())
    }

    /// The graph of links that the records claim.
    pub fn graph(&self) -> Graph {
        Graph::new(self.iter().map(|r| (r.record().peer, &r.record().neighbours)))
    }

    /// Whether a version offered by others is newer than what is known, or was removed.
    pub(crate) fn lacks(&self, peer: PeerName, offered: Version) -> bool {
        let certificate = self.certificate(peer).map(Version::of_certificate);
        let buried = self.buried.get(&peer).map(|b| b.version);
        self.version(peer).max(certificate).max(buried).is_none_or(|own| own < offered)
    }

    /// How often something changed.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    pub(crate) fn trust(&self) -> &Trust {
        &self.trust
    }
}
