//! The machine: joins links, records, routes and the wish for more links.

mod dead;
mod refresh;

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
use crate::expiry::Expiry;
use crate::flood::Flood;
use crate::links::Links;
use crate::originate::Originate;
use crate::picture::Picture;
use crate::records::Records;
use crate::refused::{Counters, Refused};
use crate::short_ids::ShortIds;

pub use dead::NotDead;

/// One peer's view of its network, and what it does about it.
///
/// Inputs: `handle_*`, with a time that never goes back. Outputs: [`Mesh::poll_event`] and, for each link,
/// [`Mesh::poll_transmit`]. Contract: mutate → drain events and transmits → mutate; call [`Mesh::handle_timeout`] when
/// [`Mesh::poll_timeout`] says so. Links carry whole messages of at most [`MAX_MESSAGE`](crate::MAX_MESSAGE) bytes,
/// reliably and in order. A link that the machine refused or closed is forgotten; what still comes from it is ignored.
///
/// Invariants: memory is bounded by the number of peers and links, whatever others send; the routes are a function of
/// the records, short ids and our own links, so peers that know the same records agree; unless something failed
/// or a certificate was renewed, at most one version of our own record goes out in 100 ms.
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

    /// Goes on with another certificate of the same key, or with other CAs; `Err`: it is not that, and nothing has changed.
    ///
    /// Links and routes stay, but those of peers whose certificate is not of these CAs: they are forgotten. Whoever was
    /// given a certificate of these CAs before is known by that one, so its link outlives the certificate it was made with.
    pub fn handle_renewal(&mut self, identity: Identity, trust: Trust, now: Instant) -> Result<(), Refused> {
        let renewed = self.identity.certificate() != identity.certificate();
        let strangers =
            self.flood.renew(trust.clone(), identity.certificate()).map_err(|_| Refused::Certificate)?;
        (self.identity, self.trust) = (identity, trust);
        for peer in strangers {
            self.expiry.forget(peer);
            let links = self.links.iter().filter(|(_, l)| l.peer == peer).map(|(link, _)| link);
            for link in links.collect::<Vec<_>>() {
                self.close(link, CloseReason::Untrusted, now);
            }
            self.picture.hurry(now);
        }
        if renewed {
            self.originate.renew();
        }
        self.stale = Stale { flood: true, dial: true, links: true, own: true, memory: true };
        self.refresh(now);
        Ok(())
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
}
