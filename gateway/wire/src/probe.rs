//! The echo inside a session that proves that a path forwards: ICMP echo (RFC 792) between the ends of the session.

use weave_model::ShortId;

use crate::bytes::{set_u16, u16_at};
use crate::checksum;
use crate::tunnel::{TunnelError, check_ipv4, ipv4_header, short_id};

const ICMP: u8 = 1;
const ECHO_REPLY: u8 = 0;
const ECHO: u8 = 8;
/// RFC 1700: the recommended default.
const TTL: u8 = 64;

/// One echo request or its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The peer that sealed it.
    pub sender: ShortId,
    /// The peer that opens it.
    pub receiver: ShortId,
    /// Whether it answers a request.
    pub reply: bool,
    /// Tells the probes of one start of the daemon from those of another.
    pub identifier: u16,
    /// Counts the probes.
    pub sequence: u16,
}

impl Probe {
    /// Bytes of the shortest probe: IPv4 and ICMP headers.
    pub const LENGTH: usize = 28;

    /// Fills `packet` with a probe of exactly its length; what follows the headers is zero.
    ///
    /// Returns `false`, having written nothing, when it is shorter than 28 or longer than 65,535 bytes.
    #[must_use]
    pub fn write(&self, packet: &mut [u8]) -> bool {
        let Ok(length) = u16::try_from(packet.len()) else { return false };
        if packet.len() < Self::LENGTH {
            return false;
        }
        packet.fill(0);
        ipv4_header(packet, length, self.sequence, TTL, ICMP, (self.sender, self.receiver));
        packet[20] = if self.reply { ECHO_REPLY } else { ECHO };
        set_u16(packet, 24, self.identifier);
        set_u16(packet, 26, self.sequence);
        let sum = checksum::of(&packet[20..]);
        set_u16(packet, 22, sum);
        true
    }

    /// Checks what came out of a session.
    pub fn parse(packet: &[u8]) -> Result<Probe, TunnelError> {
        let (header, length) = check_ipv4(packet, ICMP)?;
        let icmp = packet.get(20..length).filter(|i| i.len() >= 8).ok_or(TunnelError::Truncated)?;
        if checksum::of(icmp) != 0 {
            return Err(TunnelError::BadChecksum);
        }
        let reply = match icmp[..2] {
            [ECHO, 0] => false,
            [ECHO_REPLY, 0] => true,
            _ => return Err(TunnelError::NotAFrame),
        };
        Ok(Probe {
            sender: short_id(&header[12..16])?,
            receiver: short_id(&header[16..20])?,
            reply,
            identifier: u16_at(icmp, 4).unwrap_or_default(),
            sequence: u16_at(icmp, 6).unwrap_or_default(),
        })
    }
}
