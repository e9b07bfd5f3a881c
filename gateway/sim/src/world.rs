//! Virtual time, the links between gateways, and everything that is under way.
//!
//! Links behave like QUIC connections: whole messages in order, retransmitted while a road is closed, until each end by
//! itself has heard nothing for too long. What one end closes the other hears of, if it can.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use weave_mesh::{Command, DialId, Event, LinkUp, NotDead};
use weave_model::{LinkId, PathReport};

use crate::faults::{Fault, Kept};
use crate::gateway::{Gateway, address, number_at};
use crate::underlay::{Pair, Underlay, pair};

/// An end that heard nothing for this long gives the link up.
const IDLE: Duration = Duration::from_secs(5);

/// A dial that nobody answers fails after this.
const DIAL: Duration = Duration::from_secs(3);

/// How often the datapath looks whether frames pass.
const PROBE: Duration = Duration::from_secs(1);

/// A death that is not believed is told again after this.
const TOLD_AGAIN: Duration = Duration::from_secs(5);

/// The whole simulated world.
#[derive(Debug)]
pub struct World {
    /// The virtual time.
    pub now: Instant,
    /// The gateways, by number.
    pub gateways: Vec<Gateway>,
    /// The roads between them.
    pub underlay: Underlay,
    /// Links that at least one end believes in.
    pub wires: BTreeMap<u64, Wire>,
    /// How many messages were sent, and how many bytes.
    pub sent: (usize, usize),
    /// What happened last, for whoever looks for the cause of a failure.
    pub log: VecDeque<String>,
    began: Instant,
    queue: BTreeMap<(Instant, u64), Happening>,
    /// When each gateway wants to be woken.
    timers: Vec<Option<Instant>>,
    numbered: u64,
    rng: ChaCha8Rng,
}

/// A link between two gateways; the first has dialled.
#[derive(Debug)]
pub struct Wire {
    /// The gateways.
    pub ends: [usize; 2],
    /// Its number at each.
    pub ids: [LinkId; 2],
    /// Which ends believe in it.
    pub up: [bool; 2],
    /// The starts of the two gateways that made it.
    lives: [u64; 2],
    /// What could not pass so far, with the end it is for.
    held: Vec<(usize, Vec<u8>)>,
    /// Counts the times that nothing passed.
    silence: u64,
}

#[derive(Debug)]
enum Happening {
    Fault(Fault),
    Message { wire: u64, side: usize, bytes: Vec<u8> },
    Dialled { from: usize, uid: u64, dial: DialId, to: Option<usize> },
    Silent { wire: u64, side: usize, silence: u64 },
    Down { wire: u64, side: usize, reason: String },
    Probe { looks: u64 },
}

impl World {
    /// Makes a world at rest; every gateway gets the targets given.
    pub fn new(underlay: Underlay, targets: Vec<Vec<usize>>, seed: u64) -> World {
        #[expect(clippy::disallowed_methods, reason = "virtual time starts somewhere")]
        let now = Instant::now();
        let count = targets.len();
        let gateways = targets.into_iter().enumerate().map(|(n, t)| Gateway::new(n, t, now)).collect();
        let mut world = World {
            now,
            gateways,
            underlay,
            wires: BTreeMap::new(),
            sent: (0, 0),
            log: VecDeque::new(),
            began: now,
            queue: BTreeMap::new(),
            timers: vec![None; count],
            numbered: 0,
            rng: ChaCha8Rng::seed_from_u64(seed),
        };
        world.later(PROBE, Happening::Probe { looks: 0 });
        world
    }

    /// Lets a fault happen at a time since the beginning.
    pub fn plan(&mut self, at: Duration, fault: Fault) {
        let at = self.began + at;
        self.at(at.max(self.now), Happening::Fault(fault));
    }

    /// Lets virtual time pass until so long after the beginning.
    pub fn run_until(&mut self, end: Duration) {
        let end = self.began + end;
        loop {
            let timer =
                self.timers.iter().enumerate().filter_map(|(number, at)| Some(((*at)?, number))).min();
            let happening = self.queue.keys().next().map(|(at, _)| *at);
            match (timer, happening) {
                (Some((at, number)), next) if at <= end && next.is_none_or(|next| at < next) => {
                    self.now = self.now.max(at);
                    let now = self.now;
                    self.with(number, |mesh| mesh.handle_timeout(now));
                }
                (_, Some(at)) if at <= end => {
                    let Some(((at, _), happening)) = self.queue.pop_first() else { return };
                    self.now = self.now.max(at);
                    self.happen(happening);
                }
                _ => {
                    self.now = end;
                    return;
                }
            }
        }
    }

