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

impl ProviderError {
    /// Whether the same call may succeed later without anybody doing anything.
    pub fn is_retryable(&self) -> bool {
        matches!(self, ProviderError::Retryable(_))
    }
}
