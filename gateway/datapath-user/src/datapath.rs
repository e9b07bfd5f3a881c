//! The running datapath: starts the threads, replaces the snapshot, ends the threads.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::UdpSocket;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use weave_model::{Forwarding, LinkId, PathReport, PeerName, Train};
use weave_switch::Switch;

use crate::counters::Counters;
use crate::error::DatapathError;
use crate::outgoing::Outgoing;
use crate::session::Keys;
use crate::sessions::Sessions;
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::socket::Port;
use crate::status::{Status, status};
use crate::supervise::supervise;
use crate::tap::Tap;
use crate::timers::Timers;
use crate::worker::Worker;

/// More workers than this wait for each other's sessions.
const MOST_WORKERS: usize = 8;
/// The shortest grace of the end that lets the other begin a handshake: two round trips on a slow path.
const GRACE: Duration = Duration::from_millis(100);

/// What a datapath is made for.
#[derive(Clone)]
pub struct Config {
    /// This peer.
    pub local: PeerName,
    /// Its WireGuard private key.
    pub wireguard_key: [u8; 32],
    /// The network's pre-shared key.
    pub psk: [u8; 32],
    /// The largest IP packet of the overlay, in bytes. Default 1376: fits a 1500 underlay, relayed too.
    pub mtu: u16,
    /// The TAP's name, for messages.
    pub tap: String,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Config { local, wireguard_key: _, psk: _, mtu, tap } = self;
        f.debug_struct("Config")
            .field("local", local)
            .field("wireguard_key", &"***")
            .field("psk", &"***")
            .field("mtu", mtu)
            .field("tap", tap)
            .finish()
    }
}

/// What a datapath is given to work with.
pub struct Parts {
    /// One queue for each worker.
    pub tap: Tap,
    /// One socket for each worker, all on one port ([`crate::bind`]).
    pub sockets: Vec<UdpSocket>,
    /// Decides about frames.
    pub switch: Arc<Switch>,
    /// Takes QUIC datagrams; called by workers, must not block.
    pub control: Box<dyn Fn(Train<'_>) + Send + Sync>,
    /// Takes what the probes find; called by workers, must not block nor call back.
    pub report: Box<dyn Fn(PathReport) + Send + Sync>,
    /// Told when a thread has ended by an error; the datapath is of no use then. Must not block nor call back.
    pub ended: Box<dyn Fn(io::Error) + Send + Sync>,
}

/// How many workers suit this machine: one up to two processors, then one less than there are, at most eight.
pub fn default_workers() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    processors.saturating_sub(1).clamp(1, MOST_WORKERS)
}

/// A running datapath; dropping it ends its threads too.
pub struct Datapath {
    config: Config,
    shared: Arc<Shared>,
    counters: Vec<Arc<Counters>>,
    port: Port,
    control: Mutex<Control>,
    threads: Vec<JoinHandle<()>>,
}

/// What only publishing changes.
struct Control {
    sessions: Sessions,
    links: BTreeMap<PeerName, (LinkId, u32)>,
}

impl Datapath {
    /// Starts one worker for each socket, and the timers thread.
    pub fn start(config: Config, parts: Parts) -> Result<Datapath, DatapathError> {
        let Parts { tap, sockets, switch, control, report, ended } = parts;
        if tap.queues() != sockets.len() || sockets.is_empty() {
            return Err(DatapathError::Workers { queues: tap.queues(), sockets: sockets.len() });
        }
        let threads = |source: io::Error| DatapathError::Threads { source };
        let keys = Keys::new(config.wireguard_key, config.psk, config.mtu);
        let shared = Arc::new(Shared::new(keys, switch, control, report, ended).map_err(threads)?);
        let ports: Vec<Port> =
            sockets.into_iter().map(Port::new).collect::<io::Result<_>>().map_err(threads)?;
        let first = ports.first().expect("checked above that there is a socket");
        let (timers_port, port) = (first.try_clone().map_err(threads)?, first.try_clone().map_err(threads)?);
        let control = Control { sessions: Sessions::new(shared.keys.clone()), links: BTreeMap::new() };
        let mut datapath = Datapath {
            config,
            shared: shared.clone(),
            counters: Vec::new(),
            port,
            control: Mutex::new(control),
            threads: Vec::new(),
        };
        // From here on an error drops the datapath, which ends the threads begun so far.
        for (at, (port, queue)) in ports.into_iter().zip(tap.into_queues()).enumerate() {
            let mut worker = Worker::new(shared.clone(), queue, datapath.outgoing(port));
            datapath.spawn(format!("weave-data-{at}"), move || worker.drive()).map_err(threads)?;
        }
        let mut timers = Timers::new(shared, datapath.outgoing(timers_port));
        datapath.spawn("weave-timers".to_owned(), move || timers.drive()).map_err(threads)?;
        Ok(datapath)
    }

    /// Replaces the forwarding picture. Sessions with new neighbours begin, those with unknown peers end.
    pub fn publish(&self, forwarding: Arc<Forwarding>) {
        let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        let Control { sessions, links } = &mut *control;
        let before = self.shared.snapshot.load();
        let snapshot = Snapshot::resolve(&forwarding, sessions, &before);
        let now = self.shared.clock.now();
        let mut new_links = BTreeMap::new();
        let mut fresh = Vec::new();
        for adjacent in snapshot.neighbours() {
            let link = (adjacent.adjacency.link, adjacent.session.index);
            if links.get(&adjacent.name) != Some(&link) {
                fresh.push((adjacent.session.clone(), adjacent.name));
            }
            new_links.insert(adjacent.name, link);
        }
        *links = new_links;
        // Before the snapshot is seen: a session that answers a neighbour's initiation must not begin anew after that.
        for (session, peer) in fresh {
            let begins = self.config.local < peer;
            session.handle_link(if begins { Duration::ZERO } else { GRACE }, &now);
        }
        self.shared.snapshot.store(Arc::new(snapshot));
        self.shared.poke();
    }

    /// What an operator asks.
    pub fn status(&self) -> Status {
        status(&self.shared, &self.counters, self.port.cuts())
    }

    /// Ends the threads; the TAP persists.
    pub fn stop(self) {
        drop(self);
    }

    fn outgoing(&mut self, port: Port) -> Outgoing {
        let counters = Arc::new(Counters::new());
        self.counters.push(counters.clone());
        Outgoing::new(port, counters)
    }

    fn spawn(
        &mut self,
        name: String,
        drive: impl FnMut() -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let (label, shared) = (name.clone(), self.shared.clone());
        let run = move || supervise(&label, &shared, drive);
        self.threads.push(std::thread::Builder::new().name(name).spawn(run)?);
        Ok(())
    }
}

impl Drop for Datapath {
    fn drop(&mut self) {
        self.shared.stop();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!(tap = self.config.tap, "a datapath thread had panicked");
            }
        }
    }
}
