//! Cutting and joining undo each other; nothing else is joined.

use proptest::prelude::*;

use crate::{Coalescer, Cut, Offload, Segments, checksum, complete_checksum};

/// A TCP frame with a right checksum.
fn tcp(v6: bool, sequence: u32, flags: u8, id: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    let length = 20 + payload.len();
    let addresses = if v6 {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend((length as u16).to_be_bytes());
        frame.extend([6, 64]);
        32
    } else {
        frame.extend([0x08, 0, 0x45, 0]);
        frame.extend((20 + length as u16).to_be_bytes());
        frame.extend(id.to_be_bytes());
        frame.extend([0, 0, 64, 6, 0, 0]);
        8
    };
    let start = frame.len();
    frame.extend((0..addresses).map(|i| i as u8));
    if !v6 {
        let sum = checksum::of(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
    }
    let at = frame.len();
    frame.extend([1, 2, 3, 4]);
    frame.extend(sequence.to_be_bytes());
    frame.extend([0, 0, 0, 9, 0x50, flags, 9, 9, 0, 0, 0, 0]);
    frame.extend(payload);
    let sum = checksum::pseudo_header(&frame[start..at], 6, length);
    let sum = checksum::finish(checksum::add(sum, &frame[at..]));
    frame[at + 16..at + 18].copy_from_slice(&sum.to_be_bytes());
    frame
}

fn join(frames: &[Vec<u8>]) -> Vec<(Offload, Vec<u8>)> {
    let (mut coalescer, mut out) = (Coalescer::default(), Vec::new());
    for frame in frames {
        coalescer.push(frame, |offload, frame| out.push((offload, frame.to_vec())));
    }
    coalescer.flush(|offload, frame| out.push((offload, frame.to_vec())));
    out
}

#[test]
fn only_a_right_checksum_is_called_right() {
    let mut frame = tcp(false, 1, 0x10, 0, &[7; 100]);
    assert!(join(&[frame.clone()])[0].0.valid);
    *frame.last_mut().unwrap() ^= 1;
    assert!(!join(&[frame])[0].0.valid);
}

#[test]
fn many_flows_are_joined_side_by_side() {
    let flow = |port: u8, round: u32| {
        let mut frame = tcp(true, round * 1000, 0x10, 0, &[7; 1000]);
        (frame[54 + 1], frame[54 + 3]) = (port, 9);
        let length = frame.len() - 54;
        frame[70..72].fill(0);
        let sum = checksum::pseudo_header(&frame[22..54], 6, length);
        let sum = checksum::finish(checksum::add(sum, &frame[54..]));
        frame[70..72].copy_from_slice(&sum.to_be_bytes());
        frame
    };
    for (flows, frames) in [(8, 8), (63, 63), (64, 64)] {
        let frames_in: Vec<_> = (0..40).flat_map(|round| (0..flows).map(move |port| (port, round))).collect();
        let frames_in: Vec<_> = frames_in.into_iter().map(|(port, round)| flow(port, round)).collect();
        assert_eq!(join(&frames_in).len(), frames, "{flows} flows");
    }
}

fn cut(joined: &[(Offload, Vec<u8>)]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for (offload, frame) in joined {
        let Some((kind, _, size)) = offload.cut else {
            out.push(frame.clone());
            continue;
        };
        let mut segments = Segments::new(frame, kind, size).unwrap();
        let mut buffer = [0; 2048];
        while let Some(length) = segments.next_into(&mut buffer) {
            out.push(buffer[..length].to_vec());
        }
    }
    out
}

#[test]
fn a_train_becomes_one_frame_and_a_train_again() {
    for v6 in [false, true] {
        let frames: Vec<_> = (0..5u16)
            .map(|i| {
                let payload = vec![i as u8; if i == 4 { 300 } else { 1000 }];
                let flags = if i == 4 { 0x18 } else { 0x10 };
                tcp(
                    v6,
                    (u32::MAX - 1500).wrapping_add(1000 * u32::from(i)),
                    flags,
                    i.wrapping_add(0xfffe),
                    &payload,
                )
            })
            .collect();
        let joined = join(&frames);
        assert_eq!(joined.len(), 1);
        let (offload, frame) = &joined[0];
        let headers = if v6 { 74 } else { 54 };
        assert_eq!(frame.len(), headers + 4300);
        let kind = if v6 { Cut::Tcp6 } else { Cut::Tcp4 };
        assert_eq!(offload.cut, Some((kind, headers as u16, 1000)));
        assert_eq!(Offload::parse(&offload.to_bytes()), Some(*offload));
        assert_eq!(cut(&joined), frames);
        let mut whole = frame.clone();
        complete_checksum(&mut whole, offload).unwrap();
        let (at, addresses) = (headers - 20, if v6 { 32 } else { 8 });
        let sum = checksum::pseudo_header(&whole[at - addresses..at], 6, whole.len() - at);
        assert_eq!(checksum::finish(checksum::add(sum, &whole[at..])), 0);
    }
}

#[test]
fn only_what_belongs_together_is_joined() {
    let first = tcp(false, 1000, 0x10, 1, &[7; 100]);
    let check = |second: Vec<u8>, frames: usize| {
        let input = [first.clone(), second];
        let joined = join(&input);
        assert_eq!(joined.len(), frames);
        assert_eq!(cut(&joined), input);
    };
    check(tcp(false, 1100, 0x10, 2, &[7; 100]), 1);
    check(tcp(false, 1100, 0x18, 2, &[7; 50]), 1);
    check(tcp(false, 1101, 0x10, 2, &[7; 100]), 2);
    check(tcp(false, 1100, 0x10, 9, &[7; 100]), 2);
    check(tcp(false, 1100, 0x11, 2, &[7; 100]), 2);
    check(tcp(false, 1100, 0x10, 2, &[7; 101]), 2);
    check(tcp(false, 1100, 0x10, 2, &[]), 2);
    check(tcp(true, 1100, 0x10, 2, &[7; 100]), 2);
    let mut wrong = tcp(false, 1100, 0x10, 2, &[7; 100]);
    *wrong.last_mut().unwrap() ^= 1;
    check(wrong, 2);
}

#[test]
fn many_flows_leave_in_order() {
    let mut frames = Vec::new();
    for n in 0..20u8 {
        let mut frame = tcp(false, 5, 0x10, 1, &[n; 10]);
        frame[5] = n;
        frames.push(frame);
    }
    let sent: Vec<_> = join(&frames).into_iter().map(|(_, frame)| frame).collect();
    assert_eq!(sent, frames);
}

#[test]
fn datagrams_are_cut_with_their_own_checksums() {
    let mut frame = tcp(false, 0, 0, 1, &[]);
    frame[23] = 17;
    frame.truncate(34);
    frame.extend([0, 1, 0, 2, 0, 33, 0, 0]);
    frame.extend([5; 25]);
    frame[16..18].copy_from_slice(&53u16.to_be_bytes());
    let mut segments = Segments::new(&frame, Cut::Udp, 10).unwrap();
    let (mut buffer, mut lengths) = ([0; 100], Vec::new());
    while let Some(length) = segments.next_into(&mut buffer) {
        let sum = checksum::pseudo_header(&buffer[26..34], 17, length - 34);
        assert_eq!(checksum::finish(checksum::add(sum, &buffer[34..length])), 0);
        assert_eq!(checksum::of(&buffer[14..34]), 0);
        lengths.push(length);
    }
    assert_eq!(lengths, [52, 52, 47]);
}

proptest! {
    #[test]
    fn joining_and_cutting_lose_nothing(steps in prop::collection::vec((0u8..3, 1usize..40, 0u8..8), 1..40), v6: bool) {
        let (mut frames, mut at, mut ids) = (Vec::new(), [100u32; 3], [0u16; 3]);
        for (flow, length, odd) in steps {
            let f = usize::from(flow);
            let flags = match odd { 0 => 0x18, 1 => 0x11, _ => 0x10 };
            let length = if odd < 5 { 20 } else { length };
            let mut frame = tcp(v6, at[f], flags, ids[f], &vec![flow; length]);
            frame[5] = flow;
            frames.push(frame);
            at[f] += length as u32;
            ids[f] += 1;
        }
        let out = cut(&join(&frames));
        for flow in 0..3 {
            let of = |all: &[Vec<u8>]| all.iter().filter(|f| f[5] == flow).cloned().collect::<Vec<_>>();
            prop_assert_eq!(of(&out), of(&frames));
        }
    }

    #[test]
    fn offloads_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), header: [u8; 12], size: u16) {
        join(&[bytes.clone(), bytes.clone()]);
        if let Some(offload) = Offload::parse(&header) {
            let _ = complete_checksum(&mut bytes, &offload);
        }
        for kind in [Cut::Tcp4, Cut::Tcp6, Cut::Udp] {
            if let Ok(mut segments) = Segments::new(&bytes, kind, size) {
                let mut buffer = [0; 300];
                while segments.next_into(&mut buffer).is_some() {}
            }
        }
    }
}
