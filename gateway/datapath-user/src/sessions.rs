//! All sessions, numbered: the number is what a peer writes into every data message.
//!
//! Only the thread that publishes a snapshot changes this table; packets find sessions through the snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::TryRngCore;
use rand::rngs::OsRng;
use weave_model::{PeerName, ShortId};

use crate::session::{Keys, Session};

/// Bits of an index that are its slot; the rest counts how often slots were given out.
const SLOT_BITS: u32 = 12;
const SLOTS: usize = 1 << SLOT_BITS;
/// WireGuard's receiver index has 24 bits for us: boringtun numbers key pairs in the lower eight.
const GENERATIONS: u32 = 1 << (24 - SLOT_BITS);

/// The sessions of every known peer, at most one for each short id.
pub(crate) struct Sessions {
    keys: Arc<Keys>,
    by_peer: BTreeMap<PeerName, Arc<Session>>,
    taken: Vec<bool>,
    generation: u32,
}

impl Sessions {
    pub(crate) fn new(keys: Arc<Keys>) -> Sessions {
        // Numbers start anywhere, so that datagrams of an earlier run meet no session.
        let generation = OsRng.try_next_u32().unwrap_or_default() % GENERATIONS;
        Sessions { keys, by_peer: BTreeMap::new(), taken: vec![false; SLOTS], generation }
    }

    /// The session with a peer under its key; another key makes another session. `None` when the table is full.
    pub(crate) fn session(&mut self, peer: PeerName, key: [u8; 32]) -> Option<Arc<Session>> {
        if let Some(session) = self.by_peer.get(&peer).filter(|session| session.key == key) {
            return Some(session.clone());
        }
        let slot = match self.by_peer.get(&peer) {
            Some(old) => Sessions::slot(old.index),
            None => self.taken.iter().take(ShortId::COUNT).position(|taken| !taken)?,
        };
        self.taken[slot] = true;
        self.generation = (self.generation + 1) % GENERATIONS;
        let index = self.generation << SLOT_BITS | slot as u32;
        let session = Arc::new(Session::new(key, index, self.keys.clone()));
        self.by_peer.insert(peer, session.clone());
        Some(session)
    }

    /// Forgets the sessions with peers that are no longer known.
    pub(crate) fn retain(&mut self, known: impl Fn(&PeerName) -> bool) {
        let taken = &mut self.taken;
        self.by_peer.retain(|peer, session| {
            let keep = known(peer);
            if !keep {
                taken[Sessions::slot(session.index)] = false;
            }
            keep
        });
    }

    /// The slot of an index.
    pub(crate) fn slot(index: u32) -> usize {
        index as usize & (SLOTS - 1)
    }
}
