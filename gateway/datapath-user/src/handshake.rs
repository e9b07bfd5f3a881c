//! When to send a handshake initiation: a pure timer with its own backoff.
//!
//! WireGuard retries after five seconds, which is an outage here. This timer starts at one round trip and doubles up to
//! five seconds. At most one newer initiation is out while an answer may still come: each attempt waits for the round
//! trip. When both ends see a link appear, the one with the lower name begins and the other waits a grace.

use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Below this no retry is worth its 240 µs of computation at the other end.
const FIRST: Duration = Duration::from_millis(50);
/// WireGuard's own interval (REKEY_TIMEOUT).
const LAST: Duration = Duration::from_secs(5);

/// The schedule of one session's initiations.
#[derive(Debug)]
pub(crate) struct Handshake {
    due: Option<Instant>,
    /// Sent since the last success.
    attempts: u32,
    jitter: SmallRng,
}

impl Handshake {
    pub(crate) fn new(seed: u64) -> Handshake {
        Handshake { due: None, attempts: 0, jitter: SmallRng::seed_from_u64(seed) }
    }

    /// Asks for a new handshake at `at`, unless one is under way already.
    pub(crate) fn want(&mut self, at: Instant) {
        if self.due.is_none() {
            self.attempts = 0;
            self.due = Some(at);
        }
    }

    /// Asks for a new handshake at `at` whatever was planned: there is news of the peer.
    pub(crate) fn restart(&mut self, at: Instant) {
        self.attempts = 0;
        self.due = Some(at);
    }

    /// Says whether an initiation is to be sent at `now`, and plans the next.
    pub(crate) fn handle_timeout(&mut self, now: Instant, rtt: Option<Duration>) -> bool {
        if self.due.is_none_or(|due| due > now) {
            return false;
        }
        let first = rtt.unwrap_or_default().max(FIRST);
        let interval = first.saturating_mul(1 << self.attempts.min(10)).min(LAST);
        self.attempts = self.attempts.saturating_add(1);
        self.due = Some(now + interval.mul_f64(self.jitter.random_range(1.0..1.25)));
        true
    }

    /// The other end has begun: waits until its handshake should be through.
    pub(crate) fn handle_initiation(&mut self, now: Instant, rtt: Option<Duration>) {
        if let Some(due) = &mut self.due {
            *due = (*due).max(now + 2 * rtt.unwrap_or_default().max(FIRST));
        }
    }

    /// The session has new keys.
    pub(crate) fn handle_established(&mut self) {
        self.due = None;
        self.attempts = 0;
    }

    /// Initiations since the last success.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Whether a handshake is wanted or under way.
    pub(crate) fn wanted(&self) -> bool {
        self.due.is_some()
    }

    /// When [`Handshake::handle_timeout`] is to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }
}
