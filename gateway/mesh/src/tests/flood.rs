//! Records spread, whoever misbehaves: costs, restarts, clones, and neighbours that are slow or greedy.

use std::collections::BTreeMap;
use std::time::Duration;

use weave_model::{LinkId, PeerName};

use super::network::{Network, address, config};
use super::peer;
use super::records::{ca, identity, issued, record, sign};
use crate::codec::Message;
use crate::{Command, Edge, Event, LinkUp, Mesh, Record};

const EDGE: Edge = Edge { rtt: Duration::from_micros(1500), mtu: 1400 };

fn clones(network: &Network, number: u16) -> usize {
    network.events[&number].iter().filter(|e| matches!(e, Event::Clone(_))).count()
}

/// Machine 1 alone, with links to peers 2, 3, … that have said hello and were told what there was to tell.
fn machine_with_links(count: u16) -> (Network, Mesh) {
    let mut network = Network::of(1);
    let now = network.now;
    let mut machine = network.machines.remove(&1).unwrap();
    for number in 2..2 + count {
        let (link, certificate) = (LinkId(number.into()), identity(number).certificate().to_vec());
        machine
            .handle_link_up(LinkUp { link, certificate, remote: address(number), dial: None }, now)
            .unwrap();
        hear(&mut machine, &network, link, Message::Hello { lowest: 1, highest: 1, uid: 1 });
        drain(&mut machine, link);
    }
    (network, machine)
}

fn hear(machine: &mut Mesh, network: &Network, link: LinkId, message: Message) {
    machine.handle_message(link, &message.encode(), network.now).unwrap();
}

/// The messages that a link is sent, in order.
fn drain(machine: &mut Mesh, link: LinkId) -> Vec<Message> {
    std::iter::from_fn(|| machine.poll_transmit(link)).map(|m| Message::decode(&m).unwrap()).collect()
}

fn record_of(number: u16, sequence: u64, neighbours: u16) -> Message {
    let neighbours: BTreeMap<PeerName, Edge> = (1000..1000 + neighbours).map(|k| (peer(k), EDGE)).collect();
    let record = Record { neighbours, ..record(number, sequence) };
    Message::Record(sign(record, &identity(number)).signed().clone())
}

fn bytes(messages: &[Message]) -> usize {
    messages.iter().map(|m| m.encode().len()).sum()
}

#[test]
fn news_reach_the_end_of_a_chain() {
    let mut network = Network::of(6);
    for number in 1..6 {
        for far in number + 2..=6 {
            network.apart.insert((number, far));
        }
        network.connect(number, number + 1);
    }
    network.seconds(2);
    assert!(network.agree());
    network.command(1, Command::SetEndpoints(vec![address(99)]));
    network.pass(Duration::from_millis(100));
    let known = network.machines[&6].records().get(peer(1)).unwrap();
    assert_eq!(known.record().endpoints, [address(99)]);
}

#[test]
fn a_change_in_a_full_mesh_is_sent_once_to_each() {
    let mut network = Network::of(12);
    for one in 1..=12 {
        (1..one).for_each(|other| network.connect(one, other));
    }
    network.seconds(60);
    assert!(network.agree());
    // Between two comparisons.
    while network.machines[&1].poll_timeout().unwrap().0 < network.now + Duration::from_secs(5) {
        network.seconds(1);
    }
    network.seconds(1);
    let (messages, bytes) = (network.messages, network.bytes);
    network.command(3, Command::SetEndpoints(vec![address(99)]));
    network.pass(Duration::from_millis(90));
    assert_eq!(network.messages - messages, 11, "one record to each");
    network.seconds(1);
    // The others offer it to each other, in messages of a few bytes.
    assert!(network.bytes - bytes < 11 * 400 + 11 * 10 * 50, "{}", network.bytes - bytes);
    assert!(network.agree());
}

#[test]
fn a_healed_partition_agrees_at_once() {
    let mut network = Network::of(6);
    for far in 4..=6 {
        (1..=3).for_each(|near| {
            network.apart.insert((near, far));
        });
    }
    for (one, other) in [(1, 2), (2, 3), (4, 5), (5, 6)] {
        network.connect(one, other);
    }
    network.seconds(5);
    assert_eq!((network.reached(1), network.reached(4)), (vec![2, 3], vec![5, 6]));
    network.heal(1, 6);
    network.connect(6, 1);
    network.pass(Duration::from_millis(300));
    assert!(network.agree());
    assert_eq!(network.reached(4), [1, 2, 3, 5, 6]);
}

/// Its clock set back, nothing remembered, and another WireGuard key.
#[test]
fn a_restart_into_the_past_supersedes_its_past() {
    let mut network = Network::of(3);
    network.connect(2, 1);
    network.connect(3, 1);
    network.seconds(10);
    network.kill(2);
    let mut settings = config(2, 2);
    settings.sequence = 1;
    network.start(settings, identity(2));
    network.connect(2, 1);
    network.seconds(2);
    assert!(network.agree());
    assert_eq!(network.routes(3).peers[&peer(2)].wireguard_key, [2; 32]);
    assert_eq!(clones(&network, 2), 0);
}

