//! Broadcast trees: how a frame from one peer reaches every other exactly once.

use std::collections::BTreeMap;

use weave_model::{PeerName, Tree};

use crate::graph::{Graph, Shortest};

/// Up to here every root has its own shortest path tree; above, all share one, so that the work stays linear.
const OWN_TREES: usize = 64;

/// The place of `local` in the tree of every root it can reach, itself included.
///
/// A pure function of the graph: peers that know the same graph see the same trees.
pub(crate) fn trees(graph: &Graph, local: PeerName) -> BTreeMap<PeerName, Tree> {
    let Some(local) = graph.index(local) else { return BTreeMap::new() };
    let reached = graph.shortest(local).order;
    if reached.len() <= OWN_TREES {
        let place = |&root: &usize| (graph.name(root), own_place(graph, &graph.shortest(root), local));
        return reached.iter().map(place).collect();
    }
    // Everybody in this part of the graph finds the same lowest name.
    let centre = reached.iter().copied().min().unwrap_or(local);
    shared_places(graph, &graph.shortest(centre), local)
}

fn own_place(graph: &Graph, tree: &Shortest, local: usize) -> Tree {
    let names = |indices: Vec<usize>| indices.into_iter().map(|i| graph.name(i)).collect();
    Tree { parent: tree.parent[local].map(|p| graph.name(p)), children: names(children(tree, local)) }
}

fn children(tree: &Shortest, of: usize) -> Vec<usize> {
    (0..tree.parent.len()).filter(|&i| tree.parent[i] == Some(of)).collect()
}

/// One tree hung up at each root in turn: the neighbour towards the root is the parent, the others are children.
fn shared_places(graph: &Graph, tree: &Shortest, local: usize) -> BTreeMap<PeerName, Tree> {
    let below = children(tree, local);
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
