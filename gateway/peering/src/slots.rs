//! Who may have a handshake under way: so many in all, and only some of one host, so that a stranger who begins
//! handshakes and lets them hang leaves room for the others.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Handshakes of others under way at a time; further ones are ignored until they are sent again.
const MAX_HANDSHAKES: usize = 64;

/// Of one host. An honest one dials once; a whole site may stand behind one address, and its handshakes take a moment.
const MAX_OF_ONE: usize = 16;

/// From this many on, in all and of one host, a stranger must show first that it receives at its address (RFC 9000
/// §8.1.2): who borrows the address of a member must not take all that is the member's.
const RETRY_FROM: usize = 16;
const RETRY_FROM_OF_ONE: usize = 4;

/// The handshakes under way, by host.
#[derive(Debug, Default)]
pub(crate) struct Slots(Mutex<BTreeMap<IpAddr, usize>>);

/// Room for one handshake, until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    host: IpAddr,
}

impl Slots {
    /// Room for a handshake of `remote`, unless too many are under way.
    pub(crate) fn take(self: &Arc<Self>, remote: IpAddr) -> Option<Slot> {
        let host = host(remote);
        let mut taken = self.lock();
        let own = taken.get(&host).copied().unwrap_or_default();
        if own >= MAX_OF_ONE || taken.values().sum::<usize>() >= MAX_HANDSHAKES {
            return None;
        }
        taken.insert(host, own + 1);
        Some(Slot { slots: Arc::clone(self), host })
    }

    /// Whether `remote` must show that it receives at its address.
    pub(crate) fn are_scarce(&self, remote: IpAddr) -> bool {
        let taken = self.lock();
        let own = taken.get(&host(remote)).copied().unwrap_or_default();
        own >= RETRY_FROM_OF_ONE || taken.values().sum::<usize>() >= RETRY_FROM
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.lock();
        match taken.get_mut(&self.host) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(taken.remove(&self.host)),
        }
    }
}

/// The host behind an address: in IPv6 it has a whole /64 (RFC 4291 §2.5.1).
fn host(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}