#[test]
fn a_peer_that_lost_its_key_comes_back_under_its_name() {
    let mut network = Network::of(3);
    network.connect(2, 1);
    network.connect(3, 1);
    network.seconds(10);
    network.kill(2);
    let mut settings = config(2, 2);
    settings.sequence = 1;
    network.start(settings, issued(2, 99, 2));
    network.connect(2, 1);
    network.seconds(2);
    assert!(network.agree());
    assert_eq!(network.routes(3).peers[&peer(2)].wireguard_key, [2; 32]);
    assert_eq!(network.reached(2), [1, 3]);
}

/// Peer 3 holds two certificates and shows one to each of two honest peers, which pass them on to each other.
#[test]
fn two_certificates_of_one_peer_do_not_part_honest_peers() {
    let mut network = Network::of(2);
    network.start(config(3, 1), issued(3, 50, 1));
    network.connect(3, 1);
    network.seconds(1);
    network.kill(3);
    network.start(config(3, 2), issued(3, 51, 1));
    network.connect(3, 2);
    network.seconds(1);
    network.connect(1, 2);
    network.seconds(4);
    assert_eq!(network.links_between(1, 2), 1);
    assert_eq!(network.machines[&1].records().digest(), network.machines[&2].records().digest());
}

#[test]
fn two_daemons_with_one_key_raise_the_alarm_and_rest() {
    let mut network = Network::of(3);
    network.connect(1, 2);
    network.connect(2, 3);
    network.apart.insert((1, 3));
    network.seconds(2);
    // A copy of machine 1 appears at machine 3; the network tells the two by number, so it is heard of by records only.
    let (mut copy_network, _) = (Network::new(), ());
    copy_network.start(config(1, 9), identity(1));
    let mut copy = copy_network.machines.remove(&1).unwrap();
    let (link, certificate) = (LinkId(900), identity(3).certificate().to_vec());
    copy.handle_link_up(LinkUp { link, certificate, remote: address(3), dial: None }, network.now).unwrap();
    let certificate = identity(1).certificate().to_vec();
    let machine = network.machines.get_mut(&3).unwrap();
    machine
        .handle_link_up(LinkUp { link, certificate, remote: address(1), dial: None }, network.now)
        .unwrap();
    let mut copy_alarms = 0;
    let mut versions = 0;
    for _ in 0..1200 {
        let machine = network.machines.get_mut(&3).unwrap();
        while let Some(message) = machine.poll_transmit(link) {
            copy.handle_message(link, &message, network.now).unwrap();
        }
        copy.handle_timeout(network.now);
        copy_alarms +=
            std::iter::from_fn(|| copy.poll_event()).filter(|e| matches!(e, Event::Clone(_))).count();
        while let Some(message) = copy.poll_transmit(link) {
            versions += usize::from(message[0] == 3);
            machine.handle_message(link, &message, network.now).unwrap();
        }
        network.pass(Duration::from_millis(100));
    }
    assert!(clones(&network, 1) + copy_alarms >= 1);
    assert!(versions < 60, "{versions} versions in two minutes: they fight");
}

#[test]
fn a_slow_neighbour_costs_no_memory() {
    let (mut network, mut machine) = machine_with_links(100);
    let (talker, slow) = (LinkId(2), LinkId(50));
    hear(&mut machine, &network, talker, Message::Certificate(identity(2).certificate().to_vec()));
    for version in 1..=50 {
        hear(&mut machine, &network, talker, record_of(2, version, 1000));
        network.now += Duration::from_millis(10);
        machine.handle_timeout(network.now);
    }
    network.now += Duration::from_secs(1);
    machine.handle_timeout(network.now);
    let messages = drain(&mut machine, slow);
    let records = messages.iter().filter(|m| matches!(m, Message::Record(_))).count();
    assert_eq!(records, 2, "its own, and one of fifty");
    assert!(messages.contains(&record_of(2, 50, 1000)), "the newest");
}

#[test]
fn a_peer_that_publishes_without_rest_is_passed_on_at_its_pace() {
    let (mut network, mut machine) = machine_with_links(2);
    let mut passed_on = 0;
    for version in 1..=100 {
        hear(&mut machine, &network, LinkId(2), record_of(2, version, 1));
        passed_on +=
            drain(&mut machine, LinkId(3)).iter().filter(|m| matches!(m, Message::Record(_))).count();
        network.now += Duration::from_millis(5);
        machine.handle_timeout(network.now);
    }
    assert!((4..=6).contains(&passed_on), "{passed_on} versions in half a second");
}

#[test]
fn made_up_names_do_not_shut_out_a_newcomer() {
    let (network, mut machine) = machine_with_links(1);
    let key = weave_trust::IdentityKey::from_seed([5; 32]);
    for number in 0..300u16 {
        let [a, b] = number.to_be_bytes();
        let certificate = ca().issue(PeerName::new([6, 6, 6, 6, a, b]), &key, 1);
        hear(&mut machine, &network, LinkId(2), Message::Certificate(certificate.certificate().to_vec()));
    }
    let known = |machine: &Mesh| {
        let made_up = |n: u16| PeerName::new([6, 6, 6, 6, n.to_be_bytes()[0], n.to_be_bytes()[1]]);
        (0..300).filter(|n| machine.records().certificate(made_up(*n)).is_some()).count()
    };
    assert!(known(&machine) <= 16, "{}", known(&machine));
    machine.handle_link_down(LinkId(2), "closed".to_owned(), network.now);
    assert_eq!(known(&machine), 0);
}

