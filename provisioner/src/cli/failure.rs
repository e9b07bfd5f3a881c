//! How a command fails: what happened, why, and what to do about it.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::state::StateError;

/// Ends a command.
#[derive(Debug)]
pub struct Failure {
    errors: Vec<anyhow::Error>,
    hint: Option<String>,
    code: u8,
}

impl Failure {
    /// Something failed; the hint follows from what.
    pub fn new(error: anyhow::Error) -> Failure {
        Failure::several(vec![error])
    }

    /// Several things failed, typically on different hosts.
    pub fn several(errors: Vec<anyhow::Error>) -> Failure {
        let hint = errors.iter().find_map(hint);
        Failure { errors, hint, code: 1 }
    }

    /// The command line asks for something that cannot be.
    pub fn usage(text: impl Into<String>, hint: impl Into<String>) -> Failure {
        Failure { errors: vec![anyhow::Error::msg(text.into())], hint: Some(hint.into()), code: 2 }
    }

    /// Replaces the hint.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// Writes the failure to stderr, and to stdout for programs; returns the exit status.
    pub(super) fn report(&self, json: bool) -> ExitCode {
        if json {
            let errors: Vec<String> = self.errors.iter().map(|error| format!("{error:#}")).collect();
            let value = serde_json::json!({ "errors": errors, "hint": self.hint });
            // Whoever closed stdout does not read stderr either; the exit status remains.
            let _ = writeln!(io::stdout(), "{value}");
        }
        let _ = io::stderr().write_all(self.render().as_bytes());
        ExitCode::from(self.code)
    }

    /// The failure as text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for error in &self.errors {
            let _ = writeln!(text, "error: {error}");
            for cause in error.chain().skip(1) {
                let _ = writeln!(text, "  {cause}");
            }
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "hint: {hint}");
        }
        text
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::new(error)
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Failure {
        Failure::new(error.into())
    }
}

fn hint(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        Some(match cause.downcast_ref::<StateError>()? {
            StateError::Locked { .. } => {
                "wait until it has ended; `weave-provision status` needs no lock".to_owned()
            }
            StateError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run it as root, or name a directory of yours with --state".to_owned()
            }
            StateError::Damaged { .. } => {
                "restore the file from a backup; without it, `weave-provision down` and `up` make a new fleet"
                    .to_owned()
            }
            StateError::Io { .. } => return None,
        })
    })
}
