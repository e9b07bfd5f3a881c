//! What must hold on every graph, whatever links come and go.

mod connector;
mod deaths;
mod flood;
mod hostile;
mod links;
mod network;
mod records;
mod renewal;
mod short_ids;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use weave_model::{PeerName, Tree};

use crate::graph::Forest;
use crate::routes::Path;
use crate::{Edge, Graph};

type Claims = BTreeMap<PeerName, BTreeMap<PeerName, Edge>>;

fn peer(number: u16) -> PeerName {
    let [a, b] = number.to_be_bytes();
    PeerName::new([2, 0, 0, 0, a, b])
}

fn edge(millis: u64) -> Edge {
    Edge { rtt: Duration::from_millis(millis), mtu: 1400 }
}

fn graph(claims: &Claims) -> Graph {
    Graph::new(claims.iter().map(|(peer, edges)| (*peer, edges)))
}

fn paths(graph: &Graph, local: PeerName) -> BTreeMap<PeerName, Path> {
    crate::routes::paths(&Forest::of(graph), local)
}

fn trees(graph: &Graph, local: PeerName) -> BTreeMap<PeerName, Tree> {
    crate::trees::trees(&Forest::of(graph), local)
}

/// Links as `(one, other, round trip in ms)`, claimed by both ends.
fn claims(count: u16, links: &[(u16, u16, u64)]) -> Claims {
    let mut claims: Claims = (0..count).map(|n| (peer(n), BTreeMap::new())).collect();
    for &(one, other, millis) in links {
        claims.get_mut(&peer(one)).unwrap().insert(peer(other), edge(millis));
        claims.get_mut(&peer(other)).unwrap().insert(peer(one), edge(millis));
    }
    claims
}

/// The peers that `from` is connected with, by walking the claims.
fn connected(claims: &Claims, from: PeerName) -> BTreeSet<PeerName> {
    let (mut seen, mut open) = (BTreeSet::from([from]), vec![from]);
    while let Some(at) = open.pop() {
        let next = claims[&at].keys().filter(|n| claims.get(n).is_some_and(|c| c.contains_key(&at)));
        open.extend(next.copied().filter(|n| seen.insert(*n)).collect::<Vec<_>>());
    }
    seen
}

/// Follows `root`'s tree from peer to peer; panics when a peer gets the frame twice or from a stranger.
fn flood(graph: &Graph, root: PeerName) -> BTreeSet<PeerName> {
    let (mut got, mut open) = (BTreeSet::from([root]), vec![root]);
    while let Some(at) = open.pop() {
        for child in &trees(graph, at)[&root].children {
            assert_eq!(trees(graph, *child)[&root].parent, Some(at));
            assert!(got.insert(*child), "{child} got the frame of {root} twice");
            open.push(*child);
        }
    }
    got
}

#[test]
fn a_cut_off_pair_is_relayed() {
    let graph = graph(&claims(4, &[(0, 1, 10), (1, 2, 20), (0, 3, 30), (3, 2, 30)]));
    let path = &paths(&graph, peer(0))[&peer(2)];
    assert_eq!((path.next_hop, path.alternate), (peer(1), Some(peer(3))));
    assert_eq!((path.via.clone(), path.rtt), (vec![peer(1)], Duration::from_millis(30)));
}

#[test]
fn a_link_counts_when_both_ends_claim_it() {
    let mut claims = claims(2, &[(0, 1, 10)]);
    assert_eq!(paths(&graph(&claims), peer(0)).len(), 1);
    claims.get_mut(&peer(1)).unwrap().clear();
    assert!(paths(&graph(&claims), peer(0)).is_empty());
    assert_eq!(trees(&graph(&claims), peer(0)).len(), 1);
}

#[test]
fn a_relay_must_be_worth_its_hop() {
    let graph = graph(&claims(3, &[(0, 2, 20), (0, 1, 10), (1, 2, 10)]));
    assert!(paths(&graph, peer(0))[&peer(2)].via.is_empty());
}

#[test]
fn strangers_have_no_paths() {
    let graph = graph(&claims(2, &[(0, 1, 1)]));
    assert!(paths(&graph, peer(9)).is_empty() && trees(&graph, peer(9)).is_empty());
}

#[test]
fn large_networks_share_one_tree() {
    let ring: Vec<_> = (0..100).flat_map(|n| [(n, (n + 1) % 100, 5), (n, (n * 7 + 3) % 100, 9)]).collect();
    let ring: Vec<_> = ring.into_iter().filter(|(a, b, _)| a != b).collect();
    let graph = graph(&claims(100, &ring));
    for root in [0, 1, 50, 99] {
        assert_eq!(flood(&graph, peer(root)).len(), 100);
    }
}

