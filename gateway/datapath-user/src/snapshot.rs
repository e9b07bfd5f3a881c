//! The forwarding picture as a packet needs it: everything resolved, found by one index each.
//!
//! A snapshot is immutable and replaced as a whole. Only one thing in it moves: whether a neighbour's path is alive, an
//! atomic of its session, so that the next packet after a death already takes the alternate.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use weave_model::{Adjacency, Forwarding, PeerName, RelayKeys, ShortId, canonical};
use weave_wire::Envelope;

use crate::bucket::Bucket;
use crate::session::Session;
use crate::sessions::Sessions;

/// No such entry.
const NONE: u16 = u16::MAX;

/// One immutable picture.
#[derive(Default)]
pub(crate) struct Snapshot {
    /// Our own number.
    pub(crate) local: Option<ShortId>,
    /// Every peer with a session.
    pub(crate) peers: Vec<Peer>,
    adjacents: Vec<Adjacent>,
    by_short_id: Vec<u16>,
    by_slot: Vec<u16>,
    by_key: HashMap<[u8; 32], u16>,
    by_address: HashMap<SocketAddr, u16>,
    trees: Vec<Place>,
    children: Vec<u16>,
    own: Place,
}

/// One peer.
pub(crate) struct Peer {
    pub(crate) name: PeerName,
    pub(crate) nickname: String,
    pub(crate) short_id: Option<ShortId>,
    pub(crate) session: Arc<Session>,
    /// Round trip as the control plane knows it.
    pub(crate) rtt: Duration,
    /// Positions in `adjacents`.
    next: Option<u16>,
    alternate: Option<u16>,
    direct: Option<u16>,
    first_ttl: u8,
}

/// One neighbour.
pub(crate) struct Adjacent {
    pub(crate) name: PeerName,
    pub(crate) adjacency: Adjacency,
    pub(crate) remote: SocketAddr,
    pub(crate) session: Arc<Session>,
    /// Of the link that this one replaced: its envelopes may still be under way.
    previous: Option<RelayKeys>,
    pub(crate) bucket: Arc<Bucket>,
}

/// Our place in one tree: positions in `children`, of positions in `peers`.
#[derive(Clone, Copy, Default)]
struct Place {
    parent: Option<ShortId>,
    start: usize,
    end: usize,
}

/// How datagrams reach a peer.
pub(crate) struct Way<'a> {
    /// Whom to send them to.
    pub(crate) to: SocketAddr,
    /// What to put in front of them, and the key of the link; nothing on a direct path.
    pub(crate) envelope: Option<(Envelope, &'a [u8; 16])>,
    pub(crate) adjacent: &'a Adjacent,
    /// Whether the alternate stands in for a dead next hop.
    pub(crate) alternate: bool,
    /// Round trip to the peer as the control plane knows it; zero when it does not.
    pub(crate) rtt: Duration,
}

impl Snapshot {
    /// Resolves a forwarding picture; peers beyond the capacity of `sessions` are left out.
    pub(crate) fn resolve(forwarding: &Forwarding, sessions: &mut Sessions, before: &Snapshot) -> Snapshot {
        let routes = &*forwarding.routes;
        let mut snapshot = Snapshot {
            local: routes.local_short_id,
            by_short_id: vec![NONE; ShortId::COUNT],
            by_slot: vec![NONE; ShortId::COUNT + 1],
            trees: vec![Place::default(); ShortId::COUNT],
            ..Snapshot::default()
        };
        sessions.retain(|name| routes.peers.contains_key(name));
        let mut positions: HashMap<PeerName, (u16, Option<u16>)> = HashMap::new();
        for (name, route) in &routes.peers {
            let Some(session) = sessions.session(*name, route.wireguard_key) else { continue };
            let at = snapshot.peers.len() as u16;
            let direct = forwarding.adjacencies.get(name).map(|adjacency| {
                snapshot.adjacents.push(Adjacent::new(adjacency, session.clone(), before));
                (snapshot.adjacents.len() - 1) as u16
            });
            if let Some(adjacent) = direct.and_then(|at| snapshot.adjacents.get(usize::from(at))) {
                snapshot.by_address.insert(adjacent.remote, direct.unwrap_or(NONE));
            }
            if let Some(slot) = snapshot.by_slot.get_mut(Sessions::slot(session.index)) {
                *slot = at;
            }
            if let Some(id) = route.short_id {
                snapshot.by_short_id[usize::from(id.number())] = at;
            }
            snapshot.by_key.entry(route.wireguard_key).or_insert(at);
            positions.insert(*name, (at, direct));
            let first_ttl = Envelope::first_ttl(route.via.len());
            let (name, nickname, short_id) = (*name, route.nickname.clone(), route.short_id);
            let rtt = routes.neighbours.get(&name).map_or(route.rtt, |neighbour| neighbour.rtt);
            let (next, alternate) = (None, None);
            let peer = Peer { name, nickname, short_id, session, rtt, next, alternate, direct, first_ttl };
            snapshot.peers.push(peer);
        }
        let adjacent = |name: &PeerName| positions.get(name).and_then(|(_, direct)| *direct);
        for peer in &mut snapshot.peers {
            let Some(route) = routes.peers.get(&peer.name) else { continue };
            peer.next = adjacent(&route.next_hop);
            peer.alternate = route.alternate.as_ref().and_then(adjacent);
        }
        for (root, tree) in &routes.trees {
            let start = snapshot.children.len();
            let known = tree.children.iter().filter_map(|child| positions.get(child));
            snapshot.children.extend(known.map(|(at, _)| *at));
            let parent = tree.parent.and_then(|name| routes.peers.get(&name)?.short_id);
            let place = Place { parent, start, end: snapshot.children.len() };
            if *root == routes.local {
                snapshot.own = place;
            } else if let Some(id) = routes.peers.get(root).and_then(|route| route.short_id) {
                snapshot.trees[usize::from(id.number())] = place;
            }
        }
        snapshot
    }

