//! What the HTTP API says: its values, their rendering as text, and a client.
//!
//! The shape and spelling of the report and of the status texts are those that scripts of the original's users read.
//! Not here: routes and sockets of the server (`http-api`), and where the values come from.
#![forbid(unsafe_code)]

mod client;
mod ping;
mod report;
mod text;

pub use client::{Client, ClientError};
pub use ping::{PathKind, PingReport, Removal, RemovedPeer, Version};
pub use report::{
    BroadcastRoute, Connection, ConnectionState, Mac, Path, Peer, PeerConnection, Process, Report, Router,
    Session, UnicastRoute, VersionCheck,
};
pub use text::{Section, UnknownSection};

#[cfg(test)]
mod tests;
