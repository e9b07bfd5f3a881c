//! The thread for everything that happens because time passes: handshakes, probes, WireGuard's own timers, reports.
//!
//! It visits only sessions that are due; each says when by an atomic, so idle sessions cost one load.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use boringtun::noise::TunnResult;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use weave_model::PathReport;
use weave_wire::Probe;

use crate::clock::Now;
use crate::outbound::HEADERS;
use crate::outgoing::Outgoing;
use crate::probes::{Life, Prober, Transmit};
use crate::session::State;
use crate::shared::Shared;
use crate::snapshot::{Peer, Snapshot};

/// boringtun's clock moves only when it is told.
const TICK: Duration = Duration::from_millis(100);
/// The limiter counts by the second.
const LIMITER: Duration = Duration::from_secs(1);
/// A session with a peer that is no neighbour ends after this many seconds without a frame: WireGuard's REJECT_AFTER_TIME.
const IDLE: u32 = 180;
/// Its probes end earlier, at both ends: a probe that met an ended session would begin it again.
const QUIET: u32 = 120;
/// How long a new neighbour's session may take to come up before its probes count as missed.
const GRACE: Duration = Duration::from_millis(500);
/// A dead path is met with a new handshake this often: the other end may have lost its keys.
const SILENCE: Duration = Duration::from_secs(5);
/// Attempts (about 3 s) after which the frames that wait are too old to be of use.
const PATIENT_ATTEMPTS: u32 = 6;

/// The state of the thread.
pub(crate) struct Timers {
    shared: Arc<Shared>,
    out: Outgoing,
    packet: Vec<u8>,
    limiter_at: Instant,
}

impl Timers {
    pub(crate) fn new(shared: Arc<Shared>, out: Outgoing) -> Timers {
        let limiter_at = shared.clock.now().instant;
        Timers { shared, out, packet: vec![0; 65_536], limiter_at }
    }

    /// Runs until the datapath stops.
    pub(crate) fn drive(&mut self) -> io::Result<()> {
        while !self.shared.stopping() {
            let now = self.shared.clock.now();
            let next = self.visit_due(&now);
            let now = self.shared.clock.now();
            let wait = next.saturating_sub(now.milliseconds()).clamp(1, TICK.as_millis() as u64);
            let mut fds = [
                PollFd::new(self.shared.stop.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.shared.poke.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, PollTimeout::from(wait as u16)) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(e) => return Err(e.into()),
            }
            // Empty unless poked.
            let _ = self.shared.poke.read();
        }
        Ok(())
    }

    /// Visits the sessions that are due; returns when the next is, in milliseconds.
    fn visit_due(&mut self, now: &Now) -> u64 {
        if now.instant >= self.limiter_at {
            self.shared.limiter.reset_count();
            self.limiter_at = now.instant + LIMITER;
        }
        let shared = self.shared.clone();
        let snapshot = shared.snapshot.load();
        let mut next = u64::MAX;
        for peer in &snapshot.peers {
            let due = &peer.session.due;
            if due.load(std::sync::atomic::Ordering::Relaxed) <= now.milliseconds() {
                // Before the visit, so that nobody's wish in between is lost.
                due.store(u64::MAX, std::sync::atomic::Ordering::Relaxed);
                let report = self.visit(&snapshot, peer, now);
                if let Some(report) = report {
                    (shared.report)(report);
                }
            }
            next = next.min(due.load(std::sync::atomic::Ordering::Relaxed));
        }
        self.out.flush();
        next
    }

    fn visit(&mut self, snapshot: &Snapshot, peer: &Peer, now: &Now) -> Option<PathReport> {
        let session = &peer.session;
        let mut guard = session.lock();
        let state = &mut *guard;
        let idle = session.idle_seconds(now);
        if !peer.is_neighbour() && state.tunn.is_some() && idle > IDLE {
            session.close(state);
            return None;
        }
        self.tick(snapshot, peer, state, now);
        if state.handshake.attempts() >= PATIENT_ATTEMPTS {
            let stale = session.discard_waiting(state);
            self.out.counters.count_many(crate::counters::DropReason::SessionDown, stale);
        }
        // In turn by the link itself and by what data takes, so that either brings a session up.
        let direct = state.handshake.attempts().is_multiple_of(2);
        let way = if direct { snapshot.probe_way(peer) } else { snapshot.way(peer) };
        if let Some(way) = way {
            session.initiate(state, &way, &mut self.out, now.instant);
        }
        let report = self.probe(snapshot, peer, state, now);
        let times = [
            state.next_tick,
            state.handshake.poll_timeout(),
            state.prober.as_ref().map(Prober::poll_timeout),
        ];
        if let Some(at) = times.into_iter().flatten().min() {
            session.wake_at(self.shared.clock.milliseconds(at) + 1);
        }
        report
    }

