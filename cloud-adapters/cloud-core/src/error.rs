//! Why a cloud did not do what it was asked, by what the caller can do about it.

/// The classes of failure; the text names the resource and the cloud's own words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// Throttling, a time-out, an answer that is not consistent yet: the same call may pass later.
    #[error("{0}")]
    Retryable(String),
    /// The operator may not do this.
    #[error("not permitted: {0}")]
    Permission(String),
    /// A limit of the account or the machine.
    #[error("limit reached: {0}")]
    Quota(String),
    /// The thing named does not exist.
    #[error("{0} does not exist")]
    NotFound(String),
    /// The name is taken by something that is not ours or that differs from what was asked.
    #[error("{0} exists already and is not ours to change")]
    Conflict(String),
    /// The request itself cannot be right.
    #[error("{0}")]
    Invalid(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// Text from outside on one line of bearable length, without a full stop.
pub fn one_line(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(300) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words.trim_end_matches('.').to_owned(),
    }
}

/// Several failures as one that tells them all; its class is that of the one that is worth the operator's hand first.
pub fn all_of(failures: Vec<ProviderError>) -> Result<(), ProviderError> {
    // What passes by itself counts last: it would hide from the caller what does not.
    let urgent = failures.iter().position(|failure| !failure.is_retryable()).unwrap_or_default();
    let mut rest = failures;
    if rest.len() < 2 {
        return rest.pop().map_or(Ok(()), Err);
    }
    let urgent = rest.remove(urgent);
    let (class, first): (fn(String) -> ProviderError, String) = match urgent {
        ProviderError::Retryable(text) => (ProviderError::Retryable, text),
        ProviderError::Permission(text) => (ProviderError::Permission, text),
        ProviderError::Quota(text) => (ProviderError::Quota, text),
        ProviderError::Invalid(text) => (ProviderError::Invalid, text),
        ProviderError::Other(text) => (ProviderError::Other, text),
        // Their own words stand behind the text, which then ends with those of others.
        ProviderError::NotFound(_) | ProviderError::Conflict(_) => (ProviderError::Other, urgent.to_string()),
    };
    Err(class(rest.iter().fold(first, |text, failure| format!("{text}; {failure}"))))
}

impl ProviderError {
    /// Whether the same call may succeed later without anybody doing anything.
    pub fn is_retryable(&self) -> bool {
        matches!(self, ProviderError::Retryable(_))
    }
}
