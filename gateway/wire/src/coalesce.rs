//! Joining the segments of a TCP flow again, so that the kernel gets one big frame instead of forty.
//!
//! The rules are those of the kernel's own receive offload: only consecutive segments with equal headers and right
//! checksums are joined, and what leaves can be cut into what came in (but for the identifications of packets that
//! must not be fragmented, which mean nothing: RFC 6864 §4.1). Frames of one flow keep their order.

use crate::bytes::{set_u16, u16_at};
use crate::checksum;
use crate::offload::{Cut, Layout, Offload};

const TCP: u8 = 6;
const ACK: u8 = 0x10;
const PSH: u8 = 0x08;
/// Frames that may wait at once; one more sends the oldest on its way.
const SLOTS: usize = 64;
/// The longest IP packet.
const MAX_PACKET: usize = 0xffff;

/// Frames waiting to be joined. Buffers are kept between batches.
#[derive(Debug)]
pub struct Coalescer {
    /// A ring: `used` slots from `oldest` on wait.
    slots: [Slot; SLOTS],
    oldest: usize,
    used: usize,
}

impl Default for Coalescer {
    fn default() -> Coalescer {
        Coalescer { slots: std::array::from_fn(|_| Slot::default()), oldest: 0, used: 0 }
    }
}

#[derive(Debug, Default)]
struct Slot {
    frame: Vec<u8>,
    /// Of a frame that may still grow.
    open: Option<Flow>,
    /// Whether the checksum was found right.
    valid: bool,
    /// Of a frame that has grown.
    joined: Option<(Layout, usize, u16)>,
}

#[derive(Clone, Copy, Debug)]
struct Flow {
    layout: Layout,
    headers: usize,
    next: u32,
    size: usize,
}

impl Coalescer {
    /// Takes one frame; hands the oldest to `emit` when there is no room for another.
    pub fn push(&mut self, frame: &[u8], mut emit: impl FnMut(Offload, &[u8])) {
        let segment = Layout::of(frame, TCP);
        if let Some(layout) = segment {
            let same =
                |slot: &Slot| slot.open.is_some_and(|f| same_flow(&slot.frame, frame, &f.layout, &layout));
            let waiting = (0..self.used).map(|n| (self.oldest + n) % SLOTS);
            if let Some(at) = waiting.into_iter().find(|at| same(&self.slots[*at])) {
                let slot = &mut self.slots[at];
                if slot.join(frame, layout) {
                    return;
                }
                slot.open = None;
            }
        }
        if self.used == SLOTS {
            self.emit_oldest(&mut emit);
        }
        let slot = &mut self.slots[(self.oldest + self.used) % SLOTS];
        self.used += 1;
        slot.frame.clear();
        slot.frame.extend_from_slice(frame);
        slot.joined = None;
        let checked = segment.and_then(|layout| Flow::start_or_end(frame, layout));
        slot.valid = checked.is_some();
        slot.open = checked.filter(|flow| frame.get(flow.layout.transport + 13) == Some(&ACK));
    }

    /// Hands out all frames in the order in which their first parts came.
    pub fn flush(&mut self, mut emit: impl FnMut(Offload, &[u8])) {
        while self.used > 0 {
            self.emit_oldest(&mut emit);
        }
    }

    fn emit_oldest(&mut self, emit: &mut impl FnMut(Offload, &[u8])) {
        let slot = &mut self.slots[self.oldest];
        let offload = slot.finish();
        emit(offload, &slot.frame);
        self.oldest = (self.oldest + 1) % SLOTS;
        self.used -= 1;
    }
}

impl Slot {
    /// Appends the payload of `frame` when it is the next of this flow.
    fn join(&mut self, frame: &[u8], layout: Layout) -> bool {
        let Some(own) = self.open else { return false };
        let Some(next) = Flow::start_or_end(frame, layout) else { return false };
        let payload = &frame[next.headers..layout.end];
        let sequence = next.next.wrapping_sub(payload.len() as u32);
        let fits =
            payload.len() <= own.size && self.frame.len() - own.layout.ip + payload.len() <= MAX_PACKET;
        if sequence != own.next || !fits || !same_headers(&self.frame, frame, &own, &next) {
            return false;
        }
        self.frame.extend_from_slice(payload);
        self.joined = Some((own.layout, own.headers, own.size as u16));
        let pushed = frame[layout.transport + 13] & PSH;
        self.frame[own.layout.transport + 13] |= pushed;
        let ends = pushed != 0 || payload.len() < own.size;
        self.open = (!ends).then_some(Flow { next: next.next, ..own });
        true
    }

