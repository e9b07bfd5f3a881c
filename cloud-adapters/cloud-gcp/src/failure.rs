//! Why a call of Compute Engine failed, and what the caller can do about it. Pure.

use cloud_core::{ProviderError, one_line};

use crate::roles::needed;

/// A failed call or operation in plain values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Failure {
    /// The method, e.g. `instances.insert`.
    pub(crate) method: &'static str,
    /// Google's word for the cause, e.g. `quotaExceeded` of a call or `QUOTA_EXCEEDED` of an operation.
    pub(crate) reason: Option<String>,
    /// Google's own words, or what happened to the connection.
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
    /// The call was accepted, and what it began has failed.
    Operated,
    /// The call was taken for an earlier, equal one, and what that began has failed.
    Earlier,
    /// The call was accepted, and what it began takes too long.
    Unfinished,
    /// The answer could not be read.
    Garbled,
    /// No answer: refused, closed, timed out.
    Unreachable,
    /// No token to send.
    Unauthenticated,
    /// The request could not be built.
    Unsent,
}

/// What a failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Retryable,
    /// Something else uses it, or is on its way with it: that passes, mostly within seconds.
    Busy,
    /// The zone is out of machines of this type; another may not be.
    Capacity,
    Permission,
    /// The Compute Engine API is not enabled in the project, or the project has no billing account.
    Disabled,
    Quota,
    NotFound,
    /// It is there already; it may be ours.
    Exists,
    Invalid,
    Other,
}

impl Failure {
    /// The class, by how far the call came, then by Google's word, then by the status.
    pub(crate) fn class(&self) -> Class {
        match self.stage {
            Stage::Unreachable | Stage::Unfinished => return Class::Retryable,
            Stage::Unauthenticated => return Class::Permission,
            Stage::Unsent => return Class::Invalid,
            Stage::Answered | Stage::Operated | Stage::Earlier | Stage::Garbled => {}
        }
        self.reason.as_deref().and_then(by_reason).unwrap_or(match self.status {
            Some(429 | 500..) => Class::Retryable,
            // The fingerprint is old: somebody else was faster, and reading again gives the new one.
            Some(412) => Class::Busy,
            Some(401 | 403) => Class::Permission,
            Some(404) => Class::NotFound,
            Some(409) => Class::Exists,
            Some(400) => Class::Invalid,
            _ => Class::Other,
        })
    }

    /// The provider's error for this failure on `what`, e.g. `host gcp-1`: one line that says what to do.
    pub(crate) fn about(&self, what: &str) -> ProviderError {
        let method = self.method;
        let status = self.status.map(|status| status.to_string());
        let word = self.reason.as_deref().or(status.as_deref()).unwrap_or("no reason");
        let message = one_line(&self.message);
        let said = format!("{what}: compute.{method} answered {word}: {message}");
        match (self.class(), self.stage) {
            (Class::Retryable, Stage::Unreachable) => ProviderError::Retryable(format!(
                "{what}: compute.{method} got no answer ({message}); check the network and the endpoint"
            )),
            (Class::Retryable, Stage::Unfinished) => {
                ProviderError::Retryable(format!("{what}: compute.{method} is not done {message}"))
            }
            (Class::Retryable | Class::Busy, _) => ProviderError::Retryable(said),
            (Class::Capacity, _) => {
                ProviderError::Retryable(format!("{said}; wait, or choose other zones or machine_type"))
            }
            (Class::Permission, Stage::Unauthenticated) => ProviderError::Permission(format!(
                "{what}: no token for compute.{method} ({message}); run `gcloud auth application-default login`"
            )),
            (Class::Permission, _) => ProviderError::Permission(format!(
                "{said}; the operator's account needs {}, see `weave-provision iam gcp`",
                self.refused()
            )),
            (Class::Disabled, _) => ProviderError::Permission(format!(
                "{said}; run `gcloud services enable compute.googleapis.com`, and see that the project has billing"
            )),
            (Class::Quota, _) => ProviderError::Quota(format!(
                "{said}; free some, or ask for more in the Google Cloud console under Quotas"
            )),
            (Class::NotFound, _) => ProviderError::NotFound(format!("{what} ({word}: {message})")),
            (Class::Exists, _) => ProviderError::Conflict(format!("{what} ({word}: {message})")),
            (Class::Invalid, _) => ProviderError::Invalid(said),
            (Class::Other, Stage::Garbled) => ProviderError::Other(format!(
                "{what}: the answer to compute.{method} is not Google's; check the endpoint and any proxy between"
            )),
            (Class::Other, _) => ProviderError::Other(said),
        }
    }
}

impl Failure {
    /// The permission that is missing: Google mostly names it, since a method also needs those on what it uses.
    fn refused(&self) -> String {
        let named = self.message.split_once("Required '").and_then(|(_, behind)| behind.split_once('\''));
        let name = |text: &&str| {
            text.starts_with("compute.") && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '.')
        };
        match named.map(|(name, _)| name).filter(name) {
            Some(name) => name.to_owned(),
            None => {
                let needs = needed(self.method);
                let first = needs.first().map_or(self.method, String::as_str);
                format!("{first} or a permission that goes with it")
            }
        }
    }
}

/// Compute Engine has no typed errors; the words in camel case are a call's, those in capitals an operation's.
fn by_reason(reason: &str) -> Option<Class> {
    Some(match reason {
        "rateLimitExceeded"
        | "userRateLimitExceeded"
        | "RATE_LIMIT_EXCEEDED"
        | "backendError"
        | "internalError"
        | "INTERNAL_ERROR"
        | "RESOURCE_OPERATION_RATE_EXCEEDED" => Class::Retryable,
        "resourceNotReady"
        | "RESOURCE_NOT_READY"
        | "resourceInUseByAnotherResource"
        | "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE"
        | "conditionNotMet" => Class::Busy,
        "accessNotConfigured" | "SERVICE_DISABLED" | "BILLING_DISABLED" | "billingNotEnabled" => {
            Class::Disabled
        }
        "forbidden" | "PERMISSION_DENIED" | "PERMISSIONS_ERROR" | "authError" => Class::Permission,
        "notFound" | "RESOURCE_NOT_FOUND" => Class::NotFound,
        "alreadyExists" | "RESOURCE_ALREADY_EXISTS" => Class::Exists,
        "quotaExceeded" | "QUOTA_EXCEEDED" | "LIMIT_EXCEEDED" => Class::Quota,
        "zoneResourcePoolExhausted" => Class::Capacity,
        _ if reason.starts_with("ZONE_RESOURCE_POOL_EXHAUSTED") => Class::Capacity,
        "invalid" | "badRequest" | "required" | "invalidUsage" | "INVALID_USAGE" => Class::Invalid,
        _ => return None,
    })
}
