//! What comes out of a session: probes are answered, frames are judged by the one acceptance rule and delivered, and
//! frames of a broadcast tree are handed on.

use weave_model::PathReport;
use weave_switch::Verdict;
use weave_wire::{Accepted, Ends, Inner, Probe, TunnelError, accept};

use crate::counters::DropReason;
use crate::inbound::{Held, Inbound, Scene, emit};
use crate::outbound::{HEADERS, Sealer, flow_of};
use crate::outgoing::Outgoing;
use crate::session::State;
use crate::snapshot::Peer;

/// ICMP, the protocol of probes.
const ICMP: u8 = 1;

impl Inbound {
    /// Handles the packet at `self.packet[..length]` that came out of the session held.
    pub(crate) fn content<'a>(
        &mut self,
        scene: &Scene<'a>,
        held: &mut Held<'a>,
        peer: &Peer,
        length: usize,
        out: &mut Outgoing,
    ) {
        let Some((_, state)) = held else { return };
        let (Some(local), Some(id)) = (scene.snapshot.local, peer.short_id) else {
            return out.counters.count(DropReason::NoShortId);
        };
        let ends = Ends { local, peer: id };
        let mut length = length;
        let parsed = match Inner::parse(&self.packet[..length]) {
            Err(TunnelError::Fragment) => {
                match state.reassembly.push(&self.packet[..length], scene.now.milliseconds()) {
                    Ok(None) => return,
                    Ok(Some(whole)) => {
                        length = whole.len();
                        self.packet[..length].copy_from_slice(whole);
                        Inner::parse(&self.packet[..length])
                    }
                    Err(_) => return out.counters.count(DropReason::BadFragment),
                }
            }
            parsed => parsed,
        };
        let inner = match parsed {
            Ok((inner, _)) => inner,
            Err(TunnelError::NotAFrame) if self.packet[9] == ICMP => {
                return self.probe(scene, state, peer, ends, length, out);
            }
            Err(_) => return out.counters.count(DropReason::BadInner),
        };
        peer.session.touch(&scene.now);
        let accepted = accept(&inner, ends, |ingress| scene.snapshot.parent(ingress));
        let Ok(accepted) = accepted else { return out.counters.count(DropReason::Refused) };
        let Inbound { packet, coalescer, .. } = self;
        let frame = &packet[Inner::LENGTH..length];
        peer.session.received.add(1, frame.len() as u64);
        match scene.shared.switch.remote_frame(inner.ingress, frame, scene.now.seconds) {
            Verdict::Deliver => {
                coalescer.push(frame, |offload, frame| emit(scene.queue, out, offload, frame));
            }
            _ => return out.counters.count(DropReason::Switch),
        }
        if accepted == Accepted::Tree {
            // Two workers that forward between the same sessions must not wait for each other.
            *held = None;
            self.hand_on(scene, inner, length, out);
        }
    }

    /// Seals copies of a tree frame for our children in its tree.
    fn hand_on(&mut self, scene: &Scene<'_>, inner: Inner, length: usize, out: &mut Outgoing) {
        let mut children = scene.snapshot.tree_children(inner.ingress).peekable();
        if children.peek().is_none() {
            return;
        }
        let Some(ttl) = inner.ttl.checked_sub(1).filter(|ttl| *ttl > 0) else {
            return out.counters.count(DropReason::TreeTtl);
        };
        let flow = flow_of(&self.packet[Inner::LENGTH..length]);
        for child in children {
            let (Some(receiver), Some(way)) = (child.short_id, scene.snapshot.way(child)) else {
                out.counters.count(DropReason::NoRoute);
                continue;
            };
            let inner = Inner { sender: inner.receiver, receiver, ttl, ..inner };
            let limit = HEADERS + usize::from(child.session.path_mtu());
            let mut state = child.session.lock();
            let packet = &mut self.packet[..length];
            Sealer { peer: child, way, inner, limit }.packet(packet, flow, &mut state, out, &scene.now);
            child.session.touch(&scene.now);
            child.session.sent.add(1, (length - Inner::LENGTH) as u64);
        }
    }

    /// Answers a probe, or notes its answer.
    fn probe(
        &mut self,
        scene: &Scene<'_>,
        state: &mut State,
        peer: &Peer,
        ends: Ends,
        length: usize,
        out: &mut Outgoing,
    ) {
        let Ok(probe) = Probe::parse(&self.packet[..length]) else {
            return out.counters.count(DropReason::BadInner);
        };
        if (probe.sender, probe.receiver) != (ends.peer, ends.local) {
            return out.counters.count(DropReason::Refused);
        }
        if !probe.reply {
            let answer = Probe { sender: ends.local, receiver: ends.peer, reply: true, ..probe };
            let State { tunn: Some(tunn), up: true, .. } = state else { return };
            if let Some(way) = scene.snapshot.probe_way(peer)
                && answer.write(&mut self.packet[..length])
            {
                out.seal(&way, tunn, &self.packet[..length]);
            }
            return;
        }
        let Some(prober) = &mut state.prober else { return };
        if probe.identifier == scene.shared.identifier {
            // A train may have waited: the round trip ends when the answer is read.
            let now = scene.shared.clock.now();
            prober.handle_reply(probe.sequence, now.instant);
            peer.session.publish_probes(prober);
            peer.session.wake_at(scene.shared.clock.milliseconds(prober.poll_timeout()));
            if let Some(report) = prober.poll_report(now.instant) {
                let (alive, rtt, mtu) = (report.alive, report.rtt, report.mtu);
                (scene.shared.report)(PathReport { peer: peer.name, alive, rtt, mtu });
            }
        }
    }
}
