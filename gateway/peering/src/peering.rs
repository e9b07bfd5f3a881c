//! The handle that the program and the data threads hold.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, oneshot};
use weave_mesh::{Connection, Mesh, NotDead, Record};
use weave_model::{PathReport, PeerName, Routes, ShortId, Target};
use weave_trust::Membership;

use crate::dial::Local;
use crate::error::PeeringError;
use crate::outbox::Event;
use crate::port::{Port, PortCounters};
use crate::quic;
use crate::task::Task;
use crate::tls::Credentials;

/// Requests of the program that wait; each is answered within a turn.
const MAX_CONTROLS: usize = 16;

/// Events that wait in the channel; behind it only the newest of each kind is kept.
const MAX_EVENTS: usize = 16;

/// What peering is started with.
#[derive(Debug)]
pub struct Config {
    /// The settings of the mesh.
    pub mesh: weave_mesh::Config,
    /// Who this peer is and whom it recognises.
    pub membership: Membership,
    /// Randomness of the mesh; 32 random bytes.
    pub seed: [u8; 32],
}

/// What an operator may ask about.
#[derive(Clone, Debug)]
pub struct Status {
    /// One entry per link, attempt or target.
    pub connections: Vec<Connection>,
    /// Whom the operator wants links with.
    pub targets: Vec<Target>,
    /// The record of every known peer.
    pub records: Vec<Record>,
    /// How frames reach every peer.
    pub routes: Arc<Routes>,
    /// The last handshakes that failed because one side refused the other's certificate, oldest first; at most 16.
    pub refusals: Vec<Refusal>,
    /// What happened so far.
    pub counters: Counters,
}

/// A handshake of another peer that failed over a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Who dialled.
    pub remote: SocketAddr,
    /// Who refused whom, and why.
    pub reason: String,
    /// When.
    pub at: Instant,
}

/// What happened so far, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Links up at this moment.
    pub links: u64,
    /// Links that came up.
    pub links_up: u64,
    /// Links that ended, for whatever reason.
    pub links_down: u64,
    /// Links that came up and that the mesh did not want.
    pub links_refused: u64,
    /// Attempts of ours that made no link.
    pub dials_failed: u64,
    /// Handshakes of others that failed over a certificate.
    pub handshakes_refused: u64,
    /// Handshakes of others that failed otherwise.
    pub handshakes_failed: u64,
    /// Messages received.
    pub messages_received: u64,
    /// Messages sent.
    pub messages_sent: u64,
    /// Messages for which their link was closed.
    pub messages_refused: u64,
    /// The shared port.
    pub port: PortCounters,
    /// What the messages brought that was of no use.
    pub mesh: weave_mesh::Counters,
}

/// A handle on the running peering; cheap to clone. When the last one is dropped, peering ends without a farewell.
#[derive(Clone, Debug)]
pub struct Peering {
    controls: mpsc::Sender<Control>,
    reports: Arc<Reports>,
}

/// What the handle asks of the owner of the mesh.
#[derive(Debug)]
pub(crate) enum Control {
    /// Passes a command on.
    Command(weave_mesh::Command),
    /// Changes who vouches for whom.
    Renew {
        /// Of the same key as before.
        membership: Membership,
        /// Told what came of it.
        answer: oneshot::Sender<Result<(), PeeringError>>,
    },
    /// Forgets a peer that is dead.
    Bury {
        /// Its name or nickname.
        who: String,
        /// Told who it was, or why not.
        answer: oneshot::Sender<Result<PeerName, NotDead>>,
    },
    /// Asks for the status.
    Status(oneshot::Sender<Status>),
    /// Leaves the network until the deadline and ends.
    Stop {
        /// When to end at the latest.
        deadline: Instant,
        /// Told at the end.
        done: oneshot::Sender<()>,
    },
}

impl Peering {
    /// Starts to dial and to listen, on the current tokio runtime.
    pub fn start(config: Config, port: Arc<Port>) -> Result<(Peering, mpsc::Receiver<Event>), PeeringError> {
        let Config { mesh, membership, seed } = config;
        let credentials =
            Credentials::new(&membership.identity, &membership.trust).map_err(PeeringError::Tls)?;
        let endpoint = quic::endpoint(port.clone(), &membership.identity, &credentials)?;
        let local = Local { endpoint, port, default_port: mesh.port, credentials };
        let mesh = Mesh::new(mesh, membership.identity, membership.trust, seed, Instant::now());
        let (controls, control) = mpsc::channel(MAX_CONTROLS);
        let (events, received) = mpsc::channel(MAX_EVENTS);
        let reports = Arc::new(Reports::default());
        let task = Task::new(mesh, local, control, reports.clone(), events);
        tokio::spawn(task.run());
        Ok((Peering { controls, reports }, received))
    }

    /// Passes a command to the mesh.
    pub async fn command(&self, command: weave_mesh::Command) -> Result<(), PeeringError> {
        self.controls.send(Control::Command(command)).await.map_err(|_| PeeringError::Stopped)
    }

    /// Goes on with another certificate of the same key, or with other CAs. Links stay up, but those of peers that the
    /// CAs do not know.
    pub async fn renew(&self, membership: Membership) -> Result<(), PeeringError> {
        let (answer, answered) = oneshot::channel();
        let control = Control::Renew { membership, answer };
        self.controls.send(control).await.map_err(|_| PeeringError::Stopped)?;
        answered.await.map_err(|_| PeeringError::Stopped)?
    }

    /// Forgets a peer at once, given by its name or nickname, that somebody knows to be dead; returns its name.
    pub async fn bury(&self, who: String) -> Result<PeerName, PeeringError> {
        let (answer, answered) = oneshot::channel();
        self.controls.send(Control::Bury { who, answer }).await.map_err(|_| PeeringError::Stopped)?;
        Ok(answered.await.map_err(|_| PeeringError::Stopped)??)
    }

    /// Tells what a probe of the data path found. Never blocks; of two reports on one peer the newer counts.
    pub fn report(&self, report: PathReport) {
        self.reports.put(report);
    }

    /// Asks what is up and what was known.
    pub async fn status(&self) -> Result<Status, PeeringError> {
        let (answer, answered) = oneshot::channel();
        self.controls.send(Control::Status(answer)).await.map_err(|_| PeeringError::Stopped)?;
        answered.await.map_err(|_| PeeringError::Stopped)
    }

    /// Withdraws this peer from the network, closes all links and waits until the others have been told, or until
    /// `deadline` has passed. Later calls of any method say that peering has stopped.
    pub async fn stop(&self, deadline: Duration) {
        let deadline = Instant::now() + deadline;
        let (done, stopped) = oneshot::channel();
        let asked = async {
            // Neither fails but when peering has stopped already.
            if self.controls.send(Control::Stop { deadline, done }).await.is_ok() {
                let _ = stopped.await;
            }
        };
        // The task keeps the deadline itself; this one is for a runtime that does not run it.
        let _ = tokio::time::timeout_at((deadline + Duration::from_secs(1)).into(), asked).await;
    }
}

/// The newest report on each peer, on its way from the data threads.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    newest: Mutex<BTreeMap<PeerName, PathReport>>,
    arrived: Notify,
}

impl Reports {
    fn put(&self, report: PathReport) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        // No more peers than this have numbers, and only those have paths.
        if newest.len() < ShortId::COUNT || newest.contains_key(&report.peer) {
            newest.insert(report.peer, report);
        }
        drop(newest);
        self.arrived.notify_one();
    }

    /// Waits until there may be some.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    pub(crate) fn take(&self) -> BTreeMap<PeerName, PathReport> {
        std::mem::take(&mut *self.newest.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
