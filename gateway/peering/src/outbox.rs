//! What waits to be told to the program: of each kind the newest, so that a busy program costs no memory.

use std::collections::BTreeSet;
use std::sync::Arc;

use weave_mesh::Remembered;
use weave_model::{Forwarding, PeerName, ShortId};

/// What the program should know or do.
#[derive(Clone, Debug)]
pub enum Event {
    /// A new forwarding picture, for the data path.
    Forwarding(Arc<Forwarding>),
    /// Keep this for the next start.
    Persist(Remembered),
    /// The short id belongs to another peer, or to none: forget the addresses learned behind it.
    ShortIdFreed(ShortId),
    /// Another daemon runs with this peer's key; one of the two must be stopped.
    Clone(PeerName),
}

/// Events on their way to the program.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    freed: BTreeSet<ShortId>,
    forwarding: Option<Arc<Forwarding>>,
    persist: Option<Remembered>,
    clone: Option<PeerName>,
    /// The picture that was published last.
    published: Option<Arc<Forwarding>>,
    closed: bool,
}

impl Outbox {
    /// Publishes a picture, unless it is the one published last.
    pub(crate) fn publish(&mut self, forwarding: Forwarding) {
        if self.published.as_deref() != Some(&forwarding) {
            let forwarding = Arc::new(forwarding);
            self.published = Some(forwarding.clone());
            self.forwarding = Some(forwarding);
        }
    }

    pub(crate) fn persist(&mut self, remembered: Remembered) {
        self.persist = Some(remembered);
    }

    pub(crate) fn free(&mut self, id: ShortId) {
        self.freed.insert(id);
    }

    pub(crate) fn clone_seen(&mut self, name: PeerName) {
        self.clone = Some(name);
    }

    /// Nobody listens any more.
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    pub(crate) fn is_empty(&self) -> bool {
        let Outbox { freed, forwarding, persist, clone, published: _, closed } = self;
        *closed || freed.is_empty() && forwarding.is_none() && persist.is_none() && clone.is_none()
    }

    /// The next event; ids are freed before a picture gives them to another peer.
    pub(crate) fn pop(&mut self) -> Option<Event> {
        self.freed
            .pop_first()
            .map(Event::ShortIdFreed)
            .or_else(|| self.forwarding.take().map(Event::Forwarding))
            .or_else(|| self.persist.take().map(Event::Persist))
            .or_else(|| self.clone.take().map(Event::Clone))
    }
}
