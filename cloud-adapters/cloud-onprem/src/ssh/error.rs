//! Why a host cannot be talked to.

use cloud_core::ProviderError;

/// A connection or a command failed before it could say anything itself.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// The state directory has no key of this host.
    #[error("no SSH key of host {0} is known here")]
    UnknownHost(String),
    /// The keys cannot be read.
    #[error("cannot read the keys")]
    Keys(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There is no stream to the host.
    #[error("cannot connect")]
    Connect(#[source] ProviderError),
    /// Somebody else answers, or the host was replaced. Nothing was sent.
    #[error("the host key is {found}, expected {expected}; nothing was sent to it")]
    HostKey {
        /// The fingerprint of the key it must show.
        expected: String,
        /// The fingerprint of what answered.
        found: String,
    },
    /// The host does not accept the operator's key.
    #[error("the host does not accept the operator's key")]
    Refused,
    /// The agent that holds the operator's keys does not help.
    #[error("the ssh agent {0}")]
    Agent(String),
    /// Something took too long.
    #[error("{0} took longer than {1} s")]
    TimedOut(&'static str, u64),
    /// The connection broke before the command ended.
    #[error("the connection broke before the command ended")]
    Lost,
    /// The host does not run commands for us.
    #[error("the host refuses to run a command")]
    ExecRefused,
    /// A command says more than anybody wants to keep.
    #[error("the command's output exceeds {0} bytes")]
    TooMuch(usize),
    /// A local stream failed.
    #[error("cannot read or write the local streams")]
    Local(#[source] std::io::Error),
    /// The protocol failed.
    #[error("ssh")]
    Protocol(#[source] russh::Error),
}

impl SshError {
    /// Whether trying again may help without anybody doing anything.
    pub fn is_retryable(&self) -> bool {
        match self {
            SshError::Connect(error) => error.is_retryable(),
            // A host that is booting accepts the key only once its agent has put it in place.
            SshError::Refused | SshError::TimedOut(..) | SshError::Lost | SshError::Protocol(_) => true,
            SshError::UnknownHost(_)
            | SshError::Keys(_)
            | SshError::HostKey { .. }
            | SshError::Agent(_)
            | SshError::ExecRefused
            | SshError::TooMuch(_)
            | SshError::Local(_) => false,
        }
    }

    /// What the operator can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            SshError::UnknownHost(_) => Some(
                "it was made with another state directory (--state, --name); `weave-provision status` lists the hosts",
            ),
            SshError::HostKey { .. } => Some(
                "either something stands between you and the host, or the host was rebuilt outside weave-provision; \
                 if it was, `weave-provision down` and `up` make it anew",
            ),
            SshError::Agent(_) => Some("`ssh-add -l` lists what it holds, `ssh-add KEY` adds a key"),
            SshError::Refused => Some("the host was made for another operator key; see --state and --name"),
            _ => None,
        }
    }
}

impl From<russh::Error> for SshError {
    fn from(error: russh::Error) -> SshError {
        match error {
            russh::Error::Disconnect | russh::Error::HUP | russh::Error::SendError => SshError::Lost,
            other => SshError::Protocol(other),
        }
    }
}
