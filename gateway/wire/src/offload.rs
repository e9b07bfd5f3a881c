//! What the kernel says about a frame that it left to be cut or summed: `struct virtio_net_hdr_v1`.

use crate::bytes::u16_at;
use crate::ethernet::Frame;

const NEEDS_CHECKSUM: u8 = 1;
const CHECKSUM_VALID: u8 = 2;

/// How a frame is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP datagrams over either family.
    Udp,
}

/// The header in front of every frame on a TAP device with IFF_VNET_HDR (virtio 1.2 §5.1.6, little endian).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// Where a checksum has to be completed: start of its range, and of its field behind that.
    pub checksum: Option<(u16, u16)>,
    /// Whether the checksum inside is known to be right.
    pub valid: bool,
    /// Bytes of headers, and of payload in each segment, of a frame to be cut.
    pub cut: Option<(Cut, u16, u16)>,
}

impl Offload {
    /// Bytes of the header.
    pub const LENGTH: usize = 12;

    /// Reads the header; `None` for kinds that were not asked for from the kernel.
    pub fn parse(bytes: &[u8; Self::LENGTH]) -> Option<Offload> {
        let [flags, kind, h0, h1, g0, g1, s0, s1, o0, o1, ..] = *bytes;
        let number = |a, b| u16::from_le_bytes([a, b]);
        // 0x80 only says that congestion marks are in use.
        let cut = match kind & 0x7f {
            0 => None,
            1 => Some(Cut::Tcp4),
            4 => Some(Cut::Tcp6),
            5 => Some(Cut::Udp),
            _ => return None,
        };
        Some(Offload {
            checksum: (flags & NEEDS_CHECKSUM != 0).then(|| (number(s0, s1), number(o0, o1))),
            valid: flags & CHECKSUM_VALID != 0,
            cut: cut.map(|cut| (cut, number(h0, h1), number(g0, g1))),
        })
    }

    /// Writes the header.
    pub fn to_bytes(self) -> [u8; Self::LENGTH] {
        let (start, field) = self.checksum.unwrap_or_default();
        let flags = if self.checksum.is_some() { NEEDS_CHECKSUM } else { 0 }
            | if self.valid { CHECKSUM_VALID } else { 0 };
        let (kind, headers, size) = match self.cut {
            None => (0, 0, 0),
            Some((Cut::Tcp4, headers, size)) => (1, headers, size),
            Some((Cut::Tcp6, headers, size)) => (4, headers, size),
            Some((Cut::Udp, headers, size)) => (5, headers, size),
        };
        let [h0, h1] = headers.to_le_bytes();
        let [g0, g1] = size.to_le_bytes();
        let [s0, s1] = start.to_le_bytes();
        let [o0, o1] = field.to_le_bytes();
        [flags, kind, h0, h1, g0, g1, s0, s1, o0, o1, 0, 0]
    }
}

/// Where the headers of a whole IP packet of one transport protocol stand in its frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) v6: bool,
    pub(crate) ip: usize,
    pub(crate) transport: usize,
    /// Behind the last byte of the IP packet; Ethernet padding may follow.
    pub(crate) end: usize,
}

impl Layout {
    /// Finds the headers; `None` for fragments, IP options, extension headers and other protocols.
    pub(crate) fn of(frame: &[u8], protocol: u8) -> Option<Layout> {
        let view = Frame::new(frame).ok()?;
        let (ip, packet) = (view.payload_offset(), view.payload());
        let (v6, header, length) = match (view.ethertype(), packet.first()?) {
            (0x0800, 0x45) if *packet.get(9)? == protocol && u16_at(packet, 6)? & 0x3fff == 0 => {
                (false, 20, usize::from(u16_at(packet, 2)?))
            }
            (0x86dd, first) if first >> 4 == 6 && *packet.get(6)? == protocol => {
                (true, 40, usize::from(u16_at(packet, 4)?) + 40)
            }
            _ => return None,
        };
        (length >= header && length <= packet.len()).then_some(Layout {
            v6,
            ip,
            transport: ip + header,
            end: ip + length,
        })
    }

    /// The two addresses as they stand in the packet.
    pub(crate) fn addresses<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        let (start, length) = if self.v6 { (self.ip + 8, 32) } else { (self.ip + 12, 8) };
        frame.get(start..start + length).unwrap_or_default()
    }
}
