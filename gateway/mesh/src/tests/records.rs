//! Codec round trips, hostile bytes, and a store that does not care about order.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use weave_model::ShortId;
use weave_trust::{Identity, IdentityKey, NetworkCa};

use super::peer;
use crate::{Edge, Message, Record, Records, Refused, SignedRecord};

pub(super) const NOW: u64 = 1_790_000_000;

pub(super) fn ca() -> NetworkCa {
    NetworkCa::from_seed([1; 32])
}

pub(super) fn identity(number: u16) -> Identity {
    ca().issue(peer(number), &IdentityKey::from_seed([number as u8; 32]))
}

pub(super) fn record(number: u16, sequence: u64) -> Record {
    let edge = Edge { rtt: Duration::from_micros(1500), mtu: 1400 };
    Record {
        peer: peer(number),
        sequence,
        uid: 7,
        nickname: format!("host-{number}"),
        site: "aws".to_owned(),
        version: "0".to_owned(),
        short_id: ShortId::new(number),
        wireguard_key: [number as u8; 32],
        endpoints: vec!["192.0.2.1:6783".parse().unwrap(), "[2001:db8::1]:6783".parse().unwrap()],
        neighbours: BTreeMap::from([(peer(number ^ 1), edge)]),
    }
}

fn signed(number: u16, sequence: u64) -> SignedRecord {
    SignedRecord::sign(record(number, sequence), &identity(number))
}

fn store(members: &[u16]) -> Records {
    let mut records = Records::new(ca().trust());
    for &member in members {
        records.accept_certificate(identity(member).certificate(), NOW).unwrap();
    }
    records
}

#[test]
fn messages_survive() {
    for message in [
        Message::Hello { lowest: 1, highest: 3 },
        Message::Certificate(vec![1, 2, 3]),
        Message::Record(signed(4, 9)),
        Message::Digest(u64::MAX),
        Message::Summary(vec![(peer(1), 5), (peer(2), 6)]),
        Message::Want(vec![peer(3)]),
    ] {
        let bytes = message.encode();
        assert_eq!(Message::decode(&bytes).as_ref(), Ok(&message));
        let mut longer = bytes.clone();
        longer.push(0);
        assert_ne!(Message::decode(&longer), Ok(message));
    }
    assert_eq!(Message::decode(&[99, 1]), Err(Refused::UnknownKind));
}

#[test]
fn a_record_cut_short_is_refused() {
    let bytes = Message::Record(signed(4, 9)).encode();
    for length in 0..bytes.len() {
        assert_eq!(Message::decode(&bytes[..length]), Err(Refused::Malformed), "{length}");
    }
}

#[test]
fn our_own_records_are_cut_to_their_bounds() {
    let mut long = record(4, 9);
    long.nickname = "ä".repeat(100);
    long.endpoints = vec!["192.0.2.1:1".parse().unwrap(); 99];
    long.neighbours = (1000..4000).map(|n| (peer(n), Edge { rtt: Duration::MAX, mtu: 1 })).collect();
    let signed = SignedRecord::sign(long, &identity(4));
    assert_eq!(signed.record().nickname.len(), 64);
    assert_eq!(Message::decode(&Message::Record(signed.clone()).encode()), Ok(Message::Record(signed)));
}

#[test]
fn versions_only_grow() {
    let mut records = store(&[4]);
    assert_eq!(records.accept(signed(4, 9)), Ok(true));
    assert_eq!(records.accept(signed(4, 9)), Ok(false));
    assert_eq!(records.accept(signed(4, 8)), Ok(false));
    assert_eq!(records.accept(signed(4, 10)), Ok(true));
    assert_eq!(records.summary(), [(peer(4), 10)]);
    assert_eq!(records.newer_than(&[(peer(4), 9)]), [peer(4)]);
    assert_eq!(records.newer_than(&[(peer(4), 10)]), []);
}

#[test]
fn nobody_speaks_for_another() {
    let mut records = store(&[4, 5]);
    let forged = SignedRecord::sign(record(4, 9), &identity(5));
    assert_eq!(records.accept(forged), Err(Refused::Signature));
    assert_eq!(records.accept(signed(6, 1)), Err(Refused::NoCertificate));
    let stranger = NetworkCa::from_seed([2; 32]).issue(peer(6), &IdentityKey::from_seed([6; 32]));
    assert_eq!(records.accept_certificate(stranger.certificate(), NOW), Err(Refused::Certificate));
    assert!(records.summary().is_empty());
}

proptest! {
    #[test]
    fn stores_agree_whatever_the_order(order in Just(vec![(4, 1), (4, 2), (4, 3), (5, 7), (5, 2)]).prop_shuffle()) {
        let mut records = store(&[4, 5]);
        for (number, sequence) in order {
            records.accept(signed(number, sequence)).unwrap();
        }
        prop_assert_eq!(records.summary(), [(peer(4), 3), (peer(5), 7)]);
        let mut other = store(&[4, 5]);
        other.accept(signed(5, 7)).unwrap();
        prop_assert_ne!(other.digest(), records.digest());
        other.accept(signed(4, 3)).unwrap();
        prop_assert_eq!(other.digest(), records.digest());
        prop_assert_eq!(other.graph(), records.graph());
    }

    #[test]
    fn a_changed_record_is_refused(at: usize, bit in 0u8..8) {
        let mut bytes = Message::Record(signed(4, 9)).encode();
        let at = 1 + at % (bytes.len() - 1);
        bytes[at] ^= 1 << bit;
        if let Ok(Message::Record(record)) = Message::decode(&bytes) {
            prop_assert!(store(&[4, 5]).accept(record).is_err());
        }
    }

    #[test]
    fn messages_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0u8..8) {
        let _ = Message::decode(&bytes);
        let _ = Message::decode(&[&[kind][..], &bytes].concat());
    }
}
