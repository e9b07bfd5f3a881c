//! When to forget peers that no path leads to.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use weave_model::PeerName;

use crate::records::Records;

/// A peer that cannot be reached is kept this long: a partition that heals sooner finds everything as it was.
pub(crate) const UNREACHABLE_FOR: Duration = Duration::from_secs(30 * 60);

/// A withdrawn peer is kept this long, so that a part of the network that missed it learns of it when it comes back.
pub(crate) const WITHDRAWN_FOR: Duration = Duration::from_secs(60 * 60);

/// What was forgotten is refused this long: others forget it a little later, and must not bring it back meanwhile.
pub(crate) const REFUSED_FOR: Duration = Duration::from_secs(60 * 60);

/// Since when which peers are out of reach.
#[derive(Debug, Default)]
pub(crate) struct Expiry {
    since: BTreeMap<PeerName, Instant>,
}

impl Expiry {
    /// Looks who is out of reach; `reached` says who is not.
    pub(crate) fn observe(&mut self, records: &Records, reached: impl Fn(PeerName) -> bool, now: Instant) {
        let old = std::mem::take(&mut self.since);
        let out = records.iter().map(|r| r.record().peer).filter(|peer| !reached(*peer));
        self.since = out.map(|peer| (peer, old.get(&peer).copied().unwrap_or(now))).collect();
    }

    /// The peers to forget.
    pub(crate) fn expired(&self, records: &Records, now: Instant) -> Vec<PeerName> {
        self.since.iter().filter(|(p, at)| now >= **at + patience(records, **p)).map(|(p, _)| *p).collect()
    }

    /// When the next peer is to be forgotten.
    pub(crate) fn due_at(&self, records: &Records) -> Option<Instant> {
        self.since.iter().map(|(peer, at)| *at + patience(records, *peer)).min()
    }

    /// The peer that has been out of reach the longest.
    pub(crate) fn longest(&self) -> Option<PeerName> {
        self.since.iter().min_by_key(|(_, at)| **at).map(|(peer, _)| *peer)
    }

    pub(crate) fn forget(&mut self, peer: PeerName) {
        self.since.remove(&peer);
    }
}

fn patience(records: &Records, peer: PeerName) -> Duration {
    let withdrawn = records.get(peer).is_some_and(|r| r.record().leaving);
    if withdrawn { WITHDRAWN_FOR } else { UNREACHABLE_FOR }
}
