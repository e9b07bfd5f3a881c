//! A network of whole machines under virtual time: dials, links with delay, cuts and restarts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weave_model::{LinkId, PathReport, PeerName, Routes};
use weave_trust::{Identity, Trust};

use super::peer;
use super::records::{ca, identity};
use crate::{Command, Config, DialId, Event, LinkUp, Mesh};

/// One way over a link.
const DELAY: Duration = Duration::from_millis(5);

/// A link between the machines `ends`, numbered differently at both; the first has dialled.
struct Wire {
    ends: [u16; 2],
    ids: [LinkId; 2],
}

enum Flying {
    Message { wire: usize, to: usize, bytes: Vec<u8> },
    Answer { from: u16, dial: DialId, to: Option<u16> },
    Down { machine: u16, link: LinkId, reason: String },
}

/// Machines by the number of their peer.
pub(super) struct Network {
    pub(super) machines: BTreeMap<u16, Mesh>,
    pub(super) events: BTreeMap<u16, Vec<Event>>,
    pub(super) now: Instant,
    /// Pairs that cannot reach each other directly, lower number first.
    pub(super) apart: BTreeSet<(u16, u16)>,
    pub(super) messages: usize,
    pub(super) bytes: usize,
    identities: BTreeMap<u16, Identity>,
    wires: BTreeMap<usize, Wire>,
    flying: BTreeMap<Instant, VecDeque<Flying>>,
    /// Wires that one end has closed; they carry what was sent before.
    ended: BTreeSet<usize>,
    last: usize,
}

fn pair(one: u16, other: u16) -> (u16, u16) {
    (one.min(other), one.max(other))
}

pub(super) fn address(number: u16) -> SocketAddr {
    let [a, b] = number.to_be_bytes();
    SocketAddr::from(([192, 0, a, b], 6783))
}

/// The settings of peer `number` in its life `uid`, with no targets.
pub(super) fn config(number: u16, uid: u64) -> Config {
    Config {
        nickname: format!("host-{number}"),
        site: "aws".to_owned(),
        version: "0".to_owned(),
        wireguard_key: [uid as u8; 32],
        uid,
        port: 6783,
        short_id: None,
        sequence: 1000 * uid,
        endpoints: vec![address(number)],
        targets: Vec::new(),
        discovery: false,
        connection_limit: 100,
    }
}

impl Network {
    pub(super) fn new() -> Network {
        #[expect(clippy::disallowed_methods, reason = "virtual time starts somewhere")]
        let now = Instant::now();
        Network {
            machines: BTreeMap::new(),
            events: BTreeMap::new(),
            now,
            apart: BTreeSet::new(),
            messages: 0,
            bytes: 0,
            identities: BTreeMap::new(),
            wires: BTreeMap::new(),
            flying: BTreeMap::new(),
            ended: BTreeSet::new(),
            last: 0,
        }
    }

    /// Machines 1 to `count` without targets.
    pub(super) fn of(count: u16) -> Network {
        let mut network = Network::new();
        (1..=count).for_each(|n| network.start(config(n, 1), identity(n)));
        network
    }

    /// Starts a machine; its peer's number follows from its address.
    pub(super) fn start(&mut self, config: Config, identity: Identity) {
        let [.., a, b] = identity.name().octets();
        let number = u16::from_be_bytes([a, b]);
        let mut seed = [number as u8; 32];
        seed[0] = config.uid as u8;
        let mesh = Mesh::new(config, identity.clone(), ca().trust(), seed, self.now);
        self.identities.insert(number, identity);
        self.machines.insert(number, mesh);
        self.events.insert(number, Vec::new());
    }

    /// Gives a machine another certificate of its key, or other CAs.
    pub(super) fn renew(&mut self, number: u16, identity: Identity, trust: Trust) {
        self.identities.insert(number, identity.clone());
        self.machines.get_mut(&number).unwrap().handle_renewal(identity, trust, self.now).unwrap();
    }

    /// Stops a machine without a word; the others notice after a while.
    pub(super) fn kill(&mut self, number: u16) {
        self.machines.remove(&number);
        self.drop_wires("timed out", Duration::from_secs(3), |ends| ends.contains(&number));
    }

    /// Has `one` dial `other`.
    pub(super) fn connect(&mut self, one: u16, other: u16) {
        let command = Command::Connect { targets: vec![address(other).into()], replace: false };
        self.command(one, command);
    }

