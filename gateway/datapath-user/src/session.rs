//! The session with one peer: its WireGuard state, its probes, and what waits for it.
//!
//! One lock guards all of it. A worker takes it once for a train; timers and status take it a few times a second. What
//! every frame must know without the lock is in atomics beside it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519::{PublicKey, StaticSecret};
use weave_wire::Reassembly;

use crate::clock::Now;
use crate::counters::DropReason;
use crate::handshake::Handshake;
use crate::outgoing::Outgoing;
use crate::probes::{Life, Prober};
use crate::snapshot::Way;

/// Packets kept for one session while its handshake is under way: the first burst of a new flow.
const WAITING: usize = 16;
/// The same for all sessions together: 1.5 MB of full frames.
const WAITING_ALL: usize = 1024;
/// Longest handshake message, and what boringtun wants as room for one.
pub(crate) const MESSAGE: usize = 148;

/// What all sessions share.
pub(crate) struct Keys {
    pub(crate) private: StaticSecret,
    pub(crate) public: PublicKey,
    pub(crate) psk: [u8; 32],
    pub(crate) mtu: u16,
    /// Never refuses: one real limiter stands in front of all sessions.
    pub(crate) open_limiter: Arc<RateLimiter>,
    /// Packets that wait in all sessions.
    pub(crate) waiting: AtomicUsize,
}

impl Keys {
    pub(crate) fn new(private: [u8; 32], psk: [u8; 32], mtu: u16) -> Keys {
        let private = StaticSecret::from(private);
        let public = PublicKey::from(&private);
        let open_limiter = Arc::new(RateLimiter::new(&public, u64::MAX));
        Keys { private, public, psk, mtu, open_limiter, waiting: AtomicUsize::new(0) }
    }
}

/// The session with one peer under one key.
pub(crate) struct Session {
    /// The peer's static public key.
    pub(crate) key: [u8; 32],
    /// What WireGuard's receiver index says in its upper 24 bits.
    pub(crate) index: u32,
    keys: Arc<Keys>,
    state: Mutex<State>,
    /// Cleared while the probes of the path have no answer.
    alive: AtomicBool,
    /// The largest overlay packet to send unfragmented.
    path_mtu: AtomicU16,
    /// Milliseconds at which the timers thread is next needed.
    pub(crate) due: AtomicU64,
    /// Seconds at which a frame last went through.
    used: AtomicU32,
    /// Set by every frame, cleared by the probes.
    pub(crate) busy: AtomicBool,
    pub(crate) sent: Traffic,
    pub(crate) received: Traffic,
}

/// Frames and their bytes in one direction.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) frames: AtomicU64,
    pub(crate) bytes: AtomicU64,
}

impl Traffic {
    pub(crate) fn add(&self, frames: u64, bytes: u64) {
        self.frames.fetch_add(frames, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// What the lock of a session guards.
pub(crate) struct State {
    pub(crate) tunn: Option<Tunn>,
    /// Whether `tunn` can seal; while it cannot it must not be asked, or it allocates and queues.
    pub(crate) up: bool,
    pub(crate) handshake: Handshake,
    pub(crate) prober: Option<Prober>,
    pub(crate) reassembly: Reassembly,
    /// When boringtun's own timers are next to be looked at.
    pub(crate) next_tick: Option<Instant>,
    /// Whether an initiation of the peer was answered and no message under the new keys has come yet.
    pub(crate) responded: bool,
    /// When the peer last proved that it has the session's keys.
    pub(crate) heard: Option<Instant>,
    /// Where data went when the timers last looked: another way may carry less.
    pub(crate) way: Option<(SocketAddr, bool)>,
    identification: u16,
    waiting: VecDeque<Box<[u8]>>,
}

impl Session {
    pub(crate) fn new(key: [u8; 32], index: u32, keys: Arc<Keys>) -> Session {
        let seed = key.iter().fold(u64::from(index), |seed, octet| seed.rotate_left(7) ^ u64::from(*octet));
        let state = State {
            tunn: None,
            up: false,
            handshake: Handshake::new(seed),
            prober: None,
            reassembly: Reassembly::default(),
            next_tick: None,
            responded: false,
            heard: None,
            way: None,
            identification: 0,
            waiting: VecDeque::new(),
        };
        Session {
            key,
            index,
            state: Mutex::new(state),
            alive: AtomicBool::new(true),
            path_mtu: AtomicU16::new(keys.mtu),
            due: AtomicU64::new(u64::MAX),
            used: AtomicU32::new(0),
            busy: AtomicBool::new(false),
            sent: Traffic::default(),
            received: Traffic::default(),
            keys,
        }
    }

    /// Locks the state. A thread that panicked under the lock left it no worse than a lost packet does.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the path is worth using: not dead, as far as the probes know.
    pub(crate) fn alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }

    pub(crate) fn path_mtu(&self) -> u16 {
        self.path_mtu.load(Ordering::Relaxed)
    }

    /// Copies what the probes found to where frames look.
    pub(crate) fn publish_probes(&self, prober: &Prober) {
        self.alive.store(prober.life() != Life::Dead, Ordering::Relaxed);
        self.path_mtu.store(prober.path_mtu(), Ordering::Relaxed);
    }

    /// Notes a frame, so that the session is kept and probed closely.
    pub(crate) fn touch(&self, now: &Now) {
        // Read first: the line is shared by all workers and mostly right.
        if self.used.load(Ordering::Relaxed) != now.seconds {
            self.used.store(now.seconds, Ordering::Relaxed);
        }
        if !self.busy.load(Ordering::Relaxed) {
            self.busy.store(true, Ordering::Relaxed);
        }
    }

    /// Seconds since the last frame.
    pub(crate) fn idle_seconds(&self, now: &Now) -> u32 {
        now.seconds.saturating_sub(self.used.load(Ordering::Relaxed))
    }

    /// Asks the timers thread for a visit no later than at `milliseconds`.
    pub(crate) fn wake_at(&self, milliseconds: u64) {
        self.due.fetch_min(milliseconds, Ordering::Relaxed);
    }

    /// Begins the session's WireGuard state where there is none.
    pub(crate) fn open<'a>(&self, state: &'a mut State) -> &'a mut Tunn {
        state.tunn.get_or_insert_with(|| self.fresh())
    }

