//! The machine: joins links, records, routes and the wish for more links.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use weave_model::{Deadlines, LinkId, PathReport, PeerName, Routes, Target, Timer};
use weave_trust::{Identity, Trust};

use crate::config::{Config, DialId, LinkUp, Remembered};
use crate::connector::Connector;
use crate::events::{CloseReason, Command, Event};
use crate::expiry::{Expiry, REFUSED_FOR};
use crate::flood::Flood;
use crate::links::Links;
use crate::originate::Originate;
use crate::picture::Picture;
use crate::record::SignedRecord;
use crate::records::{Certified, Records};
use crate::refused::{BadContent, Counters, Refused};
use crate::short_ids::ShortIds;
use crate::version::Version;

/// One peer's view of its network, and what it does about it.
///
/// Inputs: `handle_*`, with a time that never goes back. Outputs: [`Mesh::poll_event`] and, for each link,
/// [`Mesh::poll_transmit`]. Contract: mutate → drain events and transmits → mutate; call [`Mesh::handle_timeout`] when
/// [`Mesh::poll_timeout`] says so. Links carry whole messages of at most [`MAX_MESSAGE`](crate::MAX_MESSAGE) bytes,
/// reliably and in order. A link that the machine refused or closed is forgotten; what still comes from it is ignored.
///
/// Invariants: memory is bounded by the number of peers and links, whatever others send; the routes are a function of
/// the records and short ids, so peers that know the same records agree; at most one version of our own record goes out
/// in [`ORIGINATOR_INTERVAL`](crate::flood::ORIGINATOR_INTERVAL) unless something failed.
#[derive(Debug)]
pub struct Mesh {
    pub(crate) config: Config,
    identity: Identity,
    trust: Trust,
    pub(crate) flood: Flood,
    pub(crate) links: Links,
    pub(crate) connector: Connector,
    short_ids: ShortIds,
    originate: Originate,
    picture: Picture,
    expiry: Expiry,
    deadlines: Deadlines<Wake>,
    events: VecDeque<Event>,
    remembered: Remembered,
    /// The changes of the records that were looked at.
    seen: u64,
    stale: Stale,
    usurped: bool,
    leave_by: Option<Instant>,
    pub(crate) now: Instant,
}

/// Why the machine wakes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wake {
    Flood,
    Dial,
    Links,
    Publish,
    Routes,
    Expire,
    Leave,
}

impl Timer for Wake {
    const ALL: &'static [Wake] =
        &[Wake::Flood, Wake::Dial, Wake::Links, Wake::Publish, Wake::Routes, Wake::Expire, Wake::Leave];

    fn index(self) -> usize {
        self as usize
    }

    fn reason(self) -> &'static str {
        match self {
            Wake::Flood => "compare, offer or pass on records",
            Wake::Dial => "dial a peer, or give up waiting for one",
            Wake::Links => "close a link that is silent or double",
            Wake::Publish => "publish a new version of our own record",
            Wake::Routes => "compute the routes",
            Wake::Expire => "forget a peer that is out of reach",
            Wake::Leave => "close the links of a peer that leaves",
        }
    }
}

/// What the last input or a deadline may have changed, so that each input costs only what it touches.
#[derive(Debug, Default)]
struct Stale {
    /// Whether news, offers or comparisons may be due.
    flood: bool,
    /// Whether there may be somebody to dial.
    dial: bool,
    /// Whether a link may be silent or double.
    links: bool,
    /// Whether our own record may have to say something else.
    own: bool,
    /// Whether the next start may need to remember something else.
    memory: bool,
}

/// How far ahead of the last sequence the remembered one is, so that it is not written with every version.
const SEQUENCES_AHEAD: u64 = 1000;

/// A neighbour that takes longer learns that we left when its link goes down.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);

impl Mesh {
    /// Makes the machine of the peer of `identity`; all its random choices follow from `seed`.
    pub fn new(config: Config, identity: Identity, trust: Trust, seed: [u8; 32], now: Instant) -> Mesh {
        let local = identity.name();
        let mut rng = ChaCha8Rng::from_seed(seed);
        let mut records = Records::new(trust.clone(), local);
        let own = records.accept_certificate(identity.certificate());
        debug_assert!(own.is_ok(), "our own certificate is not of the network");
        let short_ids = ShortIds::new(local, config.short_id, ChaCha8Rng::from_rng(&mut rng));
        let limit = config.connection_limit;
        let mut connector = Connector::new(local, config.discovery, limit, ChaCha8Rng::from_rng(&mut rng));
        connector.connect(config.targets.clone(), true, now);
        let remembered =
            Remembered { short_id: config.short_id, sequence: 0, targets: config.targets.clone() };
        let mut mesh = Mesh {
            flood: Flood::new(records, local, config.uid, now),
            links: Links::new(local),
            connector,
            originate: Originate::new(&config, local),
            picture: Picture::new(local, short_ids.own()),
            short_ids,
            expiry: Expiry::default(),
            deadlines: Deadlines::default(),
            events: VecDeque::new(),
            remembered,
            seen: 0,
            stale: Stale { flood: true, dial: true, links: true, own: true, memory: true },
            usurped: false,
            leave_by: None,
            now,
            config,
            identity,
            trust,
        };
        mesh.refresh(now);
        mesh
    }

