//! The connections as status shows them.

use weave_model::PeerName;

use crate::connector::Goal;
use crate::events::{Connection, ConnectionState};
use crate::mesh::Mesh;

impl Mesh {
    /// One line for each link, attempt under way and target or peer that cannot be reached.
    pub fn connections(&self) -> Vec<Connection> {
        let links = self.links.iter().map(|(_, link)| Connection {
            peer: Some(link.peer),
            nickname: self.nickname(link.peer),
            remote: link.remote.to_string(),
            outbound: link.outbound,
            state: ConnectionState::Established,
            reason: (!self.links.is_alive(link.peer)).then(|| "no frames pass to this peer".to_owned()),
            rtt: self.links.edge(link.peer).map(|edge| edge.rtt),
            retry_in: None,
        });
        let linked = |goal: &Goal| goal.peer.is_some_and(|peer| self.links.is_linked(peer));
        let targets = self.connector.targets().iter().filter(|(_, goal)| !linked(goal));
        let targets = targets.map(|(target, goal)| self.attempt(target.to_string(), goal.peer, goal));
        let peers = self.connector.peers().iter();
        let peers = peers.filter(|(peer, goal)| goal.attempts > 0 && !self.links.is_linked(**peer));
        let peers = peers.map(|(peer, goal)| self.attempt(goal.remote.clone(), Some(*peer), goal));
        links.chain(targets).chain(peers).collect()
    }

    fn attempt(&self, remote: String, peer: Option<PeerName>, goal: &Goal) -> Connection {
        let state = match goal.dial {
            Some(_) if goal.attempts > 1 => ConnectionState::Retrying,
            None if goal.failure.is_some() => ConnectionState::Failed,
            Some(_) | None => ConnectionState::Connecting,
        };
        let retry_in = goal.dial.is_none().then(|| goal.at.saturating_duration_since(self.now));
        let (nickname, reason) = (peer.and_then(|peer| self.nickname(peer)), goal.failure.clone());
        Connection { peer, nickname, remote, outbound: true, state, reason, rtt: None, retry_in }
    }

    fn nickname(&self, peer: PeerName) -> Option<String> {
        self.records().get(peer).map(|r| r.record().nickname.clone())
    }
}
