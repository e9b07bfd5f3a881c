//! Codec round trips, hostile bytes, and a store that does not care about order.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use weave_model::{NetworkName, ShortId};
use weave_trust::{Identity, IdentityKey, NetworkCa};

use super::peer;
use crate::codec::{MAX_MESSAGE, MAX_SUMMARY, Message, SignedBytes};
use crate::records::{Certified, News};
use crate::refused::BadContent;
use crate::{Edge, Record, Records, Refused, SignedRecord, Version};

pub(super) fn ca() -> NetworkCa {
    NetworkCa::from_seed(NetworkName::default(), [1; 32])
}

/// The identity of peer `number`; another `key` is another life of it.
pub(super) fn issued(number: u16, key: u8, issue: u64) -> Identity {
    let mut seed = [key; 32];
    seed[..2].copy_from_slice(&number.to_be_bytes());
    ca().issue(peer(number), &IdentityKey::from_seed(seed), issue)
}

pub(super) fn identity(number: u16) -> Identity {
    issued(number, 0, 1)
}

pub(super) fn record(number: u16, sequence: u64) -> Record {
    let edge = Edge { rtt: Duration::from_micros(1500), mtu: 1400 };
    Record {
        peer: peer(number),
        sequence,
        uid: 7,
        leaving: false,
        nickname: format!("host-{number}"),
        site: "aws".to_owned(),
        version: "0".to_owned(),
        short_id: ShortId::new(number),
        wireguard_key: [number as u8; 32],
        endpoints: vec!["192.0.2.1:6783".parse().unwrap(), "[2001:db8::1]:6783".parse().unwrap()],
        neighbours: BTreeMap::from([(peer(number ^ 1), edge)]),
    }
}

pub(super) fn sign(record: Record, identity: &Identity) -> SignedRecord {
    SignedRecord::sign(record, identity, &NetworkName::default())
}

fn signed(number: u16, sequence: u64) -> SignedRecord {
    sign(record(number, sequence), &identity(number))
}

/// The store of peer 1, which knows these members besides.
fn store(members: &[u16]) -> Records {
    let mut records = Records::new(ca().trust(), peer(1));
    for &member in [1].iter().chain(members) {
        records.accept_certificate(identity(member).certificate()).unwrap();
    }
    records
}

fn read(bytes: &[u8]) -> Result<SignedRecord, BadContent> {
    let Ok(Message::Record(signed)) = Message::decode(bytes) else { return Err(BadContent::Malformed) };
    SignedRecord::read(signed)
}

fn version(sequence: u64) -> Version {
    Version { issue: 1, key: 2, sequence, hash: 3 }
}

#[test]
fn messages_survive() {
    for message in [
        Message::Hello { lowest: 1, highest: 3, uid: 9 },
        Message::Certificate(vec![1, 2, 3]),
        Message::Record(signed(4, 9).signed().clone()),
        Message::Digest(u64::MAX),
        Message::Summary { first: peer(1), last: peer(9), versions: vec![(peer(1), version(5))] },
        Message::Want(vec![peer(3)]),
        Message::Offer(vec![(peer(1), version(5)), (peer(2), version(6))]),
    ] {
        assert_eq!(Message::decode(&message.encode()).as_ref(), Ok(&message));
    }
    assert_eq!(Message::decode(&[99, 1]), Ok(Message::Unknown(99)));
    assert_eq!(Message::decode(&[]), Err(Refused::Malformed));
    assert_eq!(Message::decode(&vec![2; MAX_MESSAGE + 1]), Err(Refused::Malformed));
    assert_eq!(Message::decode(&[4, 1, 2, 3, 4, 5, 6, 7, 8, 9]), Err(Refused::Malformed));
    // A later version says more in its greeting.
    let longer = [Message::Hello { lowest: 1, highest: 3, uid: 9 }.encode(), vec![7; 30]].concat();
    assert_eq!(Message::decode(&longer), Ok(Message::Hello { lowest: 1, highest: 3, uid: 9 }));
}

