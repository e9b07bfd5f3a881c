//! Cutting what the kernel left uncut (TSO, USO) into frames that fit, with complete checksums.

use crate::bytes::{set_u16, u16_at};
use crate::checksum;
use crate::offload::{Cut, Layout, Offload};

const TCP: u8 = 6;
const UDP: u8 = 17;
/// Flags of RFC 9293 §3.1 that belong to the last segment (FIN, PSH) or the first (CWR).
const LAST_ONLY: u8 = 0x09;
const FIRST_ONLY: u8 = 0x80;

/// Why a frame cannot be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentError {
    /// The headers are not those that the offload says.
    Headers,
    /// Segments of no bytes.
    Size,
    /// The checksum to complete lies outside the frame.
    Checksum,
}

/// The frames one frame is cut into, made one at a time.
#[derive(Debug)]
pub struct Segments<'a> {
    frame: &'a [u8],
    layout: Layout,
    protocol: u8,
    headers: usize,
    size: usize,
    at: usize,
    pseudo: u32,
}

/// Completes the checksum of a frame that needs no cutting, in place.
pub fn complete_checksum(frame: &mut [u8], offload: &Offload) -> Result<(), SegmentError> {
    let Some((start, field)) = offload.checksum else { return Ok(()) };
    let (start, field) = (usize::from(start), usize::from(start) + usize::from(field));
    if field + 2 > frame.len() || field < start {
        return Err(SegmentError::Checksum);
    }
    // The field holds the sum of the pseudo header, so summing it along completes it. UDP sends no zero (RFC 768).
    let sum = checksum::of(&frame[start..]);
    let udp = field == start + 6;
    set_u16(frame, field, if udp && sum == 0 { 0xffff } else { sum });
    Ok(())
}

impl<'a> Segments<'a> {
    /// Checks that `frame` can be cut as its offload says.
    pub fn new(frame: &'a [u8], cut: Cut, size: u16) -> Result<Segments<'a>, SegmentError> {
        let protocol = if cut == Cut::Udp { UDP } else { TCP };
        let layout = Layout::of(frame, protocol).ok_or(SegmentError::Headers)?;
        let length = match frame.get(layout.transport + 12) {
            _ if protocol == UDP => 8,
            Some(offset) => usize::from(offset >> 4) * 4,
            None => return Err(SegmentError::Headers),
        };
        let headers = layout.transport + length;
        let matches = protocol == UDP || (cut == Cut::Tcp6) == layout.v6;
        if !matches || protocol == TCP && length < 20 || headers >= layout.end {
            return Err(SegmentError::Headers);
        }
        if size == 0 {
            return Err(SegmentError::Size);
        }
        let pseudo = checksum::pseudo_header(layout.addresses(frame), protocol, 0);
        Ok(Segments { frame, layout, protocol, headers, size: usize::from(size), at: headers, pseudo })
    }

    /// The length of every segment but the last.
    pub fn segment_length(&self) -> usize {
        self.headers + self.size
    }

    /// Writes the next frame into `out` and returns its length; `None` at the end or when `out` is too short.
    pub fn next_into(&mut self, out: &mut [u8]) -> Option<usize> {
        let payload = self.frame.get(self.at..self.layout.end.min(self.at + self.size))?;
        if payload.is_empty() {
            return None;
        }
        let length = self.headers + payload.len();
        let out = out.get_mut(..length)?;
        out[..self.headers].copy_from_slice(&self.frame[..self.headers]);
        out[self.headers..].copy_from_slice(payload);
        let done = self.at - self.headers;
        self.at += payload.len();
        let last = self.at == self.layout.end;
        self.fix_ip(out, done / self.size);
        self.fix_transport(out, done, last);
        Some(length)
    }

    fn fix_ip(&self, out: &mut [u8], index: usize) {
        let (ip, length) = (self.layout.ip, out.len() - self.layout.ip);
        if self.layout.v6 {
            set_u16(out, ip + 4, (length - 40) as u16);
            return;
        }
        set_u16(out, ip + 2, length as u16);
        let id = u16_at(out, ip + 4).unwrap_or_default().wrapping_add(index as u16);
        set_u16(out, ip + 4, id);
        set_u16(out, ip + 10, 0);
        let sum = checksum::of(&out[ip..ip + 20]);
        set_u16(out, ip + 10, sum);
    }

    fn fix_transport(&self, out: &mut [u8], done: usize, last: bool) {
        let at = self.layout.transport;
        let length = out.len() - at;
        let field = if self.protocol == TCP {
            let sequence = out[at + 4..].first_chunk().copied().map_or(0, u32::from_be_bytes);
            out[at + 4..at + 8].copy_from_slice(&sequence.wrapping_add(done as u32).to_be_bytes());
            let clear = if last { 0 } else { LAST_ONLY } | if done == 0 { 0 } else { FIRST_ONLY };
            out[at + 13] &= !clear;
            at + 16
        } else {
            set_u16(out, at + 4, length as u16);
            at + 6
        };
        set_u16(out, field, 0);
        let sum = checksum::finish(checksum::add(self.pseudo + length as u32, &out[at..]));
        set_u16(out, field, if self.protocol == UDP && sum == 0 { 0xffff } else { sum });
    }
}
