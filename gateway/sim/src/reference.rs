//! What must hold once the faults are over, computed from the underlay alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weave_model::{PeerName, Routes, ShortId};

use crate::gateway::Gateway;
use crate::underlay::{Pair, pair};
use crate::world::World;

/// What connects gateways for the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// The links that are up: routes lead over them at any time.
    Links,
    /// The roads: in the end there is a link on each that is needed.
    Roads,
}

/// Everything about the running gateways that is wrong; empty when all is well.
pub fn faults_in(world: &World, ground: Ground) -> Vec<String> {
    let view = View::of(world, ground);
    let mut wrong = Vec::new();
    for (&number, routes) in &view.routes {
        let reached = view.component(number);
        // A neighbour that frames do not get to at all keeps a route over its link, so that it is probed.
        let linked = world.links().filter(|w| w.ends.contains(&number)).flat_map(|w| w.ends);
        let mut expected: BTreeSet<usize> = linked.chain(reached).collect();
        expected.remove(&number);
        let found: BTreeSet<usize> = routes.peers.keys().map(|name| number_of(*name)).collect();
        if found != expected {
            wrong.push(format!("{number} has routes to {found:?}, not to {expected:?}"));
            continue;
        }
        view.check_paths(number, routes, &mut wrong);
        view.check_tree(number, &mut wrong);
        view.check_short_ids(number, routes, &mut wrong);
        view.check_memory(number, &mut wrong);
    }
    wrong
}

/// What must hold later still: a link on every road that can be dialled, one, and the same to both ends; stores that
/// agree; and rest.
pub fn restlessness_in(world: &World, quiet: std::time::Duration) -> Vec<String> {
    let view = View::of(world, Ground::Roads);
    let mut wrong = Vec::new();
    for (one, other) in world.underlay.roads() {
        let running = view.routes.contains_key(&one) && view.routes.contains_key(&other);
        let dialable = world.underlay.can_dial(one, other) || world.underlay.can_dial(other, one);
        let links = world.links().filter(|w| w.ends == [one, other] || w.ends == [other, one]).count();
        // Frames need not pass for a link to stand, but its ends must have heard of each other.
        let acquainted = running && view.component(one).contains(&other);
        if running && dialable && acquainted && links != 1 || links > 1 {
            wrong.push(format!("{links} links between {one} and {other}"));
        }
        let link =
            |at: usize, of: usize| view.routes.get(&at)?.neighbours.get(&view.name(of)).map(|n| n.link);
        if let Some(wire) = world.links().find(|w| w.ends == [one, other] || w.ends == [other, one])
            && links == 1
            && [link(wire.ends[0], wire.ends[1]), link(wire.ends[1], wire.ends[0])] != wire.ids.map(Some)
        {
            wrong.push(format!("{one} and {other} do not use the one link they have"));
        }
    }
    for &number in view.routes.keys() {
        let gateway = &world.gateways[number];
        if world.now < gateway.routes_changed + quiet {
            wrong.push(format!("{number} still changes its routes"));
        }
        if gateway.clones > 0 {
            wrong.push(format!("{number} was told of a clone that does not exist"));
        }
        let first = view.component(number).first().copied().unwrap_or(number);
        if view.digest(number) != view.digest(first) {
            wrong.push(format!("{number} and {first} do not hold the same records"));
        }
        let idle = gateway.mesh.as_ref().is_some_and(|m| m.links_with_output().next().is_none());
        if !idle {
            wrong.push(format!("{number} has messages that it was not asked for"));
        }
    }
    wrong
}

/// The running gateways and their routes.
struct View<'a> {
    world: &'a World,
    ground: Ground,
    routes: BTreeMap<usize, Arc<Routes>>,
}

