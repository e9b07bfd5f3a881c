//! Answers of the commands that the provisioner reads.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How datagrams reach a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PathKind {
    /// Over a link of this peer.
    Direct,
    /// By way of other peers, which cannot read them.
    Relay,
    /// Not at all at the moment.
    None,
}

impl fmt::Display for PathKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PathKind::Direct => "direct",
            PathKind::Relay => "relay",
            PathKind::None => "none",
        })
    }
}

/// What came of sending Ethernet frames to one peer and waiting for their echoes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PingReport {
    /// The peer's name.
    pub peer: String,
    /// Its name for people.
    pub nickname: String,
    /// How frames reach it.
    pub path: PathKind,
    /// Nicknames of the relays, nearest first.
    pub via: Vec<String>,
    /// Frames sent.
    pub sent: u32,
    /// Echoes received.
    pub received: u32,
    /// The shortest round trip in milliseconds; absent without an echo.
    pub rtt_ms: Option<f64>,
    /// The largest overlay packet known to pass unfragmented, in bytes; absent before it is known.
    pub mtu: Option<u16>,
    /// Whether every frame came back.
    pub ok: bool,
}

/// What came of forgetting a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedPeer {
    /// The peer, as it was named.
    pub peer: String,
    /// What came of it.
    pub outcome: Removal,
    /// How many addresses were taken over from it.
    pub ips: u64,
    /// Why it was not forgotten; absent when it was.
    pub reason: Option<String>,
}

/// Whether a peer was forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Removal {
    /// It was.
    Removed,
    /// Nobody knows it.
    Unknown,
    /// It is alive.
    Alive,
    /// It was not, for another reason.
    Failed,
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Of the program.
    pub version: String,
    /// The peer's name; absent when no gateway runs.
    pub peer: Option<String>,
    /// The peer's name for people.
    pub nickname: Option<String>,
}
