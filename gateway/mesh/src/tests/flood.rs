//! Whole networks of flooding machines under virtual time: in the end all know the same.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use weave_model::LinkId;

use super::peer;
use super::records::{NOW, ca, identity, record};
use crate::{Flood, Message, Records, Refused};

/// Machines and the links between them; a link has one number at both ends.
struct Network {
    machines: Vec<Flood>,
    links: BTreeMap<LinkId, (usize, usize)>,
    now: Instant,
    messages: usize,
    bytes: usize,
}

impl Network {
    fn new(count: u16) -> Network {
        #[expect(clippy::disallowed_methods, reason = "virtual time starts somewhere")]
        let now = Instant::now();
        let machines = (0..count)
            .map(|n| {
                let mut flood = Flood::new(identity(n), Records::new(ca().trust()), NOW, now).unwrap();
                flood.publish(record(n, 1)).unwrap();
                flood
            })
            .collect();
        Network { machines, links: BTreeMap::new(), now, messages: 0, bytes: 0 }
    }

    fn connect(&mut self, one: usize, other: usize) -> LinkId {
        let link = LinkId(self.links.last_key_value().map_or(0, |(l, _)| l.0 + 1));
        self.links.insert(link, (one, other));
        self.machines[one].handle_link_up(link, identity(other as u16).certificate(), NOW).unwrap();
        self.machines[other].handle_link_up(link, identity(one as u16).certificate(), NOW).unwrap();
        link
    }

    fn disconnect(&mut self, link: LinkId) {
        if let Some((one, other)) = self.links.remove(&link) {
            self.machines[one].handle_link_down(link);
            self.machines[other].handle_link_down(link);
        }
    }

    /// Delivers everything; panics when it does not come to rest.
    fn settle(&mut self) {
        let mut flying = VecDeque::new();
        for _ in 0..100_000 {
            for (from, machine) in self.machines.iter_mut().enumerate() {
                while let Some((link, bytes)) = machine.poll_transmit() {
                    flying.push_back((from, link, bytes));
                }
            }
            let Some((from, link, bytes)) = flying.pop_front() else { return };
            let Some(&(one, other)) = self.links.get(&link) else { continue };
            let to = if from == one { other } else { one };
            (self.messages, self.bytes) = (self.messages + 1, self.bytes + bytes.len());
            self.machines[to].handle_message(link, &bytes, NOW).unwrap();
        }
        panic!("the network does not come to rest");
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        for machine in &mut self.machines {
            machine.handle_timeout(self.now);
        }
        self.settle();
    }

    fn agree(&self, expected: usize) {
        for machine in &self.machines {
            assert_eq!(machine.records().summary().len(), expected);
            assert_eq!(machine.records().digest(), self.machines[0].records().digest());
        }
    }
}

#[test]
fn news_reach_the_end_of_a_chain() {
    let mut network = Network::new(6);
    for n in 1..6 {
        network.connect(n - 1, n);
        network.settle();
    }
    network.agree(6);
    network.machines[0].publish(record(0, 2)).unwrap();
    network.settle();
    network.agree(6);
    assert_eq!(network.machines[5].records().get(peer(0)).unwrap().record().sequence, 2);
}

#[test]
fn a_change_costs_one_message_a_link() {
    let mut network = Network::new(8);
    for n in 1..8 {
        network.connect(0, n);
    }
    network.settle();
    network.agree(8);
    let before = network.messages;
    network.machines[3].publish(record(3, 2)).unwrap();
    network.settle();
    assert_eq!(network.messages - before, 7);
    // A round of comparing says nothing but "the same".
    let before = network.messages;
    network.pass(Duration::from_secs(11));
    assert_eq!(network.messages - before, 8);
}

#[test]
fn a_healed_partition_agrees_at_once() {
    let mut network = Network::new(6);
    for (one, other) in [(0, 1), (1, 2), (3, 4), (4, 5)] {
        network.connect(one, other);
    }
    let bridge = network.connect(2, 3);
    network.settle();
    network.disconnect(bridge);
    for n in 0..6 {
        network.machines[n].publish(record(n as u16, 2)).unwrap();
    }
    network.settle();
    network.connect(0, 5);
    network.settle();
    network.agree(6);
    assert_eq!(network.machines[2].records().get(peer(4)).unwrap().record().sequence, 2);
}

#[test]
fn strangers_and_other_versions_are_not_heard() {
    let mut network = Network::new(2);
    let link = LinkId(9);
    let machine = &mut network.machines[0];
    let digest = Message::Digest(1).encode();
    assert_eq!(machine.handle_message(link, &digest, NOW), Err(Refused::Malformed));
    machine.handle_link_up(link, identity(1).certificate(), NOW).unwrap();
    assert_eq!(machine.handle_message(link, &digest, NOW), Err(Refused::Version));
    let future = Message::Hello { lowest: 2, highest: 9 }.encode();
    assert_eq!(machine.handle_message(link, &future, NOW), Err(Refused::Version));
    let both = Message::Hello { lowest: 1, highest: 9 }.encode();
    assert_eq!(machine.handle_message(link, &both, NOW), Ok(None));
    assert_eq!(machine.handle_message(link, &[99], NOW), Err(Refused::UnknownKind));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_happens_all_agree_in_the_end(steps in prop::collection::vec((0u8..4, 0usize..6, 0usize..6), 1..30)) {
        let (mut network, mut sequence) = (Network::new(6), 1);
        for (kind, one, other) in steps {
            match kind {
                0 | 1 if one != other => {
                    network.connect(one, other);
                }
                2 => {
                    let link = network.links.keys().nth(one).copied();
                    link.into_iter().for_each(|link| network.disconnect(link));
                }
                _ => {
                    sequence += 1;
                    network.machines[one].publish(record(one as u16, sequence)).unwrap();
                }
            }
            if other % 2 == 0 {
                network.settle();
            }
        }
        for n in 1..6 {
            network.connect(n - 1, n);
        }
        network.settle();
        // One round of comparing for every link: flooding alone may have lost what raced with a link.
        for _ in 0..network.links.len() {
            network.pass(Duration::from_secs(11));
        }
        network.agree(6);
    }
}
