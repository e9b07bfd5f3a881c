//! The keys of a fleet: network CA, the operator's SSH key, and each host's SSH host key and gateway key.
//!
//! All are made here, before anything is contacted, and kept in the state directory. None is ever shown.

use std::time::{SystemTime, UNIX_EPOCH};

use cloud_core::Secret;
use rand::TryRngCore as _;
use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use weave_model::NetworkName;
use weave_trust::{IdentityKey, NetworkCa};

use crate::ssh::Login;
use crate::state::{FleetState, HostRecord, StateDir, StateError};

const CA: &str = "network-ca.pem";
const OPERATOR: &str = "operator_ed25519";

/// Reads and makes the keys in a state directory.
#[derive(Debug, Clone)]
pub struct Vault {
    dir: StateDir,
    network: NetworkName,
}

impl Vault {
    /// Opens the vault of a state directory; nothing is touched yet. The network is `weave`.
    pub fn new(dir: StateDir) -> Vault {
        Vault { dir, network: NetworkName::default() }
    }

    /// Makes the identities belong to this network.
    pub fn of_network(mut self, network: NetworkName) -> Vault {
        self.network = network;
        self
    }

    /// The operator's public key as a line of `authorized_keys`; makes the pair if there is none.
    pub fn operator_line(&self) -> Result<String, StateError> {
        let key = self.ssh_key(OPERATOR, "weave-provision operator")?;
        let line = key.public_key().to_openssh().map_err(|e| self.damaged(OPERATOR, e))?;
        self.dir.put(&format!("{OPERATOR}.pub"), &format!("{line}\n"))?;
        Ok(line)
    }

    /// The private SSH host key of a host; makes it if there is none.
    pub fn host_key(&self, host: &str) -> Result<Secret, StateError> {
        let name = host_key_file(host);
        let key = self.ssh_key(&name, host)?;
        let text = key.to_openssh(LineEnding::LF).map_err(|e| self.damaged(&name, e))?;
        Ok(Secret::new(text.as_str()))
    }

    /// The login to a host that was made with these keys; `None` when this directory has never known the host.
    pub fn login(&self, host: &str) -> Result<Option<Login>, StateError> {
        let operator = self.read_ssh_key(OPERATOR)?;
        let host = self.read_ssh_key(&host_key_file(host))?;
        Ok(operator.zip(host).map(|(operator, host)| Login::root(operator, host.public_key().clone())))
    }

    /// The `identity.pem` of a host that has been issued one.
    pub fn identity(&self, fleet: &FleetState, host: &str) -> Result<Option<Secret>, StateError> {
        let (Some(record), Some(ca)) = (fleet.hosts.get(host), self.read_ca()?) else { return Ok(None) };
        let Some(key) = self.read_gateway_key(host)? else { return Ok(None) };
        let identity = ca.issue(key.peer_name(), &key, record.issue);
        Ok(Some(Secret::new(ca.membership(identity).to_pem())))
    }

    /// Notes in `fleet` that a host gets a (new) certificate under the name that its lasting key gives it. The issue
    /// number always grows, even if the clock went back.
    pub fn issue(&self, fleet: &mut FleetState, host: &str) -> Result<(), StateError> {
        if self.read_ca()?.is_none() {
            self.dir.put(CA, &NetworkCa::from_seed(self.network.clone(), random_seed()).to_pem())?;
        }
        let key = match self.read_gateway_key(host)? {
            Some(key) => key,
            None => {
                let key = IdentityKey::from_seed(random_seed());
                self.dir.put(&gateway_key_file(host), &key.to_pem())?;
                key
            }
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let before = fleet.hosts.get(host).map_or(0, |record| record.issue);
        let record = HostRecord { peer: key.peer_name().to_string(), issue: now.max(before + 1) };
        fleet.hosts.insert(host.to_owned(), record);
        Ok(())
    }

    fn read_ca(&self) -> Result<Option<NetworkCa>, StateError> {
        let Some(text) = self.dir.read(CA)? else { return Ok(None) };
        NetworkCa::from_pem(self.network.clone(), &text).map(Some).map_err(|e| self.damaged(CA, e))
    }

    fn read_gateway_key(&self, host: &str) -> Result<Option<IdentityKey>, StateError> {
        let name = gateway_key_file(host);
        let Some(text) = self.dir.read(&name)? else { return Ok(None) };
        IdentityKey::from_pem(&text).map(Some).map_err(|e| self.damaged(&name, e))
    }

    fn ssh_key(&self, name: &str, comment: &str) -> Result<PrivateKey, StateError> {
        if let Some(key) = self.read_ssh_key(name)? {
            return Ok(key);
        }
        let pair = Ed25519Keypair::from_seed(&random_seed());
        let key = PrivateKey::new(KeypairData::from(pair), comment).map_err(|e| self.damaged(name, e))?;
        let text = key.to_openssh(LineEnding::LF).map_err(|e| self.damaged(name, e))?;
        self.dir.put(name, &text)?;
        Ok(key)
    }

    fn read_ssh_key(&self, name: &str) -> Result<Option<PrivateKey>, StateError> {
        let Some(text) = self.dir.read(name)? else { return Ok(None) };
        PrivateKey::from_openssh(text).map(Some).map_err(|e| self.damaged(name, e))
    }

    fn damaged(&self, name: &str, why: impl std::fmt::Display) -> StateError {
        StateError::Damaged { path: self.dir.path().join(name), why: why.to_string() }
    }
}

fn host_key_file(host: &str) -> String {
    format!("hosts/{host}/ssh_host_ed25519_key")
}

fn gateway_key_file(host: &str) -> String {
    format!("hosts/{host}/gateway-key.pem")
}

fn random_seed() -> [u8; 32] {
    let mut seed = [0; 32];
    rand::rngs::OsRng.try_fill_bytes(&mut seed).expect("the system has a random number generator");
    seed
}
