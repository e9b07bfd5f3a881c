//! Spreading records: news go to the originator's neighbours and on along its tree; what was lost is found by comparing.
//!
//! ```text
//!   our own new record ──► all neighbours:  certificate (where it may be missing), record
//!   another's ──► children in its peer's tree that are not that peer's own neighbours:  the same
//!              └─► other neighbours, a moment later, if they did not have it by then:  offer ──► want ──► record
//!   link up with a peer out of reach, and every ten seconds on every link:
//!                                    digest ──► (differs) summary ──► records they lack, want what we lack
//!   record without its certificate ──► want ──► certificate, record
//! ```
//!
//! Not here: whose link this is and whether it is kept (`links`), and what our own record says (`originate`).

mod receive;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use weave_model::{LinkId, PeerName, Routes};
use weave_trust::Trust;

use crate::codec::Message;
use crate::outbox::{Outbox, VERSIONS};
use crate::record::SignedRecord;
use crate::records::{Certified, News, Records};
use crate::refused::{BadContent, Counters, Refused};

/// Comparing repairs what spreading lost, which takes a race of news with a changing tree.
const COMPARE_EVERY: Duration = Duration::from_secs(10);

/// A summary is large and a digest small, so a neighbour gets no second one before it could use the first.
const SUMMARY_AT_MOST_EVERY: Duration = Duration::from_secs(5);

/// Offers wait this long: meanwhile most neighbours got the record from elsewhere, and others join the message.
const OFFER_AFTER: Duration = Duration::from_millis(100);

/// News of one peer are passed on at once, and then not again for this long: nobody can make the network busy.
pub(crate) const ORIGINATOR_INTERVAL: Duration = Duration::from_millis(100);

/// Certificates a link may bring before the records that belong to them.
const UNPROVEN_PER_LINK: usize = 16;

/// Spreads records over links.
///
/// Inputs: links that come and go, their messages, [`Flood::publish`], the time. Outputs: [`Flood::poll_transmit`], and
/// what the `take_*` functions yield. Links carry whole messages, reliably and in order, until they go down.
#[derive(Debug)]
pub(crate) struct Flood {
    local: PeerName,
    uid: u64,
    records: Records,
    links: BTreeMap<LinkId, Link>,
    /// Peers with news to spread, and the link that brought them.
    news: BTreeMap<PeerName, Option<LinkId>>,
    /// Until when further news of a peer wait.
    resting: BTreeMap<PeerName, Instant>,
    offer_at: Option<Instant>,
    compare_at: Instant,
    /// The broadcast trees that news follow.
    routes: Option<Arc<Routes>>,
    /// The digest and the number of changes it was made after.
    digest: Option<(u64, u64)>,
    greetings: Vec<(LinkId, u64)>,
    overtaken: Option<Overtaken>,
    usurped: bool,
    counters: Counters,
}

#[derive(Debug)]
struct Link {
    peer: PeerName,
    /// Whether its versions overlap with ours; nothing else is heard before.
    greeted: bool,
    outbox: Outbox,
    summarised: Option<Instant>,
    /// Peers whose certificate it brought without a record so far.
    unproven: BTreeSet<PeerName>,
    /// Peers whose record it brought without a certificate that we accept, and whom it was asked for: once between two
    /// comparisons, for the answer may be the same.
    asked: BTreeSet<PeerName>,
}

/// A record of this very peer that others hold and that beats our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overtaken {
    pub(crate) sequence: u64,
    /// The start that signed it.
    pub(crate) uid: u64,
}

impl Flood {
    /// Takes a store that knows our own certificate.
    pub(crate) fn new(records: Records, local: PeerName, uid: u64, now: Instant) -> Flood {
        Flood {
            local,
            uid,
            records,
            links: BTreeMap::new(),
            news: BTreeMap::new(),
            resting: BTreeMap::new(),
            offer_at: None,
            compare_at: now + COMPARE_EVERY,
            routes: None,
            digest: None,
            greetings: Vec::new(),
            overtaken: None,
            usurped: false,
            counters: Counters::default(),
        }
    }

    /// Takes a new version of our own record.
    pub(crate) fn publish(&mut self, record: SignedRecord) {
        let taken = self.records.accept(record);
        debug_assert_eq!(taken, Ok(News::Newer), "our own record is not newer than the last");
        self.news.insert(self.local, None);
        // Whoever originates keeps the interval itself.
        self.resting.remove(&self.local);
    }

