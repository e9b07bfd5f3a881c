//! What each thread counts: its own cache lines, summed when somebody asks.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::socket::Sent;

macro_rules! drops {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a frame or datagram went nowhere.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum DropReason {
            $($(#[$doc])* $name,)*
        }

        impl DropReason {
            /// Every reason, in the order of its number.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$name,)*];

            /// The reason in words for `status`.
            pub const fn reason(self) -> &'static str {
                match self { $(DropReason::$name => $text,)* }
            }
        }
    };
}

drops! {
    /// The kernel's header says what this program did not ask for.
    TapHeader = "TAP: unknown offload",
    /// The headers of a frame to cut are not what the kernel says.
    Uncuttable = "TAP: frame cannot be cut",
    /// The kernel did not take a frame; the interface is down or its queue full.
    TapWrite = "TAP: write refused",
    /// No short id yet: nothing can be addressed.
    NoShortId = "no short id yet",
    /// The peer behind a learned address is gone.
    UnknownPeer = "unknown peer",
    /// No live link leads to the peer.
    NoRoute = "no route to peer",
    /// The session is not up and enough frames wait for it.
    SessionDown = "session not up, queue full",
    /// Longer than a datagram can be.
    TooLong = "longer than a datagram",
    /// Larger than the interface or the route carries.
    TooBig = "larger than the underlay MTU",
    /// The kernel refused a datagram: full buffer, no route, a filter.
    SendFailed = "send failed",
    /// No datagram of ours.
    NotOurs = "unknown datagram",
    /// Connectivity checks that nobody here answers.
    Stun = "STUN without listener",
    /// ESP without a suite that uses it.
    Esp = "ESP without suite",
    /// For a session that does not exist (any more).
    UnknownSession = "unknown session",
    /// A handshake of a key that no peer's record carries.
    UnknownKey = "handshake of unknown key",
    /// A handshake that the rate limiter or its checks refused.
    Handshake = "handshake refused",
    /// Seen before, or too old to tell.
    Replay = "replayed or too old",
    /// The seal does not match.
    BadSeal = "bad seal",
    /// Neither frame nor probe inside a session.
    BadInner = "malformed content of a session",
    /// Parts of packets that did not fit together.
    BadFragment = "bad fragment",
    /// A genuine session that speaks for others.
    Refused = "refused: not the sender's to send",
    /// The switch dropped it; its own counters say why.
    Switch = "dropped by the switch",
    /// A tree frame that made too many hops.
    TreeTtl = "broadcast hop limit reached",
    /// An envelope from an address that is no neighbour's.
    EnvelopeSender = "envelope not from a neighbour",
    /// An envelope whose MAC is not that of the link.
    EnvelopeMac = "envelope with wrong MAC",
    /// An envelope that made too many hops.
    EnvelopeTtl = "envelope hop limit reached",
    /// A link that hands over more envelopes than it may.
    EnvelopeRate = "envelope rate limit",
    /// An envelope for a peer without another way than back.
    EnvelopeRoute = "envelope without next hop",
}

/// The counters of one thread.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Counters {
    drops: [AtomicU64; DropReason::ALL.len()],
    totals: [AtomicU64; Total::COUNT],
}

/// What is counted besides drops.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Total {
    TapRead,
    TapWritten,
    DatagramsSent,
    DatagramsReceived,
    TrainsReceived,
    Relayed,
    WakeUps,
}

impl Total {
    pub(crate) const COUNT: usize = 7;
}

impl Counters {
    pub(crate) fn new() -> Counters {
        let zero = |_| AtomicU64::new(0);
        Counters { drops: std::array::from_fn(zero), totals: std::array::from_fn(zero) }
    }

    pub(crate) fn count(&self, reason: DropReason) {
        self.count_many(reason, 1);
    }

    pub(crate) fn count_many(&self, reason: DropReason, count: usize) {
        self.drops[reason as usize].fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn add(&self, total: Total, count: usize) {
        self.totals[total as usize].fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Notes what became of a train.
    pub(crate) fn sent(&self, sent: Sent) {
        self.add(Total::DatagramsSent, sent.sent);
        if sent.too_big > 0 {
            self.count_many(DropReason::TooBig, sent.too_big);
        }
        if sent.failed > 0 {
            self.count_many(DropReason::SendFailed, sent.failed);
        }
    }

    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn total(&self, total: Total) -> u64 {
        self.totals[total as usize].load(Ordering::Relaxed)
    }
}