    /// Completes the headers of a joined frame and says how to cut it again.
    fn finish(&mut self) -> Offload {
        self.open = None;
        let Some((layout, headers, size)) = self.joined.take() else {
            return Offload { valid: self.valid, ..Offload::default() };
        };
        let frame = &mut self.frame;
        let (ip, at) = (layout.ip, layout.transport);
        let length = frame.len() - ip;
        if layout.v6 {
            set_u16(frame, ip + 4, (length - 40) as u16);
        } else {
            set_u16(frame, ip + 2, length as u16);
            set_u16(frame, ip + 10, 0);
            let sum = checksum::of(&frame[ip..ip + 20]);
            set_u16(frame, ip + 10, sum);
        }
        // A partial checksum: the pseudo header's sum, not inverted (virtio 1.2 §5.1.6.2).
        let pseudo = checksum::pseudo_header(layout.addresses(frame), TCP, frame.len() - at);
        set_u16(frame, at + 16, !checksum::finish(pseudo));
        let cut = if layout.v6 { Cut::Tcp6 } else { Cut::Tcp4 };
        Offload { checksum: Some((at as u16, 16)), valid: false, cut: Some((cut, headers as u16, size)) }
    }
}

impl Flow {
    /// Of a segment with payload, no flags but ACK and PSH, and a right checksum.
    fn start_or_end(frame: &[u8], layout: Layout) -> Option<Flow> {
        let at = layout.transport;
        let headers = at + usize::from(frame.get(at + 12)? >> 4) * 4;
        let flags = frame.get(at + 13)?;
        if headers < at + 20 || headers >= layout.end || flags & !PSH != ACK {
            return None;
        }
        let pseudo = checksum::pseudo_header(layout.addresses(frame), TCP, layout.end - at);
        let right = checksum::finish(checksum::add(pseudo, &frame[at..layout.end])) == 0;
        let header_right = layout.v6 || checksum::of(&frame[layout.ip..layout.ip + 20]) == 0;
        // Ethernet padding would end up in the middle of the stream.
        if !right || !header_right || layout.end != frame.len() {
            return None;
        }
        let sequence = frame[at + 4..].first_chunk().copied().map(u32::from_be_bytes)?;
        let size = layout.end - headers;
        Some(Flow { layout, headers, next: sequence.wrapping_add(size as u32), size })
    }
}

/// Same family, addresses and ports, and same Ethernet header and tags.
fn same_flow(one: &[u8], other: &[u8], a: &Layout, b: &Layout) -> bool {
    a.v6 == b.v6
        && a.ip == b.ip
        && one[..a.ip] == other[..b.ip]
        && a.addresses(one) == b.addresses(other)
        && one.get(a.transport..a.transport + 4) == other.get(b.transport..b.transport + 4)
}

/// Equal in all that cutting would repeat: traffic class, hop limit, fragment bits, ack, window, options.
fn same_headers(one: &[u8], other: &[u8], a: &Flow, b: &Flow) -> bool {
    let same = |range: std::ops::Range<usize>| one.get(range.clone()) == other.get(range);
    let (ip, tcp) = (a.layout.ip, a.layout.transport);
    let network = if a.layout.v6 {
        same(ip..ip + 4) && same(ip + 6..ip + 8)
    } else {
        // The identification counts on or stays, both as a cut would make it.
        let id = |frame| u16_at(frame, ip + 4).unwrap_or_default();
        let parts = (one.len() - a.headers).div_ceil(a.size.max(1)) as u16;
        let dont_fragment = one.get(ip + 6).is_some_and(|b| b & 0x40 != 0);
        same(ip..ip + 2)
            && same(ip + 6..ip + 10)
            && (id(other) == id(one).wrapping_add(parts) || dont_fragment && id(other) == id(one))
    };
    let transport = a.headers == b.headers && same(tcp + 8..tcp + 13) && same(tcp + 14..tcp + 16);
    network && transport && same(tcp + 18..a.headers)
}
