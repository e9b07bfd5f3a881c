//! What may come out of a session, probes, and parts of packets.

use std::hash::Hasher as _;

use proptest::prelude::*;
use siphasher::sip::SipHasher24;
use weave_model::{Egress, ShortId};

use super::id;
use crate::{
    Accepted, Ends, Envelope, EnvelopeError, Fragments, Inner, Probe, Reassembly, Refusal, TunnelError,
    accept,
};

const US: Ends = Ends { local: ID[1], peer: ID[2] };
const ID: [ShortId; 5] = {
    let mut ids = [ShortId::new(0).unwrap(); 5];
    let mut n = 0;
    while n < 5 {
        ids[n] = ShortId::new(n as u16).unwrap();
        n += 1;
    }
    ids
};

#[test]
fn only_the_ends_and_the_tree_are_believed() {
    let genuine =
        Inner { sender: ID[2], receiver: ID[1], ingress: ID[2], egress: Egress::Peer(ID[1]), ttl: 64 };
    // Peer 2 is our parent in the trees of 2 and 3; in that of 4 it is somebody else.
    let parent = |ingress| {
        [(ID[2], ID[2]), (ID[3], ID[2]), (ID[4], ID[3])].into_iter().find(|p| p.0 == ingress).map(|p| p.1)
    };
    let check = |inner: Inner, expected| assert_eq!(accept(&inner, US, parent), expected, "{inner:?}");
    check(genuine, Ok(Accepted::Unicast));
    check(Inner { sender: ID[3], ..genuine }, Err(Refusal::OtherSession));
    check(Inner { receiver: ID[3], ..genuine }, Err(Refusal::OtherSession));
    check(Inner { ingress: ID[3], ..genuine }, Err(Refusal::ForeignIngress));
    check(Inner { egress: Egress::Peer(ID[3]), ..genuine }, Err(Refusal::NotForUs));
    let tree = |ingress| Inner { ingress, egress: Egress::Everybody, ..genuine };
    check(tree(ID[2]), Ok(Accepted::Tree));
    check(tree(ID[3]), Ok(Accepted::Tree));
    check(tree(ID[4]), Err(Refusal::NotOurParent));
    check(tree(ID[0]), Err(Refusal::NotOurParent));
    check(tree(ID[1]), Err(Refusal::NotOurParent));
}

#[test]
fn everybody_is_nobody_to_enter_at_or_to_relay_for() {
    let inner =
        Inner { sender: id(1), receiver: id(2), ingress: id(0xffe), egress: Egress::Peer(id(2)), ttl: 9 };
    let mut packet = [0; 50];
    assert!(inner.write(&mut packet, 0, 0));
    packet[34] = 0xff;
    assert_eq!(Inner::parse(&packet), Err(TunnelError::ForeignAddress));
    let sealed = |to_high: u8, from_low: u8| {
        let fields = [0x11, 5, to_high, 0xf0 | from_low, 0xff, 0];
        let mut hasher = SipHasher24::new_with_key(&[9; 16]);
        hasher.write(&fields);
        hasher.write(&[4, 0, 0, 0]);
        hasher.write(&[0, 4]);
        [&fields[..], &hasher.finish().to_be_bytes()[..6], &[4, 0, 0, 0]].concat()
    };
    assert_eq!(Envelope::open(&sealed(0, 0), &[9; 16]).map(|(e, _)| (e.to, e.from)), Ok((id(0xf), id(0xff))));
    assert_eq!(Envelope::open(&sealed(0xff, 0), &[9; 16]), Err(EnvelopeError::NotAPeer));
    assert_eq!(Envelope::open(&sealed(0, 0xf), &[9; 16]), Err(EnvelopeError::NotAPeer));
    assert_eq!((Envelope::first_ttl(0), Envelope::first_ttl(2), Envelope::first_ttl(99)), (4, 6, 63));
}

