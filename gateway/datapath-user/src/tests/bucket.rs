//! The rate limit of a link.

use crate::bucket::Bucket;

const SECOND: u64 = 1_000_000_000;

#[test]
fn a_burst_passes_and_then_the_rate() {
    let bucket = Bucket::default();
    let now = 5 * SECOND;
    let burst = (0..10_000_000u64).take_while(|_| bucket.take(64, now)).count() * 64;
    assert_eq!(burst, 65_536);
    // A millisecond later a thousand more.
    assert!(bucket.take(1_000, now + SECOND / 1_000));
    assert!(!bucket.take(1, now + SECOND / 1_000));
    let second = (0..1_000u64).flat_map(|ms| std::iter::repeat_n(now + SECOND / 500 + ms * 1_000_000, 40));
    let passed = second.filter(|now| bucket.take(50, *now)).count() * 50;
    assert!((990_000..=1_010_000).contains(&passed), "{passed}");
}

#[test]
fn a_long_silence_saves_no_more_than_one_burst() {
    let bucket = Bucket::default();
    assert!(bucket.take(65_536, SECOND));
    assert!(!bucket.take(65_536 + 1, 1_000 * SECOND));
    assert!(bucket.take(65_536, 1_000 * SECOND));
    assert!(!bucket.take(1, 1_000 * SECOND));
}
