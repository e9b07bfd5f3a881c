//! Whom to dial, and when to try again.
//!
//! ```text
//!   target of the operator:   at once ──► failed: 1 s, doubling to 60 s ──► … for ever
//!   peer others told of:      a moment later, the higher name of a pair some seconds later, its endpoints in turn
//!                             ──► all failed: 1 s, doubling to 5 min ──► … for as long as it is known
//!   link lost that stood:     at once ──► failed: 1 s, doubling to 2 s ──► … for an hour, then as above
//! ```
//!
//! A peer that cannot be dialled is normal: networks are partially connected, and relays carry its frames.
//!
//! Not here: names to addresses and handshakes, which are the shell's, and what becomes of links that are up.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use weave_model::{PeerName, Target};

use crate::config::DialId;
use crate::links::Links;
use crate::records::Records;

/// What a target or endpoint that turned out to be this very peer waits for: an address may change hands.
const OURSELVES_AGAIN: Duration = Duration::from_secs(600);

/// The first pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_TARGET_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PEER_PAUSE: Duration = Duration::from_secs(300);

/// A link that stood this long proves that dialling works: the next attempt is made at once.
const STOOD: Duration = Duration::from_secs(5);

/// After an outage everybody should be back within seconds, however long it was: an hour of attempts every two seconds
/// costs a few datagrams each.
const LONGEST_RETURN_PAUSE: Duration = Duration::from_secs(2);
const RETURNS_WITHIN: Duration = Duration::from_secs(3600);

/// By then the shell has answered, or its answer was lost.
const DIAL_WITHIN: Duration = Duration::from_secs(60);

/// Attempts under way at once.
const DIALS: usize = 32;

/// The higher name of a pair lets the lower dial first, so that the two do not always collide.
const HIGHER_WAITS: Duration = Duration::from_secs(5);

/// A peer that there is no room for, or that gave no address, is looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Spread over which the first attempts are made, so that a newcomer is not dialled by all at one instant.
const SPREAD: Duration = Duration::from_millis(500);

/// Targets, peers to discover, and the attempts under way.
#[derive(Debug)]
pub(crate) struct Connector {
    local: PeerName,
    discovery: bool,
    limit: usize,
    targets: BTreeMap<Target, Goal>,
    peers: BTreeMap<PeerName, Goal>,
    dials: BTreeMap<DialId, Dial>,
    last_dial: u64,
    rng: ChaCha8Rng,
}

/// One wish for a link.
#[derive(Debug)]
pub(crate) struct Goal {
    /// The attempt under way.
    pub(crate) dial: Option<DialId>,
    /// When the next attempt is due.
    pub(crate) at: Instant,
    pause: Duration,
    /// Until when a link that was lost is expected to come back.
    returns_until: Option<Instant>,
    /// How often it was tried since the last success.
    pub(crate) attempts: u32,
    /// Which endpoint of the peer is next, and how many it had when it was last dialled.
    endpoint: usize,
    endpoints: usize,
    /// Who was found there last.
    pub(crate) peer: Option<PeerName>,
    pub(crate) failure: Option<String>,
    /// What was dialled last, as people read it.
    pub(crate) remote: String,
}

#[derive(Debug)]
struct Dial {
    purpose: Purpose,
    since: Instant,
}

/// What an attempt is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Purpose {
    Target(Target),
    Peer(PeerName),
}

impl Goal {
    fn new(at: Instant) -> Goal {
        Goal {
            dial: None,
            at,
            pause: FIRST_PAUSE,
            returns_until: None,
            attempts: 0,
            endpoint: 0,
            endpoints: 0,
            peer: None,
            failure: None,
            remote: String::new(),
        }
    }

    fn back_off(&mut self, longest: Duration, now: Instant, rng: &mut ChaCha8Rng) {
        // Half to one and a half of the pause: peers that lost each other together do not return together.
        self.at = now + self.pause.mul_f64(rng.random_range(0.5..1.5));
        let returns = self.returns_until.is_some_and(|until| now < until);
        self.pause = (self.pause * 2).min(if returns { LONGEST_RETURN_PAUSE } else { longest });
    }

    fn succeed(&mut self, peer: PeerName) {
        (self.dial, self.attempts, self.endpoint, self.failure) = (None, 0, 0, None);
        self.peer = Some(peer);
    }
}

impl Connector {
    pub(crate) fn new(local: PeerName, discovery: bool, limit: usize, rng: ChaCha8Rng) -> Connector {
        Connector {
            local,
            discovery,
            limit,
            targets: BTreeMap::new(),
            peers: BTreeMap::new(),
            dials: BTreeMap::new(),
            last_dial: 0,
            rng,
        }
    }

