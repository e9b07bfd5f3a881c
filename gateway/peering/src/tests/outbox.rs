//! A busy program is told the newest of each kind, and nothing twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use weave_mesh::Remembered;
use weave_model::{Forwarding, PeerName, Routes, ShortId};

use crate::Event;
use crate::outbox::Outbox;

fn picture(version: u64) -> Forwarding {
    let routes = Arc::new(Routes {
        version,
        local: PeerName::new([2; 6]),
        local_short_id: None,
        peers: BTreeMap::new(),
        neighbours: BTreeMap::new(),
        trees: BTreeMap::new(),
    });
    Forwarding { routes, adjacencies: BTreeMap::new() }
}

#[test]
fn the_newest_of_each_kind_is_told_once() {
    let mut outbox = Outbox::default();
    assert!(outbox.is_empty());
    for sequence in 1..=100 {
        outbox.publish(picture(sequence));
        outbox.persist(Remembered { sequence, ..Remembered::default() });
        outbox.free(ShortId::new((sequence % 2) as u16).unwrap());
        outbox.clone_seen(PeerName::new([2; 6]));
    }
    let mut told = Vec::new();
    while let Some(event) = outbox.pop() {
        told.push(event);
    }
    assert!(outbox.is_empty());
    let [
        Event::ShortIdFreed(zero),
        Event::ShortIdFreed(one),
        Event::Forwarding(picture_told),
        Event::Persist(remembered),
        Event::Clone(_),
    ] = told.as_slice()
    else {
        panic!("{told:?}")
    };
    assert_eq!((zero.number(), one.number()), (0, 1));
    assert_eq!((picture_told.routes.version, remembered.sequence), (100, 100));
    outbox.publish(picture(100));
    assert!(outbox.is_empty(), "the same picture is no news");
    outbox.publish(picture(101));
    assert!(!outbox.is_empty());
    outbox.close();
    assert!(outbox.is_empty());
}
