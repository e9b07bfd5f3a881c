//! Our own record: what it says, and when a new version of it is worth everybody's attention.
//!
//! ```text
//!   the certificate is another:                                        at once
//!   a neighbour is gone or dead, somebody holds a version above ours:  at once, but not twice within 20 ms
//!   a neighbour, endpoint or short id is new:                          at once, but not twice within 100 ms
//!   a round trip or packet size has changed by a step:                 not twice within 1 s
//! ```
//!
//! Round trips are published in steps of 20 %, and one step sticks until the measurement is 30 % off: so jitter changes
//! no record, and what follows from the records changes only when something changed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use weave_model::{PeerName, ShortId};

use crate::config::Config;
use crate::flood::{ORIGINATOR_INTERVAL, Overtaken};
use crate::graph::Edge;
use crate::links::UNMEASURED;
use crate::record::Record;

/// When a site goes dark its links go down one by one within a moment; a handful of records tells as much as hundreds.
pub(crate) const FAILURE_INTERVAL: Duration = Duration::from_millis(20);

/// Measurements change all the time; a second is as fast as routes should follow them.
const METRIC_INTERVAL: Duration = Duration::from_secs(1);

/// The factor from one step to the next.
const STEP: f64 = 1.2;

/// How far a measurement leaves the published step before another is published. The nearest step may be off by a tenth
/// from the start, so this leaves almost a tenth of jitter to each side.
const DEAD_BAND: f64 = 1.3;

/// Below this all round trips are alike: within a site what differs is how busy the machines are, not the way.
const SHORTEST: Duration = Duration::from_millis(1);

/// One overtaking is a record of an earlier life, and there may be some of them around. This many by the same other
/// start, none longer than [`CLONE_WITHIN`] after the last, are answers to ours: somebody else lives with our key.
const CLONE_AFTER: u32 = 4;
const CLONE_WITHIN: Duration = Duration::from_secs(300);

/// For so long a clone is not fought; then ours is published once more, in case the other has stopped.
const CLONE_REST: Duration = Duration::from_secs(60);

/// Writes our own record.
#[derive(Debug)]
pub(crate) struct Originate {
    /// As last published.
    record: Record,
    /// When that was; `None` before the first time.
    published: Option<Instant>,
    endpoints: Vec<SocketAddr>,
    leaving: bool,
    /// The certificate is another than that of the last version.
    renewed: bool,
    /// Somebody holds this sequence of ours.
    beaten: Option<u64>,
    rival: Option<Rival>,
}

/// Another start that publishes under our name.
#[derive(Debug)]
struct Rival {
    uid: u64,
    times: u32,
    last: Instant,
    /// Until when it has its way.
    rest: Option<Instant>,
}

impl Originate {
    pub(crate) fn new(config: &Config, peer: PeerName) -> Originate {
        let record = Record {
            peer,
            sequence: config.sequence,
            uid: config.uid,
            leaving: false,
            nickname: config.nickname.clone(),
            site: config.site.clone(),
            version: config.version.clone(),
            short_id: config.short_id,
            wireguard_key: config.wireguard_key,
            endpoints: Vec::new(),
            neighbours: BTreeMap::new(),
        };
        let endpoints = config.endpoints.clone();
        Originate {
            record,
            published: None,
            endpoints,
            leaving: false,
            renewed: false,
            beaten: None,
            rival: None,
        }
    }

    pub(crate) fn set_endpoints(&mut self, endpoints: Vec<SocketAddr>) {
        self.endpoints = endpoints;
    }

    /// The next version is the last.
    pub(crate) fn leave(&mut self) {
        self.leaving = true;
    }

