//! The lab's errors in the words of the trait.

use cloud_core::ProviderError;
use netlab::Error;

/// Says what the caller can do about it.
pub(crate) fn provider(error: Error) -> ProviderError {
    match error {
        Error::Invalid(text) => ProviderError::Invalid(text),
        Error::NotFound(what) => ProviderError::NotFound(what),
        Error::Conflict(what, _) => ProviderError::Conflict(what),
        Error::Unsupported(text) => ProviderError::Other(text),
        Error::Timeout(text) => ProviderError::Retryable(text),
        Error::Failed(text) => ProviderError::Other(text),
    }
}
