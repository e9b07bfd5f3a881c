//! A member may say anything in any order: the machine stays upright, comes to rest and stays small.

use std::time::Duration;

use proptest::prelude::*;
use weave_model::{LinkId, PathReport, PeerName, ShortId};

use super::network::{Network, address};
use super::peer;
use super::records::{identity, issued, record, sign};
use crate::codec::{MAX_MESSAGE, Message};
use crate::{Command, LinkUp, Mesh, Record, Version};

/// One thing that happens to the machine.
#[derive(Clone, Debug)]
enum Step {
    Up { number: u16, link: u64, life: u8 },
    Down { link: u64 },
    Hear { link: u64, what: What },
    Report { number: u16, alive: bool, rtt: u64 },
    Order(u8),
    Wait { millis: u64 },
}

/// What a link says.
#[derive(Clone, Debug)]
enum What {
    Hello(u64),
    Certificate { number: u16, life: u8 },
    Record { number: u16, life: u8, sequence: u64, leaving: bool, neighbours: Vec<u16>, id: u16 },
    Digest(u64),
    Versions { kind: u8, numbers: Vec<u16>, sequence: u64 },
    Want(Vec<u16>),
    Bytes(Vec<u8>),
}

fn what() -> impl Strategy<Value = What> {
    let numbers = || prop::collection::vec(1u16..9, 0..6);
    prop_oneof![
        3 => (0u64..3).prop_map(What::Hello),
        2 => (1u16..7, 0u8..2).prop_map(|(number, life)| What::Certificate { number, life }),
        6 => (1u16..7, 0u8..2, 0u64..2000, any::<bool>(), numbers(), 0u16..4).prop_map(
            |(number, life, sequence, leaving, neighbours, id)| {
                What::Record { number, life, sequence, leaving, neighbours, id }
            }
        ),
        1 => any::<u64>().prop_map(What::Digest),
        2 => (5u8..8, numbers(), 0u64..2000)
            .prop_map(|(kind, numbers, sequence)| What::Versions { kind, numbers, sequence }),
        1 => numbers().prop_map(What::Want),
        1 => prop::collection::vec(any::<u8>(), 0..80).prop_map(What::Bytes),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (2u16..6, 0u64..6, 0u8..2).prop_map(|(number, link, life)| Step::Up { number, link, life }),
        1 => (0u64..6).prop_map(|link| Step::Down { link }),
        12 => (0u64..6, what()).prop_map(|(link, what)| Step::Hear { link, what }),
        2 => (2u16..6, any::<bool>(), 0u64..9000)
            .prop_map(|(number, alive, rtt)| Step::Report { number, alive, rtt }),
        1 => (0u8..20).prop_map(Step::Order),
        4 => (0u64..3000).prop_map(|millis| Step::Wait { millis }),
    ]
}

fn encode(what: &What) -> Vec<u8> {
    let names = |numbers: &[u16]| numbers.iter().map(|n| peer(*n)).collect::<Vec<PeerName>>();
    match what {
        What::Hello(uid) => Message::Hello { lowest: 1, highest: 1, uid: *uid }.encode(),
        What::Certificate { number, life } => {
            Message::Certificate(issued(*number, *life, 1 + u64::from(*life)).certificate().to_vec()).encode()
        }
        What::Record { number, life, sequence, leaving, neighbours, id } => {
            let edge = record(1, 1).neighbours.into_values().next().unwrap();
            let neighbours = neighbours.iter().map(|n| (peer(*n), edge)).collect();
            let record = Record {
                leaving: *leaving,
                short_id: ShortId::new(*id),
                neighbours,
                ..record(*number, *sequence)
            };
            let signed = sign(record, &issued(*number, *life, 1 + u64::from(*life)));
            Message::Record(signed.signed().clone()).encode()
        }
        What::Digest(hash) => Message::Digest(*hash).encode(),
        What::Versions { kind, numbers, sequence } => {
            let version = Version { issue: 1, key: 9, sequence: *sequence, hash: 9 };
            let versions = names(numbers).into_iter().map(|name| (name, version)).collect();
            match kind {
                5 => Message::Summary { first: peer(1), last: peer(9), versions }.encode(),
                _ => Message::Offer(versions).encode(),
            }
        }
        What::Want(numbers) => Message::Want(names(numbers)).encode(),
        What::Bytes(bytes) => bytes.clone(),
    }
}

fn apply(machine: &mut Mesh, network: &mut Network, step: &Step) {
    let now = network.now;
    match step {
        Step::Up { number, link, life } => {
            let certificate = issued(*number, *life, 1 + u64::from(*life)).certificate().to_vec();
            let (link, remote) = (LinkId(*link), address(*number));
            let _ = machine.handle_link_up(LinkUp { link, certificate, remote, dial: None }, now);
        }
        Step::Down { link } => machine.handle_link_down(LinkId(*link), "down".to_owned(), now),
        Step::Hear { link, what } => {
            let _ = machine.handle_message(LinkId(*link), &encode(what), now);
        }
        Step::Report { number, alive, rtt } => {
            let rtt = Some(Duration::from_micros(*rtt));
            machine.handle_path(PathReport { peer: peer(*number), alive: *alive, rtt, mtu: Some(0) }, now);
        }
        Step::Order(order) => {
            let targets = vec![address(u16::from(*order)).into()];
            let command = match order {
                0 => Command::Leave,
                1..10 => Command::Connect { targets, replace: order % 2 == 0 },
                10..15 => Command::Forget { targets },
                _ => Command::SetEndpoints(vec![address(u16::from(*order))]),
            };
            machine.handle_command(command, now);
        }
        Step::Wait { millis } => {
            network.now += Duration::from_millis(*millis);
            machine.handle_timeout(network.now);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn whatever_is_said_the_machine_stands(steps in prop::collection::vec(step(), 1..60)) {
        let mut network = Network::of(1);
        let mut machine = network.machines.remove(&1).unwrap();
        for step in &steps {
            apply(&mut machine, &mut network, step);
            for link in (0..6).map(LinkId) {
                let messages = std::iter::from_fn(|| machine.poll_transmit(link)).take(100).collect::<Vec<_>>();
                prop_assert!(messages.len() < 100, "a link is never done");
                prop_assert!(messages.iter().all(|m| m.len() <= MAX_MESSAGE));
            }
            prop_assert!(std::iter::from_fn(|| machine.poll_event()).take(100).count() < 100);
            // Its own record and certificate are its own, and there is nobody whom nobody told of.
            let own = machine.records().get(identity(1).name()).unwrap().record();
            prop_assert_eq!(&own.nickname, "host-1");
            prop_assert!(machine.records().iter().count() <= 6);
            let routes = machine.routes();
            for route in routes.peers.values() {
                prop_assert!(routes.neighbours.contains_key(&route.next_hop));
                prop_assert!(route.alternate.is_none_or(|hop| routes.neighbours.contains_key(&hop)));
            }
            // It sleeps until something is due.
            machine.handle_timeout(network.now);
            let (wake, reason) = machine.poll_timeout().unwrap();
            prop_assert!(wake > network.now, "it cannot sleep: {reason}");
        }
    }
}
