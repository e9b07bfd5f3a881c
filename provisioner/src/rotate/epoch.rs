//! Which network CA is in force, and how far a change to the next one is. Pure values; they stand in `fleet.json`.

use serde::{Deserialize, Serialize};

/// The CA epoch of a fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Epoch {
    /// 1 for the CA that the fleet began with; grows when a change is complete.
    pub number: u32,
    /// How far the change to the next CA is; absent while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Phase>,
}

impl Default for Epoch {
    fn default() -> Epoch {
        Epoch { number: 1, change: None }
    }
}

impl Epoch {
    /// Whether nothing was ever changed.
    pub fn is_first(&self) -> bool {
        *self == Epoch::default()
    }
}

/// What the hosts are being given. A phase begins when all hosts have what the one before gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Trust in the next CA, beside the old one.
    Trust,
    /// A certificate of the next CA.
    Issue,
    /// Trust in the next CA alone.
    Drop,
    /// Nothing: all hosts are through, and the old CA's key is destroyed here.
    Forget,
}

impl Phase {
    /// What a host is given, in words.
    pub fn words(self) -> &'static str {
        match self {
            Phase::Trust => "trust the next CA beside the old one",
            Phase::Issue => "take a certificate of the next CA",
            Phase::Drop => "stop trusting the old CA",
            Phase::Forget => "destroy the old CA's key",
        }
    }
}
