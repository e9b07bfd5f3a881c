//! The one task that owns the mesh: it feeds the machine and does what the machine says.
//!
//! ```text
//!   program ── controls ──┐                          ┌── events ──► program
//!   data threads ─ reports ┼──► Task ─ Mesh ──────────┼── dials ──► tasks ──► inputs
//!   links, handshakes ─ inputs ┘  (timers, RTT)       └── messages ──► writers, one at a time
//! ```
//!
//! Nothing waits here but the select at the end of each turn. All channels are bounded; of what goes to the program
//! and what comes from the data threads only the newest is kept.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::VarInt;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};
use weave_mesh::{CloseReason, Command, DialId, Mesh, NotDead};
use weave_model::{Forwarding, LinkId, PeerName, Routes};
use weave_trust::Membership;

use crate::dial::{Dialler, Local, listen};
use crate::error::PeeringError;
use crate::link::{CloseCode, Established};
use crate::links::Links;
use crate::outbox::{Event, Outbox};
use crate::peering::{Control, Counters, Refusal, Reports, Status};

/// Messages, results of attempts and the like that wait; their senders wait when it is full.
const MAX_INPUTS: usize = 64;

/// Inputs taken before timers and messages have their turn again.
const INPUTS_A_TURN: usize = 32;

/// Timers of the machine that may fire in one turn.
const TIMERS_A_TURN: usize = 16;

/// How often QUIC's measurements are read.
const MEASURE_EVERY: Duration = Duration::from_secs(1);

/// Refusals that the status shows.
const MAX_REFUSALS: usize = 16;

/// A peer of another network dials again and again; one line in this time says so.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// What links and handshakes tell the owner.
pub(crate) enum Input {
    /// An attempt of ours has ended.
    Dialled { dial: DialId, outcome: Result<Established, String> },
    /// Another peer has dialled us.
    Accepted(Established),
    /// Another peer's handshake has failed; `refused` over a certificate.
    NotAccepted { remote: SocketAddr, reason: String, refused: bool },
    /// A message of a link.
    Message { link: LinkId, bytes: Vec<u8> },
    /// A link has taken its message and wants another.
    Writable { link: LinkId },
    /// A link has ended.
    Down { link: LinkId, reason: String },
}

/// The owner of the mesh.
pub(crate) struct Task {
    mesh: Mesh,
    routes: Arc<Routes>,
    links: Links,
    /// Whether links have changed since the last picture.
    links_changed: bool,
    dialler: Dialler,
    local: Local,
    controls: mpsc::Receiver<Control>,
    inputs: mpsc::Receiver<Input>,
    reports: Arc<Reports>,
    outbox: Outbox,
    events: mpsc::Sender<Event>,
    measure_at: Instant,
    counters: Counters,
    refusals: VecDeque<Refusal>,
    warn_at: Instant,
    unwarned: u64,
    /// Whether the machine was told to leave the network.
    left: bool,
    /// Links that are being closed as soon as the other side has what was sent.
    farewells: Vec<JoinHandle<()>>,
}

impl Task {
    pub(crate) fn new(
        mesh: Mesh,
        local: Local,
        controls: mpsc::Receiver<Control>,
        reports: Arc<Reports>,
        events: mpsc::Sender<Event>,
    ) -> Task {
        let (sender, inputs) = mpsc::channel(MAX_INPUTS);
        tokio::spawn(listen(local.clone(), sender.clone()));
        let now = Instant::now();
        Task {
            routes: mesh.routes(),
            mesh,
            links: Links::new(sender.clone()),
            links_changed: true,
            dialler: Dialler::new(local.clone(), sender),
            local,
            controls,
            inputs,
            reports,
            outbox: Outbox::default(),
            events,
            measure_at: now + MEASURE_EVERY,
            counters: Counters::default(),
            refusals: VecDeque::new(),
            warn_at: now,
            unwarned: 0,
            left: false,
            farewells: Vec::new(),
        }
    }