/// Of two relays the alternate that is nearer is taken, also when it costs more than the path itself.
#[test]
fn the_nearest_alternate_is_taken() {
    let links =
        [(0, 9, 1), (9, 8, 1), (0, 1, 30), (1, 8, 30), (0, 2, 10), (2, 8, 10), (0, 3, 20), (3, 8, 20)];
    let path = &paths(&graph(&claims(10, &links)), peer(0))[&peer(8)];
    assert_eq!((path.next_hop, path.alternate), (peer(9), Some(peer(2))));
}

/// Neighbour 2 is nearer but leads through the next hop, which may be what died; 3 goes its own way.
#[test]
fn an_alternate_that_avoids_the_next_hop_is_better() {
    let links = [(0, 1, 5), (1, 8, 5), (0, 2, 6), (2, 1, 2), (0, 3, 20), (3, 8, 20)];
    let path = &paths(&graph(&claims(9, &links)), peer(0))[&peer(8)];
    assert_eq!((path.next_hop, path.alternate), (peer(1), Some(peer(3))));
}

#[test]
fn of_two_measurements_the_worse_counts() {
    let mut claims = claims(3, &[(0, 1, 10), (1, 2, 10)]);
    let worse = Edge { rtt: Duration::from_millis(50), mtu: 900 };
    claims.get_mut(&peer(1)).unwrap().insert(peer(2), worse);
    for (from, to) in [(0, 2), (2, 0)] {
        let path = &paths(&graph(&claims), peer(from))[&peer(to)];
        assert_eq!((path.rtt, path.mtu), (Duration::from_millis(60), 900));
    }
}

#[test]
fn small_networks_have_a_tree_for_each_root() {
    // In a ring of four each root's tree leaves out the far link, and no two roots the same.
    let ring = graph(&claims(4, &[(0, 1, 5), (1, 2, 5), (2, 3, 5), (3, 0, 5)]));
    for root in 0..4 {
        let children = |at: u16| trees(&ring, peer(at))[&peer(root)].children.clone();
        assert_eq!(children(root).len(), 2);
        assert_eq!(flood(&ring, peer(root)).len(), 4);
    }
}

/// A full mesh of 100, in which one peer is nearest to all: it is the centre, and yet sends only some copies itself.
#[test]
fn the_centre_of_a_large_network_is_central_and_spared() {
    let mut links = Vec::new();
    for one in 0..100u16 {
        links.extend((one + 1..100).map(|other| (one, other, if one == 37 || other == 37 { 2 } else { 40 })));
    }
    let mesh = graph(&claims(100, &links));
    let most = |root: u16| (0..100).map(|n| trees(&mesh, peer(n))[&peer(root)].children.len()).max().unwrap();
    assert_eq!(flood(&mesh, peer(5)).len(), 100);
    // Hung up at another root the centre has one child more, its former parent's side.
    assert!(most(5) <= 16, "{}", most(5));
    assert_eq!(trees(&mesh, peer(37))[&peer(37)].children.len(), 16);
    // A star has no choice.
    let star: Vec<_> = (1..100).map(|n| (0, n, 5)).collect();
    assert_eq!(flood(&graph(&claims(100, &star)), peer(50)).len(), 100);
}

proptest! {
    #[test]
    fn every_graph_is_covered(links in prop::collection::vec((0u16..10, 0u16..10, 1u64..100), 0..25),
                              one_sided in prop::collection::vec((0u16..10, 0u16..10), 0..5)) {
        let links: Vec<_> = links.into_iter().filter(|(a, b, _)| a != b).collect();
        let mut claims = claims(10, &links);
        for (from, to) in one_sided {
            claims.get_mut(&peer(from)).unwrap().insert(peer(to), edge(1));
        }
        let graph = graph(&claims);
        let all: BTreeMap<_, _> = (0..10).map(|n| (peer(n), paths(&graph, peer(n)))).collect();
        for (&from, routes) in &all {
            let mut expected = connected(&claims, from);
            prop_assert_eq!(&flood(&graph, from), &expected);
            expected.remove(&from);
            prop_assert_eq!(&routes.keys().copied().collect::<BTreeSet<_>>(), &expected);
            for (&to, path) in routes {
                // Hop by hop, each by its own table, exactly along the relays that were promised.
                let (mut at, mut walked) = (from, Vec::new());
                while at != to {
                    at = all[&at][&to].next_hop;
                    walked.push(at);
                    prop_assert!(walked.len() <= 10, "loop from {from} to {to}");
                }
                prop_assert_eq!(walked.len(), path.via.len() + 1);
                // From the alternate on nobody hands the datagram back to us.
                let mut at = path.alternate.unwrap_or(to);
                prop_assert_ne!(path.alternate, Some(path.next_hop));
                while at != to {
                    prop_assert_ne!(at, from);
                    at = all[&at][&to].next_hop;
                }
            }
        }
    }
}
