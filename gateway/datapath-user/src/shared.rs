//! What all threads of the datapath share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use boringtun::noise::rate_limiter::RateLimiter;
use nix::sys::eventfd::{EfdFlags, EventFd};
use rand::TryRngCore;
use rand::rngs::OsRng;
use weave_model::{PathReport, Train};
use weave_switch::Switch;

use crate::clock::Clock;
use crate::session::Keys;
use crate::snapshot::Snapshot;

/// Handshakes a second until senders must prove their address (white paper §5.3). One costs 300 µs, so this is a
/// third of a processor at most; a network of a thousand peers that all come back takes a second.
const HANDSHAKES: u64 = 1_000;

/// Read by all threads, changed by none but through atomics.
pub(crate) struct Shared {
    pub(crate) keys: Arc<Keys>,
    pub(crate) snapshot: ArcSwap<Snapshot>,
    pub(crate) switch: Arc<Switch>,
    pub(crate) control: Box<dyn Fn(Train<'_>) + Send + Sync>,
    pub(crate) report: Box<dyn Fn(PathReport) + Send + Sync>,
    pub(crate) ended: Box<dyn Fn(std::io::Error) + Send + Sync>,
    pub(crate) clock: Clock,
    /// The one real limiter, in front of all sessions.
    pub(crate) limiter: RateLimiter,
    /// Tells our probes from those of an earlier run.
    pub(crate) identifier: u16,
    /// Readable for ever once the threads are to end.
    pub(crate) stop: EventFd,
    stopping: AtomicBool,
    /// How often a thread panicked and went on.
    pub(crate) panics: AtomicU64,
    /// Readable when the timers thread is to look again.
    pub(crate) poke: EventFd,
}

impl Shared {
    pub(crate) fn new(
        keys: Keys,
        switch: Arc<Switch>,
        control: Box<dyn Fn(Train<'_>) + Send + Sync>,
        report: Box<dyn Fn(PathReport) + Send + Sync>,
        ended: Box<dyn Fn(std::io::Error) + Send + Sync>,
    ) -> std::io::Result<Shared> {
        let event = || EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC);
        Ok(Shared {
            limiter: RateLimiter::new(&keys.public, HANDSHAKES),
            keys: Arc::new(keys),
            snapshot: ArcSwap::from_pointee(Snapshot::default()),
            switch,
            control,
            report,
            ended,
            clock: Clock::start(),
            identifier: OsRng.try_next_u32().unwrap_or_default() as u16,
            stop: event()?,
            stopping: AtomicBool::new(false),
            panics: AtomicU64::new(0),
            poke: event()?,
        })
    }

    /// Ends all threads.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        // Fails only when the counter is about to overflow: then it is readable already.
        let _ = self.stop.write(1);
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Wakes the timers thread.
    pub(crate) fn poke(&self) {
        // As above.
        let _ = self.poke.write(1);
    }
}