    /// Takes up a link whose other end has proved to hold the certificate; `Err`: close it.
    pub fn handle_link_up(&mut self, up: LinkUp, now: Instant) -> Result<(), Refused> {
        let outcome = self.admit(&up, now);
        match outcome {
            Ok(peer) => {
                if let Some(dial) = up.dial {
                    self.connector.succeeded(dial, peer, now);
                }
                self.flood.handle_link_up(up.link, peer);
                (self.stale.own, self.stale.links) = (true, true);
            }
            Err(refused) => match (up.dial, refused) {
                (Some(dial), Refused::OneSelf) => self.connector.found_ourselves(dial, now),
                (Some(dial), _) => self.connector.failed(dial, refused.to_string(), now),
                (None, _) => {}
            },
        }
        self.stale.dial = true;
        self.refresh(now);
        outcome.map(|_| ())
    }

    /// Gives up a link; the reason is shown while its peer is not linked again.
    pub fn handle_link_down(&mut self, link: LinkId, reason: String, now: Instant) {
        self.drop_link(link, &reason, now);
        self.refresh(now);
    }

    /// Takes one message of a link; `Err`: its neighbour misbehaves, close it.
    pub fn handle_message(&mut self, link: LinkId, bytes: &[u8], now: Instant) -> Result<(), Refused> {
        let outcome = self.flood.handle_message(link, bytes, now);
        if let Err(refused) = outcome {
            self.drop_link(link, &refused.to_string(), now);
        }
        self.stale.flood = true;
        self.refresh(now);
        outcome
    }

    /// An attempt to make a link failed.
    pub fn handle_dial_failed(&mut self, dial: DialId, reason: String, now: Instant) {
        self.connector.failed(dial, reason, now);
        self.stale.dial = true;
        self.refresh(now);
    }

    /// Takes the round trip and the largest UDP payload as the link itself measured them; they count until the
    /// datapath's probes answer.
    pub fn handle_measurement(&mut self, link: LinkId, rtt: Duration, mtu: u16, now: Instant) {
        self.links.measured(link, rtt, mtu);
        self.stale.own = true;
        self.refresh(now);
    }

    /// Takes what the datapath's probes say of a peer; a neighbour that frames do not pass to is routed around at once.
    pub fn handle_path(&mut self, report: PathReport, now: Instant) {
        let was_alive = self.links.is_alive(report.peer);
        self.links.probed(&report);
        self.stale.own = true;
        if was_alive && !report.alive {
            self.picture.hurry(now);
        }
        self.refresh(now);
    }

