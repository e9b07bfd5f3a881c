//! The graph of live links, as the peers' records claim it.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::rc::Rc;
use std::time::Duration;

use weave_model::PeerName;

/// What one peer says of one of its links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Measured round trip.
    pub rtt: Duration,
    /// The largest UDP payload that passes, in bytes.
    pub mtu: u16,
}

/// The links that both of their ends claim.
///
/// Both ends must claim it because a record of a peer that died lives on for a while: its neighbours' records say
/// first that it is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    /// In order, so that a lower index is a lower name.
    names: Vec<PeerName>,
    links: Vec<Vec<Hop>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hop {
    pub(crate) to: usize,
    pub(crate) rtt: Duration,
    pub(crate) mtu: u16,
    pub(crate) cost: u64,
}

/// The shortest paths from one peer to all others.
pub(crate) struct Shortest {
    pub(crate) root: usize,
    /// Cost to each peer; `None` out of reach.
    pub(crate) cost: Vec<Option<u64>>,
    /// The peer before each on its path from the root.
    pub(crate) parent: Vec<Option<usize>>,
    /// All reached peers, nearest first.
    pub(crate) order: Vec<usize>,
}

/// The shortest paths from several roots of one graph, each found once.
pub(crate) struct Forest<'a> {
    pub(crate) graph: &'a Graph,
    found: RefCell<BTreeMap<usize, Rc<Shortest>>>,
}

impl Forest<'_> {
    pub(crate) fn of(graph: &Graph) -> Forest<'_> {
        Forest { graph, found: RefCell::default() }
    }

    /// The shortest paths from `root`.
    pub(crate) fn from(&self, root: usize) -> Rc<Shortest> {
        let mut found = self.found.borrow_mut();
        found.entry(root).or_insert_with(|| Rc::new(self.graph.shortest(root))).clone()
    }
}

/// What a relay adds to the cost of a path, in microseconds: its own CPU and queue. A relayed path must be better
/// than a direct one by more than this to be taken.
const HOP_COST: u64 = 500;

impl Graph {
    /// Takes what each peer claims of its links.
    ///
    /// Where two ends measured differently the longer round trip and the smaller packet count.
    pub fn new<'a>(claims: impl Iterator<Item = (PeerName, &'a BTreeMap<PeerName, Edge>)>) -> Graph {
        let claims: BTreeMap<PeerName, &BTreeMap<PeerName, Edge>> = claims.collect();
        let names: Vec<PeerName> = claims.keys().copied().collect();
        let index = |name: &PeerName| names.binary_search(name).ok();
        let links = claims
            .iter()
            .map(|(from, edges)| {
                edges
                    .iter()
                    .filter(|(to, _)| *to != from)
                    .filter_map(|(to, near)| {
                        let far = claims.get(to)?.get(from)?;
                        let rtt = near.rtt.max(far.rtt);
                        let micros = u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX);
                        // Capped far above any round trip, so that sums along paths cannot overflow.
                        let cost = micros.min(u64::from(u32::MAX)) + HOP_COST;
                        Some(Hop { to: index(to)?, rtt, mtu: near.mtu.min(far.mtu), cost })
                    })
                    .collect()
            })
            .collect();
        Graph { names, links }
    }

    /// All peers, in order.
    pub fn peers(&self) -> &[PeerName] {
        &self.names
    }

    pub(crate) fn index(&self, name: PeerName) -> Option<usize> {
        self.names.binary_search(&name).ok()
    }

    pub(crate) fn name(&self, index: usize) -> PeerName {
        self.names[index]
    }

    pub(crate) fn links(&self, index: usize) -> &[Hop] {
        &self.links[index]
    }

    pub(crate) fn link(&self, from: usize, to: usize) -> Option<Hop> {
        let links = &self.links[from];
        links.binary_search_by_key(&to, |l| l.to).ok().map(|at| links[at])
    }

    /// Dijkstra's algorithm; of equal paths the one with fewer hops, then with the lower last relay.
    fn shortest(&self, root: usize) -> Shortest {
        let count = self.names.len();
        let mut best: Vec<Option<(u64, u32, usize)>> = vec![None; count];
        let mut settled = vec![false; count];
        let mut order = Vec::with_capacity(count);
        best[root] = Some((0, 0, root));
        let mut open = BinaryHeap::from([Reverse((0, 0, root))]);
        while let Some(Reverse((cost, hops, at))) = open.pop() {
            if std::mem::replace(&mut settled[at], true) {
                continue;
            }
            order.push(at);
            for link in &self.links[at] {
                // Costs are positive, so every candidate for a parent is settled before its child is.
                let offer = (cost + link.cost, hops + 1, at);
                if !settled[link.to] && best[link.to].is_none_or(|known| offer < known) {
                    best[link.to] = Some(offer);
                    open.push(Reverse((offer.0, offer.1, link.to)));
                }
            }
        }
        Shortest {
            root,
            cost: best.iter().map(|b| b.map(|(cost, ..)| cost)).collect(),
            parent: best.iter().enumerate().map(|(i, b)| b.map(|(.., p)| p).filter(|_| i != root)).collect(),
            order,
        }
    }
}