    /// WireGuard's own timers: rekeying, keep-alives, expiry.
    fn tick(&mut self, snapshot: &Snapshot, peer: &Peer, state: &mut State, now: &Now) {
        let Some(tunn) = state.tunn.as_mut() else { return };
        if state.next_tick.is_some_and(|at| at > now.instant) {
            return;
        }
        state.next_tick = Some(now.instant + TICK);
        if let TunnResult::WriteToNetwork(message) = tunn.update_timers(&mut self.packet)
            && let Some(way) = snapshot.way(peer)
        {
            self.out.message(&way, message);
        }
        let before = state.up;
        state.refresh();
        let lost = before && !state.up;
        let silent = state.heard.is_none_or(|at| now.instant.saturating_duration_since(at) > SILENCE);
        let dead = state.prober.as_ref().is_some_and(|prober| prober.life() == Life::Dead);
        if lost && peer.is_neighbour() || dead && silent {
            state.handshake.want(now.instant);
        }
    }

    fn probe(
        &mut self,
        snapshot: &Snapshot,
        peer: &Peer,
        state: &mut State,
        now: &Now,
    ) -> Option<PathReport> {
        let session = &peer.session;
        // A path to nobody would seem dead.
        let nobody = snapshot.local.is_none() || peer.short_id.is_none();
        if nobody || !peer.is_neighbour() && session.idle_seconds(now) > QUIET {
            state.prober = None;
            return None;
        }
        if state.prober.is_none() && (peer.is_neighbour() || state.up) {
            let (mtu, rtt) = (self.shared.keys.mtu, Some(peer.rtt));
            let start = if state.up { now.instant } else { now.instant + GRACE };
            state.prober = Some(Prober::new(mtu, peer.is_neighbour(), rtt, start));
        }
        let before = state.prober.as_ref()?.life();
        let busy = session.busy.swap(false, std::sync::atomic::Ordering::Relaxed);
        if let Some(prober) = &mut state.prober {
            prober.set_neighbour(peer.is_neighbour());
            let way = snapshot.probe_way(peer).map(|way| (way.to, way.envelope.is_some()));
            if way != state.way {
                state.way = way;
                prober.handle_suspicion();
            }
            prober.handle_timeout(busy, now.instant);
        }
        while let Some(probe) = state.prober.as_mut().and_then(Prober::poll_transmit) {
            let refused = self.send_probe(snapshot, peer, state, probe);
            if let Some(prober) = state.prober.as_mut().filter(|_| refused) {
                prober.handle_too_big(probe.sequence, now.instant);
            }
        }
        let prober = state.prober.as_mut()?;
        session.publish_probes(prober);
        if prober.life() == Life::Dead && before != Life::Dead {
            state.handshake.want(now.instant);
        }
        let report = prober.poll_report(now.instant)?;
        Some(PathReport { peer: peer.name, alive: report.alive, rtt: report.rtt, mtu: report.mtu })
    }

    /// Sends one probe; returns whether the kernel refused it as too large.
    fn send_probe(&mut self, snapshot: &Snapshot, peer: &Peer, state: &mut State, probe: Transmit) -> bool {
        let State { tunn: Some(tunn), up: true, .. } = state else { return false };
        let (Some(sender), Some(receiver)) = (snapshot.local, peer.short_id) else { return false };
        let Some(way) = snapshot.probe_way(peer) else { return false };
        let length = probe.padded.map_or(Probe::LENGTH, |mtu| HEADERS + usize::from(mtu)).max(Probe::LENGTH);
        let Some(packet) = self.packet.get_mut(..length) else { return false };
        let (identifier, sequence) = (self.shared.identifier, probe.sequence);
        if !(Probe { sender, receiver, reply: false, identifier, sequence }).write(packet) {
            return false;
        }
        if probe.padded.is_none() {
            self.out.seal(&way, tunn, packet);
            return false;
        }
        // Alone, so that the kernel's answer is about this one.
        self.out.flush();
        self.out.take_too_big();
        self.out.seal(&way, tunn, packet);
        self.out.flush();
        self.out.take_too_big().is_some()
    }
}