    /// Runs until told to stop, or until nobody holds a handle any more.
    pub(crate) async fn run(mut self) {
        self.drain();
        let events = self.events.clone();
        let stop = loop {
            let wake = self.turn();
            tokio::select! {
                control = self.controls.recv() => match control {
                    Some(Control::Command(command)) => self.command(command),
                    Some(Control::Renew { membership, answer }) => drop(answer.send(self.renew(membership))),
                    Some(Control::Bury { who, answer }) => drop(answer.send(self.bury(&who))),
                    // Who asked and did not wait is not owed an answer.
                    Some(Control::Status(answer)) => drop(answer.send(self.status())),
                    Some(Control::Stop { deadline, done }) => break Some((deadline, done)),
                    None => break None,
                },
                () = self.reports.arrived() => self.take_reports(),
                permit = events.reserve(), if !self.outbox.is_empty() => match permit {
                    Ok(permit) => if let Some(event) = self.outbox.pop() { permit.send(event) },
                    Err(_) => self.outbox.close(),
                },
                Some(input) = self.inputs.recv() => self.take_inputs(input),
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        };
        match stop {
            Some((deadline, done)) => self.leave(deadline, done).await,
            None => self.close_endpoint("the peer's daemon ended without a farewell"),
        }
    }

    /// Does what is due; returns when the next thing will be.
    fn turn(&mut self) -> Instant {
        let now = Instant::now();
        for _ in 0..TIMERS_A_TURN {
            if self.mesh.poll_timeout().is_none_or(|(at, _)| at > now) {
                break;
            }
            self.mesh.handle_timeout(now);
            self.drain();
        }
        if now >= self.measure_at {
            self.measure_at = now + MEASURE_EVERY;
            self.measure(now);
        }
        self.transmit();
        self.publish();
        // A machine that always has something due must not take the whole processor.
        let soonest = now + Duration::from_millis(1);
        let due = self.mesh.poll_timeout().map_or(self.measure_at, |(at, _)| at.min(self.measure_at));
        due.max(soonest)
    }

    fn command(&mut self, command: Command) {
        self.left |= command == Command::Leave;
        self.mesh.handle_command(command, Instant::now());
        self.drain();
    }

    /// Both or neither: the machine refuses what is no renewal, TLS what it cannot use.
    fn renew(&mut self, membership: Membership) -> Result<(), PeeringError> {
        let Membership { identity, trust, .. } = membership;
        let next = self.local.credentials.prepare(&identity, &trust).map_err(PeeringError::Tls)?;
        let renewed = self.mesh.handle_renewal(identity, trust, Instant::now());
        self.drain();
        renewed.map_err(PeeringError::NotARenewal)?;
        self.local.credentials.replace(next);
        Ok(())
    }

    fn bury(&mut self, who: &str) -> Result<PeerName, NotDead> {
        let buried = self.mesh.handle_death(who, Instant::now());
        self.drain();
        if let Ok(peer) = &buried {
            info!(%peer, "a dead peer is forgotten");
        }
        buried
    }

    fn take_reports(&mut self) {
        for report in self.reports.take().into_values() {
            self.mesh.handle_path(report, Instant::now());
            self.drain();
        }
    }

    fn take_inputs(&mut self, first: Input) {
        self.input(first);
        for _ in 1..INPUTS_A_TURN {
            let Ok(input) = self.inputs.try_recv() else { break };
            self.input(input);
        }
    }

    fn input(&mut self, input: Input) {
        let now = Instant::now();
        match input {
            Input::Dialled { dial, outcome: Ok(established) } => self.link_up(established, Some(dial), now),
            Input::Dialled { dial, outcome: Err(reason) } => {
                debug!(%reason, dial = dial.0, "dial failed");
                self.counters.dials_failed += 1;
                self.mesh.handle_dial_failed(dial, reason, now);
            }
            Input::Accepted(established) => self.link_up(established, None, now),
            Input::NotAccepted { remote, reason, refused } => self.not_accepted(remote, reason, refused, now),
            Input::Message { link, bytes } => self.message(link, &bytes, now),
            Input::Writable { link } => self.links.set_writable(link),
            Input::Down { link, reason } => {
                if self.links.forget(link) {
                    info!(link = link.0, %reason, "link down");
                    self.counters.links_down += 1;
                    self.links_changed = true;
                    self.mesh.handle_link_down(link, reason, now);
                }
            }
        }
        self.drain();
    }

    fn link_up(&mut self, established: Established, dial: Option<DialId>, now: Instant) {
        let remote = established.remote;
        let up = self.links.add(established, dial);
        let link = up.link;
        match self.mesh.handle_link_up(up, now) {
            Ok(()) => {
                info!(link = link.0, %remote, dialled = dial.is_some(), "link up");
                self.counters.links_up += 1;
                self.links_changed = true;
            }
            Err(refused) => {
                debug!(%remote, reason = %refused, "link not wanted");
                self.counters.links_refused += 1;
                self.links.close(link, CloseCode::Refused, &refused.to_string());
            }
        }
    }

    fn message(&mut self, link: LinkId, bytes: &[u8], now: Instant) {
        if !self.links.contains(link) {
            return;
        }
        self.counters.messages_received += 1;
        if let Err(refused) = self.mesh.handle_message(link, bytes, now) {
            let reason = refused.to_string();
            info!(link = link.0, %reason, "link closed over a message");
            self.counters.messages_refused += 1;
            self.counters.links_down += 1;
            self.links_changed = true;
            self.links.close(link, CloseCode::Malformed, &reason);
        }
    }

    fn not_accepted(&mut self, remote: SocketAddr, reason: String, refused: bool, now: Instant) {
        if !refused {
            debug!(%remote, %reason, "handshake failed");
            self.counters.handshakes_failed += 1;
            return;
        }
        self.counters.handshakes_refused += 1;
        if now >= self.warn_at {
            warn!(%remote, %reason, others = self.unwarned, "handshake refused");
            self.warn_at = now + WARN_EVERY;
            self.unwarned = 0;
        } else {
            self.unwarned += 1;
        }
        if self.refusals.len() == MAX_REFUSALS {
            self.refusals.pop_front();
        }
        self.refusals.push_back(Refusal { remote, reason, at: now });
    }

    /// Does what the machine says; called after everything that changes it.
    fn drain(&mut self) {
        while let Some(event) = self.mesh.poll_event() {
            match event {
                weave_mesh::Event::Dial { dial, target } => self.dialler.start(dial, target),
                weave_mesh::Event::CloseLink { link, reason } => {
                    info!(link = link.0, %reason, "link closed");
                    self.counters.links_down += u64::from(self.links.contains(link));
                    self.links_changed = true;
                    if reason == CloseReason::Leaving {
                        // The withdrawal is still on its way.
                        let farewell = self.links.finish(link, CloseCode::Leaving, reason.to_string());
                        self.farewells.extend(farewell);
                    } else {
                        self.links.close(link, CloseCode::GivenUp, &reason.to_string());
                    }
                }
                weave_mesh::Event::Routes(routes) => {
                    self.routes = routes;
                    self.links_changed = true;
                }
                // A machine that has left wants nobody any more; the next start shall want whom this one did.
                weave_mesh::Event::Persist(_) if self.left => {}
                weave_mesh::Event::Persist(remembered) => self.outbox.persist(remembered),
                weave_mesh::Event::ShortIdFreed(id) => self.outbox.free(id),
                weave_mesh::Event::Clone(name) => self.outbox.clone_seen(name),
            }
        }
    }

    fn measure(&mut self, now: Instant) {
        self.links_changed |= self.links.follow_addresses();
        for (link, rtt, mtu) in self.links.measure() {
            self.mesh.handle_measurement(link, rtt, mtu, now);
            self.drain();
        }
    }

    /// Gives each link that can take one a message; the others' news stay in the machine, where newer replace older.
    fn transmit(&mut self) {
        let ready: Vec<LinkId> =
            self.mesh.links_with_output().filter(|link| self.links.is_writable(*link)).collect();
        for link in ready {
            self.transmit_to(link);
        }
    }

    fn transmit_to(&mut self, link: LinkId) {
        if let Some(message) = self.mesh.poll_transmit(link) {
            self.counters.messages_sent += 1;
            self.links.send(link, message);
        }
    }

    fn publish(&mut self) {
        if std::mem::take(&mut self.links_changed) {
            let adjacencies = self.links.adjacencies(&self.routes);
            self.outbox.publish(Forwarding { routes: self.routes.clone(), adjacencies });
        }
    }

    fn status(&self) -> Status {
        let mut counters = self.counters;
        counters.links = self.links.len() as u64;
        counters.port = self.local.port.counters();
        counters.mesh = self.mesh.counters();
        Status {
            connections: self.mesh.connections(),
            targets: self.mesh.targets(),
            records: self.mesh.records().iter().map(|signed| signed.record().clone()).collect(),
            routes: self.routes.clone(),
            refusals: self.refusals.iter().cloned().collect(),
            counters,
        }
    }

    /// Says farewell: withdraws the record, waits until the neighbours have it, closes everything.
    async fn leave(mut self, deadline: Instant, done: oneshot::Sender<()>) {
        while let Some(event) = self.outbox.pop() {
            // A program that does not listen any more has no use for it.
            let _ = self.events.try_send(event);
        }
        self.command(Command::Leave);
        loop {
            let wake = self.turn().min(deadline);
            // The machine closes a link when it is asked for a message and has none that matters any more.
            for link in self.links.writable() {
                self.transmit_to(link);
            }
            self.drain();
            if self.links.len() == 0 || Instant::now() >= deadline {
                break;
            }
            tokio::select! {
                Some(input) = self.inputs.recv() => self.take_inputs(input),
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
        let reason = CloseReason::Leaving.to_string();
        self.farewells.extend(self.links.finish_all(CloseCode::Leaving, &reason));
        let farewells = std::mem::take(&mut self.farewells);
        let quiet = async {
            for farewell in farewells {
                // One that panicked has nothing more to say.
                let _ = farewell.await;
            }
        };
        let _ = tokio::time::timeout_at(deadline.into(), quiet).await;
        self.close_endpoint(&reason);
        let _ = tokio::time::timeout_at(deadline.into(), self.local.endpoint.wait_idle()).await;
        // Nobody is owed an answer who no longer waits for it.
        let _ = done.send(());
    }

    fn close_endpoint(&self, reason: &str) {
        self.local.endpoint.close(VarInt::from_u32(CloseCode::Leaving as u32), reason.as_bytes());
    }
}