/// The bytes themselves, as the documents of the format have them: a change here needs a new version of the format.
#[test]
fn messages_are_spelled_so() {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let entry = Version { issue: 1, key: 2, sequence: 3, hash: 4 };
    let spelled = "0000000000000001000000000000000200000000000000030000000000000004";
    for (message, expected) in [
        (Message::Hello { lowest: 1, highest: 2, uid: 7 }, "0101020000000000000007".to_owned()),
        (Message::Certificate(vec![0x30, 0x82]), "023082".to_owned()),
        (Message::Digest(9), "040000000000000009".to_owned()),
        (
            Message::Summary { first: peer(1), last: peer(2), versions: vec![(peer(1), entry)] },
            format!("05020000000001020000000002020000000001{spelled}"),
        ),
        (Message::Want(vec![peer(5)]), "06020000000005".to_owned()),
        (Message::Offer(vec![(peer(3), entry)]), format!("07020000000003{spelled}")),
    ] {
        assert_eq!(hex(&message.encode()), expected);
    }
    let record = signed(4, 9);
    let expected = [
        "020000000004",                                                     // peer
        "0000000000000009",                                                 // sequence
        "0000000000000007",                                                 // uid
        "00",                                                               // flags
        "06686f73742d34",                                                   // nickname
        "03617773",                                                         // site
        "0130",                                                             // version
        "0004",                                                             // short id
        "0404040404040404040404040404040404040404040404040404040404040404", // WireGuard key
        "02",                                                               // endpoints
        "04c00002011a7f",
        "0620010db80000000000000000000000011a7f",
        "0001", // neighbours
        "020000000005000005dc0578",
    ];
    assert_eq!(hex(&record.signed().bytes), expected.concat());
}

#[test]
fn the_longest_messages_fit() {
    let versions = vec![(peer(1), version(5)); MAX_SUMMARY];
    assert!(Message::Summary { first: peer(1), last: peer(9), versions }.encode().len() <= MAX_MESSAGE);
    assert!(Message::Want(vec![peer(1); ShortId::COUNT]).encode().len() <= MAX_MESSAGE);
    let mut long = record(4, 9);
    let edge = Edge { rtt: Duration::from_micros(1500), mtu: 1400 };
    long.neighbours = (1000..4000).map(|n| (peer(n), edge)).collect();
    assert!(Message::Record(sign(long, &identity(4)).signed().clone()).encode().len() <= MAX_MESSAGE);
}

#[test]
fn a_record_cut_short_is_bad_content() {
    let bytes = Message::Record(signed(4, 9).signed().clone()).encode();
    for length in 0..bytes.len() {
        assert_eq!(read(&bytes[..length]), Err(BadContent::Malformed), "{length}");
    }
    assert_eq!(read(&[&bytes[..], &[0]].concat()), Err(BadContent::Malformed));
}

#[test]
fn our_own_records_are_cut_to_their_bounds() {
    let mut long = record(4, 9);
    long.nickname = "ä\n".repeat(100);
    long.endpoints = vec!["192.0.2.1:1".parse().unwrap(); 99];
    long.neighbours = (1000..4000).map(|n| (peer(n), Edge { rtt: Duration::MAX, mtu: 1 })).collect();
    let signed = sign(long, &identity(4));
    assert_eq!(signed.record().nickname, "ä".repeat(32));
    assert_eq!(signed.record().neighbours[&peer(1000)].mtu, 548);
    assert_eq!(SignedRecord::read(signed.signed().clone()), Ok(signed));
}

#[test]
fn a_leaving_peer_has_no_neighbours() {
    let leaving = sign(Record { leaving: true, ..record(4, 9) }, &identity(4));
    assert!(leaving.record().neighbours.is_empty());
    assert_eq!(SignedRecord::read(leaving.signed().clone()), Ok(leaving.clone()));
    let mut bytes = leaving.signed().bytes.to_vec();
    bytes[22] |= 2;
    let unknown_flag = SignedBytes { bytes: bytes.into(), ..leaving.signed().clone() };
    assert_eq!(SignedRecord::read(unknown_flag), Err(BadContent::Malformed));
}

#[test]
fn versions_only_grow() {
    let mut records = store(&[4]);
    assert_eq!(records.accept(signed(4, 9)), Ok(News::Newer));
    assert_eq!(records.accept(signed(4, 9)), Ok(News::Same));
    assert_eq!(records.accept(signed(4, 8)), Ok(News::Older));
    assert_eq!(records.accept(signed(4, 10)), Ok(News::Newer));
    let mut offered = records.version(peer(4)).unwrap();
    assert_eq!(offered.sequence, 10);
    assert!(!records.lacks(peer(4), offered));
    offered.hash ^= u64::MAX;
    assert_ne!(records.lacks(peer(4), offered), offered < records.version(peer(4)).unwrap());
    assert!(records.lacks(peer(5), offered));
}

#[test]
fn nobody_speaks_for_another() {
    let mut records = store(&[4, 5]);
    assert_eq!(records.accept(sign(record(4, 9), &identity(5))), Err(BadContent::Signature));
    assert_eq!(records.accept(signed(6, 1)), Err(BadContent::NoCertificate));
    let network = "other".parse().unwrap();
    let elsewhere = SignedRecord::sign(record(4, 9), &identity(4), &network);
    assert_eq!(records.accept(elsewhere), Err(BadContent::Signature));
    let stranger = NetworkCa::from_seed(NetworkName::default(), [2; 32]);
    let stranger = stranger.issue(peer(6), &IdentityKey::from_seed([6; 32]), 1);
    assert_eq!(records.accept_certificate(stranger.certificate()), Err(BadContent::Certificate));
    assert_eq!(records.iter().count(), 0);
}

