//! Key files, agents, known_hosts and password files, read for the login of one machine. All are of this computer.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cloud_core::Secret;
use russh::keys::known_hosts::known_host_keys_path;
use russh::keys::ssh_key::Fingerprint;
use russh::keys::{Algorithm, PrivateKey, PublicKey, decode_secret_key, parse_public_key_base64};

use crate::ssh::{HostKeys, NoEcho};

/// Finds files and reads each only once, so that a passphrase is asked for once.
pub(super) struct Keys {
    /// Where relative paths begin: the folder of `weave.toml`.
    folder: PathBuf,
    home: Option<PathBuf>,
    read: BTreeMap<PathBuf, Result<Arc<PrivateKey>, String>>,
}

impl Keys {
    pub(super) fn new(folder: &Path, home: Option<PathBuf>) -> Keys {
        Keys { folder: folder.to_owned(), home, read: BTreeMap::new() }
    }

    /// The file that a text names: `~/` is the operator's home.
    pub(super) fn path(&self, text: &str) -> PathBuf {
        match (text.strip_prefix("~/"), &self.home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => self.folder.join(text),
        }
    }

    /// A private key for logging in.
    pub(super) fn private(&mut self, text: &str) -> Result<Arc<PrivateKey>, String> {
        let path = self.path(text);
        self.read.entry(path.clone()).or_insert_with(|| read_key(&path)).clone()
    }

    /// The password for sudo: the first line of a file.
    pub(super) fn password(&self, text: &str) -> Result<Secret, String> {
        let contents = read(&self.path(text))?;
        let line = contents.lines().next().unwrap_or_default();
        if line.is_empty() { Err(format!("{text} holds no password")) } else { Ok(Secret::new(line)) }
    }

    /// The keys that a known_hosts file knows of a host, hashed names included; revoked ones are not among them.
    pub(super) fn known(&self, text: &str, address: &str, port: u16) -> Result<HostKeys, String> {
        let path = self.path(text);
        let contents = read(&path)?;
        let revoked: Vec<PublicKey> = contents
            .lines()
            .filter_map(|line| line.strip_prefix("@revoked"))
            .filter_map(|line| parse_public_key_base64(line.split_whitespace().nth(2)?).ok())
            .collect();
        let known = known_host_keys_path(address, port, &path);
        let known =
            known.map_err(|error| format!("{text}: an entry of {address} makes no sense: {error}"))?;
        let name = if port == 22 { address.to_owned() } else { format!("[{address}]:{port}") };
        if known.is_empty() {
            return Err(format!(
                "{text} has no key of {name}; connect once with ssh and compare the fingerprint, or use `host_key`"
            ));
        }
        let good = known
            .into_iter()
            .map(|(_, key)| key)
            .filter(|key| revoked.iter().all(|bad| bad.key_data() != key.key_data()))
            .filter(|key| supported(key.algorithm()))
            .collect::<Vec<_>>();
        if good.is_empty() {
            return Err(format!("{text} has no Ed25519 or ECDSA key of {name} that is not revoked"));
        }
        Ok(HostKeys::Keys(good))
    }
}

/// A fingerprint as ssh-keygen(1) prints it.
pub(super) fn fingerprint(text: &str) -> Result<HostKeys, String> {
    let parsed = text.parse::<Fingerprint>().ok().filter(|found| found.is_sha256());
    parsed.map(HostKeys::Fingerprint).ok_or_else(|| {
        "`host_key` must be a fingerprint like \"SHA256:…\"; on the host, `ssh-keygen -lf \
         /etc/ssh/ssh_host_ed25519_key.pub` prints it"
            .to_owned()
    })
}

fn supported(algorithm: Algorithm) -> bool {
    matches!(algorithm, Algorithm::Ed25519 | Algorithm::Ecdsa { .. })
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn read_key(path: &Path) -> Result<Arc<PrivateKey>, String> {
    let text = read(path)?;
    let name = path.display();
    let key = match decode_secret_key(&text, None) {
        Ok(key) => key,
        Err(russh::keys::Error::KeyIsEncrypted) => {
            let passphrase = ask_passphrase(path)?;
            decode_secret_key(&text, Some(passphrase.reveal()))
                .map_err(|_| format!("{name}: the passphrase does not open it"))?
        }
        Err(error) => return Err(format!("{name} holds no private key of a known kind: {error}")),
    };
    if supported(key.algorithm()) {
        Ok(Arc::new(key))
    } else {
        Err(format!("{name} is a key of kind {}; use an Ed25519 or ECDSA key, or an agent", key.algorithm()))
    }
}

fn ask_passphrase(path: &Path) -> Result<Secret, String> {
    let name = path.display();
    if !io::stdin().is_terminal() {
        return Err(format!(
            "{name} is encrypted and there is no terminal to ask for its passphrase; give it to ssh-agent and use \
             `agent = true`"
        ));
    }
    let ask = || -> io::Result<String> {
        write!(io::stderr(), "passphrase of {name}: ")?;
        let silence = NoEcho::enter()?;
        let mut line = String::new();
        io::stdin().read_line(&mut line)?;
        drop(silence);
        writeln!(io::stderr())?;
        Ok(line)
    };
    let line = ask().map_err(|error| format!("cannot ask for the passphrase of {name}: {error}"))?;
    Ok(Secret::new(line.trim_end_matches(['\r', '\n'])))
}
