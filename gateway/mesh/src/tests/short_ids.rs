//! Short ids and our own record: collisions, steps of round trips, expiry.

use std::time::Duration;

use weave_model::{PeerName, ShortId};

use super::network::{Network, address, config};
use super::peer;
use super::records::identity;
use crate::originate::quantised;
use crate::{Event, Mesh};

fn claiming(network: &mut Network, number: u16, uid: u64, id: u16) {
    let mut settings = config(number, uid);
    settings.short_id = ShortId::new(id);
    network.start(settings, identity(number));
}

fn freed(network: &Network, number: u16) -> Vec<ShortId> {
    let freed = |event: &Event| match event {
        Event::ShortIdFreed(id) => Some(*id),
        _ => None,
    };
    network.events[&number].iter().filter_map(freed).collect()
}

fn sequence(machine: &Mesh, name: PeerName) -> u64 {
    machine.records().get(name).unwrap().record().sequence
}

#[test]
fn the_lowest_name_keeps_a_contested_short_id() {
    let mut network = Network::new();
    (1..=3).for_each(|number| claiming(&mut network, number, 1, 7));
    claiming(&mut network, 4, 1, 8);
    network.apart.insert((1, 2));
    for number in [1, 2, 4] {
        network.connect(number, 3);
    }
    network.seconds(2);
    let ids: Vec<_> = (1..=4).map(|n| network.routes(n).local_short_id.unwrap()).collect();
    assert_eq!((ids[0], ids[3]), (ShortId::new(7).unwrap(), ShortId::new(8).unwrap()));
    assert!(ids[1] != ids[2] && !ids[1..3].contains(&ids[0]) && !ids[1..3].contains(&ids[3]));
    for number in 1..=4 {
        for (name, route) in &network.routes(number).peers {
            let owner = usize::from(super::network::number_of(*name)) - 1;
            assert_eq!(route.short_id, Some(ids[owner]), "as {number} sees {name}");
        }
    }
    // Machine 4 saw 7 change hands, whatever came first; nobody ever lost 8.
    assert!(!freed(&network, 4).contains(&ShortId::new(8).unwrap()));
    assert!(freed(&network, 3).contains(&ShortId::new(7).unwrap()));
}

#[test]
fn a_short_id_is_freed_when_its_peer_takes_another_or_goes() {
    let mut network = Network::new();
    claiming(&mut network, 1, 1, 5);
    claiming(&mut network, 2, 1, 6);
    network.connect(2, 1);
    network.seconds(1);
    assert_eq!(freed(&network, 1), []);
    network.kill(2);
    claiming(&mut network, 2, 2, 9);
    network.connect(2, 1);
    network.seconds(1);
    assert_eq!(freed(&network, 1), [ShortId::new(6).unwrap()]);
    network.command(2, crate::Command::Leave);
    network.seconds(1);
    assert_eq!(freed(&network, 1), [6, 9].map(|id| ShortId::new(id).unwrap()));
}

#[test]
fn a_short_id_nobody_remembers_is_picked_by_chance() {
    let network = Network::of(20);
    let picked: std::collections::BTreeSet<_> = (1..=20).map(|n| network.routes(n).local_short_id).collect();
    assert!(picked.len() > 15 && !picked.contains(&None));
}

#[test]
fn jitter_is_no_news() {
    let mut network = Network::of(2);
    network.connect(1, 2);
    network.report(1, 2, true, 1000);
    network.seconds(2);
    network.report(1, 2, true, 1000);
    network.seconds(2);
    let before = sequence(&network.machines[&2], peer(1));
    for round in 0..50 {
        network.report(1, 2, true, 930 + 3 * (round % 50));
        network.seconds(2);
    }
    assert_eq!(sequence(&network.machines[&2], peer(1)), before);
    network.report(1, 2, true, 3000);
    network.seconds(2);
    assert_eq!(sequence(&network.machines[&2], peer(1)), before + 1);
}

#[test]
fn measurements_are_published_at_most_every_second() {
    let mut network = Network::of(2);
    network.connect(1, 2);
    network.seconds(2);
    let before = sequence(&network.machines[&2], peer(1));
    for round in 0..100 {
        network.report(1, 2, true, if round % 2 == 0 { 1000 } else { 9000 });
        network.pass(Duration::from_millis(100));
    }
    let versions = sequence(&network.machines[&2], peer(1)) - before;
    assert!((3..=11).contains(&versions), "{versions} versions in ten seconds");
}

#[test]
fn steps_are_a_fifth_and_stick() {
    let micros = Duration::from_micros;
    for (rtt, last) in [(1, 1000), (900, 1000), (2020, 2000), (2580, 2000), (1560, 2000)] {
        assert_eq!(quantised(micros(rtt), Some(micros(last))), micros(last), "{rtt} after {last}");
    }
    let mut steps: Vec<Duration> = (1000..100_000).map(|rtt| quantised(micros(rtt), None)).collect();
    steps.dedup();
    for pair in steps.windows(2) {
        let factor = pair[1].as_secs_f64() / pair[0].as_secs_f64();
        assert!((1.18..1.22).contains(&factor), "{pair:?}");
    }
    let next = quantised(micros(2700), Some(micros(2000)));
    assert!(next > micros(2400) && next < micros(3000));
    assert!(quantised(Duration::MAX, None) > Duration::from_secs(4000));
}

#[test]
fn a_peer_out_of_reach_for_long_is_forgotten_and_comes_back() {
    let mut network = Network::of(4);
    network.apart.extend([(1, 3), (1, 4), (2, 4)]);
    for number in 1..=3 {
        network.connect(number, number + 1);
    }
    network.seconds(10);
    assert_eq!(network.reached(1), [2, 3, 4]);
    network.cut(2, 3);
    network.seconds(29 * 60);
    assert!(network.machines[&1].records().get(peer(4)).is_some());
    network.seconds(2 * 60);
    for (number, gone) in [(1, 3), (1, 4), (2, 3), (3, 1), (4, 2)] {
        assert!(network.machines[&number].records().get(peer(gone)).is_none(), "{number} {gone}");
    }
    // A newcomer on one side is told nothing of the other; when the cut heals all are there at once, although nobody
    // but the two ends of the link has published anything new.
    network.start(config(5, 1), identity(5));
    network.connect(5, 1);
    network.seconds(5);
    assert_eq!(network.reached(5), [1, 2]);
    network.heal(2, 3);
    network.seconds(80);
    for number in 1..=5 {
        assert_eq!(network.reached(number).len(), 4, "{number}");
    }
    assert!(network.agree());
}

#[test]
fn loopback_is_dialled_only_among_those_on_it() {
    let on_loopback = |port: u16| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    for (own, dialled) in [(on_loopback(1), true), (address(2), false)] {
        let mut network = Network::new();
        for number in 1..=3 {
            let mut settings = config(number, 1);
            settings.discovery = number == 2;
            settings.endpoints = if number == 2 { vec![own] } else { vec![on_loopback(7000 + number)] };
            network.start(settings, identity(number));
        }
        network.connect(2, 1);
        network.connect(3, 1);
        network.seconds(5);
        let target = on_loopback(7003).into();
        let tried =
            network.events[&2].iter().any(|e| matches!(e, Event::Dial { target: t, .. } if *t == target));
        assert_eq!(tried, dialled);
    }
}
