//! Version 1 of the messages.
//!
//! ```text
//!   message      = kind(1) body
//!   1 hello        lowest version(1) highest version(1)
//!   2 certificate  DER
//!   3 record       signature(64) signed bytes
//!   4 digest       hash(8)                        of all (peer, sequence)
//!   5 summary      { peer(6) sequence(8) } …
//!   6 want         { peer(6) } …
//! ```
//!
//! Numbers are big-endian; strings and lists carry their length. Nothing may follow the last field.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use weave_model::{PeerName, ShortId};

use crate::graph::Edge;
use crate::record::{Record, Refused, SignedRecord};

/// The longest message: a summary of 4,095 peers takes 57,331 bytes.
pub const MAX_MESSAGE: usize = 64 * 1024;

const MAX_TEXT: usize = 64;
const MAX_ENDPOINTS: usize = 16;
const MAX_NEIGHBOURS: usize = 1024;
/// Domain separation: these bytes can be nothing else that a peer signs.
const RECORD: &[u8; 16] = b"weave record v1\0";

/// What neighbours tell each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The first message on a link: the versions its sender speaks.
    Hello {
        /// The lowest.
        lowest: u8,
        /// The highest.
        highest: u8,
    },
    /// A peer's certificate, DER.
    Certificate(Vec<u8>),
    /// A new version of a peer's record.
    Record(SignedRecord),
    /// A hash of all versions known; equal hashes end the comparison.
    Digest(u64),
    /// All versions known.
    Summary(Vec<(PeerName, u64)>),
    /// Peers whose certificate and record are asked for.
    Want(Vec<PeerName>),
}

impl Message {
    /// The message as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Message::Hello { lowest, highest } => out.extend([1, *lowest, *highest]),
            Message::Certificate(der) => {
                out.push(2);
                out.extend(der);
            }
            Message::Record(record) => {
                out.push(3);
                out.extend(record.signature());
                out.extend(record.bytes());
            }
            Message::Digest(hash) => {
                out.push(4);
                out.extend(hash.to_be_bytes());
            }
            Message::Summary(versions) => {
                out.push(5);
                for (peer, sequence) in versions {
                    out.extend(peer.octets());
                    out.extend(sequence.to_be_bytes());
                }
            }
            Message::Want(peers) => {
                out.push(6);
                out.extend(peers.iter().flat_map(|p| p.octets()));
            }
        }
        out
    }

    /// Reads one whole message.
    pub fn decode(bytes: &[u8]) -> Result<Message, Refused> {
        let (kind, body) = bytes.split_first().ok_or(Refused::Malformed)?;
        if bytes.len() > MAX_MESSAGE {
            return Err(Refused::Malformed);
        }
        let mut reader = Reader(body);
        let message = match kind {
            1 => {
                let [lowest, highest] = reader.array()?;
                Message::Hello { lowest, highest }
            }
            2 => Message::Certificate(reader.rest().to_vec()),
            3 => {
                let signature = reader.array()?;
                Message::Record(SignedRecord::from_parts(reader.rest(), signature)?)
            }
            4 => Message::Digest(u64::from_be_bytes(reader.array()?)),
            5 => {
                let mut versions = Vec::with_capacity(body.len() / 14);
                while !reader.0.is_empty() {
                    versions.push((reader.peer()?, u64::from_be_bytes(reader.array()?)));
                }
                Message::Summary(versions)
            }
            6 => {
                let mut peers = Vec::with_capacity(body.len() / 6);
                while !reader.0.is_empty() {
                    peers.push(reader.peer()?);
                }
                Message::Want(peers)
            }
            _ => return Err(Refused::UnknownKind),
        };
        reader.end()?;
        Ok(message)
    }
}

