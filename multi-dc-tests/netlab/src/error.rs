//! Why a lab did not do what it was asked.

use std::io;

use serde::{Deserialize, Serialize};

/// The classes of failure, by what the caller can do about it. They also cross the keeper's socket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Error {
    /// The request itself cannot be right.
    #[error("{0}")]
    Invalid(String),
    /// The site, host or place named does not exist.
    #[error("{0} does not exist")]
    NotFound(String),
    /// What was asked for is taken, in another way than asked.
    #[error("{0} {1} already")]
    Conflict(
        /// What is taken.
        String,
        /// What it is, after its name.
        String,
    ),
    /// The machine lacks a privilege, program or kernel feature; the text says how to get it.
    #[error("{0}")]
    Unsupported(String),
    /// Something did not happen in time.
    #[error("{0}")]
    Timeout(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl Error {
    /// Wraps a system error with what was being done.
    pub(crate) fn io(doing: impl std::fmt::Display) -> impl FnOnce(io::Error) -> Error {
        move |error| Error::Failed(format!("{doing}: {error}"))
    }

    /// Wraps an errno with what was being done.
    pub(crate) fn errno(doing: impl std::fmt::Display) -> impl FnOnce(nix::errno::Errno) -> Error {
        move |errno| Error::Failed(format!("{doing}: {}", errno.desc()))
    }
}
