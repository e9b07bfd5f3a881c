//! Where Ethernet addresses were last seen: a set-associative table of atomics.
//!
//! An address hashes to one set of eight entries. A full set gives up its entry that was silent for the longest time,
//! so a flood of invented addresses costs other addresses a flood of their frames, never memory.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use weave_model::{Mac, ShortId};

/// Entries a set holds: two cache lines of keys and values.
const WAYS: usize = 8;
/// The value of an entry at a local port; remote ones carry the short id.
const LOCAL: u16 = 0xffff;

/// Where an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// Behind a port of this peer.
    Local,
    /// Behind another peer.
    Remote(ShortId),
}

/// One line of the table, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacEntry {
    /// The address.
    pub mac: Mac,
    /// Where it was seen.
    pub location: Location,
    /// How long it has been silent, in seconds.
    pub silent_seconds: u32,
}

/// What learning an address changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Learned {
    Known,
    New,
    Moved,
    Evicted,
    /// All entries it could have belong to local addresses in use.
    Refused,
}

impl Set {
    fn find(&self, key: u64) -> Option<&Entry> {
        self.entries.iter().find(|e| e.key.load(Ordering::Acquire) == key)
    }
}

/// The key of an entry that one thread is filling; no address plus one reaches it.
const BUSY: u64 = u64::MAX;

/// One entry: the key is the address plus one, so that zero means empty.
struct Entry {
    key: AtomicU64,
    /// Seconds in the upper half, location in the lower.
    value: AtomicU64,
}

struct Set {
    entries: [Entry; WAYS],
    /// Held while an address is inserted, tried and never waited for: one address has one entry.
    inserting: AtomicBool,
}

pub(crate) struct MacTable {
    sets: Vec<Set>,
    seed: u64,
    age: u32,
}

impl MacTable {
    /// Makes room for `capacity` addresses, rounded up to a power of two; `seed` keeps strangers from filling one set.
    pub(crate) fn new(capacity: usize, age: u32, seed: u64) -> MacTable {
        let sets = capacity.div_ceil(WAYS).next_power_of_two();
        let empty = || Entry { key: AtomicU64::new(0), value: AtomicU64::new(0) };
        let set = |_| Set { entries: std::array::from_fn(|_| empty()), inserting: AtomicBool::new(false) };
        let sets = (0..sets).map(set).collect();
        MacTable { sets, seed, age }
    }

    /// Notes that `mac` sent a frame from `location` at `now` seconds.
    pub(crate) fn learn(&self, mac: Mac, location: Location, now: u32) -> Learned {
        let (key, value) = (mac.to_u64() + 1, pack(location, now));
        let set = self.set(mac);
        if let Some(entry) = set.find(key) {
            return self.refresh(entry, value, now);
        }
        // Another thread inserts into this set: the next frame of this address repeats the observation.
        if set.inserting.swap(true, Ordering::Acquire) {
            return Learned::Known;
        }
        // Looked for again: the other thread may have inserted this very address just before.
        let learned = match set.find(key) {
            Some(entry) => self.refresh(entry, value, now),
            None => self.insert(set, key, value, now),
        };
        set.inserting.store(false, Ordering::Release);
        learned
    }

    fn refresh(&self, entry: &Entry, value: u64, now: u32) -> Learned {
        let old = entry.value.load(Ordering::Relaxed);
        // A value that is right to the second is left alone, so that busy flows share the cache line unwritten.
        if old == value {
            return Learned::Known;
        }
        // Fails when the entry just changed; then somebody newer has written it.
        let _ = entry.value.compare_exchange(old, value, Ordering::AcqRel, Ordering::Relaxed);
        let same_place = old & 0xffff == value & 0xffff;
        if same_place || self.silent(old, now) > self.age { Learned::Known } else { Learned::Moved }
    }

