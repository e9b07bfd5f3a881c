//! Broadcast trees: how a frame from one peer reaches every other exactly once.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use weave_model::{PeerName, Tree};

use crate::graph::{Forest, Graph, Shortest};

/// Up to here every root has its own shortest path tree; above, all share one, so that the work stays linear.
const OWN_TREES: usize = 64;

/// No peer of the shared tree hands a frame to more children while others can: in a full mesh the centre would send all
/// copies itself.
const CHILDREN: usize = 16;

/// The place of `local` in the tree of every root it can reach, itself included.
///
/// A pure function of the graph: peers that know the same graph see the same trees.
pub(crate) fn trees(forest: &Forest<'_>, local: PeerName) -> BTreeMap<PeerName, Tree> {
    let graph = forest.graph;
    let Some(local) = graph.index(local) else { return BTreeMap::new() };
    let reached = &forest.from(local).order;
    if reached.len() <= OWN_TREES {
        let place = |&root: &usize| (graph.name(root), own_place(graph, &forest.from(root), local));
        return reached.iter().map(place).collect();
    }
    let centre = reached.iter().copied().min_by_key(|peer| centrality(graph, *peer)).unwrap_or(local);
    shared_places(graph, &SharedTree::grow(graph, centre), local)
}

fn own_place(graph: &Graph, tree: &Shortest, local: usize) -> Tree {
    let names = |indices: Vec<usize>| indices.into_iter().map(|i| graph.name(i)).collect();
    Tree { parent: tree.parent[local].map(|p| graph.name(p)), children: names(children(&tree.parent, local)) }
}

fn children(parents: &[Option<usize>], of: usize) -> Vec<usize> {
    (0..parents.len()).filter(|&i| parents[i] == Some(of)).collect()
}

/// Least for the peer with the most links, then with the shortest, then with the lowest name. Everybody in one part of
/// the graph finds the same.
fn centrality(graph: &Graph, peer: usize) -> (Reverse<usize>, u64, usize) {
    let links = graph.links(peer);
    (Reverse(links.len()), links.iter().map(|link| link.cost).sum(), peer)
}

/// One tree for all roots, grown from the centre.
struct SharedTree {
    parent: Vec<Option<usize>>,
    /// All peers of the tree, parents before their children.
    order: Vec<usize>,
}

impl SharedTree {
    /// Dijkstra's algorithm, but a peer that has its children is passed over; where that leaves peers out, all may have
    /// twice as many.
    fn grow(graph: &Graph, centre: usize) -> SharedTree {
        let count = graph.peers().len();
        let (mut parent, mut order) = (vec![None; count], Vec::new());
        let (mut taken, mut children) = (vec![false; count], vec![0; count]);
        let mut limit = CHILDREN;
        let mut open = BinaryHeap::from([Reverse((0, 0, centre, centre))]);
        let mut passed_over = Vec::new();
        while let Some(Reverse((cost, hops, from, at))) = open.pop() {
            if taken[at] {
                continue;
            }
            if at != centre && children[from] >= limit {
                passed_over.push(Reverse((cost, hops, from, at)));
            } else {
                taken[at] = true;
                order.push(at);
                if at != centre {
                    parent[at] = Some(from);
                    children[from] += 1;
                }
                let links = graph.links(at).iter().filter(|link| !taken[link.to]);
                open.extend(links.map(|link| Reverse((cost + link.cost, hops + 1, at, link.to))));
            }
            if open.is_empty() {
                limit *= 2;
                open.extend(passed_over.drain(..));
            }
        }
        SharedTree { parent, order }
    }
}

/// The tree hung up at each root in turn: the neighbour towards the root is the parent, the others are children.
fn shared_places(graph: &Graph, tree: &SharedTree, local: usize) -> BTreeMap<PeerName, Tree> {
    let below = children(&tree.parent, local);
    // Which child of ours each peer hangs below; parents come before children in `order`.
    let mut branch: Vec<Option<usize>> = vec![None; tree.parent.len()];
    for &at in &tree.order {
        branch[at] = match tree.parent[at] {
            Some(parent) if parent == local => Some(at),
            Some(parent) => branch[parent],
            None => None,
        };
    }
    let around: Vec<usize> = tree.parent[local].into_iter().chain(below).collect();
    tree.order
        .iter()
        .map(|&root| {
            let parent = if root == local { None } else { branch[root].or(tree.parent[local]) };
            let mut children: Vec<PeerName> =
                around.iter().filter(|&&n| Some(n) != parent).map(|&n| graph.name(n)).collect();
            children.sort();
            (graph.name(root), Tree { parent: parent.map(|p| graph.name(p)), children })
        })
        .collect()
}
