//! The schedule of handshake initiations under virtual time.

use std::time::{Duration, Instant};

use crate::handshake::Handshake;

const MS: Duration = Duration::from_millis(1);

/// The instants, in milliseconds from the start, at which initiations are sent until `end`.
fn sent(handshake: &mut Handshake, start: Instant, rtt: Option<Duration>, end: u64) -> Vec<u64> {
    let due = |ms: &u64| handshake.handle_timeout(start + Duration::from_millis(*ms), rtt);
    (0..end).filter(due).collect()
}

#[test]
fn attempts_double_from_the_round_trip_to_five_seconds() {
    let start = Instant::now();
    for (rtt, first) in [(None, 50), (Some(10 * MS), 50), (Some(200 * MS), 200)] {
        let mut handshake = Handshake::new(1);
        handshake.want(start);
        let sent = sent(&mut handshake, start, rtt, 60_000);
        let gaps: Vec<u64> = sent.windows(2).map(|pair| pair[1] - pair[0]).collect();
        for (at, gap) in gaps.iter().enumerate() {
            let nominal = (first << at.min(10)).min(5_000);
            assert!((nominal..=nominal * 5 / 4 + 1).contains(gap), "attempt {at} of {rtt:?}: {gap} ms");
        }
        assert!(gaps.len() > 10);
    }
}

#[test]
fn the_other_end_may_begin_and_success_ends_it() {
    let start = Instant::now();
    let mut handshake = Handshake::new(2);
    handshake.want(start + 100 * MS);
    handshake.handle_initiation(start + 90 * MS, None);
    assert_eq!(sent(&mut handshake, start, None, 190), []);
    handshake.handle_established();
    assert_eq!(sent(&mut handshake, start, None, 60_000), []);
    assert_eq!(handshake.poll_timeout(), None);
    // News of the peer cuts the backoff short.
    handshake.want(start);
    let before = sent(&mut handshake, start, None, 20_000);
    handshake.want(start + 20_001 * MS);
    assert!(handshake.poll_timeout().unwrap() > start + 20_001 * MS, "under way already: {before:?}");
    handshake.restart(start + 20_001 * MS);
    assert_eq!(handshake.poll_timeout(), Some(start + 20_001 * MS));
    handshake.handle_established();
    // An answer that gets lost: this end takes over.
    handshake.want(start + 100 * MS);
    handshake.handle_initiation(start + 90 * MS, None);
    assert_eq!(sent(&mut handshake, start, None, 200).first(), Some(&190));
}
