//! Members are recognised, strangers are refused with the reason.

use proptest::prelude::*;
use weave_model::{NetworkName, PeerName};

use crate::certificate::{dns_name, parse_dns_name};
use crate::{Identity, IdentityKey, Membership, NetworkCa, NotARenewal, Trust, TrustError};

const ALICE: PeerName = PeerName::new([0x7a, 0x9f, 0xeb, 0xb6, 0x0c, 0x6e]);

fn network(name: &str) -> NetworkName {
    name.parse().unwrap()
}

fn ca(seed: u8) -> NetworkCa {
    NetworkCa::from_seed(network("weave"), [seed; 32])
}

fn key(seed: u8) -> IdentityKey {
    IdentityKey::from_seed([seed; 32])
}

#[test]
fn a_member_is_recognised_by_name_and_signature() {
    let alice = ca(1).issue(ALICE, &key(2), 1);
    let peer = ca(1).trust().verify(alice.certificate()).unwrap();
    assert_eq!(peer.name(), ALICE);
    let signature = alice.sign(b"record");
    assert_eq!(peer.verify_signature(b"record", &signature), Ok(()));
    assert_eq!(peer.verify_signature(b"Record", &signature), Err(TrustError::BadSignature));
    assert_eq!(peer.verify_signature(b"record", &signature[..63]), Err(TrustError::BadSignature));
}

#[test]
fn another_network_is_refused_as_such() {
    let alice = ca(1).issue(ALICE, &key(2), 1);
    assert_eq!(ca(3).trust().verify(alice.certificate()), Err(TrustError::OtherNetwork));
    assert_eq!(
        NetworkCa::open(network("weave")).trust().verify(alice.certificate()),
        Err(TrustError::OtherNetwork)
    );
}

#[test]
fn a_certificate_is_not_a_ca() {
    let alice = ca(1).issue(ALICE, &key(2), 1);
    let bob = NetworkCa::from_pem(network("weave"), &key(2).to_pem()).unwrap().issue(ALICE, &key(4), 1);
    assert!(
        Trust::from_ca_certificate(network("weave"), alice.certificate())
            .unwrap()
            .verify(bob.certificate())
            .is_err()
    );
    let own = ca(1).trust();
    assert!(own.verify(&pem::parse(own.to_pem()).unwrap().into_contents()).is_err());
}

#[test]
fn everything_survives_pem() {
    let alice = ca(1).issue(ALICE, &key(2), 1);
    let membership =
        Membership::from_pem(network("weave"), &ca(1).membership(alice.clone()).to_pem()).unwrap();
    let trust = membership.trust;
    assert_eq!((membership.identity.name(), membership.psk), (ALICE, ca(1).network_psk()));
    assert_eq!(trust.verify(alice.certificate()).unwrap().name(), ALICE);
    assert_eq!(
        NetworkCa::from_pem(network("weave"), &ca(1).to_pem()).unwrap().network_psk(),
        ca(1).network_psk()
    );
    assert_eq!(
        NetworkCa::from_pem(network("weave"), "nothing").unwrap_err(),
        TrustError::NoPemBlock("PRIVATE KEY")
    );
    let key_of_alice = IdentityKey::from_pkcs8_der(&alice.key_pkcs8()).unwrap();
    let again = Identity::new(key_of_alice, alice.certificate().to_vec(), &trust).unwrap();
    assert_eq!(again.name(), ALICE);
    let without_ca = [alice.key().to_pem(), alice.certificate_pem()].concat();
    assert_eq!(Membership::from_pem(network("weave"), &without_ca).unwrap_err(), TrustError::NoCa);
    assert_eq!(
        Identity::new(key(9), alice.certificate().to_vec(), &trust).unwrap_err(),
        TrustError::KeyMismatch
    );
}

#[test]
fn one_password_is_one_network() {
    let first = NetworkCa::from_password(network("weave"), "wfvAwt7sj-9Xk2!pQzR4").unwrap();
    let again = NetworkCa::from_password(network("weave"), "wfvAwt7sj-9Xk2!pQzR4").unwrap();
    let other = NetworkCa::from_password(network("weave"), "wfvAwt7sj-9Xk2!pQzR5").unwrap();
    let alice = first.issue(ALICE, &key(2), 1);
    assert!(again.trust().verify(alice.certificate()).is_ok());
    assert_eq!(other.trust().verify(alice.certificate()), Err(TrustError::OtherNetwork));
    assert_ne!(first.network_psk(), other.network_psk());
}

#[test]
fn weak_passwords_are_refused() {
    for weak in ["", "weave", "password123", "aaaaaaaaaaaaaaaaaaaa", "qwertyuiop", "Summer2024!"] {
        assert!(NetworkCa::from_password(network("weave"), weak).is_err(), "{weak}");
    }
}

#[test]
fn networks_of_other_names_are_strangers() {
    let alice = ca(1).issue(ALICE, &key(2), 1);
    let same_key = NetworkCa::from_seed(network("lab"), [1; 32]);
    assert_eq!(same_key.trust().verify(alice.certificate()), Err(TrustError::OtherNetwork));
    let open = NetworkCa::open(network("lab")).issue(ALICE, &key(2), 1);
    let weave = NetworkCa::open(network("weave"));
    assert_eq!(weave.trust().verify(open.certificate()), Err(TrustError::OtherNetwork));
    let password =
        |name| NetworkCa::from_password(network(name), "wfvAwt7sj-9Xk2!pQzR4").unwrap().network_psk();
    assert_ne!(password("weave"), password("lab"));
}

