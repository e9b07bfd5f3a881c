//! The name of a network.

use std::fmt;
use std::str::FromStr;

/// Tells networks apart that share hosts or a password: part of every salt, certificate and signature.
///
/// One DNS label: 1 to 63 lower-case letters, digits and inner hyphens (RFC 1123 §2.1).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkName(String);

impl NetworkName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for NetworkName {
    /// `weave`.
    fn default() -> NetworkName {
        NetworkName("weave".to_owned())
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text cannot name a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' cannot name a network: use 1 to 63 lower-case letters, digits and inner hyphens")]
pub struct NetworkNameError(String);

impl FromStr for NetworkName {
    type Err = NetworkNameError;

    fn from_str(text: &str) -> Result<NetworkName, NetworkNameError> {
        let letters = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let valid =
            letters && (1..=63).contains(&text.len()) && !text.starts_with('-') && !text.ends_with('-');
        if valid { Ok(NetworkName(text.to_owned())) } else { Err(NetworkNameError(text.to_owned())) }
    }
}
