//! Why a call of EC2 failed, and what the caller can do about it. Pure.

use cloud_core::{ProviderError, one_line};

/// A failed call in plain values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Failure {
    /// The action, e.g. `RunInstances`; it is also the permission that it needs.
    pub(crate) action: &'static str,
    /// EC2's error code, where an answer with one arrived.
    pub(crate) code: Option<String>,
    /// EC2's own words, or what happened to the connection.
    pub(crate) message: String,
    /// The status of the answer, where one arrived.
    pub(crate) status: Option<u16>,
    /// How far the call came.
    pub(crate) stage: Stage,
}

/// How far a failed call came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Stage {
    /// An error was answered.
    #[default]
    Answered,
    /// The answer could not be read.
    Garbled,
    /// No answer: refused, closed, timed out.
    Unreachable,
    /// The request could not be built.
    Unsent,
}

/// What a failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Retryable,
    /// The zone is out of machines of this type; another may not be.
    Capacity,
    Permission,
    /// The keys are not accepted, or their signature is not.
    Credentials,
    /// The signature is out of date: this machine's clock is wrong, or the temporary credentials are old.
    Clock,
    Quota,
    NotFound,
    /// It is there already; it may be ours.
    Exists,
    Invalid,
    Other,
}

impl Failure {
    /// The class, by EC2's code first, then by the status, then by how far the call came.
    pub(crate) fn class(&self) -> Class {
        match (self.code.as_deref(), self.stage) {
            (Some(code), _) => by_code(code),
            (None, Stage::Unreachable) => Class::Retryable,
            (None, Stage::Unsent) => Class::Invalid,
            (None, _) => match self.status {
                Some(429 | 500..) => Class::Retryable,
                Some(401) => Class::Credentials,
                Some(403) => Class::Permission,
                _ => Class::Other,
            },
        }
    }

    /// The provider's error for this failure on `what`, e.g. `host aws-1`: one line that says what to do.
    pub(crate) fn about(&self, what: &str) -> ProviderError {
        let Failure { action, message, .. } = self;
        let status = self.status.map(|status| format!("status {status} without a code"));
        let code = self.code.as_deref().or(status.as_deref()).unwrap_or("no error code");
        let said = format!("{what}: ec2:{action} answered {code}: {}", one_line(message));
        match self.class() {
            Class::Retryable if self.stage == Stage::Unreachable => ProviderError::Retryable(format!(
                "{what}: ec2:{action} got no answer ({}); check the network and the endpoint",
                one_line(message)
            )),
            Class::Retryable => ProviderError::Retryable(said),
            Class::Capacity => {
                ProviderError::Retryable(format!("{said}; wait, or choose another zone or instance_type"))
            }
            Class::Permission => ProviderError::Permission(format!(
                "{said}; the operator's credentials need {}, see `weave-provision iam aws`",
                self.refused()
            )),
            Class::Credentials => ProviderError::Permission(format!(
                "{said}; check AWS_PROFILE or the keys in use, and this machine's clock"
            )),
            Class::Clock => ProviderError::Permission(format!(
                "{said}; set this machine's clock, or renew the temporary credentials"
            )),
            Class::Quota => ProviderError::Quota(format!(
                "{said}; free some, or ask for more in the AWS console under Service Quotas{}",
                quota(code).map(|name| format!(": \"{name}\"")).unwrap_or_default()
            )),
            Class::NotFound => ProviderError::NotFound(format!("{what} ({code}: {})", one_line(message))),
            Class::Exists => ProviderError::Conflict(format!("{what} ({code}: {})", one_line(message))),
            Class::Invalid => ProviderError::Invalid(said),
            Class::Other if self.stage == Stage::Garbled || self.status == Some(200) => {
                ProviderError::Other(format!(
                    "{what}: the answer to ec2:{action} is not EC2's; check the endpoint and any proxy between"
                ))
            }
            Class::Other => ProviderError::Other(said),
        }
    }
}