impl View<'_> {
    fn of(world: &World, ground: Ground) -> View<'_> {
        let routes = |g: &Gateway| Some((g.number, g.mesh.as_ref()?.routes()));
        View { world, ground, routes: world.gateways.iter().filter_map(routes).collect() }
    }

    fn component(&self, number: usize) -> BTreeSet<usize> {
        let linked: BTreeSet<Pair> = self.world.links().map(|w| pair(w.ends[0], w.ends[1])).collect();
        self.world.underlay.reachable(number, |at, next| {
            let connected = self.ground == Ground::Roads || linked.contains(&pair(at, next));
            connected && self.world.gateways[next].is_running()
        })
    }

    fn name(&self, number: usize) -> PeerName {
        self.world.gateways[number].name
    }

    fn digest(&self, number: usize) -> Option<u64> {
        self.world.gateways[number].mesh.as_ref().map(|m| m.records().digest())
    }

    /// Follows every path hop by hop, each by its own table, and every alternate from its first hop on.
    fn check_paths(&self, number: usize, routes: &Routes, wrong: &mut Vec<String>) {
        let reached = self.component(number);
        for (name, route) in routes.peers.iter().filter(|(name, _)| reached.contains(&number_of(**name))) {
            let to = number_of(*name);
            let mut walked = vec![number];
            let mut at = number;
            while at != to && walked.len() <= self.routes.len() {
                let Some(next) = self.next_hop(at, to) else { break };
                if !self.world.underlay.carries_frames(at, next) {
                    wrong.push(format!("{number} → {to}: no frame passes from {at} to {next}"));
                }
                at = next;
                walked.push(at);
            }
            let relays: Vec<usize> = route.via.iter().map(|n| number_of(*n)).collect();
            if at != to || walked[1..walked.len() - 1] != relays[..] {
                wrong.push(format!("{number} → {to} goes {walked:?}, promised via {relays:?}"));
            }
            let mut at = route.alternate.map_or(to, number_of);
            let hops = (0..self.routes.len()).find(|_| {
                at == to || {
                    at = self.next_hop(at, to).unwrap_or(number);
                    at == number
                }
            });
            if at != to || hops.is_none() {
                wrong.push(format!("{number} → {to}: the alternate leads back or nowhere"));
            }
            let hops = [Some(route.next_hop), route.alternate];
            if hops.into_iter().flatten().any(|hop| !routes.neighbours.contains_key(&hop)) {
                wrong.push(format!("{number} → {to}: a hop is no neighbour"));
            }
        }
    }

    /// Sends one frame of `root` along its tree.
    fn check_tree(&self, root: usize, wrong: &mut Vec<String>) {
        let (mut got, mut open) = (BTreeSet::from([root]), vec![root]);
        while let Some(at) = open.pop() {
            let tree = self.routes.get(&at).and_then(|r| r.trees.get(&self.name(root)));
            for child in tree.map(|t| t.children.clone()).unwrap_or_default().into_iter().map(number_of) {
                let theirs = self.routes.get(&child).and_then(|r| r.trees.get(&self.name(root)));
                if theirs.and_then(|t| t.parent) != Some(self.name(at)) {
                    wrong.push(format!("the tree of {root}: {child} refuses frames from {at}"));
                }
                if !self.world.underlay.carries_frames(at, child) {
                    wrong.push(format!("the tree of {root}: no frame passes from {at} to {child}"));
                }
                if got.insert(child) {
                    open.push(child);
                } else {
                    wrong.push(format!("the tree of {root}: {child} gets a frame twice"));
                }
            }
        }
        if got != self.component(root) {
            wrong.push(format!("the tree of {root} reaches {got:?} only"));
        }
    }

    fn check_short_ids(&self, number: usize, routes: &Routes, wrong: &mut Vec<String>) {
        let mut seen: BTreeMap<ShortId, usize> = BTreeMap::new();
        let reached = self.component(number);
        let others = routes.peers.iter().filter(|(name, _)| reached.contains(&number_of(**name)));
        let others = others.map(|(name, route)| (number_of(*name), route.short_id));
        for (peer, id) in others.chain([(number, routes.local_short_id)]) {
            if id.is_none() || id != self.routes.get(&peer).and_then(|r| r.local_short_id) {
                wrong.push(format!("{number} takes {id:?} for the short id of {peer}"));
            }
            if let Some(other) = id.and_then(|id| seen.insert(id, peer)) {
                wrong.push(format!("{other} and {peer} have the same short id"));
            }
        }
    }

    fn check_memory(&self, number: usize, wrong: &mut Vec<String>) {
        let Some(mesh) = self.world.gateways[number].mesh.as_ref() else { return };
        let count = self.world.gateways.len();
        let (records, lines) = (mesh.records().iter().count(), mesh.connections().len());
        // One line for each peer, and one for each target that was never reached.
        if records > count || lines > 2 * count {
            wrong.push(format!("{number} keeps {records} records and {lines} connections"));
        }
    }

    fn next_hop(&self, at: usize, to: usize) -> Option<usize> {
        self.routes.get(&at)?.peers.get(&self.name(to)).map(|route| number_of(route.next_hop))
    }
}

fn number_of(name: PeerName) -> usize {
    let [.., high, low] = name.octets();
    usize::from(high) << 8 | usize::from(low)
}
