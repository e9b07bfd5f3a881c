//! Compute Engine's API in plain values; this module alone names the SDK.
//!
//! Nothing is decided here: each function is one method and returns what the answer said, or a [`Failure`]. Instances
//! are never formatted: the SDK's `Debug` shows their metadata, and with it the host's private key.

mod machines;
mod network;
mod patience;

use std::time::Duration;

use cloud_core::ProviderError;
use google_cloud_auth::credentials::{self, Credentials, anonymous};
use google_cloud_auth::errors::CredentialsError;
use google_cloud_compute_v1::client::{
    Addresses, Firewalls, Images, Instances, Networks, Subnetworks, Zones,
};
use google_cloud_compute_v1::errors::OperationError;
use google_cloud_compute_v1::model::Operation;
use google_cloud_gax::error::Error;
use google_cloud_gax::exponential_backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use google_cloud_gax::retry_policy::RetryPolicyExt as _;
use google_cloud_lro::{Poller, PollingResult};
use tokio::time::timeout;

pub(crate) use machines::{Address, Launch};
pub(crate) use network::Network;

use crate::adc;
use crate::config::{GcpConfig, Tuning};
use crate::failure::{Failure, Stage};
use patience::{Calls, Polls, reason};

type Answer<T> = Result<T, Failure>;

/// One project's Compute Engine.
pub(crate) struct Api {
    instances: Instances,
    images: Images,
    addresses: Addresses,
    zones: Zones,
    networks: Networks,
    subnetworks: Subnetworks,
    firewalls: Firewalls,
    project: String,
    region: String,
    tuning: Tuning,
}

impl Api {
    /// Finds credentials and makes the clients, without asking the cloud for anything.
    pub(crate) async fn connect(config: &GcpConfig, tuning: Tuning) -> Result<Api, ProviderError> {
        // The SDK's HTTP client takes the process's provider, which another may have installed; both are good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let credentials = credentials_for(config)?;
        macro_rules! client {
            ($client:ty) => {{
                let builder = <$client>::builder()
                    .with_credentials(credentials.clone())
                    .with_attempt_timeout(tuning.attempt)
                    .with_retry_policy(Calls.with_attempt_limit(tuning.attempts).with_time_limit(tuning.call))
                    .with_backoff_policy(backoff(tuning.backoff, tuning.max_backoff)?)
                    .with_polling_backoff_policy(backoff(tuning.poll, tuning.max_backoff)?)
                    .with_polling_error_policy(Polls);
                let builder = match &config.endpoint {
                    Some(endpoint) => builder.with_endpoint(endpoint),
                    None => builder,
                };
                builder.build().await.map_err(|error| {
                    ProviderError::Other(format!("the client for Compute Engine: {}", chain(&error)))
                })?
            }};
        }
        Ok(Api {
            instances: client!(Instances),
            images: client!(Images),
            addresses: client!(Addresses),
            zones: client!(Zones),
            networks: client!(Networks),
            subnetworks: client!(Subnetworks),
            firewalls: client!(Firewalls),
            project: config.project.clone(),
            region: config.region.clone(),
            tuning,
        })
    }

    /// Waits for an answer, but not for ever: looking for a token obeys none of the client's limits.
    async fn ask<T>(&self, method: &'static str, call: impl Future<Output = Result<T, Error>>) -> Answer<T> {
        let limit = self.tuning.call;
        match timeout(limit, call).await {
            Ok(answer) => answer.map_err(|error| failure(method, &error)),
            Err(_) => Err(late(method, Stage::Unreachable, limit)),
        }
    }