impl Failure {
    /// The permission that is missing: EC2 names it where it is not the call's own, e.g. that of the tags in it.
    fn refused(&self) -> String {
        let named = self.message.split_once("not authorized to perform: ").and_then(|(_, behind)| {
            let end = behind.find(|c: char| !(c.is_ascii_alphanumeric() || c == ':')).unwrap_or(behind.len());
            behind[..end].split_once(':').is_some().then(|| behind[..end].to_owned())
        });
        named.unwrap_or_else(|| format!("ec2:{}", self.action))
    }
}

/// What Service Quotas calls the limit that a code is about; of the machines, the one for the common types.
fn quota(code: &str) -> Option<&'static str> {
    Some(match code {
        "VcpuLimitExceeded" | "InstanceLimitExceeded" => {
            "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances"
        }
        "MaxSpotInstanceCountExceeded" => "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests",
        "AddressLimitExceeded" => "EC2-VPC Elastic IPs",
        "VpcLimitExceeded" => "VPCs per Region",
        "SubnetLimitExceeded" => "Subnets per VPC",
        "InternetGatewayLimitExceeded" => "Internet gateways per Region",
        "SecurityGroupLimitExceeded" => "VPC security groups per Region",
        "RulesPerSecurityGroupLimitExceeded" => "Inbound or outbound rules per security group",
        "SecurityGroupsPerInterfaceLimitExceeded" => "Security groups per network interface",
        "RouteLimitExceeded" => "Routes per route table",
        "VolumeLimitExceeded" | "Client.VolumeLimitExceeded" => {
            "Storage for General Purpose SSD (gp3) volumes, in TiB"
        }
        _ => return None,
    })
}

/// EC2 has no typed errors; these codes are from its API reference, "Error codes".
fn by_code(code: &str) -> Class {
    match code {
        // What EC2 says of an instance that is still pending.
        "InvalidInstanceID" => Class::Retryable,
        "RequestLimitExceeded"
        | "Throttling"
        | "ThrottlingException"
        | "SlowDown"
        | "BandwidthLimitExceeded"
        | "InternalError"
        | "InternalFailure"
        | "Unavailable"
        | "ServiceUnavailable"
        | "RequestTimeout"
        | "DependencyViolation"
        | "IncorrectInstanceState"
        | "IncorrectState" => Class::Retryable,
        "InsufficientInstanceCapacity"
        | "InsufficientCapacity"
        | "InsufficientHostCapacity"
        | "SpotMaxPriceTooLow" => Class::Capacity,
        "UnauthorizedOperation"
        | "OptInRequired"
        | "PendingVerification"
        | "Blocked"
        | "AccessDenied"
        | "AccessDeniedException"
        | "OperationNotPermitted" => Class::Permission,
        "AuthFailure"
        | "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "MissingAuthenticationToken" => Class::Credentials,
        "RequestExpired" | "ExpiredToken" | "ExpiredTokenException" | "RequestTimeTooSkewed" => Class::Clock,
        "MaxSpotInstanceCountExceeded" | "ResourceLimitExceeded" => Class::Quota,
        "IdempotentParameterMismatch"
        | "Resource.AlreadyAssociated"
        | "RouteAlreadyExists"
        | "InvalidSubnet.Conflict" => Class::Exists,
        "InsufficientFreeAddressesInSubnet" => Class::Capacity,
        _ if code.ends_with("LimitExceeded") => Class::Quota,
        _ if code.ends_with("InUse") => Class::Retryable,
        _ if code.ends_with(".Duplicate") => Class::Exists,
        _ if code.ends_with(".NotFound") || code.ends_with("IDNotFound") || code == "Gateway.NotAttached" => {
            Class::NotFound
        }
        _ if code.starts_with("Invalid")
            || code.starts_with("Missing")
            || code.starts_with("Unsupported")
            || code.starts_with("Unknown")
            || code.ends_with(".Malformed")
            || code == "VPCIdNotSpecified"
            || code == "ValidationError" =>
        {
            Class::Invalid
        }
        _ => Class::Other,
    }
}
