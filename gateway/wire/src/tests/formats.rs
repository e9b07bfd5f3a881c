//! Envelope, tunnel header, Ethernet, demultiplexing, checksums.

use proptest::prelude::*;
use weave_model::Egress;

use super::id;
use crate::{Envelope, EnvelopeError, Frame, Inner, Kind, TunnelError, checksum, classify};

#[test]
fn first_bytes_tell_datagrams_apart() {
    let check = |bytes: &[u8], kind| assert_eq!(classify(bytes), kind, "{bytes:02x?}");
    check(&[1, 0, 0, 0, 9], Kind::WireGuard);
    check(&[4, 0, 0, 0], Kind::WireGuard);
    check(&[5, 0, 0, 0], Kind::Unknown);
    check(&[4, 0, 0], Kind::Unknown);
    check(&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42], Kind::Stun);
    check(&[0x40, 1, 2], Kind::Quic);
    check(&[0xc3, 0, 0, 0, 1], Kind::Quic);
    check(&[0x11, 9], Kind::Envelope);
    check(&[0x2f], Kind::Esp);
    check(&[0x20, 0, 0, 1, 0x21, 0x12, 0xa4, 0x42], Kind::Esp);
    check(&[0x11, 5, 0, 0x10, 0x21, 0x12, 0xa4, 0x42], Kind::Envelope);
    check(&[0x80], Kind::Unknown);
    check(&[], Kind::Unknown);
}

#[test]
fn the_envelope_is_these_bytes() {
    let mut datagram = [0; 16];
    datagram[12..].copy_from_slice(&[4, 0, 0, 0]);
    let envelope = Envelope { epoch: 2, ttl: 5, to: id(0xabc), from: id(0x123), lane: 7 };
    assert!(envelope.seal(&mut datagram, &[9; 16]));
    assert_eq!(datagram[..6], [0x11, 0x85, 0xab, 0xc1, 0x23, 7]);
    assert_eq!(Envelope::open(&datagram, &[9; 16]), Ok((envelope, &[4, 0, 0, 0][..])));
    assert_eq!(Envelope::open(&datagram, &[8; 16]), Err(EnvelopeError::BadMac));
    assert_eq!(Envelope::open(&datagram[..12], &[9; 16]), Err(EnvelopeError::Truncated));
}

#[test]
fn the_tunnel_header_is_these_bytes() {
    let inner =
        Inner { sender: id(1), receiver: id(2), ingress: id(0x123), egress: Egress::Everybody, ttl: 64 };
    let mut packet = [0; 50];
    assert!(inner.write(&mut packet, 0xffff, 0x0102));
    let expected = [
        0x45, 0, 0, 50, 1, 2, 0, 0, 64, 17, 0xb0, 0xb8, 100, 127, 0, 1, 100, 127, 0, 2, // IPv4
        0xff, 0xff, 0x1a, 0x80, 0, 30, 0, 0, // UDP
        8, 0, 0, 0, 0xff, 0xf1, 0x23, 0, // VXLAN
    ];
    assert_eq!(packet[..36], expected);
    assert_eq!(Inner::parse(&packet), Ok((inner, &[0; 14][..])));
    packet[6] = 0x20;
    assert_eq!(Inner::parse(&packet), Err(TunnelError::BadChecksum));
}

#[test]
fn tags_are_looked_behind() {
    let mut frame = [0u8; 24];
    frame[12..16].copy_from_slice(&[0x81, 0, 0, 5]);
    frame[16..18].copy_from_slice(&[0x08, 0x06]);
    let view = Frame::new(&frame).unwrap();
    assert_eq!((view.ethertype(), view.payload_offset()), (0x0806, 18));
    assert!(Frame::new(&frame[..17]).is_err());
    frame[6] = 1;
    assert!(Frame::new(&frame).is_err());
}

fn naive_checksum(bytes: &[u8]) -> u16 {
    let sum: u64 = bytes.chunks(2).map(|w| u64::from(w[0]) << 8 | u64::from(*w.get(1).unwrap_or(&0))).sum();
    let mut sum = sum;
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

proptest! {
    #[test]
    fn checksums_equal_the_definition(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        prop_assert_eq!(checksum::of(&bytes), naive_checksum(&bytes));
    }

    #[test]
    fn checksums_update_in_place(mut bytes in prop::collection::vec(1u8.., 4..60), new: u16) {
        bytes.truncate(bytes.len() & !1);
        let before = checksum::of(&bytes);
        let old = u16::from_be_bytes([bytes[0], bytes[1]]);
        bytes[..2].copy_from_slice(&new.to_be_bytes());
        prop_assert_eq!(checksum::update(before, old, new), checksum::of(&bytes));
    }

    #[test]
    fn envelopes_survive(epoch in 0u8..4, ttl in 0u8..64, to in 0u16..0xfff, from in 0u16..0xfff, lane: u8, key: [u8; 16],
                         message in prop::collection::vec(any::<u8>(), 1..200), flip in 0usize..12, bit in 0u8..8) {
        let envelope = Envelope { epoch, ttl, to: id(to), from: id(from), lane };
        let mut datagram = [&[0; 12][..], &message].concat();
        prop_assert!(envelope.seal(&mut datagram, &key));
        prop_assert_eq!(Envelope::open(&datagram, &key), Ok((envelope, &message[..])));
        datagram[flip] ^= 1 << bit;
        prop_assert!(Envelope::open(&datagram, &key).is_err());
    }

    #[test]
    fn tunnel_headers_survive(sender in 0u16..0xfff, receiver in 0u16..0xfff, ingress in 0u16..0xfff,
                              egress in 0u16..=0xfff, ttl: u8, flow: u16, count: u16, frame in prop::collection::vec(any::<u8>(), 0..100)) {
        let inner = Inner { sender: id(sender), receiver: id(receiver), ingress: id(ingress),
                            egress: Egress::from_wire(egress), ttl };
        let mut packet = [&[0; 36][..], &frame].concat();
        prop_assert!(inner.write(&mut packet, flow, count));
        prop_assert_eq!(Inner::parse(&packet), Ok((inner, &frame[..])));
    }

    #[test]
    fn parsers_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), key: [u8; 16], mtu: u16) {
        let _ = (classify(&bytes), Frame::new(&bytes).map(|f| f.payload().len()), Inner::parse(&bytes).is_ok());
        let _ = Envelope::open(&bytes, &key);
        crate::clamp_mss(&mut bytes, mtu, &crate::Offload::default());
        let _ = (crate::Probe::parse(&bytes), crate::Reassembly::default().push(&bytes, 0).is_ok());
    }
}
