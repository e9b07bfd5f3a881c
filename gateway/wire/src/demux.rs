//! Telling the datagrams of the one UDP port apart by their first bytes.

/// What a datagram on the shared port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A WireGuard message: handshake initiation, response, cookie or data.
    WireGuard,
    /// A connectivity check (RFC 8489).
    Stun,
    /// Link control.
    Quic,
    /// A relay envelope.
    Envelope,
    /// The AES-GCM suite.
    Esp,
    /// Nothing of ours.
    Unknown,
}

/// RFC 8489 §5.
const STUN_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// Classifies one datagram; the checks stand in the order of `docs/wire.md`.
pub fn classify(datagram: &[u8]) -> Kind {
    let Some(&first) = datagram.first() else { return Kind::Unknown };
    match (first, datagram.get(1..4)) {
        (1..=4, Some([0, 0, 0])) => Kind::WireGuard,
        // RFC 8489 §5 clears the two highest bits; the types in use are binding requests and their answers.
        _ if first <= 1 && datagram.get(4..8) == Some(&STUN_COOKIE) => Kind::Stun,
        // The fixed bit of every QUIC version 1 packet (RFC 9000 §17).
        _ if first & 0x40 != 0 => Kind::Quic,
        (0x11, _) => Kind::Envelope,
        (0x20..=0x2f, _) => Kind::Esp,
        _ => Kind::Unknown,
    }
}
