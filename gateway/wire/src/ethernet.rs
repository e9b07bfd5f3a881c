//! A checked view of an Ethernet frame.

use weave_model::Mac;

use crate::bytes::u16_at;

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EthernetError {
    /// Shorter than its header and tags.
    Truncated,
    /// A group address as the source (IEEE 802.3 §3.2.3).
    GroupSource,
}

/// A frame whose header and VLAN tags are complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    bytes: &'a [u8],
    ethertype: u16,
    payload: usize,
}

/// 802.1Q, 802.1ad and the older QinQ tag.
const TAGS: [u16; 3] = [0x8100, 0x88a8, 0x9100];
/// Deeper stacks are passed on, but not looked into.
const MAX_TAGS: usize = 2;

impl<'a> Frame<'a> {
    /// Bytes of an untagged header.
    pub const HEADER: usize = 14;

    /// Checks a frame.
    pub fn new(bytes: &'a [u8]) -> Result<Frame<'a>, EthernetError> {
        let (mut at, mut tags) = (12, 0);
        let mut ethertype = u16_at(bytes, at).ok_or(EthernetError::Truncated)?;
        while TAGS.contains(&ethertype) && tags < MAX_TAGS {
            at += 4;
            tags += 1;
            ethertype = u16_at(bytes, at).ok_or(EthernetError::Truncated)?;
        }
        let frame = Frame { bytes, ethertype, payload: at + 2 };
        if frame.source().is_multicast() { Err(EthernetError::GroupSource) } else { Ok(frame) }
    }

    /// Who it is for.
    pub fn destination(&self) -> Mac {
        self.mac(0)
    }

    /// Who sent it.
    pub fn source(&self) -> Mac {
        self.mac(6)
    }

    /// The type behind any VLAN tags.
    pub fn ethertype(&self) -> u16 {
        self.ethertype
    }

    /// Where the payload begins.
    pub fn payload_offset(&self) -> usize {
        self.payload
    }

    /// What follows the header and tags.
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(self.payload..).unwrap_or_default()
    }

    fn mac(&self, at: usize) -> Mac {
        let octets = self.bytes.get(at..).and_then(|b| b.first_chunk().copied());
        Mac(octets.expect("the constructor has checked the header"))
    }
}
