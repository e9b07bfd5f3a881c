//! The packet inside a session: IPv4 / UDP / VXLAN (RFC 7348) in front of an Ethernet frame.
//!
//! The IPv4 addresses name the two ends of *this* session, the VNI names the overlay's ingress and egress peer;
//! on a broadcast tree the two differ from each other.

use std::net::Ipv4Addr;

use weave_model::{Egress, ShortId};

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
    /// An address outside the sessions' range, or everybody as the ingress.
    ForeignAddress,
    /// A part of a packet: it goes to [`crate::Reassembly`] first.
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
    /// Where it leaves.
    pub egress: Egress,
    /// Overlay hops it may still make; bounds a tree that is being rebuilt.
    pub ttl: u8,
}

impl Inner {
    /// Bytes in front of the frame.
    pub const LENGTH: usize = 36;

    /// Writes the headers of the frame that stands at `packet[36..]`.
    ///
    /// `flow` spreads flows over source ports. `identification` comes from a counter of the session, so that the
    /// fragments of two packets in flight are told apart (RFC 791 §3.2).
    ///
    /// Returns `false`, having written nothing, when there is no room or the packet is longer than 65,535 bytes.
    #[must_use]
    pub fn write(&self, packet: &mut [u8], flow: u16, identification: u16) -> bool {
        let Ok(length) = u16::try_from(packet.len()) else { return false };
        let Some(header) = packet.first_chunk_mut::<{ Self::LENGTH }>() else { return false };
        header.fill(0);
        let ends = (self.sender, self.receiver);
        ipv4_header(header, length, identification, self.ttl, UDP, ends);
        // RFC 7348 §5: source ports from the dynamic range; the UDP checksum is zero on IPv4.
        set_u16(header, 20, 0xc000 | flow & 0x3fff);
        set_u16(header, 22, PORT);
        set_u16(header, 24, length - 20);
        header[28] = VNI_VALID;
        let vni = u32::from(self.egress.to_wire()) << 12 | u32::from(self.ingress.number());
        header[32..36].copy_from_slice(&(vni << 8).to_be_bytes());
        true
    }

    /// Checks what came out of a session and returns it with the frame inside.
    pub fn parse(packet: &[u8]) -> Result<(Inner, &[u8]), TunnelError> {
        let (header, length) = check_ipv4(packet, UDP)?;
        let vxlan = packet.first_chunk::<{ Self::LENGTH }>().ok_or(TunnelError::Truncated)?;
        let word = |at| u16_at(vxlan, at).unwrap_or_default();
        let frame = packet.get(Self::LENGTH..length).ok_or(TunnelError::Truncated)?;
        if word(22) != PORT || usize::from(word(24)) + 20 != length || vxlan[28] != VNI_VALID {
            return Err(TunnelError::NotAFrame);
        }
        let [a, b, c] = [vxlan[32], vxlan[33], vxlan[34]].map(u16::from);
        let inner = Inner {
            sender: short_id(&header[12..16])?,
            receiver: short_id(&header[16..20])?,
            ingress: ShortId::new((b & 0xf) << 8 | c).ok_or(TunnelError::ForeignAddress)?,
            egress: Egress::from_wire(a << 4 | b >> 4),
            ttl: header[8],
        };
        Ok((inner, frame))
    }
}

/// Writes an IPv4 header without options between the ends of a session.
pub(crate) fn ipv4_header(
    packet: &mut [u8],
    length: u16,
    identification: u16,
    ttl: u8,
    protocol: u8,
    (sender, receiver): (ShortId, ShortId),
) {
    packet[0] = 0x45;
    set_u16(packet, 2, length);
    set_u16(packet, 4, identification);
    packet[8] = ttl;
    packet[9] = protocol;
    packet[12..16].copy_from_slice(&address(sender).octets());
    packet[16..20].copy_from_slice(&address(receiver).octets());
    let sum = checksum::of(&packet[..20]);
    set_u16(packet, 10, sum);
}

/// Checks the IPv4 header of a whole packet; returns it with the packet's length.
pub(crate) fn check_ipv4(packet: &[u8], protocol: u8) -> Result<(&[u8; 20], usize), TunnelError> {
    let header = packet.first_chunk::<20>().ok_or(TunnelError::Truncated)?;
    if header[0] != 0x45 {
        return Err(TunnelError::NotAFrame);
    }
    if checksum::of(header) != 0 {
        return Err(TunnelError::BadChecksum);
    }
    // The fragment offset and the flag that says more follow (RFC 791 §3.1).
    if u16_at(header, 6).unwrap_or_default() & 0x3fff != 0 {
        return Err(TunnelError::Fragment);
    }
    if header[9] != protocol {
        return Err(TunnelError::NotAFrame);
    }
    Ok((header, usize::from(u16_at(header, 2).unwrap_or_default())))
}

fn address(id: ShortId) -> Ipv4Addr {
    Ipv4Addr::from(BASE | u32::from(id.number()))
}

pub(crate) fn short_id(octets: &[u8]) -> Result<ShortId, TunnelError> {
    let octets = octets.first_chunk().copied().ok_or(TunnelError::Truncated)?;
    let number = u32::from_be_bytes(octets).checked_sub(BASE).and_then(|n| u16::try_from(n).ok());
    number.and_then(ShortId::new).ok_or(TunnelError::ForeignAddress)
}
