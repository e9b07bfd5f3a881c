//! The established links, which of them is kept where two peers have several, and what is measured on them.
//!
//! Two peers that dial each other at the same time have two links for a moment. The one with the lower name decides
//! which stays, once both have said hello, so the two never close one each:
//!
//! ```text
//!   the later link, when it is of a later start of the peer, or came up long after the other: the other is dead
//!   else the link that the lower name dialled, and of several the later one
//! ```
//!
//! The other end picks by the same rule what it sends on meanwhile, and closes only what nobody closed in time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use weave_model::{LinkId, Neighbour, PathReport, PeerName};

use crate::codec::{MAX_NEIGHBOURS, MIN_MTU};
use crate::events::CloseReason;
use crate::graph::Edge;
use crate::records::Records;
use crate::version::Version;

/// A neighbour that says nothing for so long after its handshake speaks something else.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// Links that came up closer to each other than this were dialled crosswise; a later one was dialled because its
/// peer missed the earlier one.
const CROSSING: Duration = Duration::from_secs(5);

/// How long the end that does not decide waits for the other to close a duplicate.
const DECIDE_WITHIN: Duration = Duration::from_secs(10);

/// More links with one peer than this are of no use and are not accepted.
const LINKS_PER_PEER: usize = 4;

/// Earlier starts of one peer that are remembered while it is linked.
const LIVES_KEPT: usize = 8;

/// Before anything is measured: a slow link, so that measured ones are preferred.
pub(crate) const UNMEASURED: Duration = Duration::from_millis(100);

/// Every QUIC path carries datagrams of this size (RFC 9000 §14).
const UNMEASURED_MTU: u16 = 1200;

/// What surrounds an overlay packet in a UDP payload: WireGuard 32, IPv4 20, UDP 8, VXLAN 8 and Ethernet 14 bytes.
const ENCLOSURE: u16 = 82;

/// All links that are up.
#[derive(Debug)]
pub(crate) struct Links {
    local: PeerName,
    links: BTreeMap<LinkId, Link>,
    /// What the datapath says of the way to a neighbour; kept across links, so that replacing one changes nothing.
    probed: BTreeMap<PeerName, Probed>,
    /// Earlier starts of linked peers; one that is still alive is a clone, and the two must not take turns.
    ended: BTreeMap<PeerName, BTreeSet<u64>>,
}

/// One end of a link.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) peer: PeerName,
    pub(crate) remote: SocketAddr,
    pub(crate) outbound: bool,
    pub(crate) since: Instant,
    /// The key it was made with, as [`Version::key`] has it. A later certificate of the same key does it no harm.
    key: u64,
    /// The random number of the peer's start, once it said hello.
    uid: Option<u64>,
    measured: Option<Edge>,
}

#[derive(Debug)]
struct Probed {
    alive: bool,
    rtt: Option<Duration>,
    mtu: Option<u16>,
}

impl Links {
    pub(crate) fn new(local: PeerName) -> Links {
        Links { local, links: BTreeMap::new(), probed: BTreeMap::new(), ended: BTreeMap::new() }
    }

    /// Takes up a link; `false` when its peer has too many.
    pub(crate) fn up(
        &mut self,
        link: LinkId,
        peer: PeerName,
        remote: SocketAddr,
        outbound: bool,
        key: u64,
        now: Instant,
    ) -> bool {
        let others = self.of(peer).count();
        if others >= LINKS_PER_PEER || (others == 0 && self.peers().len() >= MAX_NEIGHBOURS) {
            return false;
        }
        let up = Link { peer, remote, outbound, since: now, key, uid: None, measured: None };
        self.links.insert(link, up);
        true
    }

    /// Gives up a link; returns what it was.
    pub(crate) fn down(&mut self, link: LinkId) -> Option<Link> {
        let gone = self.links.remove(&link)?;
        if !self.is_linked(gone.peer) {
            // A new link may take another way: it is judged afresh.
            self.probed.remove(&gone.peer);
            self.ended.remove(&gone.peer);
        }
        Some(gone)
    }

    /// The other end said hello; whether it may stay.
    pub(crate) fn greeted(&mut self, link: LinkId, uid: u64) -> bool {
        let Some(state) = self.links.get_mut(&link) else { return true };
        let peer = state.peer;
        if self.ended.get(&peer).is_some_and(|ended| ended.contains(&uid)) {
            return false;
        }
        let others = self.links.iter().filter(|(other, l)| **other < link && l.peer == peer);
        let ended: Vec<u64> = others.filter_map(|(_, l)| l.uid).filter(|other| *other != uid).collect();
        if !ended.is_empty() {
            let known = self.ended.entry(peer).or_default();
            known.extend(ended);
            // A peer that starts over and over is told apart from its last lives only.
            while known.len() > LIVES_KEPT {
                known.pop_first();
            }
        }
        if let Some(state) = self.links.get_mut(&link) {
            state.uid = Some(uid);
        }
        true
    }

    /// Takes what the link itself measured; it counts until the datapath's probes answer.
    pub(crate) fn measured(&mut self, link: LinkId, rtt: Duration, mtu: u16) {
        if let Some(link) = self.links.get_mut(&link) {
            link.measured = Some(Edge { rtt, mtu: mtu.max(MIN_MTU) });
        }
    }

