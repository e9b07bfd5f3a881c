//! Paths to every peer, each with an alternate that cannot loop.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use weave_model::PeerName;

use crate::graph::{Forest, Graph, Shortest};

/// How a peer is reached over the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    /// The neighbour to hand its datagrams to.
    pub(crate) next_hop: PeerName,
    /// Another neighbour whose own path does not lead back here.
    pub(crate) alternate: Option<PeerName>,
    /// The relays, nearest first.
    pub(crate) via: Vec<PeerName>,
    /// Sum of the round trips along the path.
    pub(crate) rtt: Duration,
    /// The largest UDP payload that passes every hop, in bytes.
    pub(crate) mtu: u16,
}

/// The paths from `local` to every peer it can reach.
///
/// Every peer follows its own shortest path, and every hop of it comes nearer by the cost of a link: so a datagram
/// that follows `next_hop` from peer to peer arrives, when all know the same graph.
pub(crate) fn paths(forest: &Forest<'_>, local: PeerName) -> BTreeMap<PeerName, Path> {
    let graph = forest.graph;
    let Some(local) = graph.index(local) else { return BTreeMap::new() };
    let own = forest.from(local);
    let neighbours: BTreeMap<usize, Rc<Shortest>> =
        graph.links(local).iter().map(|link| (link.to, forest.from(link.to))).collect();
    own.order
        .iter()
        .filter(|&&to| to != local)
        .filter_map(|&to| {
            let mut path = walk(graph, &own, to)?;
            let next_hop = graph.index(path.next_hop)?;
            let alternate = alternate(graph, &own, &neighbours, next_hop, to);
            path.alternate = alternate.map(|a| graph.name(a));
            Some((graph.name(to), path))
        })
        .collect()
}

/// Reads one path off the tree.
fn walk(graph: &Graph, own: &Shortest, to: usize) -> Option<Path> {
    let (mut via, mut rtt, mut mtu, mut at) = (Vec::new(), Duration::ZERO, u16::MAX, to);
    while let Some(parent) = own.parent[at] {
        let link = graph.link(parent, at)?;
        rtt += link.rtt;
        mtu = mtu.min(link.mtu);
        if parent == own.root {
            break;
        }
        via.push(graph.name(parent));
        at = parent;
    }
    via.reverse();
    Some(Path { next_hop: graph.name(at), alternate: None, via, rtt, mtu })
}

/// The best neighbour but `next_hop` that is loop-free, and if any is, one that also avoids `next_hop` itself.
///
/// RFC 5286 §3.1: inequality 1, D(N,D) < D(N,S) + D(S,D), keeps the path from coming back to us; inequality 3,
/// D(N,D) < D(N,E) + D(E,D), keeps it away from the next hop E, which may be what died.
fn alternate(
    graph: &Graph,
    own: &Shortest,
    neighbours: &BTreeMap<usize, Rc<Shortest>>,
    next_hop: usize,
    to: usize,
) -> Option<usize> {
    let beyond = neighbours.get(&next_hop)?.cost[to]?;
    let direct = own.cost[to]?;
    graph
        .links(own.root)
        .iter()
        .filter(|link| link.to != next_hop)
        .filter_map(|link| {
            let tree = neighbours.get(&link.to)?;
            let rest = tree.cost[to]?;
            let loop_free = rest < tree.cost[own.root]? + direct;
            // When the next hop is the destination there is nothing to avoid but the link.
            let avoids = next_hop == to || rest < tree.cost[next_hop]? + beyond;
            loop_free.then_some((!avoids, link.cost + rest, link.to))
        })
        .min()
        .map(|(.., to)| to)
}
