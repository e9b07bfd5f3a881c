//! A block of addresses, as `10.1.0.0/24`.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The addresses of a LAN. The first that a host could have is its router's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Range {
    network: Ipv4Addr,
    length: u8,
}

impl Range {
    /// The block that begins at `network`, of which the first `length` bits are common to all addresses.
    pub(crate) const fn new(network: Ipv4Addr, length: u8) -> Range {
        Range { network, length }
    }

    /// How many bits are common to all addresses.
    pub fn length(&self) -> u8 {
        self.length
    }

    /// The address of the LAN's router.
    pub fn router(&self) -> Ipv4Addr {
        self.nth(1)
    }

    /// The address so many behind the block's own.
    pub(crate) fn nth(&self, number: u8) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits() + u32::from(number))
    }

    /// Whether a host can have this address: it is in the block and neither its first, its last nor the router's.
    pub fn suits(&self, address: Ipv4Addr) -> bool {
        let host_bits = u32::MAX.checked_shr(u32::from(self.length)).unwrap_or_default();
        let (own, within) = (address.to_bits() & !host_bits, address.to_bits() & host_bits);
        own == self.network.to_bits() && within > 1 && within < host_bits
    }
}

impl FromStr for Range {
    type Err = Error;

    fn from_str(text: &str) -> Result<Range, Error> {
        let parse = || {
            let (network, length) = text.split_once('/')?;
            let (network, length) = (network.parse::<Ipv4Addr>().ok()?, length.parse::<u8>().ok()?);
            // Room for the hosts that are numbered, and no more than one of the private blocks of RFC 1918.
            let whole = (8..=24).contains(&length) && network.to_bits() << length == 0;
            whole.then_some(Range { network, length })
        };
        parse().ok_or_else(|| {
            Error::Invalid(format!("`{text}` is no block of addresses such as 10.1.0.0/24, /8 to /24"))
        })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.length)
    }
}

impl From<Range> for String {
    fn from(range: Range) -> String {
        range.to_string()
    }
}

impl TryFrom<String> for Range {
    type Error = Error;

    fn try_from(text: String) -> Result<Range, Error> {
        text.parse()
    }
}
