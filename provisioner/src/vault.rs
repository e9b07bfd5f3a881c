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
use weave_trust::{IdentityKey, Membership, NetworkCa, Trust};

use crate::rotate::{Epoch, Phase};
use crate::ssh::Login;
use crate::state::{FleetState, HostRecord, StateDir, StateError};

const CA: &str = "network-ca.pem";
/// The CA that a change leads to; takes the place of [`CA`] at its end.
const NEXT_CA: &str = "network-ca.next.pem";
/// The WireGuard pre-shared key, once it cannot be derived from [`CA`] any more.
const PSK: &str = "network-psk";
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

    /// Whether a network was made with this directory.
    pub fn is_made(&self) -> bool {
        self.dir.path().join(CA).exists()
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
        Ok(self.membership(fleet, host)?.map(|membership| Secret::new(membership.to_pem())))
    }

    /// What a host that has been issued a certificate shall be and trust, as of the fleet's epoch.
    pub fn membership(&self, fleet: &FleetState, host: &str) -> Result<Option<Membership>, StateError> {
        let Some(record) = fleet.hosts.get(host) else { return Ok(None) };
        let Some(Authority { issuer, trust, psk }) = self.authority(&fleet.epoch)? else { return Ok(None) };
        let Some(key) = self.read_gateway_key(host)? else { return Ok(None) };
        let identity = issuer.issue(key.peer_name(), &key, record.issue);
        Ok(Some(Membership { identity, trust, psk }))
    }

    /// Makes the next CA, and keeps what follows from the present one beyond its end. Done twice, it changes nothing.
    pub fn make_next_ca(&self, epoch: &Epoch) -> Result<(), StateError> {
        let Some(present) = self.read_ca(CA)? else { return Err(self.damaged(CA, "it is missing")) };
        let psk = self.psk(epoch, &present)?;
        self.dir.put(PSK, &format!("{}\n", hex(&psk)))?;
        if self.read_ca(NEXT_CA)?.is_none() {
            self.dir.put(NEXT_CA, &NetworkCa::from_seed(self.network.clone(), random_seed()).to_pem())?;
        }
        Ok(())
    }

    /// Destroys the key of the old CA and puts the next one in its place. Done twice, it changes nothing.
    pub fn forget_old_ca(&self) -> Result<(), StateError> {
        if self.read_ca(NEXT_CA)?.is_none() {
            return Ok(());
        }
        let (old, next) = (self.dir.path().join(CA), self.dir.path().join(NEXT_CA));
        let io = |source| StateError::Io { what: "destroy", path: old.clone(), source };
        overwrite(&old).map_err(io)?;
        std::fs::rename(&next, &old).map_err(io)?;
        std::fs::File::open(self.dir.path()).and_then(|dir| dir.sync_all()).map_err(io)
    }

    /// Who issues certificates and who is trusted in an epoch; `None` before there is a CA.
    fn authority(&self, epoch: &Epoch) -> Result<Option<Authority>, StateError> {
        let next = || self.read_ca(NEXT_CA)?.ok_or_else(|| self.damaged(NEXT_CA, "it is missing"));
        let (issuer, trust) = match epoch.change {
            None => {
                let Some(ca) = self.read_ca(CA)? else { return Ok(None) };
                let trust = ca.trust();
                (ca, trust)
            }
            Some(phase @ (Phase::Trust | Phase::Issue)) => {
                let old = self.read_ca(CA)?.ok_or_else(|| self.damaged(CA, "it is missing"))?;
                let next = next()?;
                let both = old.trust().joined(&next.trust());
                (if phase == Phase::Trust { old } else { next }, both)
            }
            Some(Phase::Drop) => {
                let next = next()?;
                let trust = next.trust();
                (next, trust)
            }
            Some(Phase::Forget) => {
                // It has taken the old one's place, or is about to; the old one may be overwritten already.
                let ca = match self.read_ca(NEXT_CA)? {
                    Some(next) => next,
                    None => self.read_ca(CA)?.ok_or_else(|| self.damaged(CA, "it is missing"))?,
                };
                let trust = ca.trust();
                (ca, trust)
            }
        };
        let psk = self.psk(epoch, &issuer)?;
        Ok(Some(Authority { issuer, trust, psk }))
    }

    /// The pre-shared key of the network: lasting, whatever CA is in force.
    fn psk(&self, epoch: &Epoch, first: &NetworkCa) -> Result<[u8; 32], StateError> {
        match self.dir.read(PSK)? {
            Some(text) => unhex(text.trim()).ok_or_else(|| self.damaged(PSK, "it is not 64 hex digits")),
            None if epoch.is_first() => Ok(first.network_psk()),
            None => Err(self.damaged(PSK, "it is missing, and the CA it followed from is gone or going")),
        }
    }

    /// Notes in `fleet` that a host gets a (new) certificate under the name that its lasting key gives it. The issue
    /// number always grows, even if the clock went back.
    pub fn issue(&self, fleet: &mut FleetState, host: &str) -> Result<(), StateError> {
        // Not once there was one: a CA that was lost must not be replaced unnoticed.
        if fleet.epoch.is_first() && self.read_ca(CA)?.is_none() {
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

    /// Destroys the keys of hosts that are gone, and what `fleet` remembers of them. Done twice, it changes nothing.
    pub fn forget(&self, fleet: &mut FleetState, hosts: &[String]) -> Result<(), StateError> {
        for host in hosts {
            let folder = self.dir.path().join("hosts").join(host);
            let gone = overwrite(&self.dir.path().join(gateway_key_file(host)))
                .and_then(|()| overwrite(&self.dir.path().join(host_key_file(host))))
                .and_then(|()| match std::fs::remove_dir_all(&folder) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
                    _ => Ok(()),
                });
            gone.map_err(|source| StateError::Io { what: "destroy", path: folder, source })?;
            fleet.hosts.remove(host);
        }
        Ok(())
    }

    fn read_ca(&self, name: &str) -> Result<Option<NetworkCa>, StateError> {
        let Some(text) = self.dir.read(name)? else { return Ok(None) };
        NetworkCa::from_pem(self.network.clone(), &text).map(Some).map_err(|e| self.damaged(name, e))
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

/// Who says who is a member, at one moment.
struct Authority {
    issuer: NetworkCa,
    trust: Trust,
    psk: [u8; 32],
}

/// Writes zeros over a file and waits until they are on the disk; where there is none, nothing happens.
fn overwrite(path: &std::path::Path) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut file = match std::fs::OpenOptions::new().write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let length = usize::try_from(file.metadata()?.len()).unwrap_or_default();
    file.write_all(&vec![0; length])?;
    file.sync_all()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    let bytes: Option<Vec<u8>> = pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect();
    bytes?.try_into().ok()
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
