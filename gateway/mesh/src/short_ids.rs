//! Who owns which short id.
//!
//! Peers pick for themselves and may pick alike. The lowest name that claims a number owns it; the others pick again
//! among the free. Everybody sees the same claims in the end, so everybody sees the same owners.

use std::collections::BTreeMap;

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use weave_model::{PeerName, ShortId};

use crate::records::Records;

/// Our own claim, and the owners as of the last look at the records.
#[derive(Debug)]
pub(crate) struct ShortIds {
    local: PeerName,
    claim: Option<ShortId>,
    owners: BTreeMap<ShortId, PeerName>,
    rng: ChaCha8Rng,
}

impl ShortIds {
    /// Claims the remembered number, or one at random.
    pub(crate) fn new(local: PeerName, remembered: Option<ShortId>, rng: ChaCha8Rng) -> ShortIds {
        let mut ids = ShortIds { local, claim: None, owners: BTreeMap::new(), rng };
        ids.claim = remembered.or_else(|| ids.pick());
        ids.owners.extend(ids.claim.map(|claim| (claim, local)));
        ids
    }

    /// Looks at all claims; returns the numbers whose owner of before has lost them.
    pub(crate) fn settle(&mut self, records: &Records) -> Vec<ShortId> {
        let mut owners: BTreeMap<ShortId, PeerName> = BTreeMap::new();
        let others = records.iter().map(|r| r.record()).filter(|r| r.peer != self.local && !r.leaving);
        for (id, peer) in others.filter_map(|r| Some((r.short_id?, r.peer))) {
            let owner = owners.entry(id).or_insert(peer);
            *owner = peer.min(*owner);
        }
        let before = std::mem::replace(&mut self.owners, owners);
        let lost = |claim: &ShortId| self.owners.get(claim).is_some_and(|owner| *owner < self.local);
        if self.claim.as_ref().is_none_or(lost) {
            self.claim = self.pick();
        }
        self.owners.extend(self.claim.map(|claim| (claim, self.local)));
        before.into_iter().filter(|(id, peer)| self.owners.get(id) != Some(peer)).map(|(id, _)| id).collect()
    }

    /// The number we own or hope to.
    pub(crate) fn own(&self) -> Option<ShortId> {
        self.claim
    }

    /// Whether `peer` owns the number it claims; nobody else is addressed by it.
    pub(crate) fn owns(&self, peer: PeerName, id: ShortId) -> bool {
        self.owners.get(&id) == Some(&peer)
    }

    /// A free number, `None` when there is none.
    fn pick(&mut self) -> Option<ShortId> {
        let count = ShortId::COUNT as u16;
        let start = self.rng.random_range(0..count);
        let mut numbers = (0..count).filter_map(|n| ShortId::new((start + n) % count));
        numbers.find(|id| !self.owners.contains_key(id))
    }
}
