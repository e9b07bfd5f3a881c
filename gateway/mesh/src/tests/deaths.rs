//! An operator says that a peer is dead.

use weave_model::ShortId;

use super::network::{Network, address, config};
use super::peer;
use super::records::{identity, issued};
use crate::{Event, NotDead};

/// Three machines in a row, of which the last discovers the others; 1 and 3 reach each other by way of 2.
fn row() -> Network {
    let mut network = Network::new();
    network.apart.insert((1, 3));
    for number in 1..=3 {
        let mut settings = config(number, 1);
        settings.discovery = true;
        settings.short_id = ShortId::new(number);
        network.start(settings, identity(number));
    }
    network.connect(1, 2);
    network.connect(3, 2);
    network.seconds(5);
    assert_eq!(network.reached(1), [2, 3]);
    network
}

fn declare(network: &mut Network, by: u16, who: &str) -> Result<u16, String> {
    let now = network.now;
    let declared = network.machines.get_mut(&by).unwrap().handle_death(who, now);
    declared.map(super::network::number_of).map_err(|error| error.to_string())
}

fn dials_of(network: &Network, number: u16, to: u16) -> usize {
    let target = address(to).into();
    let dial = |event: &&Event| matches!(event, Event::Dial { target: t, .. } if *t == target);
    network.events[&number].iter().filter(dial).count()
}

#[test]
fn a_dead_peer_is_forgotten_at_once_and_for_good() {
    let mut network = row();
    network.kill(3);
    network.seconds(20);
    assert!(network.machines[&1].records().get(peer(3)).is_some());
    assert!(dials_of(&network, 1, 3) > 0);
    assert_eq!(declare(&mut network, 1, "host-3"), Ok(3));
    let known = |network: &Network, at: u16| {
        let records = network.machines[&at].records();
        records.get(peer(3)).is_some() || records.certificate(peer(3)).is_some()
    };
    assert!(!known(&network, 1), "at once");
    network.seconds(1);
    assert!(network.events[&1].contains(&Event::ShortIdFreed(ShortId::new(3).unwrap())));
    // Machine 2, which was told nothing, offers what it knows with every comparison.
    let dials = dials_of(&network, 1, 3);
    for _ in 0..25 {
        network.seconds(60);
        assert!(known(&network, 2) && network.machines[&1].records().get(peer(3)).is_none());
    }
    assert_eq!(dials_of(&network, 1, 3), dials, "nobody dials the dead");
    assert!(network.machines[&1].connections().iter().all(|c| c.peer != Some(peer(3))));
    assert_eq!(
        declare(&mut network, 1, "host-3").unwrap_err(),
        NotDead::Unknown("host-3".to_owned()).to_string()
    );
    assert_eq!(declare(&mut network, 2, &peer(3).to_string()), Ok(3));
    network.seconds(30);
    assert!(network.agree() && !known(&network, 1) && !known(&network, 2));
}

#[test]
fn who_lives_is_not_declared_dead() {
    let mut network = row();
    let name = peer(3);
    assert_eq!(
        declare(&mut network, 1, "host-3"),
        Err(format!("{name}(host-3) is alive: reachable via host-2; stop it first"))
    );
    assert_eq!(
        declare(&mut network, 2, "host-3"),
        Err(format!("{name}(host-3) is alive: a link with it is up; stop it first"))
    );
    assert_eq!(
        declare(&mut network, 1, "host-9"),
        Err("no peer is called 'host-9'; see `weave status peers`".to_owned())
    );
    let own = declare(&mut network, 1, "host-1").unwrap_err();
    assert!(own.contains("this very peer"), "{own}");
    assert_eq!(network.reached(1), [2, 3]);
}

/// A machine whose probes of a neighbour fail is not linked with it in anybody's graph; its links stand nevertheless.
#[test]
fn a_link_over_which_no_frames_pass_is_a_sign_of_life() {
    let mut network = row();
    network.report(2, 3, false, 1000);
    network.report(3, 2, false, 1000);
    network.seconds(1);
    let said = declare(&mut network, 2, "host-3").unwrap_err();
    assert!(said.contains("is alive: a link with it is up"), "{said}");
}

#[test]
fn two_peers_of_one_nickname_are_told_apart_by_name() {
    let mut network = row();
    let mut twin = config(4, 1);
    twin.nickname = "host-3".to_owned();
    network.start(twin, identity(4));
    network.connect(4, 2);
    network.seconds(2);
    network.kill(3);
    network.seconds(5);
    let said = declare(&mut network, 1, "host-3").unwrap_err();
    assert_eq!(said, format!("2 peers are called 'host-3'; say which by its name: {}, {}", peer(3), peer(4)));
    assert_eq!(declare(&mut network, 1, &peer(3).to_string()), Ok(3));
    assert!(network.machines[&1].records().get(peer(4)).is_some());
}

#[test]
fn whoever_comes_back_is_taken_in_again() {
    // As it was, after its clock was set back, and with a key of its own.
    for (uid, identity) in [(5, identity(3)), (0, identity(3)), (0, issued(3, 1, 2))] {
        let mut network = row();
        network.kill(3);
        network.seconds(20);
        (1..=2).for_each(|by| assert_eq!(declare(&mut network, by, "host-3"), Ok(3)));
        network.seconds(20);
        let mut settings = config(3, 1);
        (settings.uid, settings.sequence) = (100 + uid, 1000 * uid);
        network.start(settings, identity);
        network.connect(3, 2);
        network.seconds(30);
        assert_eq!(network.reached(1), [2, 3], "{uid}");
        assert!(network.agree());
    }
}

/// An operator errs: the peer stood behind a cut that is mended.
#[test]
fn an_error_is_mended_with_the_first_link() {
    let mut network = row();
    network.cut(2, 3);
    network.seconds(10);
    (1..=2).for_each(|by| assert_eq!(declare(&mut network, by, "host-3"), Ok(3)));
    network.heal(2, 3);
    network.seconds(60);
    assert_eq!(network.reached(1), [2, 3]);
    assert_eq!(network.reached(3), [1, 2]);
    assert!(network.agree());
}