/// Cuts what is longer than the format allows.
pub(crate) fn bounded(mut record: Record) -> Record {
    for text in [&mut record.nickname, &mut record.site, &mut record.version] {
        let end = (0..=MAX_TEXT.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
    }
    record.endpoints.truncate(MAX_ENDPOINTS);
    record.neighbours = record
        .neighbours
        .into_iter()
        .take(MAX_NEIGHBOURS)
        .map(|(peer, edge)| (peer, Edge { rtt: Duration::from_micros(micros(edge.rtt).into()), ..edge }))
        .collect();
    record
}

/// The bytes that are signed.
pub(crate) fn encode_record(record: &Record) -> Vec<u8> {
    // Destructured, so that a new field does not compile until somebody decides about it here.
    let Record {
        peer,
        sequence,
        uid,
        nickname,
        site,
        version,
        short_id,
        wireguard_key,
        endpoints,
        neighbours,
    } = record;
    let mut out = RECORD.to_vec();
    out.extend(peer.octets());
    out.extend(sequence.to_be_bytes());
    out.extend(uid.to_be_bytes());
    for text in [nickname, site, version] {
        out.push(text.len() as u8);
        out.extend(text.as_bytes());
    }
    // The broadcast number stands for "none yet".
    out.extend(short_id.unwrap_or(ShortId::BROADCAST).number().to_be_bytes());
    out.extend(wireguard_key);
    out.push(endpoints.len() as u8);
    for endpoint in endpoints {
        match endpoint.ip() {
            IpAddr::V4(ip) => {
                out.push(4);
                out.extend(ip.octets());
            }
            IpAddr::V6(ip) => {
                out.push(6);
                out.extend(ip.octets());
            }
        }
        out.extend(endpoint.port().to_be_bytes());
    }
    out.extend((neighbours.len() as u16).to_be_bytes());
    for (peer, edge) in neighbours {
        out.extend(peer.octets());
        out.extend(micros(edge.rtt).to_be_bytes());
        out.extend(edge.mtu.to_be_bytes());
    }
    out
}

pub(crate) fn decode_record(bytes: &[u8]) -> Result<Record, Refused> {
    let mut reader = Reader(bytes);
    if reader.array()? != *RECORD {
        return Err(Refused::Malformed);
    }
    let peer = reader.peer()?;
    let sequence = u64::from_be_bytes(reader.array()?);
    let uid = u64::from_be_bytes(reader.array()?);
    let (nickname, site, version) = (reader.text()?, reader.text()?, reader.text()?);
    let number = u16::from_be_bytes(reader.array()?);
    let short_id = ShortId::new(number);
    if short_id.is_none() && number != ShortId::BROADCAST.number() {
        return Err(Refused::Malformed);
    }
    let wireguard_key = reader.array()?;
    let [count] = reader.array()?;
    if usize::from(count) > MAX_ENDPOINTS {
        return Err(Refused::Malformed);
    }
    let endpoints = (0..count).map(|_| reader.endpoint()).collect::<Result<_, _>>()?;
    let count = usize::from(u16::from_be_bytes(reader.array()?));
    let mut neighbours = BTreeMap::new();
    if count > MAX_NEIGHBOURS {
        return Err(Refused::Malformed);
    }
    for _ in 0..count {
        let name = reader.peer()?;
        let rtt = Duration::from_micros(u32::from_be_bytes(reader.array()?).into());
        let edge = Edge { rtt, mtu: u16::from_be_bytes(reader.array()?) };
        // One spelling only: ascending, each once, and nobody is its own neighbour.
        let ascending = neighbours.last_key_value().is_none_or(|(last, _)| *last < name);
        if !ascending || name == peer {
            return Err(Refused::Malformed);
        }
        neighbours.insert(name, edge);
    }
    reader.end()?;
    Ok(Record {
        peer,
        sequence,
        uid,
        nickname,
        site,
        version,
        short_id,
        wireguard_key,
        endpoints,
        neighbours,
    })
}

/// Up to 71 minutes; a longer round trip is no link.
fn micros(rtt: Duration) -> u32 {
    u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX)
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Refused> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(Refused::Malformed)?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Refused> {
        let (head, rest) = self.0.split_first_chunk().ok_or(Refused::Malformed)?;
        self.0 = rest;
        Ok(*head)
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn end(&self) -> Result<(), Refused> {
        if self.0.is_empty() { Ok(()) } else { Err(Refused::Malformed) }
    }

    fn peer(&mut self) -> Result<PeerName, Refused> {
        self.array().map(PeerName::new)
    }

    /// A short text without control characters: it is shown on terminals.
    fn text(&mut self) -> Result<String, Refused> {
        let [length] = self.array()?;
        let text = std::str::from_utf8(self.take(length.into())?).map_err(|_| Refused::Malformed)?;
        let fine = text.len() <= MAX_TEXT && !text.chars().any(char::is_control);
        if fine { Ok(text.to_owned()) } else { Err(Refused::Malformed) }
    }

    fn endpoint(&mut self) -> Result<SocketAddr, Refused> {
        let ip = match self.array()? {
            [4] => IpAddr::from(Ipv4Addr::from(self.array::<4>()?)),
            [6] => IpAddr::from(Ipv6Addr::from(self.array::<16>()?)),
            _ => return Err(Refused::Malformed),
        };
        Ok(SocketAddr::new(ip, u16::from_be_bytes(self.array()?)))
    }
}
