//! The signed bytes of a record.
//!
//! ```text
//!   peer(6) sequence(8) uid(8) flags(1) nickname site version short id(2) WireGuard key(32)
//!   count(1) { family(1) = 4 or 6, address(4 or 16) port(2) } …
//!   count(2) { neighbour(6) rtt in µs(4) mtu(2) } …
//! ```
//!
//! Texts are length(1) and UTF-8 without control characters. The short id 0xfff stands for "none". Flag bit 0: the peer
//! leaves the network and has no neighbours; the other bits are zero.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use weave_model::ShortId;

use super::reader::Reader;
use crate::graph::Edge;
use crate::record::Record;

const MAX_TEXT: usize = 64;
const MAX_ENDPOINTS: usize = 16;
/// As many links as one record can name: 12 bytes each, so that a record stays far below a message.
pub(crate) const MAX_NEIGHBOURS: usize = 1024;
/// No link carries less: the smallest IPv4 datagram that every host must take, without its headers (RFC 791 §3.1).
pub(crate) const MIN_MTU: u16 = 548;

const NO_SHORT_ID: u16 = 0xfff;
const LEAVING: u8 = 1;

/// Cuts what is longer than the format allows.
pub(crate) fn bounded(mut record: Record) -> Record {
    for text in [&mut record.nickname, &mut record.site, &mut record.version] {
        text.retain(|c| !c.is_control());
        let end = (0..=MAX_TEXT.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
    }
    record.endpoints.truncate(MAX_ENDPOINTS);
    for endpoint in &mut record.endpoints {
        // Flow label and scope of an IPv6 address mean nothing to others.
        *endpoint = (endpoint.ip(), endpoint.port()).into();
    }
    if record.leaving {
        record.neighbours.clear();
    }
    record.neighbours.remove(&record.peer);
    let within =
        |edge: Edge| Edge { rtt: Duration::from_micros(micros(edge.rtt).into()), mtu: edge.mtu.max(MIN_MTU) };
    record.neighbours =
        record.neighbours.into_iter().take(MAX_NEIGHBOURS).map(|(peer, edge)| (peer, within(edge))).collect();
    record
}

/// The bytes that are signed.
pub(crate) fn encode_record(record: &Record) -> Vec<u8> {
    // Destructured, so that a new field does not compile until somebody decides about it here.
    let Record {
        peer,
        sequence,
        uid,
        leaving,
        nickname,
        site,
        version,
        short_id,
        wireguard_key,
        endpoints,
        neighbours,
    } = record;
    let mut out = peer.octets().to_vec();
    out.extend(sequence.to_be_bytes());
    out.extend(uid.to_be_bytes());
    out.push(if *leaving { LEAVING } else { 0 });
    for text in [nickname, site, version] {
        out.push(text.len() as u8);
        out.extend(text.as_bytes());
    }
    out.extend(short_id.map_or(NO_SHORT_ID, ShortId::number).to_be_bytes());
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

/// Reads signed bytes; `None` unless they are spelled as [`encode_record`] would.
pub(crate) fn decode_record(bytes: &[u8]) -> Option<Record> {
    let mut reader = Reader(bytes);
    let peer = reader.peer()?;
    let (sequence, uid) = (reader.u64()?, reader.u64()?);
    let flags = reader.u8()?;
    if flags & !LEAVING != 0 {
        return None;
    }
    let (nickname, site, version) = (reader.text(MAX_TEXT)?, reader.text(MAX_TEXT)?, reader.text(MAX_TEXT)?);
    let number = reader.u16()?;
    let short_id = ShortId::new(number);
    if short_id.is_none() && number != NO_SHORT_ID {
        return None;
    }
    let wireguard_key = reader.array()?;
    let count = reader.u8()?;
    if usize::from(count) > MAX_ENDPOINTS {
        return None;
    }
    let endpoints = (0..count).map(|_| reader.endpoint()).collect::<Option<_>>()?;
    let leaving = flags & LEAVING != 0;
    let count = usize::from(reader.u16()?);
    if count > if leaving { 0 } else { MAX_NEIGHBOURS } {
        return None;
    }
    let mut neighbours = BTreeMap::new();
    for _ in 0..count {
        let name = reader.peer()?;
        let edge = Edge { rtt: Duration::from_micros(reader.u32()?.into()), mtu: reader.u16()? };
        // One spelling only: ascending, each once, and nobody is its own neighbour.
        let ascending = neighbours.last_key_value().is_none_or(|(last, _)| *last < name);
        if !ascending || name == peer || edge.mtu < MIN_MTU {
            return None;
        }
        neighbours.insert(name, edge);
    }
    reader.0.is_empty().then_some(Record {
        peer,
        sequence,
        uid,
        leaving,
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
