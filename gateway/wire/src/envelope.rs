//! The relay envelope: twelve bytes in front of a sealed message that is for somebody else.
//!
//! ```text
//!   0      1               2 3 4                  5      6 … 11
//!   0x11 | epoch(2) ttl(6) | dst(12 bit) src(12) | lane | MAC (48 bit)
//! ```
//!
//! The MAC is the first 48 bits of SipHash-2-4 under the key of the link the envelope travels on, over bytes 0..6,
//! at most 64 bytes of the message and its length. It proves that a neighbour sent it; what is inside proves itself.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher24;
use weave_model::ShortId;

/// The largest ttl; more relays in a row are a loop.
pub const MAX_HOPS: u8 = 63;

const TYPE: u8 = 0x11;
/// Covers every WireGuard header and the start of its ciphertext; the rest is authenticated end to end.
const COVERED: usize = 64;

/// Why an envelope was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvelopeError {
    /// Shorter than an envelope with a message.
    Truncated,
    /// Another first byte.
    NotAnEnvelope,
    /// Everybody as source or destination: envelopes travel from one peer to one other.
    NotAPeer,
    /// The MAC is not that of the link.
    BadMac,
}

/// The fields of an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Tells the keys of a link from those of the link it replaces, 0..=3 ([`weave_model::RelayKeys::epoch`]).
    pub epoch: u8,
    /// Relays it may still pass.
    pub ttl: u8,
    /// The peer the message is for.
    pub to: ShortId,
    /// The peer that sealed the message.
    pub from: ShortId,
    /// Which of several UDP flows of a path it belongs to.
    pub lane: u8,
}

impl Envelope {
    /// Bytes in front of the message.
    pub const LENGTH: usize = 12;

    /// Checks an envelope under `key` and returns it with the message inside.
    pub fn open<'a>(datagram: &'a [u8], key: &[u8; 16]) -> Result<(Envelope, &'a [u8]), EnvelopeError> {
        let Some((head, message)) = datagram.split_first_chunk::<{ Self::LENGTH }>() else {
            return Err(EnvelopeError::Truncated);
        };
        if message.is_empty() {
            return Err(EnvelopeError::Truncated);
        }
        let [kind, ttl, d, ds, s, lane, found @ ..] = *head;
        if kind != TYPE {
            return Err(EnvelopeError::NotAnEnvelope);
        }
        if !equal(&found, &mac(&head[..6], message, key)) {
            return Err(EnvelopeError::BadMac);
        }
        let to = ShortId::new(u16::from(d) << 4 | u16::from(ds) >> 4).ok_or(EnvelopeError::NotAPeer)?;
        let from = ShortId::new(u16::from(ds & 0xf) << 8 | u16::from(s)).ok_or(EnvelopeError::NotAPeer)?;
        Ok((Envelope { epoch: ttl >> 6, ttl: ttl & MAX_HOPS, to, from, lane }, message))
    }

    /// The epoch that a datagram claims, for finding the key to [`Envelope::open`] it with.
    pub fn peek_epoch(datagram: &[u8]) -> Option<u8> {
        datagram.get(1).map(|octet| octet >> 6)
    }

    /// The ttl to start with on a path over `relays` relays: a few more than needed, because routes may change on the way.
    pub fn first_ttl(relays: usize) -> u8 {
        u8::try_from(relays.saturating_add(4)).map_or(MAX_HOPS, |ttl| ttl.min(MAX_HOPS))
    }

    /// Writes the envelope of the message that stands at `datagram[12..]`.
    ///
    /// Returns `false`, having written nothing, when there is no room or no message.
    #[must_use]
    pub fn seal(&self, datagram: &mut [u8], key: &[u8; 16]) -> bool {
        let Some((head, message)) = datagram.split_first_chunk_mut::<{ Self::LENGTH }>() else {
            return false;
        };
        if message.is_empty() {
            return false;
        }
        let (to, from) = (self.to.number(), self.from.number());
        let fields = [
            TYPE,
            self.epoch << 6 | self.ttl.min(MAX_HOPS),
            (to >> 4) as u8,
            (to << 4) as u8 | (from >> 8) as u8,
            from as u8,
            self.lane,
        ];
        head[..6].copy_from_slice(&fields);
        let tag = mac(&fields, message, key);
        head[6..].copy_from_slice(&tag);
        true
    }
}

fn mac(fields: &[u8], message: &[u8], key: &[u8; 16]) -> [u8; 6] {
    let mut hasher = SipHasher24::new_with_key(key);
    hasher.write(fields);
    hasher.write(&message[..message.len().min(COVERED)]);
    // A UDP payload is shorter than 2^16.
    hasher.write(&(message.len() as u16).to_be_bytes());
    let [a, b, c, d, e, f, ..] = hasher.finish().to_be_bytes();
    [a, b, c, d, e, f]
}

/// Compares in constant time, so that a MAC cannot be guessed byte by byte.
fn equal(one: &[u8; 6], other: &[u8; 6]) -> bool {
    one.iter().zip(other).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}
