//! The packet inside a session: IPv4 / UDP / VXLAN (RFC 7348) in front of an Ethernet frame.
//!
//! The IPv4 addresses name the two ends of *this* session, the VNI names the overlay's ingress and egress peer;
//! on a broadcast tree the two differ from each other.

use std::net::Ipv4Addr;

use weave_model::ShortId;

use crate::bytes::{set_u16, u16_at};
use crate::checksum;

/// Addresses of sessions' ends: 100.127.0.0/20 of the shared address space (RFC 6598), plus the short id.
const BASE: u32 = u32::from_be_bytes([100, 127, 0, 0]);
const PORT: u16 = 6784;
const UDP: u8 = 17;
/// RFC 7348 §5: the flag that says the VNI is valid.
const VNI_VALID: u8 = 0x08;

/// Why the content of a session is no frame for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelError {
    /// Shorter than its headers.
    Truncated,
    /// Another protocol, port or length than a frame's.
    NotAFrame,
    /// The header checksum is wrong.
    BadChecksum,
    /// An address outside the sessions' range.
    ForeignAddress,
    /// A part of a packet: it goes to reassembly first.
    Fragment,
}

/// The header fields of a packet inside a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner {
    /// The peer that sealed the packet.
    pub sender: ShortId,
    /// The peer that opens it.
    pub receiver: ShortId,
    /// The peer where the frame entered the overlay.
    pub ingress: ShortId,
    /// The peer where it leaves, or everybody.
    pub egress: ShortId,
    /// Overlay hops it may still make; bounds a tree that is being rebuilt.
    pub ttl: u8,
}

impl Inner {
    /// Bytes in front of the frame.
    pub const LENGTH: usize = 36;

    /// Writes the headers of the frame that stands at `packet[36..]`; `flow` spreads flows over source ports.
    ///
    /// Returns `false`, having written nothing, when there is no room or the packet is longer than 65,535 bytes.
    #[must_use]
    pub fn write(&self, packet: &mut [u8], flow: u16) -> bool {
        let Ok(length) = u16::try_from(packet.len()) else { return false };
        let Some(header) = packet.first_chunk_mut::<{ Self::LENGTH }>() else { return false };
        header.fill(0);
        header[0] = 0x45;
        set_u16(header, 2, length);
        header[8] = self.ttl;
        header[9] = UDP;
        header[12..16].copy_from_slice(&address(self.sender).octets());
        header[16..20].copy_from_slice(&address(self.receiver).octets());
        let sum = checksum::of(&header[..20]);
        set_u16(header, 10, sum);
        // RFC 7348 §5: source ports from the dynamic range; the UDP checksum is zero on IPv4.
        set_u16(header, 20, 0xc000 | flow & 0x3fff);
        set_u16(header, 22, PORT);
        set_u16(header, 24, length - 20);
        header[28] = VNI_VALID;
        let vni = u32::from(self.egress.number()) << 12 | u32::from(self.ingress.number());
        header[32..36].copy_from_slice(&(vni << 8).to_be_bytes());
        true
    }

    /// Checks what came out of a session and returns it with the frame inside.
    pub fn parse(packet: &[u8]) -> Result<(Inner, &[u8]), TunnelError> {
        let header = packet.first_chunk::<{ Self::LENGTH }>().ok_or(TunnelError::Truncated)?;
        let word = |at| u16_at(header, at).unwrap_or_default();
        let length = usize::from(word(2));
        if header[0] != 0x45 || header[9] != UDP {
            return Err(TunnelError::NotAFrame);
        }
        if checksum::of(&header[..20]) != 0 {
            return Err(TunnelError::BadChecksum);
        }
        if word(6) & 0x3fff != 0 {
            return Err(TunnelError::Fragment);
        }
        let frame = packet.get(Self::LENGTH..length).ok_or(TunnelError::Truncated)?;
        if word(22) != PORT || usize::from(word(24)) + 20 != length || header[28] != VNI_VALID {
            return Err(TunnelError::NotAFrame);
        }
        let [a, b, c] = [header[32], header[33], header[34]].map(u16::from);
        let inner = Inner {
            sender: short_id(&header[12..16])?,
            receiver: short_id(&header[16..20])?,
            ingress: ShortId::from_wire((b & 0xf) << 8 | c),
            egress: ShortId::from_wire(a << 4 | b >> 4),
            ttl: header[8],
        };
        Ok((inner, frame))
    }
}

fn address(id: ShortId) -> Ipv4Addr {
    Ipv4Addr::from(BASE | u32::from(id.number()))
}

fn short_id(octets: &[u8]) -> Result<ShortId, TunnelError> {
    let octets = octets.first_chunk().copied().ok_or(TunnelError::Truncated)?;
    let number = u32::from_be_bytes(octets).checked_sub(BASE).and_then(|n| u16::try_from(n).ok());
    number.and_then(ShortId::new).ok_or(TunnelError::ForeignAddress)
}
