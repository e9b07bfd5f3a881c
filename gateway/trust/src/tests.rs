//! Members are recognised, strangers are refused with the reason.

use proptest::prelude::*;
use weave_model::PeerName;

use crate::certificate::{dns_name, peer_name};
use crate::{Identity, IdentityKey, NetworkCa, Trust, TrustError};

const NOW: u64 = 1_790_000_000;
const ALICE: PeerName = PeerName::new([0x7a, 0x9f, 0xeb, 0xb6, 0x0c, 0x6e]);

fn ca(seed: u8) -> NetworkCa {
    NetworkCa::from_seed([seed; 32])
}

fn key(seed: u8) -> IdentityKey {
    IdentityKey::from_seed([seed; 32])
}

#[test]
fn a_member_is_recognised_by_name_and_signature() {
    let alice = ca(1).issue(ALICE, &key(2));
    let peer = ca(1).trust().verify(alice.certificate(), NOW).unwrap();
    assert_eq!(peer.name(), ALICE);
    let signature = alice.sign(b"record");
    assert_eq!(peer.verify_signature(b"record", &signature), Ok(()));
    assert_eq!(peer.verify_signature(b"Record", &signature), Err(TrustError::BadSignature));
    assert_eq!(peer.verify_signature(b"record", &signature[..63]), Err(TrustError::BadSignature));
}

#[test]
fn another_network_is_refused_as_such() {
    let alice = ca(1).issue(ALICE, &key(2));
    assert_eq!(ca(3).trust().verify(alice.certificate(), NOW), Err(TrustError::OtherNetwork));
    assert_eq!(NetworkCa::open().trust().verify(alice.certificate(), NOW), Err(TrustError::OtherNetwork));
}

#[test]
fn a_certificate_is_not_a_ca() {
    let alice = ca(1).issue(ALICE, &key(2));
    let bob = NetworkCa::from_pem(&key(2).to_pem()).unwrap().issue(ALICE, &key(4));
    assert!(Trust::from_ca_certificate(alice.certificate()).unwrap().verify(bob.certificate(), NOW).is_err());
    let own = ca(1).trust();
    assert!(own.verify(&pem::parse(own.to_pem()).unwrap().into_contents(), NOW).is_err());
}

#[test]
fn everything_survives_pem() {
    let alice = ca(1).issue(ALICE, &key(2));
    let trust = Trust::from_ca_pem(&ca(1).certificate_pem()).unwrap();
    assert_eq!(trust.verify(alice.certificate(), NOW).unwrap().name(), ALICE);
    assert_eq!(NetworkCa::from_pem(&ca(1).to_pem()).unwrap().network_psk(), ca(1).network_psk());
    assert_eq!(NetworkCa::from_pem("nothing").unwrap_err(), TrustError::NoPemBlock("PRIVATE KEY"));
    let key_of_alice = IdentityKey::from_pkcs8_der(&alice.key_pkcs8()).unwrap();
    let again = Identity::new(key_of_alice, alice.certificate().to_vec(), &trust, NOW).unwrap();
    assert_eq!(again.name(), ALICE);
    assert_eq!(
        Identity::new(key(9), alice.certificate().to_vec(), &trust, NOW).unwrap_err(),
        TrustError::KeyMismatch
    );
}

#[test]
fn one_password_is_one_network() {
    let first = NetworkCa::from_password("wfvAwt7sj-9Xk2!pQzR4").unwrap();
    let again = NetworkCa::from_password("wfvAwt7sj-9Xk2!pQzR4").unwrap();
    let other = NetworkCa::from_password("wfvAwt7sj-9Xk2!pQzR5").unwrap();
    let alice = first.issue(ALICE, &key(2));
    assert!(again.trust().verify(alice.certificate(), NOW).is_ok());
    assert_eq!(other.trust().verify(alice.certificate(), NOW), Err(TrustError::OtherNetwork));
    assert_ne!(first.network_psk(), other.network_psk());
}

#[test]
fn weak_passwords_are_refused() {
    for weak in ["", "weave", "password123", "aaaaaaaaaaaaaaaaaaaa", "qwertyuiop", "Summer2024!"] {
        assert!(NetworkCa::from_password(weak).is_err(), "{weak}");
    }
}

#[test]
fn secrets_do_not_show() {
    assert_eq!(format!("{:?} {:?}", ca(1), key(1)), "*** ***");
    assert_eq!(format!("{:?}", ca(1).issue(ALICE, &key(2))), "Identity(7a:9f:eb:b6:0c:6e)");
}

proptest! {
    #[test]
    fn names_survive_the_certificate(octets: [u8; 6]) {
        let name = PeerName::new(octets);
        prop_assert_eq!(peer_name(&dns_name(name)), Some(name));
    }

    #[test]
    fn foreign_bytes_are_refused(mut bytes: Vec<u8>, at: usize, flip in 1u8..) {
        let trust = ca(1).trust();
        prop_assert!(trust.verify(&bytes, NOW).is_err());
        let _ = IdentityKey::from_pkcs8_der(&bytes);
        bytes = ca(1).issue(ALICE, &key(2)).certificate().to_vec();
        let index = at % bytes.len();
        bytes[index] ^= flip;
        prop_assert!(trust.verify(&bytes, NOW).is_err());
    }
}
