//! Slots for handshakes.

use std::net::IpAddr;
use std::sync::Arc;

use crate::slots::{Slot, Slots};

fn take(slots: &Arc<Slots>, address: &str, count: usize) -> Vec<Slot> {
    let address: IpAddr = address.parse().unwrap();
    std::iter::repeat_with(|| slots.take(address)).take(count).flatten().collect()
}

#[test]
fn one_host_leaves_slots_to_others() {
    let slots = Arc::new(Slots::default());
    let stranger = take(&slots, "192.0.2.1", 100);
    assert_eq!((stranger.len(), take(&slots, "::ffff:192.0.2.1", 1).len()), (16, 0));
    let (half, rest) = (take(&slots, "2001:db8::1", 10), take(&slots, "2001:db8::2", 100));
    assert_eq!((half.len(), rest.len()), (10, 6), "one network is one host");
    assert_eq!(take(&slots, "192.0.2.2", 1).len(), 1);
    let scarce = |address: &str| slots.are_scarce(address.parse().unwrap());
    assert!(scarce("192.0.2.3"), "there are 33 in all");
    drop((stranger, half));
    assert_eq!([scarce("192.0.2.1"), scarce("2001:db8::1"), scarce("192.0.2.3")], [false, true, false]);
    assert_eq!(take(&slots, "192.0.2.1", 20).len(), 16);
}

#[test]
fn all_hosts_together_have_an_end() {
    let slots = Arc::new(Slots::default());
    let taken: Vec<_> = (1..=20).flat_map(|n| take(&slots, &format!("192.0.2.{n}"), 5)).collect();
    assert_eq!((taken.len(), take(&slots, "192.0.2.99", 1).len()), (64, 0));
}
