//! Keeping TCP segments within what a path carries: the MSS option of SYN segments is lowered in place.

use crate::bytes::{set_u16, u16_at};
use crate::checksum;
use crate::ethernet::Frame;
use crate::offload::Offload;

const TCP: u8 = 6;
const SYN: u8 = 0x02;
/// RFC 9293 §3.2: the options that end the list, fill it, and carry the MSS.
const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
/// Never lower than what every IPv4 host can take (RFC 9293 §3.7.1): a path that passes less needs fragments.
const FLOOR: u16 = 536;

/// Lowers the MSS of a SYN in `frame` so that its IP packets are at most `mtu` bytes; returns whether it changed.
///
/// A complete checksum is updated incrementally. A checksum still to be completed covers only the pseudo header, which
/// does not hold the MSS, so it stays.
pub fn clamp_mss(frame: &mut [u8], mtu: u16, offload: &Offload) -> bool {
    let Some((tcp, headers)) = tcp_offset(frame) else { return false };
    let limit = mtu.saturating_sub(headers).max(FLOOR);
    let Some(field) = mss_offset(frame, tcp) else { return false };
    if u16_at(frame, field).is_none_or(|old| old <= limit) {
        return false;
    }
    let Some(sum) = u16_at(frame, tcp + 16) else { return false };
    // The field may stand at an odd offset of the segment: then its bytes belong to two words.
    let first = (field - tcp) & !1;
    let before = [u16_at(frame, tcp + first), u16_at(frame, tcp + first + 2)];
    set_u16(frame, field, limit);
    if offload.checksum.is_some() {
        return true;
    }
    let after = [u16_at(frame, tcp + first), u16_at(frame, tcp + first + 2)];
    let sum = before.into_iter().zip(after).fold(sum, |sum, pair| match pair {
        (Some(old), Some(new)) => checksum::update(sum, old, new),
        _ => sum,
    });
    set_u16(frame, tcp + 16, sum);
    true
}

/// Where the TCP header of an unfragmented packet begins, and the bytes of IP and bare TCP header.
fn tcp_offset(frame: &[u8]) -> Option<(usize, u16)> {
    let view = Frame::new(frame).ok()?;
    let (start, ip) = (view.payload_offset(), view.payload());
    match view.ethertype() {
        0x0800 => {
            let header = usize::from(ip.first()? & 0xf) * 4;
            let fragmented = u16_at(ip, 6)? & 0x3fff != 0;
            (ip.first()? >> 4 == 4 && header >= 20 && *ip.get(9)? == TCP && !fragmented)
                .then_some((start + header, 40))
        }
        // Extension headers before TCP are too rare to walk; such flows rely on too-big answers.
        0x86dd => (ip.first()? >> 4 == 6 && *ip.get(6)? == TCP).then_some((start + 40, 60)),
        _ => None,
    }
}

/// Where the value of the MSS option of a SYN stands.
fn mss_offset(frame: &[u8], tcp: usize) -> Option<usize> {
    if frame.get(tcp + 13)? & SYN == 0 {
        return None;
    }
    let end = tcp + usize::from(frame.get(tcp + 12)? >> 4) * 4;
    let mut at = tcp + 20;
    while at < end {
        match *frame.get(at)? {
            END => return None,
            NOP => at += 1,
            kind => {
                let length = usize::from(*frame.get(at + 1)?);
                if kind == MSS && length == 4 && at + 4 <= end {
                    return Some(at + 2);
                }
                at += length.max(2);
            }
        }
    }
    None
}
