//! The routes: computed from the records after a short rest, and published when they differ.
//!
//! One change in a quiet network is followed at once. When more come, each waits for company (RFC 8405): a failed node
//! is told of by all its neighbours, and half of that news gives no better routes than all of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weave_model::{Neighbour, PeerName, PeerRoute, Routes, ShortId};

use crate::graph::Forest;
use crate::originate::FAILURE_INTERVAL;
use crate::records::Records;
use crate::routes::{Path, paths};
use crate::short_ids::ShortIds;
use crate::trees::trees;

/// Without a change for this long the network is quiet (RFC 8405's HOLDDOWN, shorter as our news travel faster).
const QUIET: Duration = Duration::from_millis(200);

/// The waits after the first, second, … change of a restless time; the last stays.
const WAITS: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(20), Duration::from_millis(20), Duration::from_millis(50)];

/// The last published routes, and when to look again.
#[derive(Debug)]
pub(crate) struct Picture {
    routes: Arc<Routes>,
    /// When the routes are to be computed.
    due: Option<Instant>,
    changed: Option<Instant>,
    computed: Option<Instant>,
    /// Computations since it was quiet.
    run: usize,
}

impl Picture {
    pub(crate) fn new(local: PeerName, short_id: Option<ShortId>) -> Picture {
        let routes = Routes {
            version: 0,
            local,
            local_short_id: short_id,
            peers: BTreeMap::new(),
            neighbours: BTreeMap::new(),
            trees: BTreeMap::new(),
        };
        Picture { routes: Arc::new(routes), due: None, changed: None, computed: None, run: 0 }
    }

    /// Something the routes follow from has changed.
    pub(crate) fn stale(&mut self, now: Instant) {
        if self.changed.is_none_or(|at| now >= at + QUIET) {
            self.run = 0;
        }
        self.changed = Some(now);
        self.due.get_or_insert(now + WAITS[self.run.min(WAITS.len() - 1)]);
    }

    /// Something failed that must not be used any longer than it takes to group such failures.
    pub(crate) fn hurry(&mut self, now: Instant) {
        let at = self.computed.map_or(now, |at| now.max(at + FAILURE_INTERVAL));
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    pub(crate) fn due_at(&self) -> Option<Instant> {
        self.due
    }

    /// Computes the routes; returns them when they differ from the last.
    pub(crate) fn compute(
        &mut self,
        records: &Records,
        short_ids: &ShortIds,
        neighbours: BTreeMap<PeerName, Neighbour>,
        now: Instant,
    ) -> Option<Arc<Routes>> {
        (self.due, self.computed) = (None, Some(now));
        self.run += 1;
        let local = self.routes.local;
        let graph = records.graph();
        let forest = Forest::of(&graph);
        let route = |(peer, path): (PeerName, Path)| {
            let record = records.get(peer)?.record();
            let Path { next_hop, alternate, via, rtt, mtu } = path;
            let short_id = record.short_id.filter(|id| short_ids.owns(peer, *id));
            let (nickname, wireguard_key) = (record.nickname.clone(), record.wireguard_key);
            Some((peer, PeerRoute { short_id, nickname, wireguard_key, next_hop, alternate, via, rtt, mtu }))
        };
        let mut peers: BTreeMap<PeerName, PeerRoute> =
            paths(&forest, local).into_iter().filter_map(route).collect();
        // A neighbour whose probes fail at all its links is in nobody's graph. Without a route nobody would probe it
        // again, and it would stay dead for as long as its links stand.
        for (peer, Neighbour { rtt, mtu, .. }) in &neighbours {
            if !peers.contains_key(peer) {
                let link = Path { next_hop: *peer, alternate: None, via: Vec::new(), rtt: *rtt, mtu: *mtu };
                peers.extend(route((*peer, link)));
            }
        }
        let routes = Routes {
            version: self.routes.version,
            local,
            local_short_id: short_ids.own(),
            peers,
            neighbours,
            trees: trees(&forest, local),
        };
        if routes == *self.routes {
            return None;
        }
        self.routes = Arc::new(Routes { version: routes.version + 1, ..routes });
        Some(self.routes.clone())
    }

    pub(crate) fn routes(&self) -> Arc<Routes> {
        self.routes.clone()
    }
}