#[test]
fn the_later_certificate_of_a_name_counts() {
    let (ca, trust) = (ca(1), ca(1).trust());
    let issued = |seed, issue| trust.verify(ca.issue(ALICE, &key(seed), issue).certificate()).unwrap();
    let (old, new) = (issued(2, 5), issued(3, 6));
    assert_eq!((old.issue(), new.issue()), (5, 6));
    assert!(new.replaces(&old) && !old.replaces(&new) && !old.replaces(&old));
    let (one, other) = (issued(2, 7), issued(3, 7));
    assert_eq!(one.replaces(&other), one.key_hash() < other.key_hash());
    assert_ne!(one.replaces(&other), other.replaces(&one));
    let bob = ca.issue(PeerName::new([9; 6]), &key(4), 99);
    assert!(!trust.verify(bob.certificate()).unwrap().replaces(&old), "another name");
}

#[test]
fn two_cas_are_in_force_during_a_change() {
    let both = [ca(1), ca(3)].map(|c| pem::parse(c.certificate_pem()).unwrap().into_contents());
    let trust = Trust::from_ca_certificates(network("weave"), both.iter().map(Vec::as_slice)).unwrap();
    for ca in [ca(1), ca(3)] {
        assert!(trust.verify(ca.issue(ALICE, &key(2), 1).certificate()).is_ok());
    }
    assert!(trust.verify(ca(4).issue(ALICE, &key(2), 1).certificate()).is_err());
}

#[test]
fn a_renewal_keeps_the_key_and_grows() {
    let both = ca(1).trust().joined(&ca(3).trust());
    assert_eq!(both.ca_certificates().count(), 2);
    assert_eq!(both.joined(&ca(1).trust()).fingerprints(), both.fingerprints(), "each once");
    let psk = [7; 32];
    let as_of = |identity: &Identity, trust: &Trust| Membership {
        identity: identity.clone(),
        trust: trust.clone(),
        psk,
    };
    let (old, new) = (ca(1).issue(ALICE, &key(2), 5), ca(3).issue(ALICE, &key(2), 6));
    let running = as_of(&old, &ca(1).trust());
    assert_eq!(running.check_renewal(&as_of(&old, &both)), Ok(()), "another set of CAs");
    assert_eq!(as_of(&old, &both).check_renewal(&as_of(&new, &both)), Ok(()));
    assert_eq!(as_of(&new, &both).check_renewal(&as_of(&new, &ca(3).trust())), Ok(()));
    let verified = |i: &Identity| both.verify(i.certificate()).unwrap();
    assert!(verified(&old).is_same_holder(&verified(&new)));
    let not_later = Err(NotARenewal::NotLater { current: 6, issue: 5 });
    assert_eq!(as_of(&new, &both).check_renewal(&as_of(&old, &both)), not_later);
    let marks =
        [&as_of(&old, &ca(1).trust()), &as_of(&old, &both), &as_of(&new, &both)].map(Membership::mark);
    assert!(marks[0] != marks[1] && marks[1] != marks[2] && marks[0].len() == 32, "{marks:?}");
    let other = ca(3).issue(ALICE, &key(9), 7);
    assert_eq!(running.check_renewal(&as_of(&other, &both)), Err(NotARenewal::OtherKey));
    assert!(!verified(&other).is_same_holder(&verified(&new)));
    let other_psk = Membership { psk: [8; 32], ..as_of(&new, &both) };
    assert_eq!(running.check_renewal(&other_psk), Err(NotARenewal::OtherPsk));
    let orphan = as_of(&new, &ca(1).trust());
    assert_eq!(running.check_renewal(&orphan), Err(TrustError::OtherNetwork.into()));
}

#[test]
fn keys_name_their_peers_and_their_sessions() {
    let name = key(2).peer_name();
    assert_eq!(name, key(2).peer_name());
    assert_ne!(name, key(3).peer_name());
    assert_eq!(name.octets()[0] & 3, 2, "locally administered, not a group");
    assert_ne!(key(2).wireguard_private_key(), key(3).wireguard_private_key());
}

#[test]
fn a_certificate_longer_than_ours_is_not_read() {
    let mut long = ca(1).issue(ALICE, &key(2), 1).certificate().to_vec();
    long.resize(1025, 0);
    assert_eq!(ca(1).trust().verify(&long), Err(TrustError::Malformed));
}

#[test]
fn secrets_do_not_show() {
    assert_eq!(format!("{:?} {:?}", ca(1), key(1)), "*** ***");
    let shown = format!("{:?}", ca(1).membership(ca(1).issue(ALICE, &key(2), 1)));
    assert_eq!(shown, "Membership(7a:9f:eb:b6:0c:6e)");
    assert_eq!(format!("{:?}", ca(1).issue(ALICE, &key(2), 1)), "Identity(7a:9f:eb:b6:0c:6e)");
}

proptest! {
    #[test]
    fn names_survive_the_certificate(octets: [u8; 6]) {
        let name = PeerName::new(octets);
        let weave = network("weave");
        prop_assert_eq!(parse_dns_name(&dns_name(&weave, name)), Some((weave, name)));
    }

    #[test]
    fn foreign_bytes_are_refused(mut bytes: Vec<u8>, at: usize, flip in 1u8..) {
        let trust = ca(1).trust();
        prop_assert!(trust.verify(&bytes).is_err());
        let _ = IdentityKey::from_pkcs8_der(&bytes);
        bytes = ca(1).issue(ALICE, &key(2), 1).certificate().to_vec();
        let index = at % bytes.len();
        bytes[index] ^= flip;
        prop_assert!(trust.verify(&bytes).is_err());
    }
}
