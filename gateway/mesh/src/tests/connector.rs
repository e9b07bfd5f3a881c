//! Whom the machine dials, and when again.

use std::time::Duration;

use weave_model::Target;

use super::network::{Network, address, config};
use super::peer;
use super::records::identity;
use crate::{Command, ConnectionState, Event};

fn dials(network: &Network, number: u16) -> Vec<Target> {
    let dial = |event: &Event| match event {
        Event::Dial { target, .. } => Some(target.clone()),
        _ => None,
    };
    network.events[&number].iter().filter_map(dial).collect()
}

fn discovering(count: u16) -> Network {
    let mut network = Network::new();
    for number in 1..=count {
        let mut settings = config(number, 1);
        settings.discovery = true;
        network.start(settings, identity(number));
    }
    network
}

#[test]
fn a_target_is_dialled_again_and_again_with_growing_pauses() {
    let mut network = Network::of(1);
    network.connect(1, 7);
    network.seconds(600);
    // 1, 2, 4, … 32, 60, 60, … seconds give about 14 in ten minutes.
    let count = dials(&network, 1).len();
    assert!((10..=22).contains(&count), "{count}");
    let connection = network.machines[&1].connections()[0].clone();
    assert_eq!(connection.reason.as_deref(), Some("timed out"));
    assert!(connection.state != ConnectionState::Established);
    network.start(config(7, 1), identity(7));
    network.seconds(95);
    assert_eq!(network.reached(1), [7]);
}

#[test]
fn a_target_that_went_down_is_dialled_at_once() {
    let mut network = Network::of(2);
    network.connect(1, 2);
    network.seconds(10);
    network.cut(1, 2);
    network.heal(1, 2);
    network.pass(Duration::from_millis(300));
    assert_eq!(network.reached(1), [2]);
}

#[test]
fn a_target_that_is_ourselves_is_noted() {
    let mut network = Network::of(1);
    network.connect(1, 1);
    network.seconds(300);
    assert_eq!(dials(&network, 1).len(), 1);
    let connection = network.machines[&1].connections()[0].clone();
    assert_eq!(connection.reason.as_deref(), Some("it is this peer itself"));
    assert_eq!((connection.state, connection.peer), (ConnectionState::Failed, Some(peer(1))));
}

#[test]
fn forgotten_targets_are_dialled_no_more_and_keep_their_link() {
    let mut network = Network::of(2);
    network.connect(1, 2);
    network.connect(1, 7);
    network.seconds(5);
    let targets = vec![address(2).into(), address(7).into()];
    network.command(1, Command::Forget { targets });
    assert_eq!(network.reached(1), [2]);
    assert!(network.machines[&1].targets().is_empty());
    let before = dials(&network, 1).len();
    network.cut(1, 2);
    network.seconds(100);
    assert_eq!(dials(&network, 1).len(), before);
}

#[test]
fn targets_are_replaced_and_remembered() {
    let mut network = Network::of(1);
    network.connect(1, 7);
    let targets: Vec<Target> = vec![address(8).into()];
    network.command(1, Command::Connect { targets: targets.clone(), replace: true });
    network.seconds(1);
    assert_eq!(network.machines[&1].targets(), targets);
    let persisted = network.events[&1].iter().rev().find_map(|event| match event {
        Event::Persist(remembered) => Some(remembered.clone()),
        _ => None,
    });
    let persisted = persisted.unwrap();
    assert_eq!((persisted.targets, persisted.short_id), (targets, network.routes(1).local_short_id));
    assert!(persisted.sequence > 1000);
}

#[test]
fn peers_told_of_are_discovered() {
    let mut network = discovering(5);
    for number in 2..=5 {
        network.connect(number, 1);
    }
    network.seconds(10);
    for one in 1..=5 {
        for other in one + 1..=5 {
            assert_eq!(network.links_between(one, other), 1, "{one} {other}");
            if one > 1 {
                assert!(!dials(&network, other).contains(&address(one).into()), "the lower name dials");
            }
        }
    }
}

#[test]
fn the_higher_name_dials_when_the_lower_cannot() {
    let mut network = Network::new();
    for number in 1..=3 {
        let mut settings = config(number, 1);
        settings.discovery = true;
        if number == 3 {
            settings.endpoints.clear();
        }
        network.start(settings, identity(number));
    }
    network.connect(3, 1);
    network.connect(2, 1);
    network.seconds(10);
    assert_eq!(network.links_between(2, 3), 1);
}

