//! From the port inward: every datagram of a train is classified by itself, opened in its session or relayed.

use std::net::{IpAddr, SocketAddr};

use boringtun::noise::Packet;
use boringtun::noise::TunnResult;
use boringtun::noise::errors::WireGuardError;
use boringtun::noise::handshake::parse_handshake_anon;
use weave_model::{ShortId, Train};
use weave_wire::{Coalescer, Envelope, Kind, classify};

use crate::clock::Now;
use crate::counters::DropReason;
use crate::outgoing::Outgoing;
use crate::relay::{Relayed, Run, relay};
use crate::session::State;
use crate::shared::Shared;
use crate::snapshot::{Adjacent, Peer, Snapshot};
use crate::tap::TapQueue;

/// The longest packet inside a session, with room for what boringtun wants.
const PACKET: usize = 65_536 + 256;
/// A data message without content (WireGuard white paper §5.4.6).
const DATA_HEADER: usize = 16;
/// REJECT_AFTER_MESSAGES (white paper §6.1): no honest peer counts that far, and arithmetic ends behind it.
const LAST_COUNTER: u64 = u64::MAX - (1 << 13);

/// The buffers of one worker for this direction.
pub(crate) struct Inbound {
    pub(crate) packet: Vec<u8>,
    pub(crate) coalescer: Coalescer,
    reply: Vec<u8>,
}

/// What one wake-up of a worker sees.
pub(crate) struct Scene<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) shared: &'a Shared,
    pub(crate) queue: &'a TapQueue,
    pub(crate) now: Now,
}

/// The session whose lock is held from one datagram of a train to the next.
pub(crate) type Held<'a> = Option<(&'a Peer, std::sync::MutexGuard<'a, State>)>;

/// Where a train came from.
struct Source<'a> {
    from: SocketAddr,
    adjacent: Option<&'a Adjacent>,
    /// Whether its link may relay more; asked once a train.
    allowed: Option<bool>,
}

impl Inbound {
    pub(crate) fn new() -> Inbound {
        Inbound { packet: vec![0; PACKET], coalescer: Coalescer::default(), reply: vec![0; PACKET] }
    }

