//! Version 1 of the messages.
//!
//! ```text
//!   message      = kind(1) body
//!   1 hello        lowest version(1) highest version(1) uid(8)      what follows belongs to later versions
//!   2 certificate  DER
//!   3 record       signature(64) signed bytes
//!   4 digest       hash(8)                          of all names and versions
//!   5 summary      first(6) last(6) { entry } …     all versions of names from first to last, both included
//!   6 want         { peer(6) } …
//!   7 offer        { entry } …
//!   entry        = peer(6) issue(8) key(8) sequence(8) hash(8)
//! ```
//!
//! Numbers are big-endian; strings and lists carry their length. Nothing may follow the last field. Kinds that are not
//! listed are skipped.

mod reader;
mod record;

use std::sync::Arc;

use weave_model::PeerName;

use crate::refused::Refused;
use crate::version::Version;
use reader::Reader;
pub(crate) use record::{MAX_NEIGHBOURS, MIN_MTU, bounded, decode_record, encode_record};

/// The longest message: a summary of 1,500 versions takes 57,013 bytes.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// As many versions as one summary or offer holds.
pub(crate) const MAX_SUMMARY: usize = 1500;

/// What neighbours tell each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// The first message on a link.
    Hello {
        /// The lowest version its sender speaks.
        lowest: u8,
        /// The highest version its sender speaks.
        highest: u8,
        /// The random number of the sender's start.
        uid: u64,
    },
    /// A peer's certificate, DER.
    Certificate(Vec<u8>),
    /// A peer's record.
    Record(SignedBytes),
    /// A hash of all versions known; equal hashes end the comparison.
    Digest(u64),
    /// All versions known of the names from `first` to `last`.
    Summary { first: PeerName, last: PeerName, versions: Vec<(PeerName, Version)> },
    /// Peers whose certificate and record are asked for.
    Want(Vec<PeerName>),
    /// Versions that the sender has and the receiver may ask for.
    Offer(Vec<(PeerName, Version)>),
    /// A kind of a later version.
    Unknown(u8),
}

/// A record as it travels; what it says is read only after its form was found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SignedBytes {
    pub(crate) signature: [u8; 64],
    pub(crate) bytes: Arc<[u8]>,
}

impl Message {
    /// The message as bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Message::Hello { lowest, highest, uid } => {
                out.extend([1, *lowest, *highest]);
                out.extend(uid.to_be_bytes());
            }
            Message::Certificate(der) => {
                out.push(2);
                out.extend(der);
            }
            Message::Record(SignedBytes { signature, bytes }) => {
                out.push(3);
                out.extend(signature);
                out.extend(&**bytes);
            }
            Message::Digest(hash) => {
                out.push(4);
                out.extend(hash.to_be_bytes());
            }
            Message::Summary { first, last, versions } => {
                out.push(5);
                out.extend(first.octets());
                out.extend(last.octets());
                write_versions(&mut out, versions);
            }
            Message::Want(peers) => {
                out.push(6);
                out.extend(peers.iter().flat_map(|p| p.octets()));
            }
            Message::Offer(versions) => {
                out.push(7);
                write_versions(&mut out, versions);
            }
            Message::Unknown(kind) => out.push(*kind),
        }
        out
    }

    /// Reads one whole message.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Message, Refused> {
        if bytes.len() > MAX_MESSAGE {
            return Err(Refused::Malformed);
        }
        let (kind, body) = bytes.split_first().ok_or(Refused::Malformed)?;
        let mut reader = Reader(body);
        read(*kind, &mut reader).filter(|_| reader.0.is_empty()).ok_or(Refused::Malformed)
    }
}

fn read(kind: u8, reader: &mut Reader<'_>) -> Option<Message> {
    Some(match kind {
        1 => {
            let [lowest, highest] = reader.array()?;
            let uid = reader.u64()?;
            reader.rest();
            Message::Hello { lowest, highest, uid }
        }
        2 => Message::Certificate(reader.rest().to_vec()),
        3 => Message::Record(SignedBytes { signature: reader.array()?, bytes: reader.rest().into() }),
        4 => Message::Digest(reader.u64()?),
        5 => {
            Message::Summary { first: reader.peer()?, last: reader.peer()?, versions: read_versions(reader)? }
        }
        6 => {
            let mut peers = Vec::with_capacity(reader.0.len() / 6);
            while !reader.0.is_empty() {
                peers.push(reader.peer()?);
            }
            Message::Want(peers)
        }
        7 => Message::Offer(read_versions(reader)?),
        kind => {
            reader.rest();
            Message::Unknown(kind)
        }
    })
}

fn write_versions(out: &mut Vec<u8>, versions: &[(PeerName, Version)]) {
    for (peer, Version { issue, key, sequence, hash }) in versions {
        out.extend(peer.octets());
        out.extend([issue, key, sequence, hash].into_iter().flat_map(|n| n.to_be_bytes()));
    }
}

fn read_versions(reader: &mut Reader<'_>) -> Option<Vec<(PeerName, Version)>> {
    let mut versions = Vec::with_capacity(reader.0.len() / 38);
    while !reader.0.is_empty() {
        let peer = reader.peer()?;
        let (issue, key) = (reader.u64()?, reader.u64()?);
        versions.push((peer, Version { issue, key, sequence: reader.u64()?, hash: reader.u64()? }));
    }
    Some(versions)
}