    /// Replaces the WireGuard state: what the peer remembers of us has gone.
    pub(crate) fn reopen(&self, state: &mut State) {
        state.tunn = Some(self.fresh());
        state.up = false;
    }

    /// Drops everything; the session begins again when a frame wants it.
    pub(crate) fn close(&self, state: &mut State) {
        self.discard_waiting(state);
        (state.tunn, state.up, state.prober, state.next_tick) = (None, false, None, None);
        (state.responded, state.heard, state.way) = (false, None, None);
        state.handshake.handle_established();
        state.reassembly = Reassembly::default();
        self.alive.store(true, Ordering::Relaxed);
        self.path_mtu.store(self.keys.mtu, Ordering::Relaxed);
    }

    fn fresh(&self) -> Tunn {
        let Keys { private, psk, open_limiter, .. } = &*self.keys;
        let peer = PublicKey::from(self.key);
        Tunn::new(private.clone(), peer, Some(*psk), None, self.index, Some(open_limiter.clone()))
    }

    /// Keeps a packet until the session is up; the handshake begins if none is under way.
    pub(crate) fn wait(
        &self,
        state: &mut State,
        packet: &[u8],
        way: &Way<'_>,
        out: &mut Outgoing,
        now: &Now,
    ) {
        let full = state.waiting.len() >= WAITING || self.keys.waiting.load(Ordering::Relaxed) >= WAITING_ALL;
        if full {
            out.counters.count(DropReason::SessionDown);
        } else {
            self.keys.waiting.fetch_add(1, Ordering::Relaxed);
            state.waiting.push_back(packet.into());
        }
        if !state.handshake.wanted() {
            state.handshake.want(now.instant);
            self.initiate(state, way, out, now.instant);
            self.wake_at(now.milliseconds());
        }
    }

    /// Sends an initiation when the schedule says so.
    pub(crate) fn initiate(&self, state: &mut State, way: &Way<'_>, out: &mut Outgoing, now: Instant) {
        let rtt = state.rtt().or(Some(way.rtt));
        if !state.handshake.handle_timeout(now, rtt) {
            return;
        }
        let mut message = [0; MESSAGE];
        if let TunnResult::WriteToNetwork(bytes) =
            self.open(state).format_handshake_initiation(&mut message, true)
        {
            out.message(way, bytes);
        }
    }

    /// The session has come up: sends what waited for it.
    pub(crate) fn release(&self, state: &mut State, way: &Way<'_>, out: &mut Outgoing) {
        let State { tunn: Some(tunn), waiting, .. } = state else { return };
        for packet in waiting.drain(..) {
            self.keys.waiting.fetch_sub(1, Ordering::Relaxed);
            out.seal(way, tunn, &packet);
        }
    }

    /// The session is up: its probes begin.
    pub(crate) fn probe_soon(&self, state: &mut State, neighbour: bool, rtt: Duration, now: &Now) {
        let start = || Prober::new(self.keys.mtu, neighbour, Some(rtt), now.instant);
        state.prober.get_or_insert_with(start).handle_ready(now.instant);
        self.wake_at(now.milliseconds());
    }

    /// Drops what waits; returns how many packets that was.
    pub(crate) fn discard_waiting(&self, state: &mut State) -> usize {
        let count = state.waiting.len();
        self.keys.waiting.fetch_sub(count, Ordering::Relaxed);
        state.waiting.clear();
        count
    }

    /// A link to the peer has appeared: the session comes up, with new keys, because the peer may have restarted.
    ///
    /// `grace` is for the end that lets the other begin.
    pub(crate) fn handle_link(&self, grace: Duration, now: &Now) {
        let mut state = self.lock();
        if !state.up || !self.alive() {
            // Nothing to lose; and an old state would refuse a peer whose clock went back.
            self.reopen(&mut state);
        }
        state.handshake.restart(now.instant + grace);
        self.wake_at(now.milliseconds());
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let waiting = self.lock().waiting.len();
        self.keys.waiting.fetch_sub(waiting, Ordering::Relaxed);
    }
}

impl State {
    /// The number of the next packet, for its fragments.
    pub(crate) fn identification(&mut self) -> u16 {
        self.identification = self.identification.wrapping_add(1);
        self.identification
    }

    /// Looks whether the WireGuard state can seal; `true` when it has just become so.
    pub(crate) fn refresh(&mut self) -> bool {
        let before = self.up;
        self.up = self.tunn.as_ref().is_some_and(|tunn| tunn.time_since_last_handshake().is_some());
        self.up && !before
    }

    pub(crate) fn rtt(&self) -> Option<Duration> {
        self.prober.as_ref().and_then(Prober::rtt)
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}
