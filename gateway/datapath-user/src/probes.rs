//! Whether a path forwards, how long it takes and how much it carries: the prober of one session, a pure machine.
//!
//! ```text
//!            answer                 three misses in a row
//!  Unknown ─────────► Alive ───────────────────────────────► Dead
//!                       ▲               any answer             │
//!                       └──────────────────────────────────────┘
//! ```
//!
//! Small probes decide about life and round trip. Every eighth comes with one padded to the path's MTU, which
//! [`PathMtu`] judges.
//! Drain after every `handle_*`: [`Prober::poll_transmit`], then [`Prober::poll_report`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::path_mtu::PathMtu;

/// Between probes of a neighbour while data flows: three misses are noticed within 400 ms.
const BUSY: Duration = Duration::from_millis(100);
/// Between probes of an idle neighbour. The probes after a miss follow each other at once, so a death right after an
/// answered probe is noticed within 250 + 3 × 100 ms, for a quarter of the packets.
const IDLE: Duration = Duration::from_millis(250);
/// Between probes at most, and of peers that are no neighbours.
const SLOW: Duration = Duration::from_secs(1);
/// How long an answer may take on a fast path; machines pause for tens of milliseconds.
const PATIENCE: Duration = Duration::from_millis(100);
/// The same before any round trip is known.
const FIRST_PATIENCE: Duration = Duration::from_secs(1);
/// Who looks this late at a deadline was not running, and looks again after as long.
const LATE: Duration = Duration::from_millis(30);
/// Unanswered in a row until the path is dead.
const MISSES: u32 = 3;
/// Small probes for each padded one.
const PADDED_EVERY: u32 = 8;
/// Between reports that are not about life and death.
const REPORT: Duration = Duration::from_secs(1);
/// Differences of round trips that no route depends on: a hop alone costs as much (docs/wire.md §5).
const NOISE: Duration = Duration::from_micros(500);
/// Probes whose late answer still counts.
const REMEMBERED: usize = 16;
/// Round trips of which the least is reported, about four seconds of an idle link: what a path takes is its least; the
/// rest is queues and busy machines, and routes that followed those would change for nothing.
const RECENT: usize = 16;

/// What is known of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Unknown,
    Alive,
    Dead,
}

/// A probe to send: its sequence, and the overlay MTU that it is as large as when padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transmit {
    pub(crate) sequence: u16,
    pub(crate) padded: Option<u16>,
}

/// What is worth telling others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) alive: bool,
    pub(crate) rtt: Option<Duration>,
    pub(crate) mtu: Option<u16>,
}

/// The prober of one path.
#[derive(Debug)]
pub(crate) struct Prober {
    neighbour: bool,
    next: Instant,
    sequence: u16,
    sent: VecDeque<Sent>,
    /// The small probe whose deadline runs.
    pending: Option<Pending>,
    misses: u32,
    life: Life,
    rtt: Option<Duration>,
    recent: VecDeque<Duration>,
    count: u32,
    mtu: PathMtu,
    transmits: VecDeque<Transmit>,
    reported: Option<(Report, Instant)>,
    urgent: bool,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    sequence: u16,
    deadline: Instant,
    /// Whether the deadline was put off because we looked late.
    put_off: bool,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    sequence: u16,
    at: Instant,
    padded: Option<u16>,
}

impl Prober {
    /// Starts probing at `now`; `rtt` is what the link has measured.
    pub(crate) fn new(overlay_mtu: u16, neighbour: bool, rtt: Option<Duration>, now: Instant) -> Prober {
        Prober {
            neighbour,
            next: now,
            sequence: 0,
            sent: VecDeque::with_capacity(REMEMBERED),
            pending: None,
            misses: 0,
            life: Life::Unknown,
            rtt: rtt.filter(|rtt| !rtt.is_zero()),
            recent: VecDeque::with_capacity(RECENT),
            count: 0,
            mtu: PathMtu::new(overlay_mtu, now),
            transmits: VecDeque::new(),
            reported: None,
            urgent: false,
        }
    }

    /// Judges what is late and sends what is due; `busy` says that data flows.
    pub(crate) fn handle_timeout(&mut self, busy: bool, now: Instant) {
        if let Some(pending) = &mut self.pending
            && now >= pending.deadline + LATE
            && !pending.put_off
        {
            // This machine was busy elsewhere: the answer may lie unread.
            (pending.deadline, pending.put_off) = (now + LATE, true);
        }
        if self.pending.is_some_and(|pending| pending.deadline <= now) {
            self.pending = None;
            self.misses += 1;
            if self.misses >= MISSES && self.life != Life::Dead {
                self.life = Life::Dead;
                self.urgent = true;
            }
            // While in doubt, ask again at once.
            if self.life != Life::Dead {
                self.next = now;
            }
        }
        self.mtu.handle_timeout(self.patience(), now);
        if self.pending.is_none() && self.next <= now {
            self.send_small(busy, now);
            if self.count.is_multiple_of(PADDED_EVERY) {
                self.mtu.begin(now);
            }
            self.count = self.count.wrapping_add(1);
        }
        if let Some(size) = self.wanted_size() {
            // With a small one beside it: only when that is answered the size is to blame.
            let companion = match self.pending {
                Some(pending) => pending.sequence,
                None => self.send_small(busy, now),
            };
            let sequence = self.send(Some(size), now);
            self.mtu.handle_sent(sequence, companion, now);
        }
    }

