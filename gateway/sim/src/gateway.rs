//! One gateway of the simulation: its machine, what it keeps on disk, and what it knows of its frames.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use weave_mesh::{Config, Mesh, Remembered};
use weave_model::{NetworkName, PeerName, Target};
use weave_trust::{Identity, IdentityKey, NetworkCa};

use crate::faults::Kept;

/// A gateway, running or not.
#[derive(Debug)]
pub struct Gateway {
    /// Its number in the simulation.
    pub number: usize,
    /// Its machine while it runs.
    pub mesh: Option<Mesh>,
    /// Its lasting name.
    pub name: PeerName,
    /// Its key and certificate.
    pub identity: Identity,
    /// When it last published other routes.
    pub routes_changed: Instant,
    /// How often it was told of a clone.
    pub clones: usize,
    /// What its datapath last said of each neighbour.
    pub reported: BTreeMap<PeerName, bool>,
    issue: u64,
    uid: u64,
    /// As a disk would have it.
    pub(crate) remembered: Remembered,
    clock_back: bool,
    targets: Vec<Target>,
}

/// The certificates of the simulation come from this CA.
pub(crate) fn ca() -> NetworkCa {
    NetworkCa::from_seed(NetworkName::default(), [42; 32])
}

/// The address of a gateway.
pub(crate) fn address(number: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, (number >> 8) as u8, number as u8], 6783))
}

/// The gateway behind an address.
pub(crate) fn number_at(address: SocketAddr) -> Option<usize> {
    let SocketAddr::V4(address) = address else { return None };
    let [10, 0, high, low] = address.ip().octets() else { return None };
    Some(usize::from(high) << 8 | usize::from(low))
}

impl Gateway {
    /// Makes a gateway that does not run yet.
    pub fn new(number: usize, targets: Vec<usize>, now: Instant) -> Gateway {
        let name = PeerName::new([2, 0x51, 0, 0, (number >> 8) as u8, number as u8]);
        let targets = targets.into_iter().map(|n| address(n).into()).collect();
        Gateway {
            number,
            mesh: None,
            name,
            identity: identity(name, 1),
            routes_changed: now,
            clones: 0,
            reported: BTreeMap::new(),
            issue: 1,
            uid: number as u64,
            remembered: Remembered::default(),
            clock_back: false,
            targets,
        }
    }

    /// Starts with what was kept; `age` is the time since the simulation began.
    pub fn start(&mut self, kept: Kept, age: Duration, now: Instant) {
        self.uid += 1_000_000;
        match kept {
            Kept::Everything => {}
            Kept::Key => {
                self.remembered = Remembered::default();
                self.clock_back = true;
            }
            Kept::Name => {
                self.remembered = Remembered::default();
                self.issue += 1;
                self.identity = identity(self.name, self.issue);
            }
        }
        let clock = if self.clock_back { 1 } else { 1_000_000 + age.as_secs() };
        let config = Config {
            nickname: format!("gateway-{}", self.number),
            site: "sim".to_owned(),
            version: "0".to_owned(),
            wireguard_key: [self.issue as u8; 32],
            uid: self.uid,
            port: 6783,
            short_id: self.remembered.short_id,
            sequence: clock.max(self.remembered.sequence),
            endpoints: vec![address(self.number)],
            targets: self.targets.clone(),
            discovery: true,
            connection_limit: 0,
        };
        let mut seed = [self.number as u8; 32];
        seed[..8].copy_from_slice(&self.uid.to_be_bytes());
        self.reported.clear();
        self.mesh = Some(Mesh::new(config, self.identity.clone(), ca().trust(), seed, now));
        self.routes_changed = now;
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.mesh.is_some()
    }

    /// The random number of its last start.
    pub fn uid(&self) -> u64 {
        self.uid
    }
}

fn identity(name: PeerName, issue: u64) -> Identity {
    let mut seed = [issue as u8; 32];
    seed[..6].copy_from_slice(&name.octets());
    ca().issue(name, &IdentityKey::from_seed(seed), issue)
}
