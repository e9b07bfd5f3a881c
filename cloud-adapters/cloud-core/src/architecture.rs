//! The kinds of processors that hosts may have.

use std::fmt;
use std::str::FromStr;

use crate::error::ProviderError;

/// The processor that a gateway's program is made for, and so the one of its host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Architecture {
    /// Intel and AMD, `x86_64`.
    #[default]
    X86_64,
    /// Arm, `arm64`: Graviton at AWS, Axion and Ampere at Google.
    Arm64,
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Architecture::X86_64 => "x86_64",
            Architecture::Arm64 => "arm64",
        })
    }
}

impl FromStr for Architecture {
    type Err = ProviderError;

    fn from_str(text: &str) -> Result<Architecture, ProviderError> {
        match text {
            "x86_64" => Ok(Architecture::X86_64),
            "arm64" => Ok(Architecture::Arm64),
            other => Err(ProviderError::Invalid(format!("architecture {other:?}: want x86_64 or arm64"))),
        }
    }
}
