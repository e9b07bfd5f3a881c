//! Spreading records: news go to all neighbours at once, and what was lost is found by comparing.
//!
//! ```text
//!   new record ──► every link but the one it came from
//!   link up, and every ten seconds on one link:  digest ──► (differs) summary ──► records they lack, want what we lack
//!   record without its certificate ──► want ──► certificate, record
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use weave_model::{LinkId, PeerName};
use weave_trust::Identity;

use crate::codec::Message;
use crate::record::{Record, Refused, SignedRecord};
use crate::records::Records;

/// Comparing repairs what flooding lost, which takes a full queue or a crash; rare, so it may be slow.
const COMPARE_EVERY: Duration = Duration::from_secs(10);

/// The versions of the messages that this program speaks.
const VERSIONS: (u8, u8) = (1, 1);

/// Spreads records over links.
///
/// Inputs: [`Flood::publish`], links that come and go, messages, the time. Outputs: [`Flood::poll_transmit`], to be
/// drained after every input. Links carry whole messages, reliably and in order, until they go down.
#[derive(Debug)]
pub struct Flood {
    identity: Identity,
    records: Records,
    links: BTreeMap<LinkId, Link>,
    outgoing: VecDeque<(LinkId, Message)>,
    compare_at: Instant,
    /// The link whose turn it was.
    compared: Option<LinkId>,
}

#[derive(Debug, Default)]
struct Link {
    /// Whether its versions overlap with ours; nothing else is heard before.
    greeted: bool,
}

impl Flood {
    /// Makes a machine that knows only its own certificate.
    pub fn new(
        identity: Identity,
        mut records: Records,
        unix_seconds: u64,
        now: Instant,
    ) -> Result<Flood, Refused> {
        records.accept_certificate(identity.certificate(), unix_seconds)?;
        let (links, outgoing) = (BTreeMap::new(), VecDeque::new());
        Ok(Flood { identity, records, links, outgoing, compare_at: now + COMPARE_EVERY, compared: None })
    }

    /// Signs and spreads a new version of our own record; returns whether it was newer than the last.
    pub fn publish(&mut self, record: Record) -> Result<bool, Refused> {
        let signed = SignedRecord::sign(record, &self.identity);
        let new = self.records.accept(signed.clone())?;
        if new {
            self.spread(None, &signed);
        }
        Ok(new)
    }

    /// Takes up a link whose other end has proved to hold `certificate`.
    pub fn handle_link_up(
        &mut self,
        link: LinkId,
        certificate: &[u8],
        unix_seconds: u64,
    ) -> Result<(), Refused> {
        self.records.accept_certificate(certificate, unix_seconds)?;
        self.links.insert(link, Link::default());
        let (lowest, highest) = VERSIONS;
        self.send(link, Message::Hello { lowest, highest });
        self.send(link, Message::Digest(self.records.digest()));
        Ok(())
    }

    /// Gives up a link.
    pub fn handle_link_down(&mut self, link: LinkId) {
        self.links.remove(&link);
        self.outgoing.retain(|(to, _)| *to != link);
    }

    /// Takes one message of a link; returns the peer whose record it renewed, if any.
    pub fn handle_message(
        &mut self,
        link: LinkId,
        bytes: &[u8],
        unix_seconds: u64,
    ) -> Result<Option<PeerName>, Refused> {
        let message = Message::decode(bytes)?;
        let state = self.links.get_mut(&link).ok_or(Refused::Malformed)?;
        if let Message::Hello { lowest, highest } = message {
            state.greeted = lowest <= VERSIONS.1 && VERSIONS.0 <= highest;
            return if state.greeted { Ok(None) } else { Err(Refused::Version) };
        }
        if !state.greeted {
            return Err(Refused::Version);
        }
        match message {
            Message::Hello { .. } => {}
            Message::Certificate(der) => {
                self.records.accept_certificate(&der, unix_seconds)?;
            }
            Message::Record(record) => return self.record(link, record),
            Message::Digest(hash) => {
                if hash != self.records.digest() {
                    self.send(link, Message::Summary(self.records.summary()));
                }
            }
            Message::Summary(theirs) => self.compare(link, &theirs),
            Message::Want(peers) => self.answer(link, &peers),
        }
        Ok(None)
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now < self.compare_at {
            return;
        }
        self.compare_at = now + COMPARE_EVERY;
        let after = self.compared.and_then(|last| self.links.range(LinkId(last.0 + 1)..).next());
        self.compared = after.or_else(|| self.links.first_key_value()).map(|(link, _)| *link);
        if let Some(link) = self.compared {
            self.send(link, Message::Digest(self.records.digest()));
        }
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<(LinkId, Vec<u8>)> {
        self.outgoing.pop_front().map(|(link, message)| (link, message.encode()))
    }

    /// When to call [`Flood::handle_timeout`], and why.
    pub fn poll_timeout(&self) -> (Instant, &'static str) {
        (self.compare_at, "compare records with a neighbour")
    }

    /// All that is known.
    pub fn records(&self) -> &Records {
        &self.records
    }

    fn record(&mut self, link: LinkId, record: SignedRecord) -> Result<Option<PeerName>, Refused> {
        let peer = record.record().peer;
        match self.records.accept(record.clone()) {
            Ok(true) => {
                self.spread(Some(link), &record);
                Ok(Some(peer))
            }
            Ok(false) => Ok(None),
            Err(Refused::NoCertificate) => {
                self.send(link, Message::Want(vec![peer]));
                Ok(None)
            }
            Err(refused) => Err(refused),
        }
    }

    /// Sends what they lack and asks for what we lack.
    fn compare(&mut self, link: LinkId, theirs: &[(PeerName, u64)]) {
        let lacking = self.records.newer_than(theirs);
        self.answer(link, &lacking);
        let known: BTreeMap<PeerName, u64> = self.records.summary().into_iter().collect();
        let news = |(peer, sequence): &&(PeerName, u64)| known.get(peer).is_none_or(|own| own < sequence);
        let wanted: Vec<PeerName> = theirs.iter().filter(news).map(|(peer, _)| *peer).collect();
        if !wanted.is_empty() {
            self.send(link, Message::Want(wanted));
        }
    }

    fn answer(&mut self, link: LinkId, peers: &[PeerName]) {
        // A message may name a peer a thousand times; it is sent once.
        let once: std::collections::BTreeSet<PeerName> = peers.iter().copied().collect();
        for peer in once {
            if let (Some(certificate), Some(record)) =
                (self.records.certificate(peer), self.records.get(peer))
            {
                let (certificate, record) = (certificate.certificate().to_vec(), record.clone());
                self.send(link, Message::Certificate(certificate));
                self.send(link, Message::Record(record));
            }
        }
    }

    fn spread(&mut self, except: Option<LinkId>, record: &SignedRecord) {
        let links = self.links.keys().filter(|link| Some(**link) != except);
        self.outgoing.extend(links.map(|link| (*link, Message::Record(record.clone()))));
    }

    fn send(&mut self, link: LinkId, message: Message) {
        self.outgoing.push_back((link, message));
    }
}
