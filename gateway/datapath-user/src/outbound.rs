//! From the TAP to the peers: one frame, cut into packets, each sealed in the session of its peer.

use weave_model::{Egress, ShortId};
use weave_switch::{Switch, Verdict};
use weave_wire::{Cut, Frame, Inner, Offload, Segments, clamp_mss, complete_checksum};

use crate::clock::Now;
use crate::counters::{DropReason, Total};
use crate::outgoing::Outgoing;
use crate::session::State;
use crate::snapshot::{Peer, Snapshot, Way};
use crate::tap::TapQueue;

/// Overlay hops of a frame where it enters.
const TTL: u8 = 64;
/// The longest frame behind its virtio header: 64 KB of IP packet, Ethernet header and two tags.
const FRAME: usize = Offload::LENGTH + 65_536 + 64;
/// Headers in front of a packet of the overlay MTU: those inside the session, and Ethernet.
pub(crate) const HEADERS: usize = Inner::LENGTH + Frame::HEADER;

/// The buffers of one worker for this direction.
pub(crate) struct Outbound {
    frame: Vec<u8>,
    packet: Vec<u8>,
    mtu: u16,
}

impl Outbound {
    pub(crate) fn new(mtu: u16) -> Outbound {
        Outbound { frame: vec![0; FRAME], packet: vec![0; Inner::LENGTH + FRAME], mtu }
    }

    /// Reads one frame and sends it on its way; `false` when there was none.
    pub(crate) fn drive(
        &mut self,
        queue: &TapQueue,
        snapshot: &Snapshot,
        switch: &Switch,
        out: &mut Outgoing,
        now: &Now,
    ) -> bool {
        let Some(length) = queue.read(&mut self.frame) else { return false };
        out.counters.add(Total::TapRead, 1);
        let Some((header, frame)) = self.frame[..length].split_first_chunk_mut::<{ Offload::LENGTH }>()
        else {
            return true;
        };
        let Some(offload) = Offload::parse(header) else {
            out.counters.count(DropReason::TapHeader);
            return true;
        };
        let Some(local) = snapshot.local else {
            out.counters.count(DropReason::NoShortId);
            return true;
        };
        match switch.local_frame(frame, now.seconds) {
            Verdict::Unicast(id) => {
                let Some(peer) = snapshot.peer(id) else {
                    out.counters.count(DropReason::UnknownPeer);
                    return true;
                };
                clamp_mss(frame, self.mtu.min(peer.session.path_mtu()), &offload);
                if let Some(pieces) = Pieces::new(frame, &offload, out) {
                    let (egress, packet) = (Egress::Peer(id), &mut self.packet);
                    send(pieces, snapshot, peer, local, egress, packet, out, now);
                }
            }
            Verdict::Flood => {
                clamp_mss(frame, self.mtu, &offload);
                if let Some(pieces) = Pieces::new(frame, &offload, out) {
                    for child in snapshot.own_children() {
                        send(pieces, snapshot, child, local, Egress::Everybody, &mut self.packet, out, now);
                    }
                }
            }
            Verdict::Deliver | Verdict::Drop(_) => out.counters.count(DropReason::Switch),
        }
        true
    }
}

/// A frame as it goes out: whole, or still to be cut.
#[derive(Clone, Copy)]
enum Pieces<'a> {
    Whole(&'a [u8]),
    Cut(&'a [u8], Cut, u16),
}

impl<'a> Pieces<'a> {
    fn new(frame: &'a mut [u8], offload: &Offload, out: &Outgoing) -> Option<Pieces<'a>> {
        let pieces = match offload.cut {
            Some((cut, _, size)) if Segments::new(frame, cut, size).is_ok() => {
                Some(Pieces::Cut(frame, cut, size))
            }
            Some(_) => None,
            None => complete_checksum(frame, offload).ok().map(|()| Pieces::Whole(frame)),
        };
        if pieces.is_none() {
            out.counters.count(DropReason::Uncuttable);
        }
        pieces
    }
}

/// Seals the pieces of one frame for one peer, under one lock of its session.
#[expect(clippy::too_many_arguments, reason = "the packet path passes what it has by reference")]
fn send(
    pieces: Pieces<'_>,
    snapshot: &Snapshot,
    peer: &Peer,
    local: ShortId,
    egress: Egress,
    packet: &mut [u8],
    out: &mut Outgoing,
    now: &Now,
) {
    let Some(receiver) = peer.short_id else { return out.counters.count(DropReason::UnknownPeer) };
    let Some(way) = snapshot.way(peer) else { return out.counters.count(DropReason::NoRoute) };
    let inner = Inner { sender: local, receiver, ingress: local, egress, ttl: TTL };
    let mut state = peer.session.lock();
    peer.session.touch(now);
    let mut sealer = Sealer { peer, way, inner, limit: HEADERS + usize::from(peer.session.path_mtu()) };
    let (mut frames, mut bytes) = (0, 0);
    match pieces {
        Pieces::Whole(frame) => {
            packet[Inner::LENGTH..Inner::LENGTH + frame.len()].copy_from_slice(frame);
            sealer.packet(&mut packet[..Inner::LENGTH + frame.len()], flow_of(frame), &mut state, out, now);
            (frames, bytes) = (1, frame.len());
        }
        Pieces::Cut(frame, cut, size) => {
            let flow = flow_of(frame);
            let Ok(mut segments) = Segments::new(frame, cut, size) else { return };
            while let Some(length) = segments.next_into(&mut packet[Inner::LENGTH..]) {
                sealer.packet(&mut packet[..Inner::LENGTH + length], flow, &mut state, out, now);
                (frames, bytes) = (frames + 1, bytes + length);
            }
        }
    }
    peer.session.sent.add(frames, bytes as u64);
}

/// Where packets of one frame go.
pub(crate) struct Sealer<'a> {
    pub(crate) peer: &'a Peer,
    pub(crate) way: Way<'a>,
    pub(crate) inner: Inner,
    /// The longest packet that passes unfragmented.
    pub(crate) limit: usize,
}

impl Sealer<'_> {
    /// Completes the headers of the frame at `packet[36..]` and seals it, or keeps it until the session is up.
    pub(crate) fn packet(
        &mut self,
        packet: &mut [u8],
        flow: u16,
        state: &mut State,
        out: &mut Outgoing,
        now: &Now,
    ) {
        if !self.inner.write(packet, flow, state.identification()) {
            return out.counters.count(DropReason::TooLong);
        }
        match &mut state.tunn {
            Some(tunn) if state.up => out.seal_in_parts(&self.way, tunn, packet, self.limit),
            _ => self.peer.session.wait(state, packet, &self.way, out, now),
        }
    }
}

/// Fourteen bits that are the same for all frames of a flow: addresses, protocol and ports.
pub(crate) fn flow_of(frame: &[u8]) -> u16 {
    let Ok(view) = Frame::new(frame) else { return 0 };
    let packet = view.payload();
    let (addresses, ports) = match (view.ethertype(), packet.first()) {
        (0x0800, Some(0x45)) => (packet.get(12..20), packet.get(20..24)),
        (0x86dd, _) => (packet.get(8..40), packet.get(40..44)),
        _ => (frame.get(..12), None),
    };
    // FNV-1a over words: it only has to spread.
    let words = addresses.into_iter().chain(ports).flat_map(|part| part.chunks_exact(4));
    let hash = words.fold(0x811c_9dc5u32, |hash, word| {
        let word = word.try_into().map_or(0, u32::from_be_bytes);
        (hash ^ word).wrapping_mul(0x0100_0193)
    });
    (hash >> 16 ^ hash) as u16 & 0x3fff
}