#[test]
fn probes_are_these_bytes() {
    let probe = Probe { sender: id(1), receiver: id(2), reply: false, identifier: 0x0a0b, sequence: 0x0c0d };
    let mut packet = [7; 40];
    assert!(probe.write(&mut packet));
    let expected = [
        0x45, 0, 0, 40, 0x0c, 0x0d, 0, 0, 64, 1, 0xa5, 0xc7, 100, 127, 0, 1, 100, 127, 0, 2, // IPv4
        8, 0, 0xe1, 0xe7, 0x0a, 0x0b, 0x0c, 0x0d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // ICMP
    ];
    assert_eq!(packet, expected);
    assert_eq!(Probe::parse(&packet), Ok(probe));
    assert_eq!(Inner::parse(&packet), Err(TunnelError::NotAFrame));
    packet[39] = 1;
    assert_eq!(Probe::parse(&packet), Err(TunnelError::BadChecksum));
    assert!(!probe.write(&mut [0; 27]));
}

fn packet(fill: u8, length: usize, identification: u16) -> Vec<u8> {
    let mut packet = vec![fill; length];
    let inner =
        Inner { sender: id(1), receiver: id(2), ingress: id(1), egress: Egress::Peer(id(2)), ttl: 64 };
    assert!(inner.write(&mut packet, 3, identification));
    packet
}

fn parts(packet: &[u8], mtu: usize) -> Vec<Vec<u8>> {
    let (mut fragments, mut buffer, mut out) = (Fragments::new(packet, mtu).unwrap(), [0; 9000], Vec::new());
    while let Some(length) = fragments.next_into(&mut buffer) {
        assert!(length <= mtu);
        out.push(buffer[..length].to_vec());
    }
    out
}

#[test]
fn two_packets_in_flight_do_not_mix() {
    let (one, other) = (packet(1, 1400, 1), packet(2, 1400, 2));
    let (a, b) = (parts(&one, 700), parts(&other, 700));
    assert_eq!(a.len(), 3);
    let mut reassembly = Reassembly::default();
    for (x, y) in a.iter().zip(&b).take(2) {
        assert_eq!(Inner::parse(x), Err(TunnelError::Fragment));
        assert_eq!(reassembly.push(x, 5), Ok(None));
        assert_eq!(reassembly.push(y, 5), Ok(None));
    }
    assert_eq!(reassembly.push(&a[2], 6), Ok(Some(&one[..])));
    assert_eq!(reassembly.push(&b[2], 6), Ok(Some(&other[..])));
}

#[test]
fn late_doubled_and_overlapping_parts_are_refused() {
    let a = parts(&packet(1, 1400, 1), 700);
    let mut late = Reassembly::default();
    assert_eq!(late.push(&a[0], 0), Ok(None));
    assert_eq!(late.push(&a[1], 101), Ok(None), "the first part is forgotten");
    assert_eq!(late.push(&a[2], 101), Ok(None));
    let mut doubled = Reassembly::default();
    assert_eq!(doubled.push(&a[0], 0), Ok(None));
    assert_eq!(doubled.push(&a[0], 0), Err(TunnelError::NotAFrame));
    let other = parts(&packet(2, 1400, 1), 500);
    let mut overlapping = Reassembly::default();
    assert_eq!(overlapping.push(&a[0], 0), Ok(None));
    assert_eq!(overlapping.push(&other[1], 0), Err(TunnelError::NotAFrame));
}

#[test]
fn a_flood_of_beginnings_takes_no_memory() {
    let mut reassembly = Reassembly::default();
    for identification in 0..1000 {
        assert_eq!(reassembly.push(&parts(&packet(1, 1400, identification), 700)[0], 0), Ok(None));
    }
    assert!(size_of_val(&reassembly) < 1024);
    let last = parts(&packet(1, 1400, 999), 700);
    assert_eq!(reassembly.push(&last[2], 1), Ok(None));
    assert!(reassembly.push(&last[1], 1).unwrap().is_some(), "the newest is kept, in any order");
}

proptest! {
    #[test]
    fn parts_in_any_order_make_the_whole(length in 36usize..9000, mtu in 576usize..1500, order: u64) {
        let whole = packet(9, length, 77);
        let mut parts = parts(&whole, mtu);
        let count = parts.len();
        for at in 0..count {
            parts.swap(at, (order as usize).wrapping_mul(at + 7) % count);
        }
        let mut reassembly = Reassembly::default();
        for (at, part) in parts.iter().enumerate() {
            let done = reassembly.push(part, 0).unwrap().map(<[u8]>::to_vec);
            prop_assert_eq!(done, (at + 1 == count).then(|| whole.clone()));
        }
    }
}
