//! The links that are up, by number, as their owner sees them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use quinn::Connection;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use weave_mesh::{DialId, LinkUp};
use weave_model::{Adjacency, LinkId, PeerName, RelayKeys, Routes, canonical};

use crate::link::{self, CloseCode, Established};
use crate::task::Input;

/// QUIC promises at least this much UDP payload on every path (RFC 9000 §14).
const MIN_MTU: u16 = 1200;

/// All links of this peer.
pub(crate) struct Links {
    known: BTreeMap<LinkId, Link>,
    last: u64,
    inputs: mpsc::Sender<Input>,
}

struct Link {
    connection: Connection,
    remote: SocketAddr,
    relay_keys: RelayKeys,
    /// The measurement that was told last.
    told: Option<(Duration, u16)>,
    /// To the writer; it takes one message and asks for the next.
    messages: mpsc::Sender<Vec<u8>>,
    /// Whether the writer waits for a message.
    writable: bool,
    writer: JoinHandle<()>,
}

impl Links {
    pub(crate) fn new(inputs: mpsc::Sender<Input>) -> Links {
        Links { known: BTreeMap::new(), last: 0, inputs }
    }

    /// Numbers a link and starts to carry its messages; what comes of it waits until the owner takes it.
    pub(crate) fn add(&mut self, established: Established, dial: Option<DialId>) -> LinkUp {
        let Established { connection, certificate, remote, relay_keys, send, receive } = established;
        self.last += 1;
        let link = LinkId(self.last);
        let (messages, queue) = mpsc::channel(1);
        tokio::spawn(link::receive(link, connection.clone(), receive, self.inputs.clone()));
        let writer = tokio::spawn(link::send(link, connection.clone(), send, queue, self.inputs.clone()));
        let (told, writable) = (None, true);
        self.known.insert(link, Link { connection, remote, relay_keys, told, messages, writable, writer });
        LinkUp { link, certificate, remote, dial }
    }

    /// Closes a link at once; the other side is told why.
    pub(crate) fn close(&mut self, link: LinkId, code: CloseCode, reason: &str) {
        if let Some(link) = self.known.remove(&link) {
            link::close(&link.connection, code, reason);
        }
    }

    /// Closes a link when what was given to it has arrived, or with the connection's end.
    pub(crate) fn finish(&mut self, link: LinkId, code: CloseCode, reason: String) -> Option<JoinHandle<()>> {
        let Link { connection, messages, writer, .. } = self.known.remove(&link)?;
        drop(messages);
        Some(tokio::spawn(async move {
            // A writer that panicked has nothing more to send.
            let _ = writer.await;
            link::close(&connection, code, &reason);
        }))
    }

    /// Closes all links when what was given to them has arrived.
    pub(crate) fn finish_all(&mut self, code: CloseCode, reason: &str) -> Vec<JoinHandle<()>> {
        let links: Vec<LinkId> = self.known.keys().copied().collect();
        links.into_iter().filter_map(|link| self.finish(link, code, reason.to_owned())).collect()
    }

    /// Forgets a link whose connection has ended; false when it was forgotten before.
    pub(crate) fn forget(&mut self, link: LinkId) -> bool {
        self.known.remove(&link).is_some()
    }

    pub(crate) fn contains(&self, link: LinkId) -> bool {
        self.known.contains_key(&link)
    }

    /// Whether the link takes a message without keeping it waiting behind others.
    pub(crate) fn is_writable(&self, link: LinkId) -> bool {
        self.known.get(&link).is_some_and(|l| l.writable)
    }

    /// All links that take a message.
    pub(crate) fn writable(&self) -> Vec<LinkId> {
        self.known.iter().filter(|(_, link)| link.writable).map(|(id, _)| *id).collect()
    }

    pub(crate) fn set_writable(&mut self, link: LinkId) {
        if let Some(link) = self.known.get_mut(&link) {
            link.writable = true;
        }
    }

    /// Gives a message to a writable link.
    pub(crate) fn send(&mut self, link: LinkId, message: Vec<u8>) {
        if let Some(link) = self.known.get_mut(&link) {
            link.writable = false;
            // Refused only when the writer has ended, and then the link is about to be reported down.
            let _ = link.messages.try_send(message);
        }
    }

    /// What QUIC has measured anew: the least round trip on this path and the largest UDP payload known to pass.
    ///
    /// The least, because a busy host lengthens round trips at random, every step of them is news for the whole
    /// network, and news make hosts busy. A path that becomes longer is the data path's probes to find.
    pub(crate) fn measure(&mut self) -> Vec<(LinkId, Duration, u16)> {
        let measure = |(id, link): (&LinkId, &mut Link)| {
            let mtu = link.connection.stats().path.current_mtu.max(MIN_MTU);
            let measured = (link.connection.min_rtt(), mtu);
            (link.told.replace(measured) != Some(measured)).then_some((*id, measured.0, measured.1))
        };
        self.known.iter_mut().filter_map(measure).collect()
    }

    /// Follows peers that dialled us to new addresses (RFC 9000 §9); true when one has moved.
    pub(crate) fn follow_addresses(&mut self) -> bool {
        let mut moved = false;
        for link in self.known.values_mut() {
            let remote = canonical(link.connection.remote_address());
            moved |= remote != link.remote;
            link.remote = remote;
        }
        moved
    }

    /// What the data path needs to know of the neighbours in `routes`.
    pub(crate) fn adjacencies(&self, routes: &Routes) -> BTreeMap<PeerName, Adjacency> {
        let adjacency = |(peer, link): (&PeerName, LinkId)| {
            let known = self.known.get(&link)?;
            let (remote, relay_keys) = (known.remote, known.relay_keys.clone());
            Some((*peer, Adjacency { peer: *peer, link, remote, relay_keys }))
        };
        routes.neighbours.iter().map(|(peer, n)| (peer, n.link)).filter_map(adjacency).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }
}