    /// Does what an operator or the program asks for.
    pub fn handle_command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Connect { targets, replace } => self.connector.connect(targets, replace, now),
            Command::Forget { targets } => self.connector.forget(&targets),
            Command::SetEndpoints(endpoints) => self.originate.set_endpoints(endpoints),
            Command::Leave => {
                self.originate.leave();
                self.connector.stop();
                self.flood.follow(None);
                self.leave_by.get_or_insert(now + LEAVE_WITHIN);
            }
        }
        self.stale = Stale { flood: true, dial: true, links: true, own: true, memory: true };
        self.refresh(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.refresh(now);
    }

    /// The next message for a link, made from what is known at this moment.
    pub fn poll_transmit(&mut self, link: LinkId) -> Option<Vec<u8>> {
        let message = self.flood.poll_transmit(link);
        // The farewell was the last that this link had to carry.
        if self.leave_by.is_some() && !self.flood.owes_own(link) {
            self.close(link, CloseReason::Leaving, self.now);
        }
        message
    }

    /// The links that have something to send.
    pub fn links_with_output(&self) -> impl Iterator<Item = LinkId> {
        self.flood.links_with_output()
    }

    /// The next thing the owner should know or do.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`Mesh::handle_timeout`], and why.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.deadlines.next()
    }

    /// How frames reach every peer.
    pub fn routes(&self) -> Arc<Routes> {
        self.picture.routes()
    }

    /// The records of all peers.
    pub fn records(&self) -> &Records {
        self.flood.records()
    }

    /// The operator's targets.
    pub fn targets(&self) -> Vec<Target> {
        self.connector.targets().keys().cloned().collect()
    }

    /// How much was received that was of no use.
    pub fn counters(&self) -> Counters {
        self.flood.counters()
    }

    fn local(&self) -> PeerName {
        self.identity.name()
    }

    /// Decides whether a link may be.
    fn admit(&mut self, up: &LinkUp, now: Instant) -> Result<PeerName, Refused> {
        if self.originate.is_leaving() {
            return Err(Refused::Leaving);
        }
        let mut certified = self.flood.certify(&up.certificate);
        if certified == Err(BadContent::Full)
            && let Some(gone) = self.expiry.longest()
        {
            // Whoever is here counts more than whoever is not.
            self.forget(gone, now);
            certified = self.flood.certify(&up.certificate);
        }
        let peer = match certified {
            Ok((peer, _)) if peer == self.local() => return Err(Refused::OneSelf),
            Ok((_, Certified::Outdated | Certified::Usurper)) => return Err(Refused::Outdated),
            Ok((peer, _)) => peer,
            Err(BadContent::Full) => return Err(Refused::Full),
            Err(_) => return Err(Refused::Certificate),
        };
        let limit = if self.config.connection_limit == 0 { usize::MAX } else { self.config.connection_limit };
        let wanted = up.dial.is_some() || self.links.is_linked(peer) || self.links.peers().len() < limit;
        // The floor: a peer that no path leads to is taken in, whatever the limit.
        let needed = !self.picture.routes().peers.contains_key(&peer);
        let certificate = self.records().certificate(peer).map(Version::of_certificate);
        let (Some(certificate), true) = (certificate, wanted || needed) else { return Err(Refused::Limit) };
        if self.links.up(up.link, peer, up.remote, up.dial.is_some(), certificate, now) {
            Ok(peer)
        } else {
            Err(Refused::Limit)
        }
    }

    /// Brings everything in line with what has changed or is due; every input ends here.
    fn refresh(&mut self, now: Instant) {
        self.now = self.now.max(now);
        while let Some(wake) = self.deadlines.take_due(self.now) {
            match wake {
                Wake::Flood => self.stale.flood = true,
                Wake::Dial => self.stale.dial = true,
                Wake::Links | Wake::Leave => self.stale.links = true,
                Wake::Publish => self.stale.own = true,
                Wake::Routes | Wake::Expire => self.picture.hurry(self.now),
            }
        }
        // Each round can bring work for the next: a new record moves a short id, which makes a new record of ours.
        for _ in 0..4 {
            self.hear();
            self.tidy_links();
            self.publish();
            if self.flood.records().changes() != self.seen {
                self.seen = self.flood.records().changes();
                self.picture.stale(self.now);
            }
            if self.picture.due_at().is_none_or(|at| at > self.now) {
                break;
            }
            self.settle();
        }
        self.arm(Wake::Routes, self.picture.due_at());
        if std::mem::take(&mut self.stale.flood) {
            self.flood.handle_timeout(self.now);
            self.arm(Wake::Flood, Some(self.flood.due_at()));
        }
        if std::mem::take(&mut self.stale.dial) {
            let port = self.config.port;
            let dials = self.connector.dial(self.flood.records(), &self.links, port, self.now);
            self.events.extend(dials.into_iter().map(|(dial, target)| Event::Dial { dial, target }));
            self.arm(Wake::Dial, self.connector.due_at(&self.links));
        }
        if std::mem::take(&mut self.stale.memory) {
            self.remember();
        }
    }

    fn arm(&mut self, wake: Wake, at: Option<Instant>) {
        match at {
            Some(at) => self.deadlines.set(wake, at),
            None => self.deadlines.clear(wake),
        }
    }

    /// Takes what the messages said beyond records.
    fn hear(&mut self) {
        for (link, uid) in self.flood.take_greetings() {
            self.stale.links = true;
            if self.links.greeted(link, uid) {
                self.picture.stale(self.now);
            } else {
                self.close(link, CloseReason::Cloned, self.now);
            }
        }
        let mut clone = false;
        if let Some(by) = self.flood.take_overtaken() {
            clone |= self.originate.overtaken(by, self.now);
            self.stale.own = true;
        }
        if self.flood.take_usurped() {
            clone |= !std::mem::replace(&mut self.usurped, true);
        }
        if clone {
            self.events.push_back(Event::Clone(self.local()));
        }
    }

    fn tidy_links(&mut self) {
        if !std::mem::take(&mut self.stale.links) {
            return;
        }
        for (link, reason) in self.links.surplus(self.now) {
            self.close(link, reason, self.now);
        }
        if self.leave_by.is_some_and(|at| at <= self.now) {
            let links: Vec<LinkId> = self.links.iter().map(|(link, _)| link).collect();
            links.into_iter().for_each(|link| self.close(link, CloseReason::Leaving, self.now));
        }
        self.stale.links = false;
        self.arm(Wake::Links, self.links.surplus_at());
        self.arm(Wake::Leave, self.leave_by.filter(|_| self.links.iter().next().is_some()));
    }

    /// Publishes our own record when it has something new to say.
    fn publish(&mut self) {
        if !std::mem::take(&mut self.stale.own) {
            return;
        }
        let (live, short_id) = (self.links.live(), self.short_ids.own());
        if let Some(record) = self.originate.next(&live, short_id, self.now) {
            self.flood.publish(SignedRecord::sign(record, &self.identity, self.trust.network()));
            (self.stale.flood, self.stale.memory) = (true, true);
        }
        self.arm(Wake::Publish, self.originate.due_at(&live, short_id));
    }

    /// Follows the records: short ids, routes, and who is out of reach or worth dialling.
    fn settle(&mut self) {
        let freed = self.short_ids.settle(self.flood.records());
        self.events.extend(freed.into_iter().map(Event::ShortIdFreed));
        (self.stale.own, self.stale.dial, self.stale.memory) = (true, true, true);
        for link in self.links.outdated(self.flood.records()) {
            self.close(link, CloseReason::Replaced, self.now);
        }
        let mut neighbours = self.links.neighbours();
        let own = self.flood.records().get(self.local()).map(|r| r.record());
        for (peer, edge) in own.into_iter().flat_map(|own| &own.neighbours) {
            // As published: what jitters is no news for the datapath either.
            if let Some(neighbour) = neighbours.get_mut(peer) {
                (neighbour.rtt, neighbour.mtu) = (edge.rtt, edge.mtu);
            }
        }
        if let Some(routes) = self.picture.compute(self.flood.records(), &self.short_ids, neighbours) {
            if self.leave_by.is_none() {
                self.flood.follow(Some(routes.clone()));
            }
            self.events.push_back(Event::Routes(routes));
        }
        let routes = self.picture.routes();
        let reached =
            |peer| peer == routes.local || routes.peers.contains_key(&peer) || self.links.is_linked(peer);
        self.expiry.observe(self.flood.records(), reached, self.now);
        for peer in self.expiry.expired(self.flood.records(), self.now) {
            self.forget(peer, self.now);
        }
        let reached = |peer| peer == routes.local || routes.peers.contains_key(&peer);
        self.flood.ask_for_returned(reached);
        self.connector.discover(self.flood.records(), self.now);
        self.arm(Wake::Expire, self.expiry.due_at(self.flood.records()));
    }

    /// Tells the owner what the next start needs, when it would need something else.
    fn remember(&mut self) {
        let (short_id, targets) = (self.short_ids.own(), self.targets());
        let used_up = self.originate.sequence() >= self.remembered.sequence;
        if used_up || short_id != self.remembered.short_id || targets != self.remembered.targets {
            let sequence = self.originate.sequence().saturating_add(SEQUENCES_AHEAD);
            self.remembered = Remembered { short_id, sequence, targets };
            self.events.push_back(Event::Persist(self.remembered.clone()));
        }
    }

    fn close(&mut self, link: LinkId, reason: CloseReason, now: Instant) {
        if self.drop_link(link, &reason.to_string(), now) {
            self.events.push_back(Event::CloseLink { link, reason });
        }
    }

    fn drop_link(&mut self, link: LinkId, reason: &str, now: Instant) -> bool {
        self.flood.handle_link_down(link);
        let Some(gone) = self.links.down(link) else { return false };
        if !self.links.is_linked(gone.peer) {
            self.connector.lost(gone.peer, gone.since, reason, now);
            self.picture.hurry(now);
        }
        (self.stale.own, self.stale.links, self.stale.dial) = (true, true, true);
        self.picture.stale(now);
        true
    }

    fn forget(&mut self, peer: PeerName, now: Instant) {
        self.flood.bury(peer, now + REFUSED_FOR);
        self.expiry.forget(peer);
    }
}
