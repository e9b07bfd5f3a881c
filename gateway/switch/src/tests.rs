//! Verdicts, ageing, moves, a full table, and the table against a map.

use std::collections::HashMap;

use proptest::prelude::*;
use weave_model::{Mac, ShortId};

use crate::{Config, DropReason, Location, Switch, Verdict};

fn id(number: u16) -> ShortId {
    ShortId::new(number).unwrap()
}

fn mac(last: u16) -> Mac {
    let [a, b] = last.to_be_bytes();
    Mac([2, 0, 0, 0, a, b])
}

fn frame(destination: Mac, source: Mac) -> Vec<u8> {
    [&destination.0[..], &source.0[..], &[8, 0, 1, 2, 3]].concat()
}

fn switch(mac_capacity: usize) -> Switch {
    Switch::new(Config { mac_capacity, mac_age: 600, seed: 7 })
}

#[test]
fn frames_follow_what_was_learned() {
    let s = switch(64);
    assert_eq!(s.local_frame(&frame(Mac::BROADCAST, mac(1)), 0), Verdict::Flood);
    assert_eq!(s.local_frame(&frame(mac(2), mac(1)), 0), Verdict::Flood);
    assert_eq!(s.remote_frame(id(5), &frame(mac(1), mac(2)), 1), Verdict::Deliver);
    assert_eq!(s.local_frame(&frame(mac(2), mac(1)), 1), Verdict::Unicast(id(5)));
    assert_eq!(s.local_frame(&frame(mac(1), mac(3)), 1), Verdict::Drop(DropReason::Local));
    assert_eq!(s.local_frame(&frame(mac(2), mac(1)), 601), Verdict::Unicast(id(5)));
    assert_eq!(s.local_frame(&frame(mac(2), mac(1)), 602), Verdict::Flood);
}

#[test]
fn a_moved_address_is_followed_and_counted() {
    let s = switch(64);
    s.remote_frame(id(5), &frame(mac(1), mac(2)), 0);
    s.remote_frame(id(6), &frame(mac(1), mac(2)), 0);
    assert_eq!(s.local_frame(&frame(mac(2), mac(1)), 0), Verdict::Unicast(id(6)));
    assert_eq!((s.counters().moved, s.counters().learned), (1, 2));
    s.flush(id(6));
    assert_eq!(s.local_frame(&frame(mac(2), mac(1)), 0), Verdict::Flood);
    assert_eq!(s.macs(0).len(), 1);
    assert_eq!(s.macs(0)[0].location, Location::Local);
}

#[test]
fn what_no_bridge_forwards_is_dropped() {
    let s = switch(64);
    let bpdu = frame(Mac([1, 0x80, 0xc2, 0, 0, 0]), mac(1));
    assert_eq!(s.local_frame(&bpdu, 0), Verdict::Drop(DropReason::LinkLocal));
    assert_eq!(s.remote_frame(id(1), &bpdu, 0), Verdict::Drop(DropReason::LinkLocal));
    assert_eq!(s.local_frame(&[0; 13], 0), Verdict::Drop(DropReason::Malformed));
    assert_eq!(s.local_frame(&frame(mac(1), Mac::BROADCAST), 0), Verdict::Drop(DropReason::Malformed));
    assert_eq!((s.counters().link_local, s.counters().malformed), (2, 2));
    assert!(s.macs(0).is_empty());
}

#[test]
fn a_full_table_gives_up_the_longest_silent() {
    let s = switch(8);
    for n in 0..9 {
        s.remote_frame(id(n), &frame(mac(100), mac(n)), u32::from(n));
    }
    assert_eq!(s.counters().evicted, 1);
    let known: Vec<Mac> = s.macs(9).iter().map(|e| e.mac).collect();
    assert_eq!(known, (1..9).map(mac).collect::<Vec<_>>());
}

#[test]
fn threads_share_it_without_losing_addresses() {
    let s = switch(4096);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let s = &s;
            scope.spawn(move || {
                for n in 0..200 {
                    s.remote_frame(id(worker), &frame(mac(9999), mac(worker * 200 + n)), 0);
                }
            });
        }
    });
    // A race for one entry may cost an observation, never invent or misplace one.
    let macs = s.macs(0);
    assert!(macs.len() > 760, "{}", macs.len());
    for entry in macs {
        let n = entry.mac.to_u64() as u16;
        assert_eq!(entry.location, Location::Remote(id(n / 200)));
    }
}

proptest! {
    #[test]
    fn the_table_equals_a_map(events in prop::collection::vec((0u16..40, 0u16..4, 0u32..300), 1..200)) {
        let (s, mut map, mut now) = (switch(1024), HashMap::new(), 0);
        for (address, peer, wait) in events {
            now += wait;
            s.remote_frame(id(peer), &frame(mac(1000), mac(address)), now);
            map.insert(address, (peer, now));
            for (&known, &(at, seen)) in &map {
                let expected = if now - seen <= 600 { Verdict::Unicast(id(at)) } else { Verdict::Flood };
                prop_assert_eq!(s.local_frame(&frame(mac(known), mac(1000)), now), expected);
            }
        }
    }

    #[test]
    fn frames_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..40), now: u32) {
        let s = switch(0);
        s.local_frame(&bytes, now);
        s.remote_frame(id(1), &bytes, now);
    }
}

#[test]
fn peers_that_invent_addresses_leave_local_ones_alone() {
    let s = switch(8);
    for n in 0..8 {
        s.local_frame(&frame(Mac::BROADCAST, mac(n)), 0);
    }
    for n in 100..1000 {
        assert_eq!(s.remote_frame(id(1), &frame(Mac::BROADCAST, mac(n)), 5), Verdict::Deliver);
    }
    assert_eq!((s.counters().refused, s.counters().evicted), (900, 0));
    assert!(s.macs(5).iter().all(|entry| entry.location == Location::Local));
    s.remote_frame(id(1), &frame(Mac::BROADCAST, mac(100)), 601);
    assert_eq!(s.local_frame(&frame(mac(100), mac(1)), 601), Verdict::Unicast(id(1)), "silent ones may go");
}

#[test]
fn threads_that_learn_one_address_make_one_entry() {
    let s = switch(64);
    for round in 0..2000u16 {
        std::thread::scope(|scope| {
            for peer in 1..3 {
                let s = &s;
                scope.spawn(move || s.remote_frame(id(peer), &frame(Mac::BROADCAST, mac(round)), 0));
            }
        });
        let entries = s.macs(0).iter().filter(|entry| entry.mac == mac(round)).count();
        assert_eq!(entries, 1, "round {round}");
        s.flush(id(1));
        s.flush(id(2));
    }
}