    /// Waits for the end of an operation. The poller's own time limit does not end it while the operation runs.
    async fn finish<P>(&self, method: &'static str, limit: Duration, mut poller: P) -> Answer<End>
    where
        P: Poller<Operation, Operation>,
    {
        let first = timeout(self.tuning.call, poller.poll()).await;
        match first.map_err(|_| late(method, Stage::Unreachable, self.tuning.call))? {
            Some(PollingResult::Completed(answer)) => {
                let operation = answer.map_err(|error| failure(method, &error))?;
                ended(method, Stage::Earlier, operation).map(|()| End::Earlier)
            }
            _ => {
                let rest = timeout(limit, poller.until_done()).await;
                let answer = rest.map_err(|_| late(method, Stage::Unfinished, limit))?;
                let operation = answer.map_err(|error| failure(method, &error))?;
                ended(method, Stage::Operated, operation).map(|()| End::Now)
            }
        }
    }
}

/// When an operation came to its good end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// While it was waited for.
    Now,
    /// Before the first answer: it is that of an earlier, equal request, and what it made may be gone again.
    Earlier,
}

fn credentials_for(config: &GcpConfig) -> Result<Credentials, ProviderError> {
    if config.endpoint.as_deref().is_some_and(|url| url.starts_with("http://")) {
        return Ok(anonymous::Builder::new().build());
    }
    adc::preflight()?;
    credentials::Builder::default().build().map_err(|error| {
        ProviderError::Permission(format!(
            "no usable Google credentials ({error}): run `gcloud auth application-default login`"
        ))
    })
}

fn backoff(first: Duration, longest: Duration) -> Result<ExponentialBackoff, ProviderError> {
    let builder = ExponentialBackoffBuilder::new().with_initial_delay(first).with_maximum_delay(longest);
    builder.build().map_err(|error| ProviderError::Invalid(format!("pauses between attempts: {error}")))
}

/// What an operation led to: the SDK's poller calls every end a good one.
fn ended(method: &'static str, stage: Stage, operation: Operation) -> Answer<()> {
    let Err(error) = operation.to_result() else { return Ok(()) };
    let mut failure = Failure { method, stage, ..Failure::default() };
    match error {
        OperationError::Generic(error) => {
            let first = error.details.and_then(|details| details.errors.into_iter().next());
            let (code, said) = first.map(|first| (first.code, first.message)).unwrap_or_default();
            failure.reason = code;
            failure.message = said.or(error.message).unwrap_or_default();
            failure.status = error.status_code.and_then(|status| status.try_into().ok());
        }
        _ => failure.message = "an operation of another kind failed".to_owned(),
    }
    Err(failure)
}

/// What went wrong with a call, without the SDK's types.
fn failure(method: &'static str, error: &Error) -> Failure {
    let token = causes(error).find_map(|cause| cause.downcast_ref::<CredentialsError>());
    let stage = if token.is_some_and(CredentialsError::is_transient) {
        Stage::Unreachable
    } else if error.is_authentication() || token.is_some() {
        Stage::Unauthenticated
    } else if error.is_binding() || error.is_serialization() {
        Stage::Unsent
    } else if error.is_deserialization() {
        Stage::Garbled
    } else if error.http_status_code().is_some() {
        Stage::Answered
    } else {
        Stage::Unreachable
    };
    let said = error.status().map(|status| status.message.clone()).filter(|said| !said.is_empty());
    Failure {
        method,
        reason: reason(error),
        message: said.unwrap_or_else(|| chain(error)),
        status: error.http_status_code(),
        stage,
    }
}

fn late(method: &'static str, stage: Stage, limit: Duration) -> Failure {
    let message = format!("within {} s", limit.as_secs());
    Failure { method, stage, message, ..Failure::default() }
}

/// An error and the first of its causes, on one line; those between repeat each other, and the URL says nothing new.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let texts: Vec<String> = causes(error).map(ToString::to_string).collect();
    let (Some(outer), Some(inner)) = (texts.first(), texts.last()) else { return String::new() };
    let outer = match outer.split_once(" for url (") {
        Some((before, behind)) => format!("{before}{}", behind.split_once(')').unwrap_or_default().1),
        None => outer.clone(),
    };
    if outer.contains(inner.as_str()) { outer } else { format!("{outer}: {inner}") }
}

fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}
