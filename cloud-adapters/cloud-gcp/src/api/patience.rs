//! Which failures of a call are worth another attempt.

use google_cloud_gax::error::Error;
use google_cloud_gax::error::rpc::StatusDetails;
use google_cloud_gax::polling_error_policy::PollingErrorPolicy;
use google_cloud_gax::polling_state::PollingState;
use google_cloud_gax::retry_policy::{Aip194Strict, RetryPolicy};
use google_cloud_gax::retry_result::RetryResult;
use google_cloud_gax::retry_state::RetryState;

/// For calls. The library's strict policy tries nothing again but 503; Compute Engine says more that passes.
#[derive(Debug, Clone)]
pub(super) struct Calls;

impl RetryPolicy for Calls {
    fn on_error(&self, state: &RetryState, error: Error) -> RetryResult {
        if slow_down(&error) || (state.idempotent && passes(&error)) {
            return RetryResult::Continue(error);
        }
        Aip194Strict.on_error(state, error)
    }
}

/// For looks at an operation, which change nothing. The library's policy gives the operation up at the first 503.
#[derive(Debug, Clone)]
pub(super) struct Polls;

impl PollingErrorPolicy for Polls {
    fn on_error(&self, _: &PollingState, error: Error) -> RetryResult {
        if slow_down(&error) || passes(&error) {
            RetryResult::Continue(error)
        } else {
            RetryResult::Permanent(error)
        }
    }
}

/// The word by which Compute Engine names an error, e.g. `notFound`.
pub(super) fn reason(error: &Error) -> Option<String> {
    error.status()?.details.iter().find_map(|detail| match detail {
        StatusDetails::ErrorInfo(info) => Some(info.reason.clone()),
        _ => None,
    })
}

/// Whether the server refused for being asked too often, which it does before it acts.
fn slow_down(error: &Error) -> bool {
    error.http_status_code() == Some(429)
        || matches!(reason(error).as_deref(), Some("rateLimitExceeded" | "userRateLimitExceeded"))
}

/// Whether the fault is one of the moment; the server may have acted.
fn passes(error: &Error) -> bool {
    matches!(error.http_status_code(), Some(500 | 502 | 503 | 504))
        || error.is_timeout()
        || error.is_io()
        || error.is_connect()
}