    /// Adds targets, or replaces all by them; known ones are tried again at once.
    pub(crate) fn connect(&mut self, targets: Vec<Target>, replace: bool, now: Instant) {
        if replace {
            self.targets.retain(|target, _| targets.contains(target));
        }
        for target in targets {
            let goal = self.targets.entry(target).or_insert_with(|| Goal::new(now));
            (goal.at, goal.pause) = (now, FIRST_PAUSE);
        }
    }

    pub(crate) fn forget(&mut self, targets: &[Target]) {
        self.targets.retain(|target, _| !targets.contains(target));
    }

    /// Begins no more attempts.
    pub(crate) fn stop(&mut self) {
        self.targets.clear();
        self.peers.clear();
        self.discovery = false;
    }

    /// An attempt has led to `peer`.
    pub(crate) fn succeeded(&mut self, dial: DialId, peer: PeerName, now: Instant) {
        match self.dials.remove(&dial).map(|d| d.purpose) {
            Some(Purpose::Target(target)) => {
                if let Some(goal) = self.targets.get_mut(&target) {
                    goal.succeed(peer);
                }
            }
            Some(Purpose::Peer(wanted)) if wanted != peer => {
                self.fail(Purpose::Peer(wanted), format!("{peer} answered there"), now);
            }
            Some(Purpose::Peer(_)) | None => {}
        }
        if let Some(goal) = self.peers.get_mut(&peer) {
            goal.succeed(peer);
        }
    }

    /// An attempt has failed.
    pub(crate) fn failed(&mut self, dial: DialId, reason: String, now: Instant) {
        if let Some(Dial { purpose, .. }) = self.dials.remove(&dial) {
            self.fail(purpose, reason, now);
        }
    }

    /// An attempt has led to this very peer.
    pub(crate) fn found_ourselves(&mut self, dial: DialId, now: Instant) {
        let purpose = self.dials.get(&dial).map(|d| d.purpose.clone());
        self.failed(dial, "it is this peer itself".to_owned(), now);
        if let Some(Purpose::Target(target)) = purpose
            && let Some(goal) = self.targets.get_mut(&target)
        {
            (goal.at, goal.peer) = (now + OURSELVES_AGAIN, Some(self.local));
        }
    }

    /// The last link with a peer, which was up since `since`, went down.
    pub(crate) fn lost(&mut self, peer: PeerName, since: Instant, reason: &str, now: Instant) {
        let stood = now >= since + STOOD;
        let targets = self.targets.values_mut().filter(|goal| goal.peer == Some(peer));
        let goals = targets.map(|goal| (goal, LONGEST_TARGET_PAUSE));
        for (goal, longest) in goals.chain(self.peers.get_mut(&peer).map(|goal| (goal, LONGEST_PEER_PAUSE))) {
            goal.failure = Some(reason.to_owned());
            if stood {
                goal.pause = FIRST_PAUSE;
                goal.returns_until = Some(now + RETURNS_WITHIN);
                goal.at = now + Duration::from_millis(self.rng.random_range(0..100));
            } else {
                goal.back_off(longest, now, &mut self.rng);
            }
        }
    }

    /// Takes up the peers that others tell of, and forgets those that are not known any more.
    pub(crate) fn discover(&mut self, records: &Records, now: Instant) {
        self.peers.retain(|peer, _| records.get(*peer).is_some_and(|r| !r.record().leaving));
        if !self.discovery {
            return;
        }
        for record in records.iter().map(|r| r.record()).filter(|r| !r.leaving && r.peer != self.local) {
            let (local, rng) = (self.local, &mut self.rng);
            self.peers.entry(record.peer).or_insert_with(|| {
                let wait = if local < record.peer { Duration::ZERO } else { HIGHER_WAITS };
                Goal::new(now + wait + SPREAD.mul_f64(rng.random_range(0.0..1.0)))
            });
        }
    }

