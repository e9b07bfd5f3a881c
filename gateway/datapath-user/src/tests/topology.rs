//! Forwarding pictures of small graphs, computed by breadth-first search.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use boringtun::x25519::{PublicKey, StaticSecret};
use weave_model::{Adjacency, Forwarding, LinkId, Neighbour, PeerName, PeerRoute, RelayKeys, Routes, Tree};

use super::{id, name};

/// A graph of peers numbered from 1; the number is short id and key as well.
#[derive(Clone, Debug)]
pub(super) struct Topology {
    pub(super) links: Vec<(u16, u16)>,
    /// Grows to make links new.
    pub(super) generation: u64,
    /// The peer whose links are new; all when nobody is named. Others are of the first generation.
    pub(super) renewed: Option<u16>,
}

impl Topology {
    pub(super) fn new(links: &[(u16, u16)]) -> Topology {
        Topology { links: links.to_vec(), generation: 1, renewed: None }
    }

    fn neighbours(&self, of: u16) -> Vec<u16> {
        let mut found: Vec<u16> = self
            .links
            .iter()
            .filter_map(|(a, b)| if *a == of { Some(*b) } else { (*b == of).then_some(*a) })
            .collect();
        found.sort_unstable();
        found
    }

    /// Distance and predecessor of every peer that is reached from `root`.
    fn reach(&self, root: u16) -> BTreeMap<u16, (usize, u16)> {
        let mut found = BTreeMap::from([(root, (0, root))]);
        let mut queue = VecDeque::from([root]);
        while let Some(at) = queue.pop_front() {
            for next in self.neighbours(at) {
                if !found.contains_key(&next) {
                    found.insert(next, (found[&at].0 + 1, at));
                    queue.push_back(next);
                }
            }
        }
        found
    }

    /// The picture of one peer, whose neighbours are at `remotes`.
    pub(super) fn forwarding(&self, local: u16, remotes: &BTreeMap<u16, SocketAddr>) -> Arc<Forwarding> {
        let reach = self.reach(local);
        let neighbours = self.neighbours(local);
        let mut peers = BTreeMap::new();
        for (peer, (distance, _)) in reach.iter().filter(|(peer, _)| **peer != local) {
            let mut path = vec![*peer];
            while reach[&path[path.len() - 1]].1 != local {
                path.push(reach[&path[path.len() - 1]].1);
            }
            path.reverse();
            let loop_free = |other: &&u16| {
                let from = self.reach(**other);
                **other != path[0] && from.get(peer).is_some_and(|(d, _)| *d < from[&local].0 + distance)
            };
            let route = PeerRoute {
                short_id: Some(id(*peer)),
                nickname: format!("peer{peer}"),
                wireguard_key: public_key(*peer),
                next_hop: name(path[0]),
                alternate: neighbours.iter().find(loop_free).map(|n| name(*n)),
                via: path[..path.len() - 1].iter().map(|p| name(*p)).collect(),
                rtt: Duration::from_millis(1),
                mtu: 1472,
            };
            peers.insert(name(*peer), route);
        }
        let generation = |peer: u16| {
            let renewed = self.renewed.is_none_or(|renewed| renewed == peer || renewed == local);
            if renewed { self.generation } else { 1 }
        };
        let link = |peer: u16| LinkId(generation(peer) << 32 | u64::from(peer));
        let neighbour = |peer: u16| Neighbour { link: link(peer), rtt: Duration::from_millis(1), mtu: 1472 };
        let adjacency = |peer: u16| Adjacency {
            peer: name(peer),
            link: link(peer),
            remote: remotes[&peer],
            relay_keys: relay_keys(local, peer, generation(peer)),
        };
        let routes = Routes {
            version: self.generation,
            local: name(local),
            local_short_id: Some(id(local)),
            peers,
            neighbours: neighbours.iter().map(|n| (name(*n), neighbour(*n))).collect(),
            trees: reach.keys().map(|root| (name(*root), self.tree(*root, local))).collect(),
        };
        let adjacencies = neighbours.iter().map(|n| (name(*n), adjacency(*n))).collect();
        Arc::new(Forwarding { routes: Arc::new(routes), adjacencies })
    }

    fn tree(&self, root: u16, local: u16) -> Tree {
        let reach = self.reach(root);
        let is_child = |(peer, (_, parent)): &(&u16, &(usize, u16))| **peer != root && *parent == local;
        let children: Vec<PeerName> = reach.iter().filter(is_child).map(|(peer, _)| name(*peer)).collect();
        Tree { parent: (root != local).then(|| name(reach[&local].1)), children }
    }
}

pub(super) fn private_key(peer: u16) -> [u8; 32] {
    let mut key = [7; 32];
    key[..2].copy_from_slice(&peer.to_be_bytes());
    key
}

pub(super) fn public_key(peer: u16) -> [u8; 32] {
    PublicKey::from(&StaticSecret::from(private_key(peer))).to_bytes()
}

pub(super) fn relay_keys(local: u16, peer: u16, generation: u64) -> RelayKeys {
    let key = |from: u16, to: u16| {
        let mut key = [generation as u8; 16];
        key[..4].copy_from_slice(&[from as u8, to as u8, 3, to as u8 * 5]);
        key
    };
    RelayKeys { send: key(local, peer), receive: key(peer, local) }
}
