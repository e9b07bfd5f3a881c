//! The search for the largest packet that a path carries (in the manner of RFC 8899): the padded half of a prober.
//!
//! The size in use is tried now and then. When it fails twice while small probes pass, the size in use falls to what
//! every path carries and a binary search finds the rest; every minute a narrow path is tried upward again.

use std::time::{Duration, Instant};

/// Tries of one size: one may be lost by chance.
const TRIES: u8 = 2;
/// What every path carries: IPv4's 576 bytes less our headers (RFC 791 §3.2).
const FLOOR: u16 = 400;
/// Precision of the search in bytes.
const STEP: u16 = 8;
/// Between tries upward.
const UPWARD: Duration = Duration::from_secs(60);

/// The MTU of one path, and the search for it.
#[derive(Debug)]
pub(crate) struct PathMtu {
    overlay_mtu: u16,
    /// The largest size that is taken to pass.
    mtu: u16,
    /// Whether a padded probe of that size was answered.
    proven: bool,
    trying: Option<Try>,
    /// What passes and what does not, while a search runs.
    bounds: Option<(u16, u16)>,
    upward_at: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Try {
    size: u16,
    /// The probe that is under way.
    sent: Option<Padded>,
    failures: u8,
}

#[derive(Clone, Copy, Debug)]
struct Padded {
    sequence: u16,
    at: Instant,
    /// The small probe sent with it, until it is answered.
    companion: Option<u16>,
}

impl PathMtu {
    pub(crate) fn new(overlay_mtu: u16, now: Instant) -> PathMtu {
        let (mtu, upward_at) = (overlay_mtu, now + UPWARD);
        PathMtu { overlay_mtu, mtu, proven: false, trying: None, bounds: None, upward_at }
    }

    /// Begins to try the size in use, or a larger one when its time has come.
    pub(crate) fn begin(&mut self, now: Instant) {
        if self.trying.is_some() || self.bounds.is_some() {
            return;
        }
        let mut size = self.mtu;
        if size < self.overlay_mtu && self.upward_at <= now {
            self.bounds = Some((size, self.overlay_mtu.saturating_add(1)));
            size = self.overlay_mtu;
        }
        self.try_size(size);
    }

    /// A padded probe has been sent, and a small one with it.
    pub(crate) fn handle_sent(&mut self, sequence: u16, companion: u16, now: Instant) {
        if let Some(trying) = &mut self.trying {
            trying.sent = Some(Padded { sequence, at: now, companion: Some(companion) });
        }
    }

    /// A small probe was answered.
    pub(crate) fn handle_companion(&mut self, sequence: u16) {
        if let Some(sent) = self.trying.as_mut().and_then(|trying| trying.sent.as_mut()) {
            sent.companion = sent.companion.filter(|companion| *companion != sequence);
        }
    }

    /// Judges a probe that is late; only a path that answered the small one says something about sizes.
    pub(crate) fn handle_timeout(&mut self, patience: Duration, now: Instant) {
        let Some(trying) = &mut self.trying else { return };
        let Some(sent) = trying.sent.filter(|sent| sent.at + patience <= now) else { return };
        trying.sent = None;
        if sent.companion.is_none() {
            trying.failures += 1;
            if trying.failures >= TRIES {
                self.refuse(now);
            }
        }
    }

    /// A padded probe was answered.
    pub(crate) fn handle_reply(&mut self, size: u16, now: Instant) {
        if self.trying.is_none_or(|trying| trying.size != size) {
            return;
        }
        match self.bounds {
            None => {
                self.proven |= size == self.mtu;
                self.trying = None;
            }
            Some((_, high)) => {
                self.mtu = size;
                self.proven = true;
                self.search(size, high, now);
            }
        }
    }

    /// The kernel refused a probe as larger than the interface or the route carries.
    pub(crate) fn handle_too_big(&mut self, sequence: u16, now: Instant) {
        if self.trying.is_some_and(|trying| trying.sent.is_some_and(|sent| sent.sequence == sequence)) {
            self.refuse(now);
        }
    }

    /// Data was refused as too large: looks for what passes.
    pub(crate) fn handle_suspicion(&mut self) {
        if self.bounds.is_none() && self.trying.is_none() {
            self.try_size(self.mtu);
        }
    }

    /// The size that a padded probe is to be sent with.
    pub(crate) fn wanted(&self) -> Option<u16> {
        self.trying.filter(|trying| trying.sent.is_none()).map(|trying| trying.size)
    }

    /// When the probe under way is late.
    pub(crate) fn deadline(&self, patience: Duration) -> Option<Instant> {
        self.trying?.sent.map(|sent| sent.at + patience)
    }

    pub(crate) fn is_searching(&self) -> bool {
        self.bounds.is_some()
    }

    /// The largest size known to pass; `None` until one did.
    pub(crate) fn known(&self) -> Option<u16> {
        (self.proven || self.mtu < self.overlay_mtu).then_some(self.mtu)
    }

    /// The largest size to send unfragmented.
    pub(crate) fn in_use(&self) -> u16 {
        self.mtu
    }

    /// The size being tried does not pass.
    fn refuse(&mut self, now: Instant) {
        let Some(Try { size, .. }) = self.trying else { return };
        let low = match self.bounds {
            Some((low, _)) => low,
            // What was in use passes no more: begin at the bottom.
            None => FLOOR.min(size),
        };
        self.mtu = self.mtu.min(low);
        self.proven = false;
        self.search(low, size, now);
    }

    fn search(&mut self, low: u16, high: u16, now: Instant) {
        if high.saturating_sub(low) <= STEP {
            (self.bounds, self.trying) = (None, None);
            self.upward_at = now + UPWARD;
            return;
        }
        self.bounds = Some((low, high));
        self.try_size(low + (high - low) / 2);
    }

    fn try_size(&mut self, size: u16) {
        self.trying = Some(Try { size, sent: None, failures: 0 });
    }
}
