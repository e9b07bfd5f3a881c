//! The MSS clamp on both families, behind a tag and at an odd offset.

use proptest::prelude::*;

use crate::{Offload, checksum, clamp_mss, complete_checksum};

/// A SYN frame with these TCP options and a right checksum, and where TCP begins.
fn syn(v6: bool, tagged: bool, options: &[u8]) -> (Vec<u8>, usize) {
    let mut frame = vec![2; 12];
    if tagged {
        frame.extend([0x81, 0, 0, 5]);
    }
    let length = 20 + options.len();
    let addresses = if v6 {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, length as u8, 6, 64]);
        32
    } else {
        frame.extend([0x08, 0, 0x45, 0, 0, 20 + length as u8, 0, 0, 0x40, 0, 64, 6, 0, 0]);
        8
    };
    let start = frame.len();
    frame.extend((0..addresses).map(|i| i as u8));
    let tcp = frame.len();
    frame.extend([1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, (length / 4 * 16) as u8, 2, 9, 9, 0, 0, 0, 0]);
    frame.extend(options);
    let sum = checksum::pseudo_header(&frame[start..tcp], 6, length);
    let sum = checksum::finish(checksum::add(sum, &frame[tcp..]));
    frame[tcp + 16..tcp + 18].copy_from_slice(&sum.to_be_bytes());
    (frame, tcp)
}

fn check(v6: bool, tagged: bool, options: &[u8], mtu: u16, expected: Option<&[u8]>) {
    let (mut frame, tcp) = syn(v6, tagged, options);
    assert_eq!(clamp_mss(&mut frame, mtu, &Offload::default()), expected.is_some());
    assert_eq!(&frame[tcp + 20..], expected.unwrap_or(options));
    let addresses = if v6 { 32 } else { 8 };
    let sum = checksum::pseudo_header(&frame[tcp - addresses..tcp], 6, frame.len() - tcp);
    assert_eq!(checksum::finish(checksum::add(sum, &frame[tcp..])), 0);
}

#[test]
fn segments_are_kept_within_the_path() {
    check(false, false, &[2, 4, 0x05, 0xb4], 1376, Some(&[2, 4, 0x05, 0x38]));
    check(true, false, &[2, 4, 0x05, 0xb4], 1376, Some(&[2, 4, 0x05, 0x24]));
    check(false, true, &[1, 2, 4, 0x05, 0xb4, 1, 1, 0], 1376, Some(&[1, 2, 4, 0x05, 0x38, 1, 1, 0]));
    check(false, false, &[2, 4, 0x02, 0x00], 1376, None);
    check(false, false, &[1, 1, 1, 0], 1376, None);
    check(false, false, &[3, 0, 2, 4], 1376, None);
    check(false, false, &[2, 4, 0x05, 0xb4], 40, Some(&[2, 4, 0x02, 0x18]));
}

#[test]
fn a_checksum_still_to_be_completed_is_left_to_whoever_completes_it() {
    let (mut frame, tcp) = syn(false, false, &[2, 4, 0x05, 0xb4]);
    let pseudo = checksum::pseudo_header(&frame[tcp - 8..tcp], 6, 24);
    frame[tcp + 16..tcp + 18].copy_from_slice(&(!checksum::finish(pseudo)).to_be_bytes());
    let offload = Offload { checksum: Some((tcp as u16, 16)), ..Offload::default() };
    assert!(clamp_mss(&mut frame, 1376, &offload));
    complete_checksum(&mut frame, &offload).unwrap();
    assert_eq!(checksum::finish(checksum::add(pseudo, &frame[tcp..])), 0);
}

proptest! {
    #[test]
    fn any_options_leave_the_checksum_right(options in prop::collection::vec(any::<u8>(), 10), mtu: u16, v6: bool) {
        let options = &options[..8];
        let (mut frame, tcp) = syn(v6, false, options);
        clamp_mss(&mut frame, mtu, &Offload::default());
        let addresses = if v6 { 32 } else { 8 };
        let sum = checksum::pseudo_header(&frame[tcp - addresses..tcp], 6, frame.len() - tcp);
        prop_assert_eq!(checksum::finish(checksum::add(sum, &frame[tcp..])), 0);
    }
}
