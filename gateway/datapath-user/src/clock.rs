//! The time as the threads see it: read once a wake-up.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// Seconds of the monotonic clock: the `now` of the switch, the same for everybody in this process.
pub fn seconds() -> u32 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| time.tv_sec() as u32)
}

/// Where the threads count milliseconds and nanoseconds from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

/// One reading of the clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) instant: Instant,
    since_start: Duration,
    /// For the switch.
    pub(crate) seconds: u32,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    pub(crate) fn now(&self) -> Now {
        let instant = Instant::now();
        Now { instant, since_start: instant.duration_since(self.start), seconds: seconds() }
    }

    /// Milliseconds from the start to `at`.
    pub(crate) fn milliseconds(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.start).as_millis() as u64
    }
}

impl Now {
    pub(crate) fn milliseconds(&self) -> u64 {
        self.since_start.as_millis() as u64
    }

    pub(crate) fn nanoseconds(&self) -> u64 {
        self.since_start.as_nanos() as u64
    }
}
