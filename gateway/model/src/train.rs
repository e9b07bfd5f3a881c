//! Datagrams of the shared port on their way from the socket's reader to who understands them.

use std::net::{IpAddr, SocketAddr};

/// Consecutive datagrams of one sender, as the kernel's receive offload joined them; borrowed from the reader's buffer.
#[derive(Clone, Copy, Debug)]
pub struct Train<'a> {
    /// Who sent them.
    pub from: SocketAddr,
    /// The local address they were sent to, where the kernel told.
    pub to: Option<IpAddr>,
    /// The two ECN bits of the IP header (RFC 3168 §5).
    pub ecn: u8,
    /// Bytes of every datagram but the last, which may be shorter; at least 1.
    pub stride: usize,
    /// Whether they came from the address of a neighbour. Anybody can write one: it decides who waits, not who is let in.
    pub known: bool,
    /// The datagrams, back to back.
    pub bytes: &'a [u8],
}

impl<'a> Train<'a> {
    /// The datagrams one by one.
    pub fn datagrams(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.bytes.chunks(self.stride.max(1))
    }
}
