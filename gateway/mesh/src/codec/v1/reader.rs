//! Reading fields off bytes that a stranger may have written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use weave_model::PeerName;

/// What is left to read; every method gives `None` when it does not suffice or says the impossible.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn peer(&mut self) -> Option<PeerName> {
        self.array().map(PeerName::new)
    }

    /// A short text without control characters: it is shown on terminals.
    pub(super) fn text(&mut self, longest: usize) -> Option<String> {
        let length = self.u8()?;
        let text = std::str::from_utf8(self.take(length.into())?).ok()?;
        let fine = text.len() <= longest && !text.chars().any(char::is_control);
        fine.then(|| text.to_owned())
    }

    pub(super) fn endpoint(&mut self) -> Option<SocketAddr> {
        let ip = match self.u8()? {
            4 => IpAddr::from(Ipv4Addr::from(self.array::<4>()?)),
            6 => IpAddr::from(Ipv6Addr::from(self.array::<16>()?)),
            _ => return None,
        };
        Some(SocketAddr::new(ip, self.u16()?))
    }
}
