//! Who logs in where, by what, and how the other end proves itself. Values; nothing is read here.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use cloud_core::Secret;
use russh::keys::ssh_key::Fingerprint;
use russh::keys::{Algorithm, HashAlg, PrivateKey, PublicKey};

use super::quote;

/// Everything that a connection to one host needs besides a stream.
#[derive(Debug, Clone)]
pub struct Login {
    /// The account there.
    pub user: String,
    /// What proves who we are.
    pub credential: Credential,
    /// What proves who the host is.
    pub host_keys: HostKeys,
    /// How the account becomes root.
    pub elevation: Elevation,
}

impl Login {
    /// As root by a key, to a host with exactly this key.
    pub fn root(key: PrivateKey, host: PublicKey) -> Login {
        Login {
            user: "root".to_owned(),
            credential: Credential::Key(Arc::new(key)),
            host_keys: HostKeys::Keys(vec![host]),
            elevation: Elevation::None,
        }
    }
}

/// What proves who we are. `Debug` does not show keys.
#[derive(Clone)]
pub enum Credential {
    /// A private key.
    Key(Arc<PrivateKey>),
    /// Whatever keys the agent at this socket holds.
    Agent(PathBuf),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credential::Key(key) => write!(f, "key {}", key.public_key().fingerprint(HashAlg::Sha256)),
            Credential::Agent(socket) => write!(f, "agent {}", socket.display()),
        }
    }
}

/// What proves who the host is. Known before the first contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostKeys {
    /// One of these keys.
    Keys(Vec<PublicKey>),
    /// The key with this fingerprint; of a host with keys of several kinds, its Ed25519 key.
    Fingerprint(Fingerprint),
}

impl HostKeys {
    /// Whether a host that shows this key is the one.
    pub fn accept(&self, shown: &PublicKey) -> bool {
        match self {
            // `==` on the keys would compare their comments too.
            HostKeys::Keys(keys) => keys.iter().any(|key| key.key_data() == shown.key_data()),
            HostKeys::Fingerprint(wanted) => shown.fingerprint(wanted.algorithm()) == *wanted,
        }
    }

    /// The kinds of keys to ask for; `None` for all.
    pub(super) fn kinds(&self) -> Option<Vec<Algorithm>> {
        match self {
            HostKeys::Keys(keys) => Some(keys.iter().map(PublicKey::algorithm).collect()),
            HostKeys::Fingerprint(_) => None,
        }
    }
}

impl fmt::Display for HostKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostKeys::Fingerprint(fingerprint) => write!(f, "{fingerprint}"),
            HostKeys::Keys(keys) => {
                let all: Vec<String> =
                    keys.iter().map(|key| key.fingerprint(HashAlg::Sha256).to_string()).collect();
                f.write_str(&all.join(" or "))
            }
        }
    }
}

/// How an account becomes root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Elevation {
    /// It is root.
    None,
    /// By sudo, which asks for nothing.
    Sudo,
    /// By sudo, which asks for this password.
    SudoPassword(Secret),
}

/// The line of input behind which a command's own input begins.
const INPUT_BEGINS: &str = "weave: input begins";

impl Elevation {
    /// The command that runs `command` as root.
    pub fn wrap(&self, command: &str) -> String {
        match self {
            Elevation::None => command.to_owned(),
            Elevation::Sudo => format!("sudo -n -- sh -c {}", quote::text(command)),
            // Whether sudo reads the password depends on its settings. What it leaves is skipped up to the mark;
            // sudo and the shell's `read` take single bytes, so the command finds its own input whole.
            Elevation::SudoPassword(_) => {
                let inner = format!(
                    "while IFS= read -r line; do [ \"$line\" = {mark} ] && break; done; unset line; {command}",
                    mark = quote::text(INPUT_BEGINS),
                );
                format!("sudo -k -S -p '' -- sh -c {}", quote::text(&inner))
            }
        }
    }

    /// What goes in front of the command's own input.
    pub fn prologue(&self) -> Secret {
        match self {
            Elevation::None | Elevation::Sudo => Secret::new(""),
            Elevation::SudoPassword(password) => {
                Secret::new(format!("{}\n{INPUT_BEGINS}\n", password.reveal()))
            }
        }
    }
}
