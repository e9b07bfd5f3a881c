//! Two kinds of bad input: what a neighbour does wrong itself, and what it innocently passes on.

/// The other end of a link misbehaves or may not have one; the link is to be closed, nothing else changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The bytes end too early, go on too long or hold an impossible value.
    #[error("the message is malformed")]
    Malformed,
    /// The neighbour speaks no version that we do, or did not say which.
    #[error("no common version of the messages: upgrade the older peer")]
    Version,
    /// The certificate is not of this network.
    #[error("the certificate is not of this network: password or CA differ")]
    Certificate,
    /// The certificate of this name was replaced by another.
    #[error("a later certificate of this peer's name is known: issue this peer a new one")]
    Outdated,
    /// The other end holds our own certificate.
    #[error("the other end is this peer itself")]
    OneSelf,
    /// As many peers as there are short ids are known already.
    #[error("too many peers")]
    Full,
    /// As many links as wanted are up.
    #[error("the connection limit is reached")]
    Limit,
    /// This peer leaves the network.
    #[error("the peer leaves the network")]
    Leaving,
}

/// Something forwarded that is of no use; it is counted, and the link it came over is not to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadContent {
    /// A kind of message of a later version.
    UnknownKind,
    /// A record that cannot be read.
    Malformed,
    /// A certificate that is not of this network.
    Certificate,
    /// A record that came before its peer's certificate.
    NoCertificate,
    /// A record that its peer did not sign.
    Signature,
    /// A peer beyond the number of peers that can be told apart.
    Full,
}

/// How much was received that was of no use, by what was wrong with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Kinds of messages of a later version.
    pub unknown_kinds: u64,
    /// Records that cannot be read.
    pub malformed_records: u64,
    /// Certificates that are not of this network.
    pub foreign_certificates: u64,
    /// Records that came before their peer's certificate.
    pub records_without_certificate: u64,
    /// Records that their peer did not sign.
    pub bad_signatures: u64,
    /// Peers beyond the number of peers that can be told apart.
    pub peers_beyond_limit: u64,
}

impl Counters {
    pub(crate) fn count(&mut self, bad: BadContent) {
        *match bad {
            BadContent::UnknownKind => &mut self.unknown_kinds,
            BadContent::Malformed => &mut self.malformed_records,
            BadContent::Certificate => &mut self.foreign_certificates,
            BadContent::NoCertificate => &mut self.records_without_certificate,
            BadContent::Signature => &mut self.bad_signatures,
            BadContent::Full => &mut self.peers_beyond_limit,
        } += 1;
    }
}
