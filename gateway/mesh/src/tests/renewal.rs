//! Certificates and CAs that change while links are up: nothing moves but whom the new CAs do not know.

use std::time::Duration;

use weave_model::NetworkName;
use weave_trust::{Identity, NetworkCa, Trust};

use super::network::Network;
use super::peer;
use super::records::{ca, identity, issued, record, sign};
use crate::records::{Certified, News, Records};
use crate::refused::BadContent;
use crate::{CloseReason, Event};

fn next_ca() -> NetworkCa {
    NetworkCa::from_seed(NetworkName::default(), [9; 32])
}

/// The identity of peer `number`, of the same key, in the second epoch.
fn next(number: u16) -> Identity {
    next_ca().issue(peer(number), identity(number).key(), 2)
}

fn both() -> Trust {
    ca().trust().joined(&next_ca().trust())
}

/// A row of four, where everything between 1 and 4 is relayed, at rest.
fn row() -> Network {
    let mut network = Network::of(4);
    network.apart.extend([(1, 3), (1, 4), (2, 4)]);
    for number in 1..4 {
        network.connect(number, number + 1);
    }
    network.seconds(5);
    assert_eq!(network.reached(1), [2, 3, 4]);
    network.events.values_mut().for_each(Vec::clear);
    network
}

/// What would move frames: links that end, and pictures that say something new.
fn moved(network: &Network) -> Vec<&Event> {
    let moves = |event: &&Event| !matches!(event, Event::Persist(_));
    network.events.values().flatten().filter(moves).collect()
}

#[test]
fn a_whole_change_of_the_ca_moves_nothing() {
    let mut network = row();
    for number in 1..=4 {
        network.renew(number, identity(number), both());
        network.pass(Duration::from_millis(7));
    }
    for number in [3, 1, 4, 2] {
        let before = network.machines[&number].records().version(peer(number)).unwrap();
        network.renew(number, next(number), both());
        let after = network.machines[&number].records().version(peer(number)).unwrap();
        assert!(after.sequence > before.sequence, "it is published at once");
        network.pass(Duration::from_millis(7));
    }
    network.seconds(1);
    for number in 1..=4 {
        for other in 1..=4 {
            let known = network.machines[&number].records().certificate(peer(other)).unwrap();
            assert_eq!(known.certificate(), next(other).certificate(), "{other} at {number}");
        }
    }
    for number in [2, 4, 1, 3] {
        network.renew(number, next(number), next_ca().trust());
        network.pass(Duration::from_millis(7));
    }
    network.seconds(30);
    assert!(moved(&network).is_empty(), "{:?}", moved(&network));
    assert!(network.agree());
    assert_eq!(network.reached(4), [1, 2, 3]);
    // What was true of the first epoch's links is true of new ones.
    network.cut(2, 3);
    network.heal(2, 3);
    network.seconds(10);
    assert_eq!(network.reached(1), [2, 3, 4]);
}

#[test]
fn whoever_missed_the_change_is_out() {
    let mut network = row();
    (1..=4).for_each(|number| network.renew(number, identity(number), both()));
    (1..=3).for_each(|number| network.renew(number, next(number), both()));
    network.seconds(1);
    network.renew(3, next(3), next_ca().trust());
    network.seconds(1);
    assert_eq!(network.reached(3), [1, 2]);
    assert_eq!(network.links_between(3, 4), 0);
    let untrusted = |e: &&Event| matches!(e, Event::CloseLink { reason: CloseReason::Untrusted, .. });
    assert_eq!(network.events[&3].iter().filter(untrusted).count(), 1);
    let before = network.messages;
    network.seconds(120);
    let messages = network.messages - before;
    assert!(messages < 1000, "{messages} messages about a stranger");
    assert_eq!(network.links_between(3, 4), 0, "nor is it let in again");
    assert_eq!(network.reached(4), []);
    network.renew(4, next(4), both());
    network.seconds(120);
    assert_eq!(network.reached(4), [1, 2, 3], "a new certificate brings it back");
}

#[test]
fn what_is_no_renewal_changes_nothing() {
    let mut network = row();
    let now = network.now;
    let machine = network.machines.get_mut(&1).unwrap();
    for (wrong, trust) in [(issued(1, 99, 2), ca().trust()), (identity(1), next_ca().trust())] {
        assert!(machine.handle_renewal(wrong, trust, now).is_err());
    }
    assert_eq!(machine.records().certificate(peer(1)).unwrap().certificate(), identity(1).certificate());
    network.seconds(30);
    assert!(moved(&network).is_empty(), "{:?}", moved(&network));
}

#[test]
fn a_record_outlives_the_certificate_it_came_with() {
    let mut records = Records::new(both(), peer(1));
    for number in [1, 4, 5] {
        records.accept_certificate(identity(number).certificate()).unwrap();
        if number != 1 {
            records.accept(sign(record(number, 9), &identity(number))).unwrap();
        }
    }
    let before = records.version(peer(4));
    let renewed = records.accept_certificate(next(4).certificate());
    assert_eq!(renewed, Ok((peer(4), Certified::Renewed)));
    assert_eq!(records.get(peer(4)).unwrap().record().sequence, 9);
    assert!(records.version(peer(4)) > before, "so that others ask for it");
    assert_eq!(records.accept_certificate(identity(4).certificate()), Ok((peer(4), Certified::Outdated)));
    assert_eq!(records.accept(sign(record(4, 10), &next(4))), Ok(News::Newer));

    assert_eq!(records.renew(next_ca().trust(), identity(1).certificate()), Err(BadContent::Certificate));
    assert_eq!(records.renew(next_ca().trust(), next(1).certificate()), Ok(vec![peer(5)]));
    assert!(records.get(peer(4)).is_some() && records.get(peer(5)).is_none());
    assert_eq!(records.accept_certificate(identity(5).certificate()), Err(BadContent::Certificate));
}
