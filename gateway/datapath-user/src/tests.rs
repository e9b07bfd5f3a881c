//! The datapath, from its timers up to whole datapaths over loopback and in namespaces.

mod allocation;
mod bucket;
mod cable;
mod handshake;
mod hostile;
mod loopback;
mod netns;
mod node;
mod probes;
mod snapshot;
mod supervise;
mod topology;
mod train;

use std::time::{Duration, Instant};

use weave_model::{PeerName, ShortId};

/// Long enough for a machine that compiles beside the tests.
const DEADLINE: Duration = Duration::from_secs(20);

fn name(number: u16) -> PeerName {
    PeerName::new([2, 0, 0, 0, (number >> 8) as u8, number as u8])
}

fn id(number: u16) -> ShortId {
    ShortId::new(number).unwrap()
}

/// Waits for a condition; panics with `what` when it does not come.
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "no {what} within {DEADLINE:?}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}