    /// Handles one train; `template` says where it came from, `bytes` are its datagrams.
    pub(crate) fn train(
        &mut self,
        scene: &Scene<'_>,
        template: Train<'_>,
        bytes: &mut [u8],
        out: &mut Outgoing,
    ) {
        let stride = template.stride.max(1);
        let count = bytes.len().div_ceil(stride);
        let adjacent = scene.snapshot.adjacent_at(template.from);
        let template = Train { known: adjacent.is_some(), ..template };
        let mut source = Source { from: template.from, adjacent, allowed: None };
        let (mut held, mut run, mut quic): (Held<'_>, _, _) = (None, Run::default(), 0..0);
        for start in (0..bytes.len()).step_by(stride) {
            let end = (start + stride).min(bytes.len());
            let datagram = &mut bytes[start..end];
            match classify(datagram) {
                Kind::WireGuard => self.message(scene, &mut held, &source, None, datagram, out),
                Kind::Envelope => match envelope(scene, &mut source, count, datagram) {
                    Relayed::Ours(from) => {
                        let message = &mut datagram[Envelope::LENGTH..];
                        if classify(message) == Kind::WireGuard {
                            self.message(scene, &mut held, &source, Some(from), message, out);
                        } else {
                            out.counters.count(DropReason::NotOurs);
                        }
                    }
                    Relayed::Onward(to) => run.push(to, start, end, bytes, stride, out),
                    Relayed::Dropped(reason) => out.counters.count(reason),
                },
                Kind::Quic if quic.end == start && !quic.is_empty() => quic.end = end,
                Kind::Quic => {
                    held = None;
                    control(scene, &template, &bytes[quic]);
                    quic = start..end;
                }
                Kind::Stun => out.counters.count(DropReason::Stun),
                Kind::Esp => out.counters.count(DropReason::Esp),
                Kind::Unknown => out.counters.count(DropReason::NotOurs),
            }
        }
        drop(held);
        run.flush(bytes, stride, out);
        control(scene, &template, &bytes[quic]);
    }

    /// Hands what has been joined to the TAP.
    pub(crate) fn flush(&mut self, queue: &TapQueue, out: &Outgoing) {
        self.coalescer.flush(|offload, frame| emit(queue, out, offload, frame));
    }

    /// Handles one WireGuard message, which came directly or from a peer by relays.
    fn message<'a>(
        &mut self,
        scene: &Scene<'a>,
        held: &mut Held<'a>,
        source: &Source<'_>,
        relayed: Option<ShortId>,
        message: &mut [u8],
        out: &mut Outgoing,
    ) {
        let found = match message[0] {
            1 => {
                // The checks below may take another lock and 50 µs.
                *held = None;
                initiator(scene, source, relayed, message, out)
            }
            kind => addressee(scene, kind, source, message),
        };
        let peer = match found {
            Ok(peer) => peer,
            Err(reason) => {
                if reason == DropReason::UnknownSession && message[0] == 4 {
                    *held = None;
                    revive(scene, source, relayed, out);
                }
                return out.counters.count(reason);
            }
        };
        if held.as_ref().is_none_or(|(locked, _)| locked.session.index != peer.session.index) {
            *held = None;
            *held = Some((peer, peer.session.lock()));
        }
        let Some((_, state)) = held else { return };
        if message[0] == 1 {
            peer.session.open(state);
        }
        let Some(tunn) = &mut state.tunn else { return out.counters.count(DropReason::UnknownSession) };
        let opened = match tunn.decapsulate(Some(source.from.ip()), message, &mut self.packet) {
            TunnResult::WriteToTunnelV4(packet, _) => Opened::Packet(packet.len()),
            TunnResult::WriteToNetwork(reply) => Opened::Reply(reply.len()),
            TunnResult::Done => Opened::Nothing,
            TunnResult::WriteToTunnelV6(..) => return out.counters.count(DropReason::BadInner),
            TunnResult::Err(error) => {
                if message[0] != 4 {
                    tracing::debug!(peer = %peer.name, kind = message[0], ?error, "a handshake message was refused");
                }
                return out.counters.count(reason_of(message[0], &error));
            }
        };
        if message[0] == 4 || message[0] == 2 {
            state.heard = Some(scene.now.instant);
        }
        match opened {
            Opened::Reply(length) => {
                if let Some(way) = scene.snapshot.way(peer) {
                    out.message(&way, &self.packet[..length]);
                }
                self.drain(scene, peer, state, out);
            }
            Opened::Packet(_) | Opened::Nothing => {}
        }
        match message[0] {
            1 => {
                let rtt = state.rtt();
                state.handshake.handle_initiation(scene.now.instant, rtt);
                state.responded = true;
                peer.session.touch(&scene.now);
            }
            2 => established(scene, peer, state, out),
            4 if !state.up || state.responded => {
                state.refresh();
                if state.up {
                    established(scene, peer, state, out);
                }
            }
            _ => {}
        }
        if let Opened::Packet(length) = opened {
            self.content(scene, held, peer, length, out);
        }
    }

    /// boringtun wants to be asked until it has nothing more to send.
    fn drain(&mut self, scene: &Scene<'_>, peer: &Peer, state: &mut State, out: &mut Outgoing) {
        let Some(tunn) = &mut state.tunn else { return };
        while let TunnResult::WriteToNetwork(more) = tunn.decapsulate(None, &[], &mut self.reply) {
            if let Some(way) = scene.snapshot.way(peer) {
                out.message(&way, more);
            }
        }
    }
}

/// Judges one envelope of a train of `count` datagrams.
fn envelope(scene: &Scene<'_>, source: &mut Source<'_>, count: usize, datagram: &mut [u8]) -> Relayed {
    let Some(adjacent) = source.adjacent else { return Relayed::Dropped(DropReason::EnvelopeSender) };
    let now = scene.now.nanoseconds();
    if !*source.allowed.get_or_insert_with(|| adjacent.bucket.take(count, now)) {
        return Relayed::Dropped(DropReason::EnvelopeRate);
    }
    relay(datagram, adjacent, scene.snapshot)
}

enum Opened {
    Packet(usize),
    Reply(usize),
    Nothing,
}

/// The session that a message names by its receiver index.
fn addressee<'a>(
    scene: &Scene<'a>,
    kind: u8,
    source: &Source<'_>,
    message: &[u8],
) -> Result<&'a Peer, DropReason> {
    let word =
        |at: usize| message.get(at..).and_then(|rest| rest.first_chunk()).copied().map(u32::from_le_bytes);
    if kind == 4 {
        let counter = message.get(8..).and_then(|rest| rest.first_chunk()).copied().map(u64::from_le_bytes);
        if message.len() < DATA_HEADER + 16 || counter.is_none_or(|counter| counter > LAST_COUNTER) {
            return Err(DropReason::BadSeal);
        }
    }
    if kind == 2 {
        let mut cookie = [0; 64];
        let address: Option<IpAddr> = Some(source.from.ip());
        scene
            .shared
            .limiter
            .verify_packet(address, message, &mut cookie)
            .map_err(|_| DropReason::Handshake)?;
    }
    let index = word(if kind == 2 { 8 } else { 4 }).ok_or(DropReason::NotOurs)?;
    scene.snapshot.peer_of_index(index >> 8).ok_or(DropReason::UnknownSession)
}

