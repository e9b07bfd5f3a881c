//! Fragments inside a session: what fits the overlay but not the path arrives in parts (RFC 791 §3.2).

use crate::bytes::{set_u16, u16_at};
use crate::checksum;
use crate::tunnel::TunnelError;

const HEADER: usize = 20;
const MORE: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;
/// The longest packet put together: an overlay of 9,000 bytes with its headers.
const MAX_PACKET: usize = 9_216;
/// Packets in parts at one time; a session's sender sends the parts of one packet in a row.
const SLOTS: usize = 4;
/// Parts of one packet: more would mean paths below IPv4's minimum of 576 bytes.
const MAX_PARTS: usize = 20;
/// How long the parts of one packet may be apart, in milliseconds: longer than any reordering, much shorter than the
/// time in which the identification of 16 bits comes round (about 300 ms at 2 Gb/s).
const DEADLINE: u64 = 100;

/// The parts of one packet, made one at a time.
#[derive(Debug)]
pub struct Fragments<'a> {
    packet: &'a [u8],
    /// Payload bytes of each part but the last.
    step: usize,
    at: usize,
}

impl<'a> Fragments<'a> {
    /// Cuts a packet made by [`crate::Inner::write`] into parts of at most `mtu` bytes.
    ///
    /// `None` when `mtu` has no room for a header and eight bytes, or the packet is no IPv4 packet without options.
    pub fn new(packet: &'a [u8], mtu: usize) -> Option<Fragments<'a>> {
        let step = mtu.checked_sub(HEADER)? & !7;
        (step > 0 && packet.len() > HEADER && packet[0] == 0x45).then_some(Fragments {
            packet,
            step,
            at: HEADER,
        })
    }

    /// Writes the next part into `out` and returns its length; `None` at the end or when `out` is too short.
    pub fn next_into(&mut self, out: &mut [u8]) -> Option<usize> {
        let rest = self.packet.get(self.at..).filter(|rest| !rest.is_empty())?;
        let payload = &rest[..rest.len().min(self.step)];
        let length = HEADER + payload.len();
        let out = out.get_mut(..length)?;
        out[..HEADER].copy_from_slice(&self.packet[..HEADER]);
        out[HEADER..].copy_from_slice(payload);
        let more = if payload.len() < rest.len() { MORE } else { 0 };
        let offset = (self.at - HEADER) / 8;
        seal_header(out, more | offset as u16 & OFFSET);
        self.at += payload.len();
        Some(length)
    }
}

/// Puts the parts of one session's packets together. Bounded; overlapping parts discard their packet (RFC 5722's rule).
#[derive(Debug, Default)]
pub struct Reassembly {
    slots: [Slot; SLOTS],
}

#[derive(Debug, Default)]
struct Slot {
    /// `None` when free.
    identification: Option<u16>,
    since: u64,
    packet: Vec<u8>,
    /// Start and end of the parts that have come, in no order.
    parts: Vec<(usize, usize)>,
    /// Length of the whole, known from its last part.
    length: Option<usize>,
}

impl Reassembly {
    /// Takes one part; returns the whole packet when this part completes it. `now` is in milliseconds.
    pub fn push(&mut self, part: &[u8], now: u64) -> Result<Option<&[u8]>, TunnelError> {
        let header = part.first_chunk::<HEADER>().ok_or(TunnelError::Truncated)?;
        if header[0] != 0x45 {
            return Err(TunnelError::NotAFrame);
        }
        if checksum::of(header) != 0 {
            return Err(TunnelError::BadChecksum);
        }
        let word = |at| u16_at(header, at).unwrap_or_default();
        let payload = part.get(HEADER..usize::from(word(2))).ok_or(TunnelError::Truncated)?;
        let start = HEADER + usize::from(word(6) & OFFSET) * 8;
        let (end, last) = (start + payload.len(), word(6) & MORE == 0);
        if payload.is_empty() || end > MAX_PACKET || !last && payload.len() % 8 != 0 {
            return Err(TunnelError::NotAFrame);
        }
        let slot = self.slot(word(4), now);
        if slot.parts.is_empty() {
            slot.packet.clear();
            slot.packet.extend_from_slice(header);
        }
        let overlaps = slot.parts.iter().any(|&(from, to)| start < to && from < end);
        let beyond = slot.length.is_some_and(|length| last || end > length);
        let short = last && slot.parts.iter().any(|&(_, to)| to > end);
        if overlaps || beyond || short || slot.parts.len() == MAX_PARTS {
            slot.clear();
            return Err(TunnelError::NotAFrame);
        }
        if slot.packet.len() < end {
            slot.packet.resize(end, 0);
        }
        slot.packet[start..end].copy_from_slice(payload);
        slot.parts.push((start, end));
        if last {
            slot.length = Some(end);
        }
        let received: usize = slot.parts.iter().map(|(from, to)| to - from).sum();
        if slot.length != Some(HEADER + received) {
            return Ok(None);
        }
        slot.clear();
        seal_header(&mut slot.packet, 0);
        Ok(Some(&slot.packet))
    }

    /// The slot of a packet: its own, else a free or late one, else the oldest.
    fn slot(&mut self, identification: u16, now: u64) -> &mut Slot {
        for slot in &mut self.slots {
            if slot.identification.is_some() && now.saturating_sub(slot.since) > DEADLINE {
                slot.clear();
            }
        }
        let own = self.slots.iter().position(|s| s.identification == Some(identification));
        let at = own.unwrap_or_else(|| {
            let age = |at: &usize| (self.slots[*at].identification.is_some(), self.slots[*at].since);
            let at = (0..SLOTS).min_by_key(age).unwrap_or_default();
            self.slots[at].clear();
            (self.slots[at].identification, self.slots[at].since) = (Some(identification), now);
            at
        });
        &mut self.slots[at]
    }
}

impl Slot {
    fn clear(&mut self) {
        self.identification = None;
        self.parts.clear();
        self.length = None;
    }
}

/// Sets length, flags with offset, and checksum of a header in front of its packet.
fn seal_header(packet: &mut [u8], flags: u16) {
    let length = packet.len() as u16;
    set_u16(packet, 2, length);
    set_u16(packet, 6, flags);
    set_u16(packet, 10, 0);
    let sum = checksum::of(&packet[..HEADER]);
    set_u16(packet, 10, sum);
}
