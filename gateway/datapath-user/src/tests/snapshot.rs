//! How a forwarding picture is resolved.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use weave_wire::Envelope;

use super::topology::{Topology, public_key, relay_keys};
use super::{id, name};
use crate::session::Keys;
use crate::sessions::Sessions;
use crate::snapshot::{Peer, Snapshot};

fn sessions() -> Sessions {
    Sessions::new(Arc::new(Keys::new([1; 32], [2; 32], 1376)))
}

fn remote(peer: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, peer as u8], 6783))
}

fn resolve(topology: &Topology, local: u16, sessions: &mut Sessions, before: &Snapshot) -> Snapshot {
    let remotes: BTreeMap<u16, SocketAddr> = (1..=9).map(|peer| (peer, remote(peer))).collect();
    Snapshot::resolve(&topology.forwarding(local, &remotes), sessions, before)
}

fn names<'a>(peers: impl Iterator<Item = &'a Peer>) -> Vec<u16> {
    peers.map(|peer| peer.short_id.unwrap().number()).collect()
}

#[test]
fn ways_trees_and_tables() {
    // 1 is linked with 2 and 3; both reach 4; 5 is behind 4.
    let topology = Topology::new(&[(1, 2), (1, 3), (2, 4), (3, 4), (4, 5)]);
    let snapshot = resolve(&topology, 1, &mut sessions(), &Snapshot::default());
    assert_eq!(snapshot.local, Some(id(1)));
    assert_eq!(snapshot.peers.len(), 4);
    let direct = snapshot.way(snapshot.peer(id(2)).unwrap()).unwrap();
    assert!(direct.to == remote(2) && direct.envelope.is_none() && !direct.alternate);
    let five = snapshot.peer(id(5)).unwrap();
    let way = snapshot.way(five).unwrap();
    let (envelope, key) = way.envelope.unwrap();
    assert_eq!((way.to, envelope.from, envelope.to), (remote(2), id(1), id(5)));
    // Two relays and four to spare.
    assert_eq!((envelope.ttl, *key), (6, relay_keys(1, 2, 1).send));
    let back = snapshot.way_except(five, snapshot.adjacent_at(remote(2))).unwrap();
    assert!(back.to == remote(3) && back.alternate);
    assert_eq!(names(snapshot.own_children()), [2, 3]);
    assert_eq!(snapshot.parent(id(5)), Some(id(2)));
    assert_eq!(snapshot.parent(id(1)), None);
    assert_eq!(snapshot.parent(id(9)), None);
    assert_eq!(names(snapshot.tree_children(id(2))), [3]);
    assert_eq!(names(snapshot.tree_children(id(9))), []);
    for peer in &snapshot.peers {
        assert_eq!(snapshot.peer_of_index(peer.session.index).unwrap().name, peer.name);
        assert!(snapshot.peer_of_index(peer.session.index ^ 0x1000).is_none(), "an older generation");
    }
    assert_eq!(snapshot.peer_of_key(&public_key(4)).unwrap().name, name(4));
    assert!(snapshot.peer_of_key(&[0; 32]).is_none());
    assert!(snapshot.peer(id(9)).is_none());
    assert!(snapshot.adjacent_at(remote(4)).is_none(), "no neighbour");
}

#[test]
fn sessions_live_as_long_as_their_peers() {
    let mut sessions = sessions();
    let topology = Topology::new(&[(1, 2), (2, 3)]);
    let first = resolve(&topology, 1, &mut sessions, &Snapshot::default());
    let second = resolve(&topology, 1, &mut sessions, &first);
    let session = |snapshot: &Snapshot, peer| snapshot.peer(id(peer)).unwrap().session.clone();
    assert!(Arc::ptr_eq(&session(&first, 3), &session(&second, 3)));
    let gone = resolve(&Topology::new(&[(1, 2)]), 1, &mut sessions, &second);
    assert!(gone.peer(id(3)).is_none());
    let third = resolve(&topology, 1, &mut sessions, &gone);
    assert!(!Arc::ptr_eq(&session(&second, 3), &session(&third, 3)));
    assert!(Arc::ptr_eq(&session(&second, 2), &session(&third, 2)));
    let changed = sessions.session(name(3), [4; 32]).unwrap();
    assert_ne!(changed.index, session(&third, 3).index, "another key is another session");
}

#[test]
fn the_table_of_sessions_is_bounded() {
    let mut sessions = sessions();
    let made = (0..5_000).filter(|peer| sessions.session(name(*peer), [3; 32]).is_some()).count();
    assert_eq!(made, 0xfff);
    sessions.retain(|peer| *peer != name(17));
    assert!(sessions.session(name(4_999), [3; 32]).is_some());
    assert!(sessions.session(name(4_998), [3; 32]).is_none());
}

#[test]
fn envelopes_of_a_replaced_link_are_still_taken() {
    let mut topology = Topology::new(&[(1, 2), (2, 3)]);
    let mut sessions = sessions();
    let old = resolve(&topology, 2, &mut sessions, &Snapshot::default());
    let keys = relay_keys(1, 2, topology.generation);
    let mut datagram = [7; 60];
    let envelope = Envelope { epoch: keys.epoch(), ttl: 3, to: id(3), from: id(1), lane: 0 };
    assert!(envelope.seal(&mut datagram, &keys.send));
    topology.generation = 2;
    let new = resolve(&topology, 2, &mut sessions, &old);
    assert_eq!(old.adjacent_at(remote(1)).unwrap().open(&datagram), Some(envelope));
    assert_eq!(new.adjacent_at(remote(1)).unwrap().open(&datagram), Some(envelope));
    topology.generation = 3;
    let newer = resolve(&topology, 2, &mut sessions, &new);
    assert_eq!(newer.adjacent_at(remote(1)).unwrap().open(&datagram), None);
    assert_eq!(new.adjacent_at(remote(3)).unwrap().open(&datagram), None, "the key of another link");
}
