//! How a command fails: what happened, why, and what to do about it.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use super::hints::Hints;
use crate::remote::RemoteError;
use crate::ssh::SshError;
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

    /// Adds a hint where none follows from the errors.
    pub fn or_hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// Replaces the exit status.
    pub fn with_code(mut self, code: u8) -> Failure {
        self.code = code;
        self
    }

    /// Replaces the hint.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// Writes the failure to stderr, and to stdout for programs; returns the exit status.
    pub(super) fn report(&self, json: bool, hints: &Hints) -> ExitCode {
        if json {
            let complete = |text: String| hints.complete(&text);
            let errors: Vec<String> =
                self.errors.iter().map(|error| complete(format!("{error:#}"))).collect();
            let value = serde_json::json!({ "errors": errors, "hint": self.hint.clone().map(complete) });
            // Whoever closed stdout does not read stderr either; the exit status remains.
            let _ = writeln!(io::stdout(), "{value}");
        }
        let _ = io::stderr().write_all(hints.complete(&self.render()).as_bytes());
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
        let ssh = cause.downcast_ref::<SshError>().or(match cause.downcast_ref::<RemoteError>() {
            Some(RemoteError::Ssh(error)) => Some(error),
            _ => None,
        });
        let state = cause.downcast_ref::<StateError>();
        let text = ssh.and_then(SshError::hint).or_else(|| state.and_then(state_hint));
        text.map(str::to_owned)
    })
}

fn state_hint(error: &StateError) -> Option<&'static str> {
    match error {
        StateError::Locked { .. } => Some("wait until it has ended; `weave-provision status` needs no lock"),
        StateError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            Some("run it as root, or name a directory of yours with --state")
        }
        StateError::Damaged { path, .. } if path.ends_with("fleet.json") => {
            Some("move it away, then `weave-provision import` rebuilds it from what clouds and hosts tell")
        }
        StateError::Damaged { .. } => Some(
            "restore the file from a backup; without it, `weave-provision down` and `up` make a new fleet",
        ),
        StateError::Io { .. } => None,
    }
}