    /// The session has come up: what was planned for later can be asked.
    pub(crate) fn handle_ready(&mut self, now: Instant) {
        self.next = self.next.min(now);
    }

    /// Takes the answer to a probe.
    pub(crate) fn handle_reply(&mut self, sequence: u16, now: Instant) {
        let Some(at) = self.sent.iter().position(|s| s.sequence == sequence) else { return };
        let Some(sent) = self.sent.remove(at) else { return };
        if self.pending.is_some_and(|pending| pending.sequence == sequence) {
            self.pending = None;
        }
        self.misses = 0;
        if self.life != Life::Alive {
            self.life = Life::Alive;
            self.urgent = true;
        }
        match sent.padded {
            Some(size) => self.mtu.handle_reply(size, now),
            None => {
                self.mtu.handle_companion(sequence);
                let sample = now.saturating_duration_since(sent.at);
                if self.recent.len() == RECENT {
                    self.recent.pop_front();
                }
                self.recent.push_back(sample);
                // RFC 6298 §2.3.
                self.rtt =
                    Some(self.rtt.filter(|_| self.count > 1).map_or(sample, |old| (7 * old + sample) / 8));
            }
        }
    }

    /// The kernel refused a probe as larger than the interface or the route carries.
    pub(crate) fn handle_too_big(&mut self, sequence: u16, now: Instant) {
        self.mtu.handle_too_big(sequence, now);
    }

    /// Data was refused as too large: looks for what passes.
    pub(crate) fn handle_suspicion(&mut self) {
        self.mtu.handle_suspicion();
    }

    /// The next probe to send.
    pub(crate) fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// What changed: life and death at once, the rest at most once a second.
    pub(crate) fn poll_report(&mut self, now: Instant) -> Option<Report> {
        let report = Report { alive: self.life == Life::Alive, rtt: self.least_rtt(), mtu: self.mtu() };
        let due = match (&self.reported, self.life) {
            (_, Life::Unknown) => false,
            (None, _) => true,
            (Some((old, at)), _) => {
                now >= *at + REPORT && (differs(old.rtt, report.rtt) || old.mtu != report.mtu)
            }
        };
        if !due && !std::mem::take(&mut self.urgent) {
            return None;
        }
        self.urgent = false;
        self.reported = Some((report, now));
        Some(report)
    }

    /// When [`Prober::handle_timeout`] is to be called.
    pub(crate) fn poll_timeout(&self) -> Instant {
        // To be sent at once, and a dead path is asked nothing about sizes.
        let padded = match self.wanted_size() {
            Some(_) => self.sent.back().map(|sent| sent.at),
            None => self.mtu.deadline(self.patience()),
        };
        let small = self.pending.map_or(self.next, |pending| pending.deadline);
        padded.map_or(small, |padded| padded.min(small))
    }

    pub(crate) fn life(&self) -> Life {
        self.life
    }

    pub(crate) fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// The least of the last round trips, else what the link has measured.
    fn least_rtt(&self) -> Option<Duration> {
        self.recent.iter().min().copied().or(self.rtt)
    }

    /// The largest overlay packet known to pass; `None` until one did.
    pub(crate) fn mtu(&self) -> Option<u16> {
        self.mtu.known()
    }

    /// The largest overlay packet to send unfragmented.
    pub(crate) fn path_mtu(&self) -> u16 {
        self.mtu.in_use()
    }

    pub(crate) fn set_neighbour(&mut self, neighbour: bool) {
        self.neighbour = neighbour;
    }

    /// The size to try now. A dead path is asked nothing about sizes, and a small probe under way is answered first.
    fn wanted_size(&self) -> Option<u16> {
        let last = self.sent.back().map(|sent| sent.sequence);
        let fresh = self.pending.is_none_or(|pending| Some(pending.sequence) == last);
        self.mtu.wanted().filter(|_| self.life == Life::Alive && fresh)
    }

    fn send_small(&mut self, busy: bool, now: Instant) -> u16 {
        let sequence = self.send(None, now);
        self.pending = Some(Pending { sequence, deadline: now + self.patience(), put_off: false });
        self.next = now + self.interval(busy);
        sequence
    }

    fn send(&mut self, padded: Option<u16>, now: Instant) -> u16 {
        let sequence = self.sequence;
        self.sequence = self.sequence.wrapping_add(1);
        if self.sent.len() == REMEMBERED {
            self.sent.pop_front();
        }
        self.sent.push_back(Sent { sequence, at: now, padded });
        self.transmits.push_back(Transmit { sequence, padded });
        sequence
    }

    fn patience(&self) -> Duration {
        self.rtt.map_or(FIRST_PATIENCE, |rtt| (2 * rtt).clamp(PATIENCE, 3 * SLOW))
    }

    fn interval(&self, busy: bool) -> Duration {
        let twice = 2 * self.rtt.unwrap_or_default();
        match (self.neighbour, busy || self.mtu.is_searching()) {
            (false, _) => SLOW,
            (true, true) => twice.clamp(BUSY, SLOW),
            (true, false) => twice.clamp(IDLE, SLOW),
        }
    }
}

fn differs(old: Option<Duration>, new: Option<Duration>) -> bool {
    match (old, new) {
        (Some(old), Some(new)) => old.abs_diff(new) > NOISE.max(old / 5),
        (old, new) => old.is_some() != new.is_some(),
    }
}