    /// The wires that both ends believe in.
    pub fn links(&self) -> impl Iterator<Item = &Wire> {
        self.wires.values().filter(|w| w.up == [true, true])
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Fault(fault) => self.fault(fault),
            Happening::Message { wire, side, bytes } => self.deliver(wire, side, bytes),
            Happening::Dialled { from, uid, dial, to } => self.dialled(from, uid, dial, to),
            Happening::Silent { wire, side, silence } => {
                if self.wires.get(&wire).is_some_and(|w| w.silence == silence && w.up[side]) {
                    self.down(wire, side, "timed out");
                }
            }
            Happening::Down { wire, side, reason } => self.down(wire, side, &reason),
            Happening::Probe { looks } => {
                self.probe(looks);
                self.later(PROBE, Happening::Probe { looks: looks + 1 });
            }
        }
    }

    fn fault(&mut self, fault: Fault) {
        self.note(format!("{fault:?}"));
        match fault {
            Fault::Close(road) => {
                self.underlay.set_closed(road, true);
                self.hush(|w| pair(w.ends[0], w.ends[1]) == road);
            }
            Fault::Open(road) => {
                self.underlay.set_closed(road, false);
                self.resume(road);
            }
            Fault::Lose(road) => self.underlay.set_lossy(road, true),
            Fault::Pass(road) => self.underlay.set_lossy(road, false),
            Fault::Crash(number) => self.stop(number),
            Fault::Leave(number) => {
                let now = self.now;
                self.with(number, |mesh| mesh.handle_command(Command::Leave, now));
                self.stop(number);
            }
            Fault::Bury(number) => self.bury(number),
            Fault::Start(number, kept) => self.start(number, kept),
        }
    }

    /// Tells all others that a gateway is dead, and again while it does not run and somebody holds it for alive.
    fn bury(&mut self, number: usize) {
        let (who, now, mut alive) = (self.gateways[number].name.to_string(), self.now, Vec::new());
        for other in (0..self.gateways.len()).filter(|other| *other != number) {
            let told = self.with(other, |mesh| mesh.handle_death(&who, now));
            if let Some(Err(NotDead::Alive { .. })) = told {
                alive.push(other);
            }
        }
        if !alive.is_empty() && !self.gateways[number].is_running() {
            self.note(format!("{alive:?} hold {number} for alive"));
            self.later(TOLD_AGAIN, Happening::Fault(Fault::Bury(number)));
        }
    }

    /// Starts a gateway that does not run.
    pub fn start(&mut self, number: usize, kept: Kept) {
        if !self.gateways[number].is_running() {
            self.gateways[number].start(kept, self.now - self.began, self.now);
            self.drain(number);
        }
    }

    fn stop(&mut self, number: usize) {
        (self.gateways[number].mesh, self.timers[number]) = (None, None);
        for wire in self.wires.values_mut() {
            for side in (0..2).filter(|side| wire.ends[*side] == number) {
                wire.up[side] = false;
            }
        }
        self.hush(|w| w.ends.contains(&number));
    }

    /// Nothing passes these wires any more; each end gives up in its own time.
    fn hush(&mut self, which: impl Fn(&Wire) -> bool) {
        let mut silent = Vec::new();
        for (&wire, state) in self.wires.iter_mut().filter(|(_, w)| which(w)) {
            state.silence += 1;
            silent.extend((0..2).filter(|side| state.up[*side]).map(|side| (wire, side, state.silence)));
        }
        self.wires.retain(|_, w| w.up != [false, false]);
        for (wire, side, silence) in silent {
            let patience = IDLE + Duration::from_millis(self.rng.random_range(0..2000));
            self.later(patience, Happening::Silent { wire, side, silence });
        }
    }

    /// A road is open again: its links send again what was lost, and learn whether the other end is still there.
    fn resume(&mut self, road: Pair) {
        let mut sent = Vec::new();
        for (&wire, state) in self.wires.iter_mut().filter(|(_, w)| pair(w.ends[0], w.ends[1]) == road) {
            let alive = |side: usize| {
                let gateway = &self.gateways[state.ends[side]];
                gateway.is_running() && gateway.uid() == state.lives[side]
            };
            if state.up == [true, true] {
                state.silence += 1;
                let held = state.held.drain(..);
                sent.extend(held.map(|(side, bytes)| Happening::Message { wire, side, bytes }));
            } else if let Some(side) = (0..2).find(|side| state.up[*side] && alive(1 - *side)) {
                sent.push(Happening::Down { wire, side, reason: "reset by the other end".to_owned() });
            }
        }
        // At once, so that nothing that was sent later comes before.
        sent.into_iter().for_each(|happening| self.later(Duration::ZERO, happening));
    }

    fn deliver(&mut self, wire: u64, side: usize, bytes: Vec<u8>) {
        let Some(state) = self.wires.get_mut(&wire).filter(|w| w.up[side]) else { return };
        let (number, link) = (state.ends[side], state.ids[side]);
        if !self.underlay.is_open(state.ends[0], state.ends[1]) {
            state.held.push((side, bytes));
            return;
        }
        let now = self.now;
        let outcome = self.with(number, |mesh| mesh.handle_message(link, &bytes, now));
        if let Some(Err(refused)) = outcome {
            self.close(wire, side, &refused.to_string());
        }
    }

    /// One end closes a link.
    fn close(&mut self, wire: u64, side: usize, reason: &str) {
        let Some(state) = self.wires.get_mut(&wire).filter(|w| w.up[side]) else { return };
        state.up[side] = false;
        let (number, link, ends) = (state.ends[side], state.ids[side], state.ends);
        self.note(format!("{number} closes its link with {}: {reason}", ends[1 - side]));
        let now = self.now;
        self.with(number, |mesh| mesh.handle_link_down(link, reason.to_owned(), now));
        if self.underlay.is_open(ends[0], ends[1]) {
            let delay = self.delay(pair(ends[0], ends[1]));
            self.later(delay, Happening::Down { wire, side: 1 - side, reason: reason.to_owned() });
        } else {
            self.hush(|w| w.ids[side] == link);
        }
        self.wires.retain(|_, w| w.up != [false, false]);
    }

    fn down(&mut self, wire: u64, side: usize, reason: &str) {
        let Some(state) = self.wires.get_mut(&wire).filter(|w| w.up[side]) else { return };
        state.up[side] = false;
        let (number, link, other) = (state.ends[side], state.ids[side], state.ends[1 - side]);
        self.note(format!("{number} loses its link with {other}: {reason}"));
        self.wires.retain(|_, w| w.up != [false, false]);
        let now = self.now;
        self.with(number, |mesh| mesh.handle_link_down(link, reason.to_owned(), now));
        // The other end, if it is still there, is told as soon as its packets arrive.
        if self.underlay.is_open(number, other) && self.wires.contains_key(&wire) {
            let delay = self.delay(pair(number, other));
            self.later(delay, Happening::Down { wire, side: 1 - side, reason: reason.to_owned() });
        }
    }

    fn dialled(&mut self, from: usize, uid: u64, dial: DialId, to: Option<usize>) {
        if self.gateways[from].uid() != uid || !self.gateways[from].is_running() {
            return;
        }
        let to = to.filter(|to| self.gateways[*to].is_running() && self.underlay.is_open(from, *to));
        let now = self.now;
        let Some(to) = to else {
            self.with(from, |mesh| mesh.handle_dial_failed(dial, "timed out".to_owned(), now));
            return;
        };
        self.numbered += 1;
        let wire = self.numbered;
        let (ends, ids) = ([from, to], [LinkId(2 * wire), LinkId(2 * wire + 1)]);
        let lives = ends.map(|n| self.gateways[n].uid());
        let state = Wire { ends, ids, up: [true, true], lives, held: Vec::new(), silence: 0 };
        self.wires.insert(wire, state);
        for (side, dial) in [(0, Some(dial)), (1, None)] {
            let certificate = self.gateways[ends[1 - side]].identity.certificate().to_vec();
            let up = LinkUp { link: ids[side], certificate, remote: address(ends[1 - side]), dial };
            let outcome = self.with(ends[side], |mesh| mesh.handle_link_up(up, now));
            if let Some(Err(refused)) = outcome {
                let at = if side == 0 { "dialler" } else { "dialled" };
                self.note(format!("{from} → {to} refused by the {at}: {refused}"));
                self.wires.remove(&wire);
                if side == 1 {
                    self.with(from, |mesh| mesh.handle_link_down(ids[0], refused.to_string(), now));
                }
                return;
            }
            let (delay, link) = (self.delay(pair(from, to)), ids[side]);
            self.with(ends[side], |mesh| mesh.handle_measurement(link, delay * 2, 1400, now));
        }
        self.note(format!("{from} → {to} linked"));
    }

    /// Every datapath looks at its neighbours.
    fn probe(&mut self, looks: u64) {
        for number in 0..self.gateways.len() {
            let Some(routes) = self.gateways[number].mesh.as_ref().map(|m| m.routes()) else { continue };
            for peer in routes.neighbours.keys() {
                let other = usize::from(peer.octets()[5]);
                let running = self.gateways[other].is_running();
                let alive = running && self.underlay.carries_frames(number, other);
                let last = self.gateways[number].reported.insert(*peer, alive);
                // Measurements now and then; a change at once.
                if last != Some(alive) || looks.is_multiple_of(20) {
                    // Probes report the least of the last sixteen round trips.
                    let jitter = self.rng.random_range(1.0..1.03);
                    let rtt = Some((self.delay(pair(number, other)) * 2).mul_f64(jitter));
                    let report = PathReport { peer: *peer, alive, rtt, mtu: Some(1376) };
                    let now = self.now;
                    self.with(number, |mesh| mesh.handle_path(report, now));
                }
            }
        }
    }

    /// Gives a running gateway an input, and takes what comes out.
    fn with<T>(&mut self, number: usize, input: impl FnOnce(&mut weave_mesh::Mesh) -> T) -> Option<T> {
        let output = input(self.gateways[number].mesh.as_mut()?);
        self.drain(number);
        Some(output)
    }

    fn drain(&mut self, number: usize) {
        // Messages first, so that a gateway that leaves has said so before its links close.
        self.transmit(number);
        while let Some(event) = self.gateways[number].mesh.as_mut().and_then(|m| m.poll_event()) {
            match event {
                Event::Dial { dial, target } => {
                    let uid = self.gateways[number].uid();
                    let to = target.socket_address(6783).and_then(number_at);
                    let to = to.filter(|to| *to < self.gateways.len() && self.underlay.can_dial(number, *to));
                    let wait = to.map_or(DIAL, |to| self.delay(pair(number, to)) * 3);
                    self.later(wait, Happening::Dialled { from: number, uid, dial, to });
                }
                Event::CloseLink { link, reason } => {
                    let of = |(_, w): &(&u64, &Wire)| (0..2).any(|s| w.ends[s] == number && w.ids[s] == link);
                    let wire = self.wires.iter().find(of).map(|(n, w)| (*n, usize::from(w.ids[1] == link)));
                    if let Some((wire, side)) = wire {
                        self.close(wire, side, &reason.to_string());
                    }
                }
                Event::Routes(_) => self.gateways[number].routes_changed = self.now,
                Event::Persist(remembered) => self.gateways[number].remembered = remembered,
                Event::ShortIdFreed(_) => {}
                Event::Clone(_) => self.gateways[number].clones += 1,
            }
        }
        let mesh = self.gateways[number].mesh.as_ref();
        self.timers[number] = mesh.and_then(|m| m.poll_timeout()).map(|(at, _)| at);
    }

    fn transmit(&mut self, number: usize) {
        let Some(mesh) = self.gateways[number].mesh.as_mut() else { return };
        let mut sent = Vec::new();
        for (&wire, state) in &mut self.wires {
            for side in (0..2).filter(|side| state.ends[*side] == number && state.up[*side]) {
                while let Some(bytes) = mesh.poll_transmit(state.ids[side]) {
                    assert!(bytes.len() <= weave_mesh::MAX_MESSAGE, "a message of {} bytes", bytes.len());
                    self.sent = (self.sent.0 + 1, self.sent.1 + bytes.len());
                    sent.push((wire, pair(state.ends[0], state.ends[1]), 1 - side, bytes));
                }
            }
        }
        for (wire, road, side, bytes) in sent {
            let delay = self.delay(road);
            self.later(delay, Happening::Message { wire, side, bytes });
        }
    }

    fn delay(&self, (one, other): Pair) -> Duration {
        self.underlay.road(one, other).map_or(DIAL, |road| road.delay)
    }

    fn later(&mut self, wait: Duration, happening: Happening) {
        self.at(self.now + wait, happening);
    }

    fn at(&mut self, at: Instant, happening: Happening) {
        self.numbered += 1;
        self.queue.insert((at, self.numbered), happening);
    }

    fn note(&mut self, what: String) {
        if self.log.len() == 200 {
            self.log.pop_front();
        }
        let at = (self.now - self.began).as_secs_f64();
        self.log.push_back(format!("{at:9.3} {what}"));
    }
}
