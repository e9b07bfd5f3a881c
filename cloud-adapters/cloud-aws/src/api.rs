//! EC2's API in plain values; this module alone names the SDK.
//!
//! Nothing is decided here: each function is one action and returns what the answer said, or a [`Failure`].

mod machines;
mod network;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::config::retry::{RetryConfig, RetryPartition};
use aws_sdk_ec2::config::{Credentials, ProvideCredentials as _, Region};
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::types::{Filter, ResourceType, Tag, TagSpecification};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use cloud_core::ProviderError;

pub(crate) use machines::{Address, Launch};
pub(crate) use network::{Gateway, Group, Vpc};

use crate::config::{Access, AwsConfig, Tuning};
use crate::failure::{Failure, Stage};
use crate::plan::Tags;

/// How long the chain of credential sources may take; one of them may run a program that talks to a server.
const CREDENTIALS_LIMIT: Duration = Duration::from_secs(20);

/// What a description is narrowed by: the filter's name and its value.
pub(crate) type Only<'a> = &'a [(&'a str, &'a str)];

type Answer<T> = Result<T, Failure>;

/// One region's EC2.
pub(crate) struct Api {
    client: Client,
    region: String,
    page: i32,
}

impl Api {
    /// Finds region and credentials; both would otherwise show late, and as a broken network.
    pub(crate) async fn connect(
        config: &AwsConfig,
        access: Access,
        tuning: Tuning,
    ) -> Result<Api, ProviderError> {
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http);
        if let Some(region) = &config.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(endpoint) = &config.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if let Access::Static(id, secret) = access {
            loader = loader.credentials_provider(Credentials::new(id, secret.reveal(), None, None, "static"));
        }
        let shared = loader.load().await;
        let region = shared.region().map(ToString::to_string).ok_or_else(|| {
            ProviderError::Invalid(
                "no AWS region: set `region`, or AWS_REGION, or one in the profile".to_owned(),
            )
        })?;
        let credentials = async {
            match shared.credentials_provider() {
                Some(provider) => {
                    provider.provide_credentials().await.map(drop).map_err(|error| error.to_string())
                }
                None => Err("none configured".to_owned()),
            }
        };
        tokio::time::timeout(CREDENTIALS_LIMIT, credentials)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} s", CREDENTIALS_LIMIT.as_secs())))
            .map_err(|why| {
                ProviderError::Permission(format!(
                    "no AWS credentials ({why}): set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                ))
            })?;
        // The budget for retries is shared by all clients of a partition: a failing fleet must not starve another.
        static CLIENTS: AtomicU64 = AtomicU64::new(0);
        let partition = format!("weave-{}-{}", config.fleet, CLIENTS.fetch_add(1, Ordering::Relaxed));
        let retry = RetryConfig::standard()
            .with_max_attempts(tuning.attempts)
            .with_initial_backoff(tuning.backoff)
            .with_max_backoff(tuning.max_backoff);
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(tuning.connect)
            .operation_attempt_timeout(tuning.attempt)
            .operation_timeout(tuning.call)
            .build();
        let config = aws_sdk_ec2::config::Builder::from(&shared)
            .retry_config(retry)
            .retry_partition(RetryPartition::new(partition))
            .timeout_config(timeouts)
            .build();
        Ok(Api { client: Client::from_conf(config), region, page: tuning.page })
    }

    pub(crate) fn region(&self) -> &str {
        &self.region
    }
}

/// What went wrong with `action`, without the SDK's types.
fn failure<E>(action: &'static str, error: SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let stage = match &error {
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) => Stage::Unreachable,
        SdkError::ResponseError(_) => Stage::Garbled,
        SdkError::ConstructionFailure(_) => Stage::Unsent,
        _ => Stage::Answered,
    };
    let said = error.message().map(str::to_owned);
    Failure {
        action,
        code: error.code().map(str::to_owned),
        status: error.raw_response().map(|response| response.status().as_u16()),
        stage,
        message: said.unwrap_or_else(|| chain(&error)),
    }
}

/// An error and its causes on one line; the SDK's own form of this also has all of them in the form for programmers.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    for cause in std::iter::successors(Some(error), |error| error.source()) {
        let text = cause.to_string();
        if !texts.iter().any(|there| there.contains(&text)) {
            texts.push(text);
        }
    }
    texts.join(": ")
}

/// What an answer promised and did not hold.
fn missing(action: &'static str, what: &str) -> Failure {
    Failure {
        action,
        message: format!("the answer has no {what}"),
        stage: Stage::Garbled,
        ..Failure::default()
    }
}

fn filters(only: Only<'_>) -> Option<Vec<Filter>> {
    let filter = |(name, value): &(&str, &str)| Filter::builder().name(*name).values(*value).build();
    Some(only.iter().map(filter).collect())
}

/// Tags for a resource, in the call that makes it: what is made without them would be lost with the answer.
fn marked(kind: ResourceType, tags: &Tags) -> TagSpecification {
    let tag = |(key, value): (&String, &String)| Tag::builder().key(key).value(value).build();
    TagSpecification::builder().resource_type(kind).set_tags(Some(tags.iter().map(tag).collect())).build()
}

fn tags_of(tags: &[Tag]) -> Tags {
    let pair = |tag: &Tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()));
    tags.iter().filter_map(pair).collect()
}

fn text(value: Option<&str>) -> String {
    value.unwrap_or_default().to_owned()
}
