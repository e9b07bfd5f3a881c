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

/// The 12-bit number of a peer inside one network: 0..=0xffe.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortId(u16);

impl ShortId {
    /// How many peers can be told apart.
    pub const COUNT: usize = 0xfff;

    /// Takes a peer's number; `None` when it is not 0..=0xffe.
    pub const fn new(number: u16) -> Option<ShortId> {
        if (number as usize) < ShortId::COUNT { Some(ShortId(number)) } else { None }
    }

    /// The number, 0..=0xffe.
    pub const fn number(self) -> u16 {
        self.0
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

/// Where a frame leaves the overlay: at one peer, or at every peer along a broadcast tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Egress {
    /// This peer alone.
    Peer(ShortId),
    /// Everybody; `0xfff` on the wire.
    Everybody,
}

impl Egress {
    /// Takes the low 12 bits as they came off the wire.
    pub const fn from_wire(bits: u16) -> Egress {
        match ShortId::new(bits & 0xfff) {
            Some(peer) => Egress::Peer(peer),
            None => Egress::Everybody,
        }
    }

    /// The 12 bits as they go on the wire.
    pub const fn to_wire(self) -> u16 {
        match self {
            Egress::Peer(peer) => peer.number(),
            Egress::Everybody => 0xfff,
        }
    }
}
