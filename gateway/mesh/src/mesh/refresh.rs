//! Bringing the parts in line with what has changed: every input ends here.

use std::time::Instant;

use weave_model::{LinkId, PeerName};

use super::{Mesh, Wake};
use crate::config::{LinkUp, Remembered};
use crate::events::{CloseReason, Event};
use crate::expiry::REFUSED_FOR;
use crate::originate::quantised;
use crate::record::SignedRecord;
use crate::records::Certified;
use crate::refused::{BadContent, Refused};
use crate::version::Version;

/// How far ahead of the last sequence the remembered one is, so that it is not written with every version.
const SEQUENCES_AHEAD: u64 = 1000;

impl Mesh {
    /// Decides whether a link may be.
    pub(super) fn admit(&mut self, up: &LinkUp, now: Instant) -> Result<PeerName, Refused> {
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
        let key = self.records().certificate(peer).map(|c| Version::of_certificate(c).key);
        if let Some(key) = key.filter(|_| wanted || needed)
            && self.links.up(up.link, peer, up.remote, up.dial.is_some(), key, now)
        {
            return Ok(peer);
        }
        // Nothing is kept of whom there is no room for.
        self.flood.drop_unproven(peer);
        Err(Refused::Limit)
    }

    /// Brings everything in line with what has changed or is due; every input ends here.
    pub(super) fn refresh(&mut self, now: Instant) {
        self.now = self.now.max(now);
        while let Some(wake) = self.deadlines.take_due(self.now) {
            match wake {
                Wake::Flood => self.stale.flood = true,
                Wake::Dial => self.stale.dial = true,
                Wake::Links | Wake::Leave => self.stale.links = true,
                Wake::Publish => self.stale.own = true,
                Wake::Expire => self.picture.hurry(self.now),
                // The picture knows itself that it is due.
                Wake::Routes => {}
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
        let own = self.flood.records().get(self.local()).map(|r| &r.record().neighbours);
        let last = self.picture.routes();
        for (peer, neighbour) in &mut neighbours {
            // As published, and in steps where nothing is: what jitters is no news for the datapath either.
            match own.and_then(|own| own.get(peer)) {
                Some(edge) => (neighbour.rtt, neighbour.mtu) = (edge.rtt, edge.mtu),
                None => neighbour.rtt = quantised(neighbour.rtt, last.neighbours.get(peer).map(|n| n.rtt)),
            }
        }
        if let Some(routes) =
            self.picture.compute(self.flood.records(), &self.short_ids, neighbours, self.now)
        {
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

    pub(super) fn close(&mut self, link: LinkId, reason: CloseReason, now: Instant) {
        if self.drop_link(link, &reason.to_string(), now) {
            self.events.push_back(Event::CloseLink { link, reason });
        }
    }

    pub(super) fn drop_link(&mut self, link: LinkId, reason: &str, now: Instant) -> bool {
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

    pub(super) fn forget(&mut self, peer: PeerName, now: Instant) {
        self.flood.bury(peer, now + REFUSED_FOR);
        self.expiry.forget(peer);
    }
}
