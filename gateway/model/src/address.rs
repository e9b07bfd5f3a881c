//! Addresses as operators write them, interface addresses and peer targets, and as tables hold them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::str::FromStr;

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No `/length` where one is needed.
    #[error("'{0}' has no prefix length; write it as in 10.2.1.1/24")]
    NoPrefix(String),
    /// The part before the slash is no IP address.
    #[error("'{0}' is not an IP address")]
    NotAnAddress(String),
    /// The prefix length is no number or too long for the family.
    #[error("'{text}' is not a prefix length from 0 to {max}")]
    BadPrefix {
        /// What stood behind the slash.
        text: String,
        /// 32 for IPv4, 128 for IPv6.
        max: u8,
    },
    /// A port that is no number from 1 to 65535.
    #[error("'{0}' is not a port from 1 to 65535")]
    BadPort(String),
    /// Nothing that could be a host.
    #[error("'{0}' is not a host name or an IP address")]
    BadHost(String),
}

/// An interface address with its prefix length; host bits are allowed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// Takes an address and a prefix length of at most 32 or 128.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Cidr> {
        (prefix <= width(address)).then_some(Cidr { address, prefix })
    }

    /// The address, host bits included.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// The prefix length, 0..=32 or 0..=128.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The same prefix with all host bits clear.
    pub fn network(self) -> Cidr {
        let address = match self.address {
            IpAddr::V4(a) => IpAddr::V4(Ipv4Addr::from(
                u32::from(a) & u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0),
            )),
            IpAddr::V6(a) => IpAddr::V6(Ipv6Addr::from(
                u128::from(a) & u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0),
            )),
        };
        Cidr { address, prefix: self.prefix }
    }

    /// Whether `address` lies inside this prefix.
    pub fn contains(self, address: IpAddr) -> bool {
        Cidr::new(address, self.prefix)
            .is_some_and(|c| width(address) == width(self.address) && c.network() == self.network())
    }

    /// Whether the two prefixes share an address.
    pub fn overlaps(self, other: Cidr) -> bool {
        self.contains(other.network().address) || other.contains(self.network().address)
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl fmt::Debug for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Cidr {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Cidr, AddressError> {
        let (address, prefix) =
            text.split_once('/').ok_or_else(|| AddressError::NoPrefix(text.to_owned()))?;
        let address: IpAddr = address.parse().map_err(|_| AddressError::NotAnAddress(address.to_owned()))?;
        let max = width(address);
        prefix
            .parse()
            .ok()
            .filter(|_| prefix.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|p| Cidr::new(address, p))
            .ok_or_else(|| AddressError::BadPrefix { text: prefix.to_owned(), max })
    }
}

/// A peer to connect to, as the operator wrote it: `<ip or name>[:<port>]`.
///
/// IPv6 addresses with a port are written in brackets (RFC 3986 §3.2.2).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    text: String,
    host: String,
    port: Option<u16>,
}

impl Target {
    /// The text the operator wrote.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host name or IP address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, when one was given.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The socket address, when the host is an IP address and not a name.
    pub fn socket_address(&self, default_port: u16) -> Option<SocketAddr> {
        let address = self.host.parse().ok()?;
        Some(SocketAddr::new(address, self.port.unwrap_or(default_port)))
    }
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Target {
        Target { text: address.to_string(), host: address.ip().to_string(), port: Some(address.port()) }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Target {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Target, AddressError> {
        let bad_host = || AddressError::BadHost(text.to_owned());
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or_else(bad_host)?;
            host.parse::<Ipv6Addr>().map_err(|_| bad_host())?;
            match rest {
                "" => (host, None),
                _ => (host, Some(rest.strip_prefix(':').ok_or_else(bad_host)?)),
            }
        } else if text.parse::<Ipv6Addr>().is_ok() {
            (text, None)
        } else {
            match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        let port = port
            .map(|p| {
                p.parse().ok().filter(|&n: &u16| n != 0).ok_or_else(|| AddressError::BadPort(p.to_owned()))
            })
            .transpose()?;
        let numeric = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let valid = if host.contains(':') {
            true
        } else if numeric {
            host.parse::<Ipv4Addr>().is_ok()
        } else {
            is_host_name(host)
        };
        if !valid {
            return Err(bad_host());
        }
        Ok(Target { text: text.to_owned(), host: host.to_owned(), port })
    }
}

/// The one spelling of an address that tables hold: IPv4 as IPv4, and without the flow label, which is no part of who it is.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => address,
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::from((v4, v6.port())),
            None => SocketAddr::V6(SocketAddrV6::new(*v6.ip(), v6.port(), 0, v6.scope_id())),
        },
    }
}

/// RFC 1123 §2.1: labels of letters, digits and inner hyphens, 253 octets at most.
fn is_host_name(host: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    host.len() <= 253 && host.strip_suffix('.').unwrap_or(host).split('.').all(label)
}
