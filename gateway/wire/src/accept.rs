//! The one rule for what may come out of a session; every datapath follows it.

use weave_model::{Egress, ShortId};

use crate::tunnel::Inner;

/// The two ends of a session, as this peer sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// This peer.
    pub local: ShortId,
    /// The peer whose key opened the packet.
    pub peer: ShortId,
}

/// What an accepted frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// For this peer alone.
    Unicast,
    /// On its way along the ingress's broadcast tree: deliver it and hand it to the children.
    Tree,
}

/// Why a frame was refused although its session is genuine: its sender is mistaken or lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The IPv4 addresses are not those of the session's ends.
    OtherSession,
    /// A unicast frame that names another ingress than the peer that sealed it.
    ForeignIngress,
    /// A unicast frame for another peer.
    NotForUs,
    /// A broadcast frame from a peer that is not our parent in the ingress's tree, or whose ingress is unknown or us.
    NotOurParent,
}

/// Decides whether a frame may have come out of the session between `ends`.
///
/// `parent` tells our parent in the broadcast tree of an ingress; `None` when the ingress is unknown or this peer.
/// Without this rule a member could speak for another peer and poison every address table.
pub fn accept(
    inner: &Inner,
    ends: Ends,
    parent: impl FnOnce(ShortId) -> Option<ShortId>,
) -> Result<Accepted, Refusal> {
    if (inner.sender, inner.receiver) != (ends.peer, ends.local) {
        return Err(Refusal::OtherSession);
    }
    match inner.egress {
        Egress::Peer(_) if inner.ingress != ends.peer => Err(Refusal::ForeignIngress),
        Egress::Peer(egress) if egress != ends.local => Err(Refusal::NotForUs),
        Egress::Peer(_) => Ok(Accepted::Unicast),
        Egress::Everybody if inner.ingress == ends.local => Err(Refusal::NotOurParent),
        Egress::Everybody if parent(inner.ingress) != Some(ends.peer) => Err(Refusal::NotOurParent),
        Egress::Everybody => Ok(Accepted::Tree),
    }
}
