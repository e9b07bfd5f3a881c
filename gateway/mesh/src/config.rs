//! What the owner of the machine gives it: the settings, and the links that came up.

use std::net::SocketAddr;

use weave_model::{LinkId, ShortId, Target};

/// The settings of one peer's mesh.
#[derive(Clone, Debug)]
pub struct Config {
    /// The peer's name for people; cut to 64 bytes.
    pub nickname: String,
    /// The site it stands in; cut to 64 bytes, may be empty.
    pub site: String,
    /// The program's version; cut to 64 bytes.
    pub version: String,
    /// The WireGuard static public key (X25519).
    pub wireguard_key: [u8; 32],
    /// Random at each start of the daemon: tells a restart from a clone.
    pub uid: u64,
    /// The port of targets and endpoints that name none; 6783 unless the operator says otherwise.
    pub port: u16,
    /// The short id of the last run, claimed first; `None` takes a free one.
    pub short_id: Option<ShortId>,
    /// Where the versions of our own record start: the larger of the remembered number and the time.
    ///
    /// From here on the machine owns the sequence: it goes above whatever it hears of itself, so a clock set back does
    /// no harm.
    pub sequence: u64,
    /// At which addresses this peer may be dialled; the first 16 count.
    pub endpoints: Vec<SocketAddr>,
    /// Whom the operator wants a link with.
    pub targets: Vec<Target>,
    /// Whether to dial peers that others told of.
    pub discovery: bool,
    /// How many peers to have links with, 0 for as many as there are; never more than 1,024.
    ///
    /// Above it only peers that no path leads to are taken in, so the limit never splits the network.
    pub connection_limit: usize,
}

/// One attempt to make a link; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialId(pub u64);

/// A link whose both ends have proved who they are.
#[derive(Clone, Debug)]
pub struct LinkUp {
    /// Its number, never used before.
    pub link: LinkId,
    /// The certificate of the other end, DER.
    pub certificate: Vec<u8>,
    /// The address of the other end.
    pub remote: SocketAddr,
    /// The attempt that made it; `None` when the other end dialled.
    pub dial: Option<DialId>,
}

/// What the next start of the daemon should be given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// For [`Config::short_id`].
    pub short_id: Option<ShortId>,
    /// For [`Config::sequence`]; ahead of what was used, so that it need not be written each time.
    pub sequence: u64,
    /// For [`Config::targets`].
    pub targets: Vec<Target>,
}
