//! Who a gateway is: its lasting name and the short id frames carry.

use std::fmt;
use std::str::FromStr;

use crate::mac::{Mac, MacError};

/// The 48-bit name of a peer, written like a MAC address; the bridge carries it as its MAC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerName([u8; 6]);

impl PeerName {
    /// Takes the name from its six octets.
    pub const fn new(octets: [u8; 6]) -> PeerName {
        PeerName(octets)
    }

    /// The six octets of the name.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// The name as an Ethernet address.
    pub const fn to_mac(self) -> Mac {
        Mac(self.0)
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_mac().fmt(f)
    }
}

impl fmt::Debug for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_mac().fmt(f)
    }
}

impl FromStr for PeerName {
    type Err = MacError;

    fn from_str(text: &str) -> Result<PeerName, MacError> {
        Ok(PeerName(text.parse::<Mac>()?.0))
    }
}

/// The 12-bit number of a peer inside one network; `0xfff` is not a peer but "everybody".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortId(u16);

impl ShortId {
    /// How many peers can be told apart: 0..=0xffe.
    pub const COUNT: usize = 0xfff;
    /// The destination of a frame that travels a broadcast tree (`docs/wire.md`).
    pub const BROADCAST: ShortId = ShortId(0xfff);

    /// Takes a peer's number; `None` when it does not fit or is the broadcast number.
    pub const fn new(number: u16) -> Option<ShortId> {
        if (number as usize) < ShortId::COUNT { Some(ShortId(number)) } else { None }
    }

    /// Takes the low 12 bits as they came off the wire, the broadcast number included.
    pub const fn from_wire(bits: u16) -> ShortId {
        ShortId(bits & 0xfff)
    }

    /// The number, 0..=0xfff.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Whether this is the broadcast number.
    pub const fn is_broadcast(self) -> bool {
        self.0 == 0xfff
    }
}

impl fmt::Display for ShortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for ShortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}
