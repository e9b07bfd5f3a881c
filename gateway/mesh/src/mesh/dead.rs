//! What an operator says of a peer that died: it is forgotten at once, and not when its time is over.
//!
//! Whoever says so is believed for as long as nothing speaks against it: a peer that somebody within reach has a link
//! with is alive. One that comes back all the same is taken in again, as after an expiry.

use std::time::Instant;

use weave_model::PeerName;

use super::Mesh;

/// Why a peer is not taken for dead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDead {
    /// There is no record of such a peer.
    #[error("no peer is called '{0}'; see `weave status peers`")]
    Unknown(String),
    /// Several peers have this nickname.
    #[error("{} peers are called '{nickname}'; say which by its name: {}", .peers.len(), names(.peers))]
    Ambiguous {
        /// Their nickname.
        nickname: String,
        /// Their names.
        peers: Vec<PeerName>,
    },
    /// It is this very peer.
    #[error("'{0}' is this very peer; withdraw it with `weave reset`")]
    OneSelf(String),
    /// Somebody has a link with it.
    #[error("{peer}({nickname}) is alive: {how}; stop it first")]
    Alive {
        /// Its name.
        peer: PeerName,
        /// Its name for people.
        nickname: String,
        /// How it is reached.
        how: String,
    },
}

impl Mesh {
    /// Forgets a peer, given by its name or nickname, that an operator knows to be dead; `Err`: it is not, or nobody knows it.
    ///
    /// News of it are refused as after an expiry, until it is there again or a newer record of it proves a restart.
    pub fn handle_death(&mut self, who: &str, now: Instant) -> Result<PeerName, NotDead> {
        let peer = self.find(who)?;
        if let Some(how) = self.sign_of_life(peer) {
            let nickname = self.called(peer);
            return Err(NotDead::Alive { peer, nickname, how });
        }
        self.forget(peer, now);
        self.connector.discover(self.flood.records(), now);
        // Its short id and what was learned behind it are free with the next picture.
        self.picture.hurry(now);
        (self.stale.flood, self.stale.dial) = (true, true);
        self.refresh(now);
        Ok(peer)
    }

    fn find(&self, who: &str) -> Result<PeerName, NotDead> {
        let named = who.parse::<PeerName>().ok().filter(|peer| self.records().get(*peer).is_some());
        let called =
            || self.records().iter().map(|r| r.record()).filter(|r| r.nickname == who).map(|r| r.peer);
        let peers: Vec<PeerName> = named.map_or_else(|| called().collect(), |peer| vec![peer]);
        match peers.as_slice() {
            [] => Err(NotDead::Unknown(who.to_owned())),
            [peer] if *peer == self.local() => Err(NotDead::OneSelf(who.to_owned())),
            [peer] => Ok(*peer),
            _ => Err(NotDead::Ambiguous { nickname: who.to_owned(), peers }),
        }
    }

    /// How a peer is known to live.
    fn sign_of_life(&self, peer: PeerName) -> Option<String> {
        if self.links.is_linked(peer) {
            return Some("a link with it is up".to_owned());
        }
        let routes = self.picture.routes();
        if let Some(route) = routes.peers.get(&peer) {
            let via: Vec<String> = route.via.iter().map(|relay| self.called(*relay)).collect();
            return Some(format!("reachable via {}", via.join(", ")));
        }
        // Its own record, which would make a route of it, may be on its way.
        let witness = self.records().iter().map(|r| r.record()).find(|r| {
            r.neighbours.contains_key(&peer) && (r.peer == routes.local || routes.peers.contains_key(&r.peer))
        });
        witness.map(|witness| format!("{} has a link with it", witness.nickname))
    }

    fn called(&self, peer: PeerName) -> String {
        self.records().get(peer).map_or_else(|| peer.to_string(), |r| r.record().nickname.clone())
    }
}

fn names(peers: &[PeerName]) -> String {
    peers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