#[test]
fn what_is_asked_for_twice_is_sent_once() {
    let (network, mut machine) = machine_with_links(2);
    for number in 100..150 {
        hear(
            &mut machine,
            &network,
            LinkId(2),
            Message::Certificate(identity(number).certificate().to_vec()),
        );
        hear(&mut machine, &network, LinkId(2), record_of(number, 1, 500));
    }
    drain(&mut machine, LinkId(3));
    let everything: Vec<PeerName> = (100..150).chain(100..150).map(peer).collect();
    for _ in 0..20 {
        hear(&mut machine, &network, LinkId(3), Message::Want(everything.clone()));
    }
    assert_eq!(drain(&mut machine, LinkId(3)).len(), 100, "fifty certificates and fifty records");
    // A wrong digest is answered once in a while, however often it is sent, and by one side only.
    for _ in 0..1000 {
        hear(&mut machine, &network, LinkId(3), Message::Digest(0));
    }
    let answers = drain(&mut machine, LinkId(3));
    assert!(matches!(answers[..], [Message::Summary { .. }]) && bytes(&answers) < 3000);
    for _ in 0..1000 {
        hear(&mut machine, &network, LinkId(3), Message::Digest(0));
    }
    assert_eq!(drain(&mut machine, LinkId(3)), []);
}

#[test]
fn invented_names_in_offers_stay_bounded() {
    let (network, mut machine) = machine_with_links(1);
    let version = crate::Version { issue: 9, key: 9, sequence: 9, hash: 9 };
    for round in 0..20u16 {
        let name = |n: u16| PeerName::new([round as u8, 9, 9, 9, n.to_be_bytes()[0], n.to_be_bytes()[1]]);
        let offers = (0..1000).map(|n| (name(n), version)).collect();
        hear(&mut machine, &network, LinkId(2), Message::Offer(offers));
    }
    let [Message::Want(names)] = &drain(&mut machine, LinkId(2))[..] else {
        panic!("one message asks for all")
    };
    assert_eq!(names.len(), weave_model::ShortId::COUNT);
}

#[test]
fn bad_content_is_counted_and_closes_nothing() {
    let (network, mut machine) = machine_with_links(1);
    let stranger = weave_trust::NetworkCa::from_seed("other".parse().unwrap(), [1; 32]);
    let stranger = stranger.issue(peer(9), &weave_trust::IdentityKey::from_seed([9; 32]), 1);
    hear(&mut machine, &network, LinkId(2), Message::Certificate(stranger.certificate().to_vec()));
    hear(&mut machine, &network, LinkId(2), record_of(5, 1, 1));
    let forged = sign(record(2, 1), &identity(5));
    hear(&mut machine, &network, LinkId(2), Message::Record(forged.signed().clone()));
    machine.handle_message(LinkId(2), &[&[3][..], &[0; 80]].concat(), network.now).unwrap();
    let counters = machine.counters();
    assert_eq!((counters.foreign_certificates, counters.records_without_certificate), (1, 1));
    assert_eq!((counters.bad_signatures, counters.malformed_records), (1, 1));
    assert_eq!(drain(&mut machine, LinkId(2)), [Message::Want(vec![peer(5)])]);
}

#[test]
fn summaries_come_in_pages() {
    let (network, mut machine) = machine_with_links(1);
    for number in 100..1800 {
        hear(
            &mut machine,
            &network,
            LinkId(2),
            Message::Certificate(identity(number).certificate().to_vec()),
        );
        hear(&mut machine, &network, LinkId(2), record_of(number, 1, 0));
    }
    hear(&mut machine, &network, LinkId(2), Message::Digest(0));
    let messages = drain(&mut machine, LinkId(2));
    let pages: Vec<_> = messages
        .iter()
        .filter_map(|m| match m {
            Message::Summary { first, last, versions } => Some((*first, *last, versions.len())),
            _ => None,
        })
        .collect();
    let [(first, end, count), (next, last, rest)] = pages[..] else { panic!("{pages:?}") };
    assert_eq!((count, rest), (1500, 1701 - 1500));
    assert_eq!((first, last), (PeerName::new([0; 6]), PeerName::new([255; 6])));
    assert!(end < next);
    // A neighbour that lacks one name of a page is sent that one.
    let mut versions: Vec<_> = machine.records().versions().collect();
    versions.retain(|(name, _)| *name <= end && *name != peer(300));
    hear(&mut machine, &network, LinkId(2), Message::Summary { first, last: end, versions });
    let answers = drain(&mut machine, LinkId(2));
    assert_eq!(answers.last(), Some(&record_of(300, 1, 0)));
    assert_eq!(answers.len(), 2, "certificate and record");
}