    /// Starts the attempts that are due.
    pub(crate) fn dial(
        &mut self,
        records: &Records,
        links: &Links,
        port: u16,
        now: Instant,
    ) -> Vec<(DialId, Target)> {
        let late = self.dials.iter().filter(|(_, dial)| now >= dial.since + DIAL_WITHIN);
        let late: Vec<DialId> = late.map(|(dial, _)| *dial).collect();
        late.into_iter().for_each(|dial| self.failed(dial, "no answer".to_owned(), now));
        let due = |goal: &Goal| goal.dial.is_none() && goal.at <= now;
        // Those that have waited longest come first, and targets before peers.
        let mut purposes: Vec<(bool, Instant, Purpose, Target)> = Vec::new();
        for (target, goal) in self.targets.iter().filter(|(_, goal)| due(goal)) {
            if !goal.peer.is_some_and(|peer| links.is_linked(peer)) {
                purposes.push((false, goal.at, Purpose::Target(target.clone()), target.clone()));
            }
        }
        let mut room = if self.limit == 0 { DIALS } else { self.limit.saturating_sub(links.peers().len()) };
        for (peer, goal) in self.peers.iter_mut().filter(|(peer, g)| due(g) && !links.is_linked(**peer)) {
            let sought = self.targets.values().any(|target| target.peer == Some(*peer));
            let endpoints = dialable(*peer, self.local, records, port);
            goal.endpoints = endpoints.len();
            match endpoints.get(goal.endpoint).or(endpoints.first()) {
                Some(endpoint) if room > 0 && !sought => {
                    purposes.push((true, goal.at, Purpose::Peer(*peer), (*endpoint).into()));
                    room -= 1;
                }
                _ => goal.at = now + LOOK_AGAIN,
            }
        }
        purposes.sort_by_key(|(discovered, at, ..)| (*discovered, *at));
        purposes.truncate(DIALS.saturating_sub(self.dials.len()));
        purposes.into_iter().map(|(.., purpose, target)| self.begin(purpose, target, now)).collect()
    }

    /// When [`Connector::dial`] finds the next attempt due.
    pub(crate) fn due_at(&self, links: &Links) -> Option<Instant> {
        let late = self.dials.values().map(|dial| dial.since + DIAL_WITHIN);
        if self.dials.len() >= DIALS {
            return late.min();
        }
        let targets = self.targets.values().filter(|g| !g.peer.is_some_and(|peer| links.is_linked(peer)));
        let peers = self.peers.iter().filter(|(peer, _)| !links.is_linked(**peer)).map(|(_, goal)| goal);
        let goals = targets.chain(peers).filter(|goal| goal.dial.is_none()).map(|goal| goal.at);
        goals.chain(late).min()
    }

    pub(crate) fn targets(&self) -> &BTreeMap<Target, Goal> {
        &self.targets
    }

    pub(crate) fn peers(&self) -> &BTreeMap<PeerName, Goal> {
        &self.peers
    }

    fn begin(&mut self, purpose: Purpose, target: Target, now: Instant) -> (DialId, Target) {
        self.last_dial += 1;
        let dial = DialId(self.last_dial);
        let goal = match &purpose {
            Purpose::Target(target) => self.targets.get_mut(target),
            Purpose::Peer(peer) => self.peers.get_mut(peer),
        };
        if let Some(goal) = goal {
            (goal.dial, goal.attempts) = (Some(dial), goal.attempts.saturating_add(1));
            goal.remote = target.to_string();
        }
        self.dials.insert(dial, Dial { purpose, since: now });
        (dial, target)
    }

    fn fail(&mut self, purpose: Purpose, reason: String, now: Instant) {
        let (goal, longest) = match purpose {
            Purpose::Target(target) => (self.targets.get_mut(&target), LONGEST_TARGET_PAUSE),
            Purpose::Peer(peer) => (self.peers.get_mut(&peer), LONGEST_PEER_PAUSE),
        };
        let Some(goal) = goal else { return };
        (goal.dial, goal.failure) = (None, Some(reason));
        if goal.endpoint + 1 < goal.endpoints {
            (goal.endpoint, goal.at) = (goal.endpoint + 1, now);
        } else {
            goal.endpoint = 0;
            goal.back_off(longest, now, &mut self.rng);
        }
    }
}

/// The endpoints of a peer that make sense here.
///
/// A record is written by its peer: it must not make others send to groups, to their own host, or to what only their
/// own link reaches, such as a cloud's metadata.
fn dialable(peer: PeerName, local: PeerName, records: &Records, port: u16) -> Vec<SocketAddr> {
    let endpoints = |peer| records.get(peer).map(|r| r.record().endpoints.clone()).unwrap_or_default();
    let own: Vec<SocketAddr> = endpoints(local);
    let on_loopback = own.iter().any(|e| e.ip().is_loopback());
    let link_local = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    // IPv4 written as IPv6 is IPv4, and not a way around what follows.
    let spelled =
        |e: SocketAddr| SocketAddr::new(e.ip().to_canonical(), if e.port() == 0 { port } else { e.port() });
    endpoints(peer)
        .into_iter()
        .map(spelled)
        .filter(|e| !own.contains(e) && !e.ip().is_unspecified() && !e.ip().is_multicast())
        .filter(|e| e.ip() != IpAddr::from([255; 4]) && !link_local(e.ip()))
        .filter(|e| on_loopback || !e.ip().is_loopback())
        .collect()
}