    pub(super) fn command(&mut self, number: u16, command: Command) {
        self.machines.get_mut(&number).unwrap().handle_command(command, self.now);
    }

    /// Ends the links between two machines and lets them have no more.
    pub(super) fn cut(&mut self, one: u16, other: u16) {
        self.apart.insert(pair(one, other));
        self.drop_wires("cut", Duration::ZERO, |ends| pair(ends[0], ends[1]) == pair(one, other));
    }

    pub(super) fn heal(&mut self, one: u16, other: u16) {
        self.apart.remove(&pair(one, other));
    }

    /// The datapath of `one` reports on `other`.
    pub(super) fn report(&mut self, one: u16, other: u16, alive: bool, rtt: u64) {
        let rtt = Some(Duration::from_micros(rtt));
        let report = PathReport { peer: peer(other), alive, rtt, mtu: Some(1376) };
        self.machines.get_mut(&one).unwrap().handle_path(report, self.now);
    }

    /// Makes a link between two machines at once, as if `one` had dialled without being told to.
    pub(super) fn link(&mut self, one: u16, other: u16) {
        self.join(one, other, None);
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..10_000_000 {
            self.drain();
            let timers = self.machines.values().filter_map(|m| m.poll_timeout()).map(|(at, _)| at);
            let next = timers.chain(self.flying.keys().next().copied()).min();
            let Some(at) = next.filter(|at| *at <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(at);
            let due: Vec<u16> = self
                .machines
                .iter()
                .filter(|(_, m)| m.poll_timeout().is_some_and(|(at, _)| at <= self.now))
                .map(|(n, _)| *n)
                .collect();
            for number in due {
                self.machines.get_mut(&number).unwrap().handle_timeout(self.now);
            }
            self.arrive();
        }
        panic!("the network does not come to rest");
    }

    pub(super) fn seconds(&mut self, seconds: u64) {
        self.pass(Duration::from_secs(seconds));
    }

    pub(super) fn routes(&self, number: u16) -> Arc<Routes> {
        self.machines[&number].routes()
    }

    /// The numbers of the peers that a machine has routes to.
    pub(super) fn reached(&self, number: u16) -> Vec<u16> {
        self.routes(number).peers.keys().map(|name| number_of(*name)).collect()
    }

    /// How many links join two machines.
    pub(super) fn links_between(&self, one: u16, other: u16) -> usize {
        let live = self.wires.iter().filter(|(wire, _)| !self.ended.contains(wire)).map(|(_, w)| w);
        live.filter(|w| pair(w.ends[0], w.ends[1]) == pair(one, other)).count()
    }

    /// All machines hold the same records.
    pub(super) fn agree(&self) -> bool {
        let digests: BTreeSet<u64> = self.machines.values().map(|m| m.records().digest()).collect();
        digests.len() <= 1
    }

    fn drain(&mut self) {
        let numbers: Vec<u16> = self.machines.keys().copied().collect();
        for number in numbers {
            self.transmit(number);
            while let Some(event) = self.machines.get_mut(&number).and_then(Mesh::poll_event) {
                self.obey(number, &event);
                self.events.entry(number).or_default().push(event);
            }
        }
    }

    fn transmit(&mut self, number: u16) {
        for (&wire, Wire { ends, ids }) in &self.wires {
            let Some(side) = ends.iter().position(|end| *end == number) else { continue };
            let Some(machine) = self.machines.get_mut(&number) else { continue };
            while let Some(bytes) = machine.poll_transmit(ids[side]) {
                (self.messages, self.bytes) = (self.messages + 1, self.bytes + bytes.len());
                let message = Flying::Message { wire, to: 1 - side, bytes };
                self.flying.entry(self.now + DELAY).or_default().push_back(message);
            }
        }
    }

    fn obey(&mut self, number: u16, event: &Event) {
        match event {
            Event::Dial { dial, target } => {
                let to = target
                    .socket_address(6783)
                    .and_then(|to| self.machines.keys().copied().find(|n| address(*n) == to));
                let to = to.filter(|to| !self.apart.contains(&pair(number, *to)));
                let delay = if to.is_some() { DELAY * 2 } else { Duration::from_secs(1) };
                let answer = Flying::Answer { from: number, dial: *dial, to };
                self.flying.entry(self.now + delay).or_default().push_back(answer);
            }
            Event::CloseLink { link, reason } => self.close(number, *link, &reason.to_string()),
            _ => {}
        }
    }

    fn arrive(&mut self) {
        while let Some(mut entry) = self.flying.first_entry().filter(|e| *e.key() <= self.now) {
            let Some(flying) = entry.get_mut().pop_front() else {
                entry.remove();
                continue;
            };
            match flying {
                Flying::Message { wire, to, bytes } => {
                    let Some(Wire { ends, ids }) = self.wires.get(&wire) else { continue };
                    let (number, link) = (ends[to], ids[to]);
                    let Some(machine) = self.machines.get_mut(&number) else { continue };
                    if let Err(refused) = machine.handle_message(link, &bytes, self.now) {
                        self.close(number, link, &refused.to_string());
                    }
                }
                Flying::Answer { from, dial, to } => match to {
                    Some(to) => self.join(from, to, Some(dial)),
                    None => {
                        if let Some(machine) = self.machines.get_mut(&from) {
                            machine.handle_dial_failed(dial, "timed out".to_owned(), self.now);
                        }
                    }
                },
                Flying::Down { machine, link, reason } => {
                    if let Some(machine) = self.machines.get_mut(&machine) {
                        machine.handle_link_down(link, reason, self.now);
                    }
                    // The second end to hear of it was the last to be sent anything.
                    let wire = self.wires.iter().find(|(_, w)| w.ids.contains(&link)).map(|(wire, _)| *wire);
                    if let Some(wire) = wire.filter(|wire| !self.ended.insert(*wire)) {
                        self.wires.remove(&wire);
                    }
                }
            }
            self.drain();
        }
    }

    fn join(&mut self, one: u16, other: u16, dial: Option<DialId>) {
        self.last += 1;
        let wire = Wire {
            ends: [one, other],
            ids: [LinkId(2 * self.last as u64), LinkId(2 * self.last as u64 + 1)],
        };
        let dial = dial.unwrap_or(DialId(u64::MAX));
        for (side, dial) in [(0, Some(dial)), (1, None)] {
            let (number, far) = (wire.ends[side], wire.ends[1 - side]);
            let certificate = self.identities[&far].certificate().to_vec();
            let up = LinkUp { link: wire.ids[side], certificate, remote: address(far), dial };
            let Some(machine) = self.machines.get_mut(&number) else { return };
            if let Err(refused) = machine.handle_link_up(up, self.now) {
                if side == 1
                    && let Some(dialler) = self.machines.get_mut(&one)
                {
                    dialler.handle_link_down(wire.ids[0], refused.to_string(), self.now);
                }
                return;
            }
        }
        self.wires.insert(self.last, wire);
    }

    /// One end closes a link; the other hears of it a moment later, and of nothing that was under way.
    fn close(&mut self, number: u16, link: LinkId, reason: &str) {
        let Some((wire, side)) = self.wires.iter().find_map(|(wire, w)| {
            let side = w.ids.iter().position(|id| *id == link)?;
            (w.ends[side] == number).then_some((*wire, side))
        }) else {
            return;
        };
        let Some(Wire { ends, ids }) = self.wires.get(&wire) else { return };
        for (at, side) in [(self.now, side), (self.now + DELAY, 1 - side)] {
            let down = Flying::Down { machine: ends[side], link: ids[side], reason: reason.to_owned() };
            self.flying.entry(at).or_default().push_back(down);
        }
    }

    fn drop_wires(&mut self, reason: &str, after: Duration, which: impl Fn(&[u16; 2]) -> bool) {
        let gone: Vec<usize> = self.wires.iter().filter(|(_, w)| which(&w.ends)).map(|(n, _)| *n).collect();
        for wire in gone.into_iter().filter_map(|wire| self.wires.remove(&wire)) {
            for (machine, link) in wire.ends.into_iter().zip(wire.ids) {
                let down = Flying::Down { machine, link, reason: reason.to_owned() };
                self.flying.entry(self.now + after).or_default().push_back(down);
            }
        }
    }
}

pub(super) fn number_of(name: PeerName) -> u16 {
    let [.., a, b] = name.octets();
    u16::from_be_bytes([a, b])
}
