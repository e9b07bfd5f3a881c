//! Envelopes: what neighbours hand us for others goes on to its next hop, unopened.
//!
//! A train that came in as one goes out as one: each envelope gets the MAC of the next link where it stands, and runs
//! for the same next hop leave straight from the receive buffer.

use std::net::SocketAddr;

use weave_model::ShortId;
use weave_wire::Envelope;

use crate::counters::DropReason;
use crate::outgoing::Outgoing;
use crate::snapshot::{Adjacent, Snapshot};

/// What becomes of one envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relayed {
    /// It is for us: the message inside is from this peer.
    Ours(ShortId),
    /// It has been sealed again and goes to this address.
    Onward(SocketAddr),
    /// It goes nowhere.
    Dropped(DropReason),
}

/// Judges one envelope from the neighbour `from`, and seals it again for the next hop.
pub(crate) fn relay(datagram: &mut [u8], from: &Adjacent, snapshot: &Snapshot) -> Relayed {
    let Some(envelope) = from.open(datagram) else { return Relayed::Dropped(DropReason::EnvelopeMac) };
    let Some(local) = snapshot.local else { return Relayed::Dropped(DropReason::NoShortId) };
    if envelope.to == local {
        return Relayed::Ours(envelope.from);
    }
    if envelope.from == local {
        return Relayed::Dropped(DropReason::EnvelopeRoute);
    }
    // The last relay may hand on with zero: only whom it is for takes it then.
    let Some(ttl) = envelope.ttl.checked_sub(1) else { return Relayed::Dropped(DropReason::EnvelopeTtl) };
    let way = snapshot.peer(envelope.to).and_then(|peer| snapshot.way_except(peer, Some(from)));
    let Some(way) = way else { return Relayed::Dropped(DropReason::EnvelopeRoute) };
    let keys = &way.adjacent.adjacency.relay_keys;
    let onward = Envelope { ttl, epoch: keys.epoch(), ..envelope };
    if onward.seal(datagram, &keys.send) {
        Relayed::Onward(way.to)
    } else {
        Relayed::Dropped(DropReason::EnvelopeMac)
    }
}

/// The run of datagrams in a receive buffer that leave together.
#[derive(Debug, Default)]
pub(crate) struct Run {
    to: Option<SocketAddr>,
    start: usize,
    end: usize,
}

impl Run {
    /// Adds the datagram at `start..end`; sends the run so far when this one does not continue it.
    pub(crate) fn push(
        &mut self,
        to: SocketAddr,
        start: usize,
        end: usize,
        bytes: &[u8],
        stride: usize,
        out: &mut Outgoing,
    ) {
        if self.to != Some(to) || self.end != start {
            self.flush(bytes, stride, out);
            (self.to, self.start) = (Some(to), start);
        }
        self.end = end;
    }

    /// Sends what is left.
    pub(crate) fn flush(&mut self, bytes: &[u8], stride: usize, out: &mut Outgoing) {
        if let (Some(to), Some(run)) = (self.to.take(), bytes.get(self.start..self.end)) {
            out.forward(to, run, stride);
        }
    }
}
