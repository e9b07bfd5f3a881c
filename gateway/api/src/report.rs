//! The report: everything an operator may ask, as one JSON document.
//!
//! Fields of the original keep its names; ours that it did not have (`Network`, `Site`, `Paths`, `Drops`, …) stand
//! beside them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ping::PathKind;

/// The state of one gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Report {
    /// Whether all parts run.
    pub ready: bool,
    /// The program's version.
    pub version: String,
    /// Whether a newer version is known: nobody is ever asked, so `Enabled` is false.
    pub version_check: VersionCheck,
    /// The process that answers.
    pub process: Process,
    /// The switch and the mesh.
    pub router: Router,
}

/// What is known of newer versions, as the original told it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct VersionCheck {
    /// Whether newer versions are looked for.
    pub enabled: bool,
    /// Whether the last look succeeded.
    pub success: bool,
    /// A newer version; empty when none is known.
    pub new_version: String,
    /// When the next look is due; empty when none is.
    pub next_check_at: String,
}

/// The daemon's process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Process {
    /// Its process id.
    pub pid: u32,
    /// Whether a service manager started it and would start it again.
    pub supervised: bool,
}

/// The switch and the mesh.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Router {
    /// `weave`.
    pub protocol: String,
    /// The lowest version of the link messages that is spoken.
    pub protocol_min_version: u8,
    /// The highest.
    pub protocol_max_version: u8,
    /// The network's name.
    pub network: String,
    /// Whether strangers are kept out: `false` in an open network, whose key everybody can derive.
    pub encryption: bool,
    /// Whether peers learned of from others are dialled.
    pub peer_discovery: bool,
    /// This peer's name.
    pub name: String,
    /// Its name for people.
    pub nick_name: String,
    /// The site it stands in; may be empty.
    pub site: String,
    /// Its number.
    #[serde(rename = "ShortID")]
    pub short_id: Option<u16>,
    /// The UDP port.
    pub port: u16,
    /// The bridge.
    pub bridge: String,
    /// What carries frames, e.g. `vethwe-tap (user datapath, 1 worker)`.
    pub interface: String,
    /// The largest packet of the overlay, in bytes.
    #[serde(rename = "MTU")]
    pub mtu: u16,
    /// Addresses on the bridge.
    pub exposed: Vec<String>,
    /// Every known peer, this one included.
    pub peers: Vec<Peer>,
    /// The neighbour towards each peer.
    pub unicast_routes: Vec<UnicastRoute>,
    /// The neighbours that get the frames of each root.
    pub broadcast_routes: Vec<BroadcastRoute>,
    /// Links, dials and failed targets.
    pub connections: Vec<Connection>,
    /// Links that ended since the start.
    pub termination_count: u64,
    /// What the operator asked to connect to.
    pub targets: Vec<String>,
    /// How frames reach every other peer.
    pub paths: Vec<Path>,
    /// Learned Ethernet addresses.
    #[serde(rename = "MACs")]
    pub macs: Vec<Mac>,
    /// Frames and datagrams that went nowhere, by reason.
    pub drops: BTreeMap<String, u64>,
    /// Nobody listens to `TrustedSubnets` yet: always empty.
    pub trusted_subnets: Vec<String>,
}

/// One peer, as its record says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Its name for people.
    pub nick_name: String,
    /// The site it stands in.
    pub site: String,
    /// Random at each of its starts.
    #[serde(rename = "UID")]
    pub uid: u64,
    /// Its number.
    #[serde(rename = "ShortID")]
    pub short_id: Option<u16>,
    /// The version of its record.
    pub version: u64,
    /// Its links.
    pub connections: Vec<PeerConnection>,
}

/// One link of a peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PeerConnection {
    /// The peer at the other end.
    pub name: String,
    /// Its name for people.
    pub nick_name: String,
    /// Where it is; known of our own links only.
    pub address: String,
    /// Whether we dialled.
    pub outbound: bool,
    /// Both ends claim the link.
    pub established: bool,
    /// Round trip in milliseconds, as its owner publishes it.
    pub rtt_ms: f64,
}

/// The next neighbour towards a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UnicastRoute {
    /// The peer.
    pub dest: String,
    /// The neighbour.
    pub via: String,
}

/// Where the frames of a root go next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BroadcastRoute {
    /// The root.
    pub source: String,
    /// The neighbours.
    pub via: Vec<String>,
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionState {
    /// In use.
    Established,
    /// The link is up, the data path is not confirmed.
    Pending,
    /// Dialled again after a failure.
    Retrying,
    /// The last attempt failed; the next is due later.
    Failed,
    /// Dialled for the first time.
    Connecting,
}

impl fmt::Display for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            ConnectionState::Established => "established",
            ConnectionState::Pending => "pending",
            ConnectionState::Retrying => "retrying",
            ConnectionState::Failed => "failed",
            ConnectionState::Connecting => "connecting",
        })
    }
}

/// One link, dial or failed target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Connection {
    /// The other end.
    pub address: String,
    /// Whether we dialled.
    pub outbound: bool,
    /// Where it stands.
    pub state: ConnectionState,
    /// Who is there, or why nobody is.
    pub info: String,
    /// Further facts, e.g. `mtu`, `rtt`.
    pub attrs: BTreeMap<String, String>,
}

/// How frames reach one peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Path {
    /// The peer.
    pub peer: String,
    /// Its name for people.
    pub nick_name: String,
    /// Direct or by relays.
    pub kind: PathKind,
    /// Nicknames of the relays, nearest first.
    pub via: Vec<String>,
    /// Why it is not direct; empty when it is.
    pub reason: String,
    /// The session over it.
    pub session: Option<Session>,
}

/// The sealed session with one peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Session {
    /// Whether probes come back.
    pub alive: bool,
    /// What seals it.
    pub suite: String,
    /// Smoothed round trip of the probes, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// The largest overlay packet known to pass unfragmented, in bytes.
    #[serde(rename = "MTU")]
    pub mtu: Option<u16>,
    /// Bytes sent in frames.
    pub sent_bytes: u64,
    /// Bytes received in frames.
    pub received_bytes: u64,
}

/// One learned Ethernet address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Mac {
    /// The address.
    pub mac: String,
    /// The peer it is behind.
    pub name: String,
    /// That peer's name for people.
    pub nick_name: String,
    /// Seconds since its last frame.
    pub silent_seconds: u32,
}
