//! 48-bit Ethernet addresses.

use std::fmt;
use std::str::FromStr;

/// A 48-bit Ethernet address (IEEE 802-2014 §8.2).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The broadcast address, `ff:ff:ff:ff:ff:ff`.
    pub const BROADCAST: Mac = Mac([0xff; 6]);

    /// Whether the group bit is set; the broadcast address is a group address too.
    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// The address as a number below 2^48, for compact tables.
    pub fn to_u64(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    /// Takes the low 48 bits of `value`.
    pub fn from_u64(value: u64) -> Mac {
        let [_, _, a, b, c, d, e, f] = value.to_be_bytes();
        Mac([a, b, c, d, e, f])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Why a text is not a MAC address or peer name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not six hexadecimal octets separated by colons, such as 7a:9f:eb:b6:0c:6e")]
pub struct MacError {
    text: String,
}

impl FromStr for Mac {
    type Err = MacError;

    /// Parses six octets, or fewer with one `::` that stands for a run of zero octets.
    fn from_str(text: &str) -> Result<Mac, MacError> {
        parse(text).map(Mac).ok_or_else(|| MacError { text: text.to_owned() })
    }
}

fn parse(text: &str) -> Option<[u8; 6]> {
    let mut octets = [0u8; 6];
    let Some((head, tail)) = text.split_once("::") else {
        return (fill(text, &mut octets)? == 6).then_some(octets);
    };
    let mut end = [0u8; 6];
    let before = fill(head, &mut octets)?;
    let after = fill(tail, &mut end)?;
    if before + after > 5 {
        return None;
    }
    octets[6 - after..].copy_from_slice(&end[..after]);
    Some(octets)
}

fn fill(text: &str, octets: &mut [u8; 6]) -> Option<usize> {
    if text.is_empty() {
        return Some(0);
    }
    let mut count = 0;
    for part in text.split(':') {
        let plain = (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_hexdigit());
        *octets.get_mut(count).filter(|_| plain)? = u8::from_str_radix(part, 16).ok()?;
        count += 1;
    }
    Some(count)
}
