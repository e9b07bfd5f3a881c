//! What a test lets go wrong in the APIs, in words that are the same for all clouds.

use emulators::Fault;
use serde_json::{Value, json};

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
    /// The zone has no room for the machine.
    Full,
    /// The operator may not have as many.
    OverQuota,
}

impl Kind {
    pub(super) fn at_ec2(self) -> Fault {
        match self {
            Kind::Throttled => Fault::Error(503, "RequestLimitExceeded"),
            Kind::Failed => Fault::Error(500, "InternalError"),
            Kind::Lost => Fault::Lose,
            Kind::Full => Fault::Raw(500, EC2_FULL),
            Kind::OverQuota => Fault::Raw(400, EC2_OVER_QUOTA),
        }
    }

    pub(super) fn at_compute(self) -> Value {
        match self {
            Kind::Throttled => json!({ "status": 429, "reason": "rateLimitExceeded" }),
            Kind::Failed => json!({ "status": 500, "reason": "internalError" }),
            Kind::Lost => json!({ "lose": true }),
            // Compute Engine finds out once it is at work: the operation fails.
            Kind::Full => json!({ "fail": {
                "code": "ZONE_RESOURCE_POOL_EXHAUSTED",
                "message": "The zone does not have enough resources available to fulfill the request.",
                "status": 503,
            }}),
            Kind::OverQuota => json!({ "fail": {
                "code": "QUOTA_EXCEEDED",
                "message": "Quota 'CPUS' exceeded.  Limit: 2.0 in region europe-west1.",
                "status": 403,
            }}),
        }
    }
}

/// EC2's words where a zone is full; 500 is what it answers then.
const EC2_FULL: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error>\
    <Code>InsufficientInstanceCapacity</Code><Message>We currently do not have sufficient t3.small capacity in the \
    Availability Zone you requested.</Message></Error></Errors><RequestID>r-1</RequestID></Response>";

/// EC2's words where the account may not have more.
const EC2_OVER_QUOTA: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error>\
    <Code>VcpuLimitExceeded</Code><Message>You have requested more vCPU capacity than your current vCPU limit of 1 \
    allows for the instance bucket that the specified instance type belongs to.</Message></Error></Errors>\
    <RequestID>r-1</RequestID></Response>";
