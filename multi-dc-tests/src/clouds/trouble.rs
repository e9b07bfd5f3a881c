//! What a test lets go wrong in the APIs, in words that are the same for all clouds.

use serde_json::{Value, json};

use super::proxy;

/// The clouds that are emulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// Amazon EC2; its calls are such as `RunInstances`.
    Ec2,
    /// Google Compute Engine; its calls are such as `instances.insert`.
    Compute,
}

/// What befalls some calls of one cloud's API.
#[derive(Debug, Clone, Copy)]
pub struct Trouble {
    /// Whose.
    pub api: Api,
    /// Which call.
    pub call: &'static str,
    /// So many pass first.
    pub skip: usize,
    /// So many are hit.
    pub times: usize,
    /// By this.
    pub kind: Kind,
}

/// What befalls a call.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// It is refused, because there were too many.
    Throttled,
    /// The cloud fails.
    Failed,
    /// It is done, and nobody hears of it.
    Lost,
}

impl Kind {
    pub(super) fn at_ec2(self) -> proxy::Fault {
        match self {
            Kind::Throttled => proxy::Fault::Error(503, "RequestLimitExceeded"),
            Kind::Failed => proxy::Fault::Error(500, "InternalError"),
            Kind::Lost => proxy::Fault::Lose,
        }
    }

    pub(super) fn at_compute(self) -> Value {
        match self {
            Kind::Throttled => json!({ "status": 429, "reason": "rateLimitExceeded" }),
            Kind::Failed => json!({ "status": 500, "reason": "internalError" }),
            Kind::Lost => json!({ "lose": true }),
        }
    }
}