    /// The certificate is another: a version that says so is due now, so that whoever asks for ours from here on, and
    /// waits until others know it, knows that they have the certificate.
    pub(crate) fn renew(&mut self) {
        self.renewed = true;
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// Somebody holds a record of ours that beats this one; whether it is certainly another living daemon's, found out
    /// for the first time.
    pub(crate) fn overtaken(&mut self, by: Overtaken, now: Instant) -> bool {
        if by.uid == self.record.uid {
            self.beaten = self.beaten.max(Some(by.sequence));
            return false;
        }
        let rival = match &mut self.rival {
            Some(rival) if rival.uid == by.uid && now < rival.last + CLONE_WITHIN => rival,
            _ => self.rival.insert(Rival { uid: by.uid, times: 0, last: now, rest: None }),
        };
        (rival.times, rival.last) = (rival.times.saturating_add(1), now);
        match rival.rest {
            Some(rest) if now < rest => return false,
            Some(_) => rival.rest = Some(now + CLONE_REST),
            None if rival.times >= CLONE_AFTER => {
                rival.rest = Some(now + CLONE_REST);
                return true;
            }
            None => {}
        }
        self.beaten = self.beaten.max(Some(by.sequence));
        false
    }

    /// The next version, when one is due.
    pub(crate) fn next(
        &mut self,
        live: &BTreeMap<PeerName, Edge>,
        short_id: Option<ShortId>,
        now: Instant,
    ) -> Option<Record> {
        let record = self.wanted(live, short_id);
        if self.published.is_some() && self.due(&record)? > now {
            return None;
        }
        let above = self.beaten.take().unwrap_or(0).max(self.record.sequence);
        self.record = Record { sequence: above.saturating_add(1), ..record };
        self.published = Some(now);
        self.renewed = false;
        Some(self.record.clone())
    }

    /// When [`Originate::next`] has a new version.
    pub(crate) fn due_at(
        &self,
        live: &BTreeMap<PeerName, Edge>,
        short_id: Option<ShortId>,
    ) -> Option<Instant> {
        self.due(&self.wanted(live, short_id))
    }

    /// The sequence of the last version.
    pub(crate) fn sequence(&self) -> u64 {
        self.record.sequence
    }

    fn wanted(&self, live: &BTreeMap<PeerName, Edge>, short_id: Option<ShortId>) -> Record {
        // What was published before anything was measured is no step to stay at.
        let guess = quantised(UNMEASURED, None);
        let last =
            |peer: &PeerName| self.record.neighbours.get(peer).map(|e| e.rtt).filter(|rtt| *rtt != guess);
        let steady =
            |peer: &PeerName, edge: &Edge| Edge { rtt: quantised(edge.rtt, last(peer)), mtu: edge.mtu };
        let neighbours = live.iter().map(|(peer, edge)| (*peer, steady(peer, edge)));
        Record {
            short_id,
            endpoints: self.endpoints.clone(),
            leaving: self.leaving,
            neighbours: if self.leaving { BTreeMap::new() } else { neighbours.collect() },
            ..self.record.clone()
        }
    }

    /// When `record` is worth publishing; `None` when it says what is published.
    fn due(&self, record: &Record) -> Option<Instant> {
        let published = self.published?;
        if self.renewed {
            return Some(published);
        }
        let old = &self.record;
        let gone = old.neighbours.keys().any(|peer| !record.neighbours.contains_key(peer));
        if gone || old.leaving != record.leaving || self.beaten.is_some() {
            return Some(published + FAILURE_INTERVAL);
        }
        let new = record.neighbours.keys().any(|peer| !old.neighbours.contains_key(peer));
        if new || old.endpoints != record.endpoints || old.short_id != record.short_id {
            return Some(published + ORIGINATOR_INTERVAL);
        }
        (old.neighbours != record.neighbours).then_some(published + METRIC_INTERVAL)
    }
}

/// The step nearest to `rtt`, or the one published last while `rtt` is within [`DEAD_BAND`] of it.
pub(crate) fn quantised(rtt: Duration, published: Option<Duration>) -> Duration {
    let rtt = rtt.max(SHORTEST);
    if let Some(last) = published.filter(|last| !last.is_zero()) {
        let ratio = rtt.as_secs_f64() / last.as_secs_f64();
        if (1.0 / DEAD_BAND..DEAD_BAND).contains(&ratio) {
            return last;
        }
    }
    let steps = (rtt.as_secs_f64() / SHORTEST.as_secs_f64()).log(STEP).round();
    let micros = SHORTEST.as_secs_f64() * 1e6 * STEP.powf(steps);
    // Whole microseconds, as the record has them: otherwise the published step would not equal itself.
    Duration::from_micros(micros.round().min(f64::from(u32::MAX)) as u64)
}