    pub(crate) fn peer(&self, id: ShortId) -> Option<&Peer> {
        self.at(*self.by_short_id.get(usize::from(id.number()))?)
    }

    /// The peer whose session a WireGuard receiver index names.
    pub(crate) fn peer_of_index(&self, index: u32) -> Option<&Peer> {
        self.at(*self.by_slot.get(Sessions::slot(index))?).filter(|peer| peer.session.index == index)
    }

    pub(crate) fn peer_of_key(&self, key: &[u8; 32]) -> Option<&Peer> {
        self.at(*self.by_key.get(key)?)
    }

    /// The neighbour at an address.
    pub(crate) fn adjacent_at(&self, address: SocketAddr) -> Option<&Adjacent> {
        self.adjacents.get(usize::from(*self.by_address.get(&address)?))
    }

    pub(crate) fn neighbours(&self) -> impl Iterator<Item = &Adjacent> {
        self.adjacents.iter()
    }

    /// The neighbours to hand our own broadcast frames to.
    pub(crate) fn own_children(&self) -> impl Iterator<Item = &Peer> {
        self.children_of(self.own)
    }

    /// The neighbour that hands us the frames of `root`.
    pub(crate) fn parent(&self, root: ShortId) -> Option<ShortId> {
        self.trees.get(usize::from(root.number()))?.parent
    }

    /// The neighbours to hand the frames of another root to.
    pub(crate) fn tree_children(&self, root: ShortId) -> impl Iterator<Item = &Peer> {
        self.children_of(self.trees.get(usize::from(root.number())).copied().unwrap_or_default())
    }

    /// How data reaches a peer: by its next hop, or by the alternate while the next hop is dead.
    pub(crate) fn way<'a>(&'a self, peer: &'a Peer) -> Option<Way<'a>> {
        self.way_except(peer, None)
    }

    /// The same without going back to one neighbour.
    pub(crate) fn way_except<'a>(&'a self, peer: &'a Peer, not: Option<&Adjacent>) -> Option<Way<'a>> {
        let allowed = |at: Option<u16>| {
            let adjacent = self.adjacents.get(usize::from(at?))?;
            not.is_none_or(|not| not.name != adjacent.name).then_some(adjacent)
        };
        let (next, alternate) = (allowed(peer.next), allowed(peer.alternate));
        let (adjacent, alternate) = match (next, alternate) {
            (Some(next), Some(other)) if !next.session.alive() && other.session.alive() => (other, true),
            (Some(next), _) => (next, false),
            (None, other) => (other?, true),
        };
        self.way_by(peer, adjacent, alternate)
    }

    /// How probes reach a peer: a neighbour's link even when it seems dead, else as data does.
    pub(crate) fn probe_way<'a>(&'a self, peer: &'a Peer) -> Option<Way<'a>> {
        match peer.direct.and_then(|at| self.adjacents.get(usize::from(at))) {
            Some(adjacent) => self.way_by(peer, adjacent, false),
            None => self.way(peer),
        }
    }

    fn way_by<'a>(&'a self, peer: &Peer, adjacent: &'a Adjacent, alternate: bool) -> Option<Way<'a>> {
        let keys = &adjacent.adjacency.relay_keys;
        let envelope = if adjacent.name == peer.name {
            None
        } else {
            let (from, to) = (self.local?, peer.short_id?);
            Some((Envelope { epoch: keys.epoch(), ttl: peer.first_ttl, to, from, lane: 0 }, &keys.send))
        };
        Some(Way { to: adjacent.remote, envelope, adjacent, alternate, rtt: peer.rtt })
    }

    fn children_of(&self, place: Place) -> impl Iterator<Item = &Peer> {
        let positions = self.children.get(place.start..place.end).unwrap_or_default();
        positions.iter().filter_map(|at| self.at(*at))
    }

    fn at(&self, position: u16) -> Option<&Peer> {
        self.peers.get(usize::from(position))
    }
}

impl Peer {
    pub(crate) fn is_neighbour(&self) -> bool {
        self.direct.is_some()
    }
}

impl Adjacent {
    fn new(adjacency: &Adjacency, session: Arc<Session>, before: &Snapshot) -> Adjacent {
        let old = before.adjacents.iter().find(|old| old.name == adjacency.peer);
        let previous = old.and_then(|old| {
            let same = old.adjacency.relay_keys == adjacency.relay_keys;
            if same { old.previous.clone() } else { Some(old.adjacency.relay_keys.clone()) }
        });
        Adjacent {
            name: adjacency.peer,
            remote: canonical(adjacency.remote),
            adjacency: adjacency.clone(),
            session,
            previous,
            bucket: old.map_or_else(Arc::default, |old| old.bucket.clone()),
        }
    }

    /// Checks an envelope under the keys of this link, or of the one it replaced when the epoch says so.
    pub(crate) fn open(&self, datagram: &[u8]) -> Option<Envelope> {
        let epoch = Envelope::peek_epoch(datagram);
        let current = Some(&self.adjacency.relay_keys);
        let of_epoch = |keys: &&RelayKeys| Some(keys.epoch()) == epoch;
        let mut keys = [current, self.previous.as_ref()].into_iter().flatten().filter(of_epoch);
        keys.find_map(|keys| Envelope::open(datagram, &keys.receive).ok()).map(|(envelope, _)| envelope)
    }
}
