//! The real network under the gateways: who can dial whom, and what passes at the moment.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

/// Two gateways, the lower number first.
pub type Pair = (usize, usize);

/// The pair of two gateways.
pub fn pair(one: usize, other: usize) -> Pair {
    (one.min(other), one.max(other))
}

/// What one pair is to each other for as long as the simulation runs.
#[derive(Clone, Copy, Debug)]
pub struct Road {
    /// Whether the lower can dial the higher, and the higher the lower; a gateway behind NAT can only dial out.
    pub dialable: [bool; 2],
    /// How long a datagram takes one way.
    pub delay: Duration,
}

/// All roads and what blocks them.
#[derive(Clone, Debug, Default)]
pub struct Underlay {
    roads: BTreeMap<Pair, Road>,
    /// Roads on which nothing passes.
    closed: BTreeSet<Pair>,
    /// Roads on which links live but frames are lost, as where only small datagrams pass.
    lossy: BTreeSet<Pair>,
}

impl Underlay {
    /// Takes the roads, by their ends.
    pub fn of(roads: impl IntoIterator<Item = (Pair, Road)>) -> Underlay {
        Underlay { roads: roads.into_iter().collect(), ..Underlay::default() }
    }

    /// Draws roads between `count` gateways; on average each has about four.
    pub fn draw(count: usize, rng: &mut ChaCha8Rng) -> Underlay {
        let mut roads = BTreeMap::new();
        for one in 0..count {
            for other in one + 1..count {
                let dialable = match rng.random_range(0..20) {
                    0..5 => [true, true],
                    5 => [true, false],
                    6 => [false, true],
                    _ => continue,
                };
                let delay = Duration::from_micros(rng.random_range(200..40_000));
                roads.insert((one, other), Road { dialable, delay });
            }
        }
        Underlay { roads, ..Underlay::default() }
    }

    /// The road between two gateways, if there is one at all.
    pub fn road(&self, one: usize, other: usize) -> Option<Road> {
        self.roads.get(&pair(one, other)).copied()
    }

    /// All roads.
    pub fn roads(&self) -> impl Iterator<Item = Pair> {
        self.roads.keys().copied()
    }

    /// Whether `from` can dial `to` at the moment.
    pub fn can_dial(&self, from: usize, to: usize) -> bool {
        let direction = usize::from(from > to);
        self.is_open(from, to) && self.road(from, to).is_some_and(|road| road.dialable[direction])
    }

    /// Whether datagrams pass between two gateways.
    pub fn is_open(&self, one: usize, other: usize) -> bool {
        let pair = pair(one, other);
        self.roads.contains_key(&pair) && !self.closed.contains(&pair)
    }

    /// Whether frames pass between two gateways.
    pub fn carries_frames(&self, one: usize, other: usize) -> bool {
        self.is_open(one, other) && !self.lossy.contains(&pair(one, other))
    }

    /// Blocks or unblocks a road for everything.
    pub fn set_closed(&mut self, pair: Pair, closed: bool) {
        if closed {
            self.closed.insert(pair);
        } else {
            self.closed.remove(&pair);
        }
    }

    /// Blocks or unblocks a road for frames.
    pub fn set_lossy(&mut self, pair: Pair, lossy: bool) {
        if lossy {
            self.lossy.insert(pair);
        } else {
            self.lossy.remove(&pair);
        }
    }

    /// The gateways that frames can get to from `start` over any number of hops; `usable` says which hops count.
    pub fn reachable(&self, start: usize, usable: impl Fn(usize, usize) -> bool) -> BTreeSet<usize> {
        let (mut seen, mut open) = (BTreeSet::from([start]), vec![start]);
        while let Some(at) = open.pop() {
            let ends = self.roads().filter(|(a, b)| *a == at || *b == at);
            for next in ends.map(|(a, b)| if a == at { b } else { a }) {
                if usable(at, next) && self.carries_frames(at, next) && seen.insert(next) {
                    open.push(next);
                }
            }
        }
        seen
    }
}
