//! What one neighbour is still to be sent: sets of peers, never copies of messages.
//!
//! A message is made when the link can take it, from what is known then. So a slow neighbour costs no memory and is
//! sent the newest version of each record, however many it missed.

use std::collections::BTreeSet;

use weave_model::{PeerName, ShortId};

use crate::codec::{MAX_SUMMARY, Message};
use crate::records::Records;
use crate::version::Version;

/// The versions of the messages that this program speaks.
pub(crate) const VERSIONS: (u8, u8) = (1, 1);

/// The messages owed to one neighbour, most urgent first.
///
/// Invariant: names only, each at most once a set, and only names that are known here or were named by this neighbour.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Our greeting, with the random number of our start.
    pub(crate) hello: Option<u64>,
    pub(crate) digest: bool,
    /// Peers to ask for.
    pub(crate) want: BTreeSet<PeerName>,
    /// Peers whose record is to be sent.
    pub(crate) records: BTreeSet<PeerName>,
    /// Peers whose version is to be offered, once [`Outbox::offers_due`].
    pub(crate) offers: BTreeSet<PeerName>,
    pub(crate) offers_due: bool,
    /// The first name of the next page of the summary.
    pub(crate) summary: Option<PeerName>,
    /// Peers whose certificate the neighbour has.
    pub(crate) certified: BTreeSet<PeerName>,
}

const FIRST: PeerName = PeerName::new([0; 6]);
const LAST: PeerName = PeerName::new([0xff; 6]);

impl Outbox {
    /// The first messages of a link; with a comparison at once where it may bring much.
    pub(crate) fn greet(uid: u64, compare: bool) -> Outbox {
        Outbox { hello: Some(uid), digest: compare, ..Outbox::default() }
    }

    /// Asks for a peer's certificate and record; a neighbour that invents names is asked for no more than there can be.
    pub(crate) fn ask(&mut self, peer: PeerName) {
        if self.want.len() < ShortId::COUNT {
            self.want.insert(peer);
        }
    }

    /// Begins to tell all versions.
    pub(crate) fn summarise(&mut self) {
        self.summary = Some(FIRST);
    }

    /// The neighbour has this version, or is about to get it.
    pub(crate) fn settle(&mut self, peer: PeerName) {
        self.records.remove(&peer);
        self.offers.remove(&peer);
    }

    /// Forgets a peer that is no longer known.
    pub(crate) fn forget(&mut self, peer: PeerName) {
        self.settle(peer);
        self.certified.remove(&peer);
    }

    pub(crate) fn is_empty(&self) -> bool {
        let offers = self.offers_due && !self.offers.is_empty();
        let lists = self.want.is_empty() && self.records.is_empty() && self.summary.is_none();
        lists && !offers && self.hello.is_none() && !self.digest
    }

    /// Makes the next message.
    pub(crate) fn next(&mut self, records: &Records, digest: impl FnOnce() -> u64) -> Option<Message> {
        if let Some(uid) = self.hello.take() {
            let (lowest, highest) = VERSIONS;
            return Some(Message::Hello { lowest, highest, uid });
        }
        if std::mem::take(&mut self.digest) {
            return Some(Message::Digest(digest()));
        }
        if !self.want.is_empty() {
            return Some(Message::Want(std::mem::take(&mut self.want).into_iter().collect()));
        }
        if let Some(message) = self.record(records) {
            return Some(message);
        }
        if self.offers_due {
            self.offers_due = self.offers.len() > MAX_SUMMARY;
            let mut offers: Vec<(PeerName, Version)> = Vec::new();
            while let Some(peer) = self.offers.pop_first() {
                offers.extend(records.version(peer).map(|v| (peer, v)));
                if offers.len() == MAX_SUMMARY {
                    break;
                }
            }
            if !offers.is_empty() {
                return Some(Message::Offer(offers));
            }
        }
        self.summary.take().map(|first| self.page(first, records))
    }

    /// A record, or first its certificate where the neighbour may lack it.
    fn record(&mut self, records: &Records) -> Option<Message> {
        while let Some(&peer) = self.records.first() {
            if let (Some(certificate), Some(record)) = (records.certificate(peer), records.get(peer)) {
                if self.certified.insert(peer) {
                    return Some(Message::Certificate(certificate.certificate().to_vec()));
                }
                self.settle(peer);
                return Some(Message::Record(record.signed().clone()));
            }
            self.settle(peer);
        }
        None
    }

    fn page(&mut self, first: PeerName, records: &Records) -> Message {
        let mut versions: Vec<_> =
            records.versions().skip_while(|(peer, _)| *peer < first).take(MAX_SUMMARY + 1).collect();
        // One more than fits: it opens the next page, and this page ends just before it.
        let next = (versions.len() > MAX_SUMMARY).then(|| versions.pop()).flatten();
        self.summary = next.map(|(peer, _)| peer);
        let last = self.summary.map_or(LAST, before);
        Message::Summary { first, last, versions }
    }
}

/// The name just below `peer`, which is not the lowest.
fn before(peer: PeerName) -> PeerName {
    let [a, b, c, d, e, f] = peer.octets();
    let number = u64::from_be_bytes([0, 0, a, b, c, d, e, f]).saturating_sub(1);
    let [_, _, octets @ ..] = number.to_be_bytes();
    PeerName::new(octets)
}