#[test]
fn what_cannot_be_dialled_stays_reached_and_is_tried_for_ever() {
    let mut network = discovering(3);
    network.apart.insert((2, 3));
    network.connect(2, 1);
    network.connect(3, 1);
    network.seconds(3600);
    assert_eq!((network.reached(2), network.reached(3)), (vec![1, 3], vec![1, 2]));
    let count = dials(&network, 2).len();
    assert!((12..40).contains(&count), "{count} attempts in an hour");
    let failed = network.machines[&2].connections().into_iter().find(|c| c.peer == Some(peer(3))).unwrap();
    assert_eq!((failed.remote, failed.reason.as_deref()), (address(3).to_string(), Some("timed out")));
    assert!(failed.retry_in.is_none_or(|wait| wait <= Duration::from_secs(450)));
    network.heal(2, 3);
    network.seconds(460);
    assert_eq!(network.links_between(2, 3), 1);
}

#[test]
fn endpoints_are_tried_in_turn_and_senseless_ones_not_at_all() {
    let mut network = Network::new();
    for number in 1..=3 {
        let mut settings = config(number, 1);
        settings.discovery = number == 2;
        let senseless = "127.0.0.1:1 0.0.0.0:1 224.0.0.1:1 255.255.255.255:1 169.254.169.254:80 [::ffff:127.0.0.1]:1 [fe80::1]:1";
        settings.endpoints = senseless.split(' ').map(|e| e.parse().unwrap()).collect();
        settings.endpoints.extend([address(70), address(80), address(number)]);
        network.start(settings, identity(number));
    }
    network
        .machines
        .get_mut(&2)
        .unwrap()
        .handle_command(Command::SetEndpoints(vec![address(2)]), network.now);
    network.connect(3, 1);
    network.connect(2, 1);
    network.seconds(10);
    assert_eq!(network.links_between(2, 3), 1);
    let dialled = dials(&network, 2);
    assert_eq!(dialled, [1, 70, 80, 3].map(|n| Target::from(address(n))));
}

#[test]
fn discovery_stops_at_the_limit() {
    let mut network = Network::new();
    for number in 1..=8 {
        let mut settings = config(number, 1);
        settings.discovery = number == 8;
        settings.connection_limit = if number == 8 { 3 } else { 100 };
        network.start(settings, identity(number));
    }
    for number in 2..=8 {
        network.connect(number, 1);
    }
    network.seconds(100);
    assert_eq!(network.routes(8).neighbours.len(), 3);
    assert_eq!(network.reached(8), [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn at_most_so_many_dials_at_once() {
    let mut network = Network::of(1);
    let targets = (100..200).map(|n| address(n).into()).collect();
    network.command(1, Command::Connect { targets, replace: false });
    network.pass(Duration::from_millis(10));
    assert_eq!(dials(&network, 1).len(), 32);
    network.seconds(5);
    let distinct: std::collections::BTreeSet<_> = dials(&network, 1).into_iter().collect();
    assert_eq!(distinct.len(), 100, "all get their turn");
}

#[test]
fn a_dial_that_is_never_answered_is_given_up() {
    let mut network = Network::of(1);
    let mut machine = network.machines.remove(&1).unwrap();
    let targets = vec![address(9).into()];
    machine.handle_command(Command::Connect { targets, replace: true }, network.now);
    let answers = |machine: &mut crate::Mesh| {
        std::iter::from_fn(|| machine.poll_event()).filter(|e| matches!(e, Event::Dial { .. })).count()
    };
    assert_eq!(answers(&mut machine), 1);
    machine.handle_timeout(network.now + Duration::from_secs(60));
    machine.handle_timeout(network.now + Duration::from_secs(63));
    assert_eq!(answers(&mut machine), 1);
    assert_eq!(machine.connections()[0].state, ConnectionState::Retrying);
}

#[test]
fn after_an_outage_of_any_length_the_link_is_back_within_seconds() {
    for (outage, limit) in [(60, 6), (600, 6), (3000, 6)] {
        let mut network = Network::of(2);
        network.connect(1, 2);
        network.seconds(30);
        assert_eq!(network.links_between(1, 2), 1);
        network.cut(1, 2);
        network.seconds(outage);
        assert_eq!(network.links_between(1, 2), 0);
        network.heal(1, 2);
        network.seconds(limit);
        assert_eq!(network.links_between(1, 2), 1, "after {outage} s");
    }
}