#[test]
fn a_later_issue_replaces_the_certificate_and_the_record() {
    let mut records = store(&[4]);
    records.accept(signed(4, 900)).unwrap();
    let again = issued(4, 99, 2);
    assert_eq!(records.accept_certificate(again.certificate()), Ok((peer(4), Certified::Replaced)));
    assert!(records.get(peer(4)).is_none());
    assert_eq!(records.accept_certificate(identity(4).certificate()), Ok((peer(4), Certified::Outdated)));
    assert_eq!(records.accept(signed(4, 901)), Err(BadContent::Signature));
    assert_eq!(records.accept(sign(record(4, 1), &again)), Ok(News::Newer));
}

#[test]
fn our_own_certificate_stays() {
    let mut records = store(&[]);
    let usurper = issued(1, 99, 2);
    assert_eq!(records.accept_certificate(usurper.certificate()), Ok((peer(1), Certified::Usurper)));
    assert_eq!(records.certificate(peer(1)).unwrap().certificate(), identity(1).certificate());
}

/// Two records of one sequence, one issue with two keys: whatever comes first, all stores choose alike.
#[test]
fn what_is_equal_is_ordered_by_its_contents() {
    let other = Record { wireguard_key: [8; 32], ..record(4, 9) };
    let (one, other) = (signed(4, 9), sign(other, &identity(4)));
    let (mut first, mut second) = (store(&[4]), store(&[4]));
    first.accept(one.clone()).unwrap();
    second.accept(other.clone()).unwrap();
    assert_ne!(first.digest(), second.digest());
    first.accept(other).unwrap();
    second.accept(one).unwrap();
    assert_eq!((first.digest(), first.get(peer(4))), (second.digest(), second.get(peer(4))));

    let (one, other) = (issued(4, 50, 1), issued(4, 51, 1));
    let (mut first, mut second) = (store(&[]), store(&[]));
    for (store, order) in [(&mut first, [&one, &other]), (&mut second, [&other, &one])] {
        for identity in order {
            store.accept_certificate(identity.certificate()).unwrap();
        }
    }
    assert_eq!(first.certificate(peer(4)), second.certificate(peer(4)));
}

proptest! {
    #[test]
    fn stores_agree_whatever_the_order(order in Just(vec![(4, 1), (4, 2), (4, 3), (5, 7), (5, 2)]).prop_shuffle()) {
        let mut records = store(&[4, 5]);
        for (number, sequence) in order {
            records.accept(signed(number, sequence)).unwrap();
        }
        let sequences: Vec<_> = records.versions().map(|(peer, v)| (peer, v.sequence)).collect();
        prop_assert_eq!(sequences, [(peer(4), 3), (peer(5), 7)]);
        let mut other = store(&[4, 5]);
        other.accept(signed(5, 7)).unwrap();
        prop_assert_ne!(other.digest(), records.digest());
        other.accept(signed(4, 3)).unwrap();
        prop_assert_eq!(other.digest(), records.digest());
        prop_assert_eq!(other.graph(), records.graph());
    }

    #[test]
    fn a_changed_record_is_refused(at: usize, bit in 0u8..8) {
        let mut bytes = Message::Record(signed(4, 9).signed().clone()).encode();
        let at = 1 + at % (bytes.len() - 1);
        bytes[at] ^= 1 << bit;
        if let Ok(record) = read(&bytes) {
            prop_assert!(store(&[4, 5]).accept(record).is_err());
        }
    }

    #[test]
    fn messages_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0u8..9) {
        let _ = Message::decode(&bytes);
        let _ = read(&[&[3u8; 65][..], &bytes].concat());
        if let Ok(message) = Message::decode(&[&[kind][..], &bytes].concat())
            && !matches!(message, Message::Unknown(_) | Message::Hello { .. })
        {
            prop_assert_eq!(message.encode(), [&[kind][..], &bytes].concat());
        }
    }

    #[test]
    fn records_have_one_spelling(bytes in prop::collection::vec(any::<u8>(), 0..40), at: usize, cut: usize) {
        // What is read back is spelled as it came: nobody can make two records of one.
        let mut signed = signed(4, 9).signed().clone();
        let mut spelling = signed.bytes.to_vec();
        let at = at % spelling.len();
        spelling.splice(at..(at + cut % 9).min(spelling.len()), bytes);
        signed.bytes = spelling.into();
        if let Ok(record) = SignedRecord::read(signed.clone()) {
            prop_assert_eq!(&*crate::codec::encode_record(record.record()), &*signed.bytes);
        }
    }
}
