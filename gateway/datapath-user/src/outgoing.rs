//! The sending half of a thread: seals packets into trains and puts them on their way.

use std::net::SocketAddr;
use std::sync::Arc;

use boringtun::noise::{Tunn, TunnResult};
use weave_wire::{Envelope, Fragments};

use crate::counters::{Counters, DropReason, Total};
use crate::session::MESSAGE;
use crate::snapshot::Way;
use crate::socket::Port;
use crate::train::Trains;

/// What a data message adds to its packet: header, counter and tag.
const SEAL: usize = 32;

/// A socket, the trains that leave by it, and the counters of its thread.
pub(crate) struct Outgoing {
    pub(crate) port: Port,
    pub(crate) counters: Arc<Counters>,
    trains: Trains,
    fragment: Vec<u8>,
}

impl Outgoing {
    pub(crate) fn new(port: Port, counters: Arc<Counters>) -> Outgoing {
        Outgoing { port, counters, trains: Trains::new(), fragment: vec![0; 65_536] }
    }

    /// Seals one packet in a session that is up.
    pub(crate) fn seal(&mut self, way: &Way<'_>, tunn: &mut Tunn, packet: &[u8]) {
        let head = way.head();
        let length = head + packet.len() + SEAL;
        let counters = &self.counters;
        self.trains.push(&self.port, counters, way.to, length, |room| {
            // boringtun panics on less, and the last bytes of a train may be less than one packet.
            if room.len() < head + (packet.len() + SEAL).max(MESSAGE) {
                counters.count(DropReason::TooLong);
                return false;
            }
            match tunn.encapsulate(packet, &mut room[head..]) {
                TunnResult::WriteToNetwork(message) if message.len() == length - head => {
                    way.seal(&mut room[..length])
                }
                _ => {
                    counters.count(DropReason::SessionDown);
                    false
                }
            }
        });
    }

    /// Seals a packet in parts of at most `limit` bytes when it is longer.
    pub(crate) fn seal_in_parts(&mut self, way: &Way<'_>, tunn: &mut Tunn, packet: &[u8], limit: usize) {
        if packet.len() <= limit {
            return self.seal(way, tunn, packet);
        }
        let Some(mut parts) = Fragments::new(packet, limit) else {
            return self.counters.count(DropReason::TooLong);
        };
        let mut part = std::mem::take(&mut self.fragment);
        while let Some(length) = parts.next_into(&mut part) {
            self.seal(way, tunn, &part[..length]);
        }
        self.fragment = part;
    }

    /// Sends a WireGuard message that is sealed already.
    pub(crate) fn message(&mut self, way: &Way<'_>, message: &[u8]) {
        let head = way.head();
        self.trains.push(&self.port, &self.counters, way.to, head + message.len(), |room| {
            room[head..head + message.len()].copy_from_slice(message);
            way.seal(&mut room[..head + message.len()])
        });
    }

    /// Sends a run of datagrams that are ready where they stand: they belong to no session of ours.
    pub(crate) fn forward(&mut self, to: SocketAddr, bytes: &[u8], stride: usize) {
        self.counters.add(Total::Relayed, bytes.len().div_ceil(stride.max(1)));
        self.counters.sent(self.port.send(to, bytes, stride));
    }

    /// Answers somebody who is not known yet.
    pub(crate) fn answer(&mut self, to: SocketAddr, datagram: &[u8]) {
        self.counters.sent(self.port.send(to, datagram, datagram.len()));
    }

    /// Sends everything.
    pub(crate) fn flush(&mut self) {
        self.trains.flush(&self.port, &self.counters);
    }

    /// The address of a datagram that was too large since the last call.
    pub(crate) fn take_too_big(&mut self) -> Option<SocketAddr> {
        self.trains.take_too_big()
    }
}

impl Way<'_> {
    fn head(&self) -> usize {
        if self.envelope.is_some() { Envelope::LENGTH } else { 0 }
    }

    /// Completes the envelope in front of a message, if there is one.
    fn seal(&self, datagram: &mut [u8]) -> bool {
        self.envelope.as_ref().is_none_or(|(envelope, key)| envelope.seal(datagram, key))
    }
}