/// The peer that begins a handshake: known by its static key, behind the one real rate limiter.
fn initiator<'a>(
    scene: &Scene<'a>,
    source: &Source<'_>,
    relayed: Option<ShortId>,
    message: &[u8],
    out: &mut Outgoing,
) -> Result<&'a Peer, DropReason> {
    let keys = &scene.shared.keys;
    let mut cookie = [0; 64];
    match scene.shared.limiter.verify_packet(Some(source.from.ip()), message, &mut cookie) {
        Ok(Packet::HandshakeInit(init)) => {
            let half = parse_handshake_anon(&keys.private, &keys.public, &init)
                .map_err(|_| DropReason::Handshake)?;
            let key = half.peer_static_public;
            // Records are believed: a member may name the key of another as its own. It cannot begin a handshake with
            // it, so where this one came from says whose it is.
            let sender = sender(scene, source, relayed).filter(|peer| peer.session.key == key);
            sender.or_else(|| scene.snapshot.peer_of_key(&key)).ok_or(DropReason::UnknownKey)
        }
        Err(TunnResult::WriteToNetwork(reply)) => {
            // Under load: the sender is to prove its address first. By relays it goes back the way our routes say.
            match relayed.map(|from| scene.snapshot.peer(from).and_then(|peer| scene.snapshot.way(peer))) {
                Some(Some(way)) => out.message(&way, reply),
                Some(None) => {}
                None => out.answer(source.from, reply),
            }
            Err(DropReason::Handshake)
        }
        _ => Err(DropReason::Handshake),
    }
}

/// The peer that a message seems to come from.
fn sender<'a>(scene: &Scene<'a>, source: &Source<'_>, relayed: Option<ShortId>) -> Option<&'a Peer> {
    match relayed {
        Some(from) => scene.snapshot.peer(from),
        None => source.adjacent.and_then(|adjacent| scene.snapshot.peer_of_index(adjacent.session.index)),
    }
}

/// A peer seals for a session that we have lost or ended: begins a new one, so that it need not find out by silence.
///
/// Anybody can cause this by a datagram, and gets one handshake on its own schedule, to the peer's place in the routes.
fn revive(scene: &Scene<'_>, source: &Source<'_>, relayed: Option<ShortId>, out: &mut Outgoing) {
    let peer = sender(scene, source, relayed);
    let Some((peer, way)) = peer.and_then(|peer| Some((peer, scene.snapshot.way(peer)?))) else { return };
    let mut state = peer.session.lock();
    if !state.up && !state.handshake.wanted() && !state.responded {
        peer.session.touch(&scene.now);
        state.handshake.want(scene.now.instant);
        peer.session.initiate(&mut state, &way, out, scene.now.instant);
        peer.session.wake_at(scene.now.milliseconds());
    }
}

/// The session has keys that both ends use.
fn established(scene: &Scene<'_>, peer: &Peer, state: &mut State, out: &mut Outgoing) {
    state.refresh();
    state.responded = false;
    state.handshake.handle_established();
    if let Some(way) = scene.snapshot.way(peer) {
        peer.session.release(state, &way, out);
    }
    peer.session.probe_soon(state, peer.is_neighbour(), peer.rtt, &scene.now);
    scene.shared.poke();
}

fn reason_of(kind: u8, error: &WireGuardError) -> DropReason {
    match error {
        WireGuardError::DuplicateCounter | WireGuardError::InvalidCounter => DropReason::Replay,
        WireGuardError::InvalidPacket => DropReason::BadInner,
        WireGuardError::NoCurrentSession => DropReason::UnknownSession,
        _ if kind == 4 => DropReason::BadSeal,
        _ => DropReason::Handshake,
    }
}

fn control(scene: &Scene<'_>, template: &Train<'_>, run: &[u8]) {
    if !run.is_empty() {
        let stride = template.stride.min(run.len());
        (scene.shared.control)(Train { stride, bytes: run, ..*template });
    }
}

pub(crate) fn emit(queue: &TapQueue, out: &Outgoing, offload: weave_wire::Offload, frame: &[u8]) {
    if queue.write(offload, frame) {
        out.counters.add(crate::counters::Total::TapWritten, 1);
    } else {
        out.counters.count(DropReason::TapWrite);
    }
}
