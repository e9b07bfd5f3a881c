//! The decision about one frame.

use std::sync::atomic::{AtomicU64, Ordering};

use weave_model::{Mac, ShortId};
use weave_wire::Frame;

use crate::mac_table::{Learned, Location, MacEntry, MacTable};

/// What a switch is made of.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Addresses it remembers, rounded up to a power of two of at least 8. Default 8192, 128 KiB: four times the
    /// largest neighbour table of a Linux host (gc_thresh3, 1024) for each of two address families.
    pub mac_capacity: usize,
    /// Seconds of silence after which an address is forgotten. Default 600.
    pub mac_age: u32,
    /// A secret, so that strangers cannot aim at one part of the table.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config { mac_capacity: 8192, mac_age: 600, seed: 0 }
    }
}

/// What to do with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Seal it for this peer.
    Unicast(ShortId),
    /// Send it along this peer's broadcast tree.
    Flood,
    /// Hand it to the local ports.
    Deliver,
    /// Do nothing; the reason has been counted.
    Drop(DropReason),
}

/// Why a frame goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// No complete Ethernet header, or a group address as source.
    Malformed,
    /// To an address that bridges keep to one link: 01:80:c2:00:00:00 to 0f (IEEE 802.1Q-2022 §8.6.3).
    LinkLocal,
    /// For a local address: the host's bridge has delivered it already.
    Local,
}

/// Totals since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Addresses seen for the first time, or again after they were forgotten.
    pub learned: u64,
    /// Addresses that appeared elsewhere.
    pub moved: u64,
    /// Addresses that had to go although they were in use: the table is too small or under attack.
    pub evicted: u64,
    /// Addresses of peers that found only entries of local addresses in use.
    pub refused: u64,
    /// Frames refused as [`DropReason::Malformed`].
    pub malformed: u64,
    /// Frames refused as [`DropReason::LinkLocal`].
    pub link_local: u64,
    /// Frames refused as [`DropReason::Local`].
    pub local: u64,
}

/// A learning switch with one local side and many peers.
///
/// Inputs: frames from the local ports, frames from peers, and peers that go. Invariants: a frame from a peer is
/// never sent to a peer (split horizon: the trees and the relays do all forwarding); the table never grows.
pub struct Switch {
    table: MacTable,
    totals: Totals,
}

#[derive(Default)]
struct Totals {
    learned: AtomicU64,
    moved: AtomicU64,
    evicted: AtomicU64,
    refused: AtomicU64,
    malformed: AtomicU64,
    link_local: AtomicU64,
    local: AtomicU64,
}

impl Switch {
    /// Makes an empty switch.
    pub fn new(config: Config) -> Switch {
        Switch {
            table: MacTable::new(config.mac_capacity, config.mac_age, config.seed),
            totals: Totals::default(),
        }
    }

    /// Decides about a frame from a local port; `now` counts seconds from any start.
    pub fn local_frame(&self, frame: &[u8], now: u32) -> Verdict {
        let (source, destination) = match self.check(frame) {
            Ok(addresses) => addresses,
            Err(reason) => return Verdict::Drop(reason),
        };
        self.learn(source, Location::Local, now);
        if destination.is_multicast() {
            return Verdict::Flood;
        }
        match self.table.find(destination, now) {
            Some(Location::Remote(peer)) => Verdict::Unicast(peer),
            Some(Location::Local) => Verdict::Drop(self.count(DropReason::Local)),
            None => Verdict::Flood,
        }
    }

    /// Decides about a frame that entered the overlay at `ingress`.
    pub fn remote_frame(&self, ingress: ShortId, frame: &[u8], now: u32) -> Verdict {
        match self.check(frame) {
            Ok((source, _)) => {
                self.learn(source, Location::Remote(ingress), now);
                Verdict::Deliver
            }
            Err(reason) => Verdict::Drop(reason),
        }
    }

    /// Forgets the addresses behind a peer that is gone or has another number now.
    pub fn flush(&self, peer: ShortId) {
        self.table.flush(peer);
    }

    /// All remembered addresses, in order.
    pub fn macs(&self, now: u32) -> Vec<MacEntry> {
        self.table.entries(now)
    }

    /// The totals since the start.
    pub fn counters(&self) -> Counters {
        let Totals { learned, moved, evicted, refused, malformed, link_local, local } = &self.totals;
        let read = |total: &AtomicU64| total.load(Ordering::Relaxed);
        Counters {
            learned: read(learned),
            moved: read(moved),
            evicted: read(evicted),
            refused: read(refused),
            malformed: read(malformed),
            link_local: read(link_local),
            local: read(local),
        }
    }

    fn check(&self, frame: &[u8]) -> Result<(Mac, Mac), DropReason> {
        let view = Frame::new(frame).map_err(|_| self.count(DropReason::Malformed))?;
        let destination = view.destination();
        if matches!(destination, Mac([0x01, 0x80, 0xc2, 0, 0, 0..=0x0f])) {
            return Err(self.count(DropReason::LinkLocal));
        }
        Ok((view.source(), destination))
    }

    fn learn(&self, mac: Mac, location: Location, now: u32) {
        match self.table.learn(mac, location, now) {
            Learned::Known => return,
            Learned::New => &self.totals.learned,
            Learned::Moved => &self.totals.moved,
            Learned::Evicted => &self.totals.evicted,
            Learned::Refused => &self.totals.refused,
        }
        .fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self, reason: DropReason) -> DropReason {
        match reason {
            DropReason::Malformed => &self.totals.malformed,
            DropReason::LinkLocal => &self.totals.link_local,
            DropReason::Local => &self.totals.local,
        }
        .fetch_add(1, Ordering::Relaxed);
        reason
    }
}