    /// Takes up a link whose other end has proved to be `peer`.
    pub(crate) fn handle_link_up(&mut self, link: LinkId, peer: PeerName) {
        // Whom a path leads to is told all news already; the regular comparison finds what that missed.
        let reached = self.routes.as_ref().is_some_and(|routes| routes.peers.contains_key(&peer));
        let outbox = Outbox::greet(self.uid, !reached);
        let (summarised, unproven, asked) = (None, BTreeSet::new(), BTreeSet::new());
        self.links.insert(link, Link { peer, greeted: false, outbox, summarised, unproven, asked });
    }

    /// Gives up a link.
    pub(crate) fn handle_link_down(&mut self, link: LinkId) {
        if let Some(link) = self.links.remove(&link) {
            link.unproven.into_iter().for_each(|peer| self.drop_unproven(peer));
            self.drop_unproven(link.peer);
        }
    }

    /// Takes one message of a link.
    pub(crate) fn handle_message(&mut self, link: LinkId, bytes: &[u8], now: Instant) -> Result<(), Refused> {
        let Some(state) = self.links.get_mut(&link) else { return Ok(()) };
        let message = Message::decode(bytes)?;
        if let Message::Hello { lowest, highest, uid } = message {
            if state.greeted || lowest > VERSIONS.1 || highest < VERSIONS.0 {
                return Err(Refused::Version);
            }
            state.greeted = true;
            self.greetings.push((link, uid));
            return Ok(());
        }
        if !state.greeted {
            return Err(Refused::Version);
        }
        let content = match message {
            Message::Hello { .. } => Ok(()),
            Message::Certificate(der) => self.certificate(link, &der),
            Message::Record(signed) => self.record(link, signed),
            Message::Digest(hash) => {
                self.compare_digest(link, hash, now);
                Ok(())
            }
            Message::Summary { first, last, versions } => {
                self.compare(link, first, last, &versions);
                Ok(())
            }
            Message::Want(peers) => {
                self.answer(link, peers);
                Ok(())
            }
            Message::Offer(versions) => {
                self.weigh(link, &versions);
                Ok(())
            }
            Message::Unknown(_) => Err(BadContent::UnknownKind),
        };
        content.unwrap_or_else(|bad| self.counters.count(bad));
        Ok(())
    }

