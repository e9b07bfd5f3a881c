//! What neighbours say, message by message: it fills the store and the outboxes.

use std::collections::BTreeSet;
use std::time::Instant;

use weave_model::{LinkId, PeerName, ShortId};

use super::{Flood, Overtaken, SUMMARY_AT_MOST_EVERY, UNPROVEN_PER_LINK, fresh_digest};
use crate::codec::SignedBytes;
use crate::record::{Record, SignedRecord};
use crate::records::{Certified, News};
use crate::refused::BadContent;
use crate::version::Version;

impl Flood {
    pub(super) fn certificate(&mut self, link: LinkId, der: &[u8]) -> Result<(), BadContent> {
        let (peer, outcome) = self.records.accept_certificate(der)?;
        self.note_certificate(peer, outcome);
        let Some(state) = self.links.get_mut(&link) else { return Ok(()) };
        match outcome {
            Certified::New | Certified::Replaced => {
                state.outbox.certified.insert(peer);
                state.unproven.insert(peer);
                if state.unproven.len() > UNPROVEN_PER_LINK {
                    let first = state.unproven.iter().copied().find(|p| *p != peer);
                    if let Some(first) = first {
                        state.unproven.remove(&first);
                        self.drop_unproven(first);
                    }
                }
            }
            Certified::Known | Certified::Renewed => {
                state.outbox.certified.insert(peer);
            }
            // It lives in the past: our record of this peer, with the certificate, is news there.
            Certified::Outdated => {
                state.outbox.certified.remove(&peer);
                state.outbox.records.insert(peer);
            }
            Certified::Usurper => {}
        }
        Ok(())
    }

    pub(super) fn note_certificate(&mut self, peer: PeerName, outcome: Certified) {
        match outcome {
            Certified::Replaced => self.forget(peer),
            Certified::Renewed => self.certify_anew(peer),
            Certified::Usurper => self.usurped = true,
            Certified::New | Certified::Known | Certified::Outdated => {}
        }
    }

    pub(super) fn record(&mut self, link: LinkId, signed: SignedBytes) -> Result<(), BadContent> {
        let record = SignedRecord::read(signed)?;
        let peer = record.record().peer;
        if peer == self.local {
            return self.own(link, &record);
        }
        let outcome = self.records.accept(record);
        let Some(state) = self.links.get_mut(&link) else { return Ok(()) };
        match outcome {
            Ok(News::Newer) => {
                state.unproven.remove(&peer);
                state.outbox.settle(peer);
                state.outbox.certified.insert(peer);
                self.news.insert(peer, Some(link));
            }
            // Where the peer was removed, the certificate alone is of no use.
            Ok(News::Same) => {
                state.outbox.settle(peer);
                self.drop_unproven(peer);
            }
            Ok(News::Older) => {
                state.outbox.records.insert(peer);
                self.drop_unproven(peer);
            }
            Err(bad) => {
                let room = state.asked.len() < ShortId::COUNT;
                if bad == BadContent::NoCertificate && room && state.asked.insert(peer) {
                    state.outbox.ask(peer);
                }
                return Err(bad);
            }
        }
        Ok(())
    }

    /// Our own record as others hold it.
    fn own(&mut self, link: LinkId, theirs: &SignedRecord) -> Result<(), BadContent> {
        let Some(certificate) = self.records.certificate(self.local) else { return Ok(()) };
        let (ours, version) = (self.records.version(self.local), theirs.version(certificate));
        let Some(state) = self.links.get_mut(&link) else { return Ok(()) };
        if ours == Some(version) {
            state.outbox.settle(self.local);
            return Ok(());
        }
        if ours > Some(version) {
            state.outbox.records.insert(self.local);
            return Ok(());
        }
        theirs.verify(certificate, self.records.trust().network())?;
        let Record { sequence, uid, .. } = theirs.record();
        self.overtaken = Some(Overtaken { sequence: *sequence, uid: *uid });
        Ok(())
    }

    pub(super) fn compare_digest(&mut self, link: LinkId, hash: u64, now: Instant) {
        if hash == fresh_digest(&mut self.digest, &self.records) {
            return;
        }
        let Some(state) = self.links.get_mut(&link) else { return };
        if state.summarised.is_some_and(|at| now < at + SUMMARY_AT_MOST_EVERY) {
            return;
        }
        state.summarised = Some(now);
        // One of the two tells all it has, and the other, which asks for it, answers with what differs, both ways.
        if self.local < state.peer {
            state.outbox.summarise();
        } else {
            state.outbox.digest = true;
        }
    }

    /// Marks what they lack and asks for what we lack.
    pub(super) fn compare(
        &mut self,
        link: LinkId,
        first: PeerName,
        last: PeerName,
        theirs: &[(PeerName, Version)],
    ) {
        self.weigh(link, theirs);
        let named: BTreeSet<PeerName> = theirs.iter().map(|(peer, _)| *peer).collect();
        let Some(state) = self.links.get_mut(&link) else { return };
        let ours = self.records.versions().map(|(peer, _)| peer);
        let missing = ours.filter(|peer| *peer >= first && *peer <= last && !named.contains(peer));
        for peer in missing {
            // Whoever has no record may have no certificate either.
            state.outbox.certified.remove(&peer);
            state.outbox.records.insert(peer);
        }
    }

    /// Asks for what is newer there, and marks what is newer here.
    pub(super) fn weigh(&mut self, link: LinkId, theirs: &[(PeerName, Version)]) {
        let Some(state) = self.links.get_mut(&link) else { return };
        for &(peer, version) in theirs {
            let ours = self.records.version(peer);
            if ours.is_some_and(|ours| (ours.issue, ours.key) == (version.issue, version.key)) {
                state.outbox.certified.insert(peer);
            }
            if ours == Some(version) {
                state.outbox.settle(peer);
            } else if ours > Some(version) {
                state.outbox.records.insert(peer);
            } else if self.records.lacks(peer, version) {
                state.outbox.ask(peer);
            }
        }
    }

    pub(super) fn answer(&mut self, link: LinkId, peers: Vec<PeerName>) {
        let Some(state) = self.links.get_mut(&link) else { return };
        for peer in peers.into_iter().filter(|peer| self.records.get(*peer).is_some()) {
            state.outbox.certified.remove(&peer);
            state.outbox.records.insert(peer);
        }
    }
}