    /// Gives an entry to a new address: an empty one, else the one silent for longest. Called by one thread at a time.
    ///
    /// What peers send takes no entry of a local address that is in use: a peer that invents addresses would else turn
    /// the traffic for local ports into floods.
    fn insert(&self, set: &Set, key: u64, value: u64, now: u32) -> Learned {
        let local = |value: u64| value as u16 == LOCAL;
        let silence = |entry: &&Entry| match entry.key.load(Ordering::Relaxed) {
            0 => Some(u32::MAX),
            _ => {
                let old = entry.value.load(Ordering::Relaxed);
                let silent = self.silent(old, now);
                (local(value) || !local(old) || silent > self.age).then_some(silent)
            }
        };
        let Some((silent, victim)) =
            set.entries.iter().filter_map(|e| Some((silence(&e)?, e))).max_by_key(|v| v.0)
        else {
            return Learned::Refused;
        };
        // Nobody may read the new value under the old key.
        victim.key.store(BUSY, Ordering::Release);
        victim.value.store(value, Ordering::Release);
        victim.key.store(key, Ordering::Release);
        if silent <= self.age { Learned::Evicted } else { Learned::New }
    }

    /// Where `mac` is, unless it has been silent for too long.
    pub(crate) fn find(&self, mac: Mac, now: u32) -> Option<Location> {
        let key = mac.to_u64() + 1;
        let entry = self.set(mac).find(key)?;
        let value = entry.value.load(Ordering::Acquire);
        // Read again: in between the entry may have been given to another address.
        let same = entry.key.load(Ordering::Acquire) == key;
        (same && self.silent(value, now) <= self.age).then(|| unpack(value))
    }

    /// Forgets all addresses behind one peer.
    pub(crate) fn flush(&self, peer: ShortId) {
        for entry in self.sets.iter().flat_map(|set| &set.entries) {
            let key = entry.key.load(Ordering::Acquire);
            if key != BUSY && unpack(entry.value.load(Ordering::Acquire)) == Location::Remote(peer) {
                // Fails when the entry changed hands in between: then it is not the peer's any more.
                let _ = entry.key.compare_exchange(key, 0, Ordering::AcqRel, Ordering::Relaxed);
            }
        }
    }

    /// All addresses that are not too old, by address.
    pub(crate) fn entries(&self, now: u32) -> Vec<MacEntry> {
        let mut found: Vec<MacEntry> = self
            .sets
            .iter()
            .flat_map(|set| &set.entries)
            .filter_map(|entry| {
                let key = Some(entry.key.load(Ordering::Acquire)).filter(|key| *key != BUSY)?;
                let mac = Mac::from_u64(key.checked_sub(1)?);
                let value = entry.value.load(Ordering::Acquire);
                let silent_seconds = self.silent(value, now);
                (silent_seconds <= self.age).then(|| MacEntry {
                    mac,
                    location: unpack(value),
                    silent_seconds,
                })
            })
            .collect();
        found.sort_by_key(|e| e.mac);
        found
    }

    fn set(&self, mac: Mac) -> &Set {
        // The finaliser of MurmurHash3: every bit of the address and the secret reaches every bit of the index.
        let mut mixed = mac.to_u64() ^ self.seed;
        mixed = (mixed ^ mixed >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed = (mixed ^ mixed >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        let index = (mixed ^ mixed >> 33) as usize & (self.sets.len() - 1);
        &self.sets[index]
    }

    fn silent(&self, value: u64, now: u32) -> u32 {
        now.saturating_sub((value >> 32) as u32)
    }
}

fn pack(location: Location, now: u32) -> u64 {
    let place = match location {
        Location::Local => LOCAL,
        Location::Remote(peer) => peer.number(),
    };
    u64::from(now) << 32 | u64::from(place)
}

fn unpack(value: u64) -> Location {
    match value as u16 {
        LOCAL => Location::Local,
        number => ShortId::new(number).map_or(Location::Local, Location::Remote),
    }
}