    /// Does what is due, and puts the news that may go into the outboxes.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if now >= self.compare_at {
            self.compare_at = now + COMPARE_EVERY;
            for link in self.links.values_mut() {
                link.outbox.digest = true;
                link.asked.clear();
            }
            self.records.forget_buried(now);
        }
        if self.offer_at.is_some_and(|at| at <= now) {
            self.offer_at = None;
            for link in self.links.values_mut() {
                link.outbox.offers_due = !link.outbox.offers.is_empty();
            }
        }
        self.resting.retain(|_, until| *until > now);
        for (peer, from) in std::mem::take(&mut self.news) {
            match self.resting.entry(peer) {
                Entry::Occupied(_) => {
                    self.news.insert(peer, from);
                }
                Entry::Vacant(rest) => {
                    rest.insert(now + ORIGINATOR_INTERVAL);
                    self.spread(peer, from, now);
                }
            }
        }
    }

    /// Takes the trees that news follow from here on; without them news go to all.
    pub(crate) fn follow(&mut self, routes: Option<Arc<Routes>>) {
        self.routes = routes;
    }

    /// Forgets a peer, and refuses until then what was known of it.
    pub(crate) fn bury(&mut self, peer: PeerName, until: Instant) {
        self.records.bury(peer, until);
        self.forget(peer);
    }

    /// Asks for peers that were forgotten and that somebody within reach has a link with again.
    pub(crate) fn ask_for_returned(&mut self, reached: impl Fn(PeerName) -> bool) {
        for peer in self.records.returned(reached) {
            self.records.unbury(peer);
            self.links.values_mut().for_each(|link| link.outbox.ask(peer));
        }
    }

    /// Takes the certificate of the other end of a link that is coming up.
    pub(crate) fn certify(&mut self, der: &[u8]) -> Result<(PeerName, Certified), BadContent> {
        let outcome = self.records.accept_certificate(der)?;
        self.note_certificate(outcome.0, outcome.1);
        Ok(outcome)
    }

    /// Takes other CAs and our own certificate under them; forgets the peers that they do not know, and returns them.
    pub(crate) fn renew(&mut self, trust: Trust, own: &[u8]) -> Result<Vec<PeerName>, BadContent> {
        let strangers = self.records.renew(trust, own)?;
        self.certify_anew(self.local);
        strangers.iter().for_each(|peer| self.forget(*peer));
        Ok(strangers)
    }

    /// The next message for a link.
    pub(crate) fn poll_transmit(&mut self, link: LinkId) -> Option<Vec<u8>> {
        let (records, digest) = (&self.records, &mut self.digest);
        let outbox = &mut self.links.get_mut(&link)?.outbox;
        outbox.next(records, || fresh_digest(digest, records)).map(|message| message.encode())
    }

    /// The links that have something to send.
    pub(crate) fn links_with_output(&self) -> impl Iterator<Item = LinkId> {
        self.links.iter().filter(|(_, link)| !link.outbox.is_empty()).map(|(link, _)| *link)
    }

    /// Whether a link still owes its neighbour our own record.
    pub(crate) fn owes_own(&self, link: LinkId) -> bool {
        self.links.get(&link).is_some_and(|l| l.outbox.records.contains(&self.local))
    }

    /// The links that said hello since the last call, and the random numbers of their peers' starts.
    pub(crate) fn take_greetings(&mut self) -> Vec<(LinkId, u64)> {
        std::mem::take(&mut self.greetings)
    }

    /// A record of this peer that beats our own.
    pub(crate) fn take_overtaken(&mut self) -> Option<Overtaken> {
        self.overtaken.take()
    }

    /// Whether somebody was issued a later certificate of our name.
    pub(crate) fn take_usurped(&mut self) -> bool {
        std::mem::take(&mut self.usurped)
    }

    /// When to call [`Flood::handle_timeout`].
    pub(crate) fn due_at(&self) -> Instant {
        // News that may go went in the same turn; those that are left rest.
        let rest = self.news.keys().filter_map(|peer| self.resting.get(peer)).min().copied();
        [self.offer_at, rest].into_iter().flatten().fold(self.compare_at, Instant::min)
    }

    /// All that is known.
    pub(crate) fn records(&self) -> &Records {
        &self.records
    }

    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    /// Gives our own news to all neighbours, and those of another peer to its children in that peer's tree that it has no
    /// link with itself; offers them to the others.
    fn spread(&mut self, peer: PeerName, from: Option<LinkId>, now: Instant) {
        // Where the originator has no tree yet, whoever passed it on stands at the root: what is below us in one of the two
        // trees is below us in the other, since parts of shortest paths are shortest paths.
        let upstream = from.and_then(|link| self.links.get(&link)).map(|link| link.peer);
        let upstream = upstream.map(|upstream| if upstream == peer { self.local } else { upstream });
        let roots = [Some(peer), upstream].into_iter().flatten();
        let tree = self.routes.as_ref().and_then(|r| roots.into_iter().find_map(|root| r.trees.get(&root)));
        let told = self.records.get(peer).map(|record| &record.record().neighbours);
        for link in self.links.iter_mut().filter(|(link, _)| Some(**link) != from).map(|(_, link)| link) {
            // Whom no path leads to yet is in no tree.
            let reached = self.routes.as_ref().is_some_and(|r| r.peers.contains_key(&link.peer));
            let child = tree.is_none_or(|tree| tree.children.contains(&link.peer));
            let told = told.is_some_and(|told| told.contains_key(&link.peer));
            if peer == self.local || !reached || child && !told {
                link.outbox.records.insert(peer);
            } else {
                link.outbox.offers.insert(peer);
                self.offer_at.get_or_insert(now + OFFER_AFTER);
            }
        }
    }

    /// No neighbour has the certificate that this peer has by now: it goes out before the next record.
    fn certify_anew(&mut self, peer: PeerName) {
        for link in self.links.values_mut() {
            link.outbox.certified.remove(&peer);
        }
    }

    fn forget(&mut self, peer: PeerName) {
        self.news.remove(&peer);
        self.links.values_mut().for_each(|link| link.outbox.forget(peer));
    }

    /// Forgets a certificate that no record came with, unless its peer is at the other end of a link.
    pub(crate) fn drop_unproven(&mut self, peer: PeerName) {
        let linked = self.links.values().any(|link| link.peer == peer);
        if peer != self.local && !linked && self.records.get(peer).is_none() {
            self.records.remove(peer);
            self.forget(peer);
        }
    }
}

/// The digest of the records, computed when they changed since the last time.
fn fresh_digest(last: &mut Option<(u64, u64)>, records: &Records) -> u64 {
    match *last {
        Some((after, digest)) if after == records.changes() => digest,
        _ => last.insert((records.changes(), records.digest())).1,
    }
}