    /// Takes what the datapath's probes say.
    pub(crate) fn probed(&mut self, report: &PathReport) {
        if self.is_linked(report.peer) {
            let mtu = report.mtu.map(|mtu| mtu.saturating_add(ENCLOSURE).max(MIN_MTU));
            self.probed.insert(report.peer, Probed { alive: report.alive, rtt: report.rtt, mtu });
        }
    }

    /// The links whose peer has another key by now.
    pub(crate) fn outdated(&self, records: &Records) -> Vec<LinkId> {
        let current = |peer| records.certificate(peer).map(|c| Version::of_certificate(c).key);
        let outdated = self.iter().filter(|(_, l)| current(l.peer) != Some(l.key));
        outdated.map(|(link, _)| link).collect()
    }

    /// The links to close, and why.
    pub(crate) fn surplus(&self, now: Instant) -> Vec<(LinkId, CloseReason)> {
        let mut surplus: Vec<(LinkId, CloseReason)> = self
            .links
            .iter()
            .filter(|(_, l)| l.uid.is_none() && now >= l.since + HELLO_WITHIN)
            .map(|(link, _)| (*link, CloseReason::Silent))
            .collect();
        for peer in self.peers() {
            let Some((kept, best)) = self.preferred(peer) else { continue };
            for (link, other) in self.of(peer).filter(|(link, l)| *link != kept && l.uid.is_some()) {
                let restarted = other.uid != best.uid;
                let late = now >= other.since.max(best.since) + DECIDE_WITHIN;
                if restarted {
                    surplus.push((link, CloseReason::Restarted));
                } else if self.local < peer || late {
                    surplus.push((link, CloseReason::Duplicate));
                }
            }
        }
        surplus
    }

    /// When [`Links::surplus`] may find more because time has passed.
    pub(crate) fn surplus_at(&self) -> Option<Instant> {
        let silent = self.links.values().filter(|l| l.uid.is_none()).map(|l| l.since + HELLO_WITHIN);
        let undecided = self.peers().into_iter().filter(|peer| self.of(*peer).nth(1).is_some());
        let latest = undecided.filter_map(|peer| self.of(peer).map(|(_, l)| l.since).max());
        silent.chain(latest.map(|since| since + DECIDE_WITHIN)).min()
    }

    /// Every peer with a link, as the routes name it.
    pub(crate) fn neighbours(&self) -> BTreeMap<PeerName, Neighbour> {
        let neighbour = |peer| {
            let (link, _) = self.preferred(peer)?;
            let Edge { rtt, mtu } = self.edge(peer)?;
            Some((peer, Neighbour { link, rtt, mtu }))
        };
        self.peers().into_iter().filter_map(neighbour).collect()
    }

    /// The neighbours that frames pass to, as our record names them.
    pub(crate) fn live(&self) -> BTreeMap<PeerName, Edge> {
        let live = self.peers().into_iter().filter(|peer| self.is_alive(*peer));
        live.filter_map(|peer| Some((peer, self.edge(peer)?))).collect()
    }

    /// Whether the probes pass, as far as is known.
    pub(crate) fn is_alive(&self, peer: PeerName) -> bool {
        self.probed.get(&peer).is_none_or(|p| p.alive)
    }

    pub(crate) fn is_linked(&self, peer: PeerName) -> bool {
        self.of(peer).next().is_some()
    }

    pub(crate) fn peers(&self) -> BTreeSet<PeerName> {
        self.links.values().map(|l| l.peer).collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.links.iter().map(|(link, l)| (*link, l))
    }

    /// The round trip to a neighbour, measured by the probes or else by the link.
    pub(crate) fn edge(&self, peer: PeerName) -> Option<Edge> {
        let (_, link) = self.preferred(peer)?;
        let unmeasured = Edge { rtt: UNMEASURED, mtu: UNMEASURED_MTU };
        // A link that replaces another has measured nothing yet; the other has.
        let measured = link.measured.or_else(|| self.of(peer).find_map(|(_, l)| l.measured));
        let measured = measured.unwrap_or(unmeasured);
        let probed = self.probed.get(&peer);
        let rtt = probed.and_then(|p| p.rtt).unwrap_or(measured.rtt);
        let mtu = probed.and_then(|p| p.mtu).unwrap_or(measured.mtu);
        Some(Edge { rtt, mtu })
    }

    fn of(&self, peer: PeerName) -> impl Iterator<Item = (LinkId, &Link)> {
        self.iter().filter(move |(_, l)| l.peer == peer)
    }

    /// The link to use and to keep.
    fn preferred(&self, peer: PeerName) -> Option<(LinkId, &Link)> {
        self.of(peer).reduce(|best, next| if self.is_better(peer, best.1, next.1) { next } else { best })
    }

    /// Whether `later`, which came up after `earlier`, is to replace it.
    fn is_better(&self, peer: PeerName, earlier: &Link, later: &Link) -> bool {
        let Some(uid) = later.uid else { return false };
        let other_life = earlier.uid != Some(uid);
        if other_life || later.since >= earlier.since + CROSSING {
            return true;
        }
        let by_lower = |link: &Link| link.outbound == (self.local < peer);
        by_lower(later) || !by_lower(earlier)
    }
}
