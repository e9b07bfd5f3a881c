//! What is asked of machines over sessions that are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cloud_core::ProviderError;

use crate::machines::Config;
use crate::reach::{Jumps, Sessions, at, provider};
use crate::script::{self, Answer};
use crate::ssh::Session;

/// A question that a machine answers from memory.
pub(crate) const ASK_LIMIT: Duration = Duration::from_secs(20);
/// The machines, as far as they were contacted.
pub(crate) struct Contact {
    pub(crate) config: Config,
    pub(crate) jumps: Jumps,
    sessions: Sessions,
    /// Addresses that machines told themselves.
    told: Mutex<BTreeMap<String, IpAddr>>,
    /// Machines that bore our mark when they were last asked.
    ours: Mutex<BTreeSet<String>>,
}

impl Contact {
    /// Nothing is contacted yet.
    pub(crate) fn new(config: Config) -> Contact {
        let jumps = Jumps::new(config.jumps.clone());
        Contact {
            config,
            jumps,
            sessions: Sessions::default(),
            told: Mutex::default(),
            ours: Mutex::default(),
        }
    }

    /// The address that a machine told, if it was asked.
    pub(crate) fn told(&self, name: &str) -> Option<IpAddr> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }

    /// Notes whether a machine bears our mark.
    pub(crate) fn note(&self, name: &str, ours: bool) {
        let mut known = self.ours.lock().unwrap_or_else(PoisonError::into_inner);
        if ours {
            known.insert(name.to_owned());
        } else {
            known.remove(name);
        }
    }

    /// Refuses a machine that does not bear our mark. One that did not answer when the fleet was observed counted as
    /// ours; here it has to prove it, before anything is put there.
    pub(crate) async fn check_ours(&self, name: &str) -> Result<(), ProviderError> {
        let known = || self.ours.lock().unwrap_or_else(PoisonError::into_inner).contains(name);
        if !known() {
            self.ask(name).await?;
        }
        if known() {
            return Ok(());
        }
        Err(ProviderError::Invalid(format!(
            "{name} is not the fleet's: `weave-provision up` takes it over if nothing is in the way"
        )))
    }

    /// Asks a machine about itself, and for its address where nobody else has told.
    pub(crate) async fn ask(&self, name: &str) -> Result<Answer, ProviderError> {
        let question = script::ask(&self.config.footprint);
        let text = self.run(name, "asking for its state", &question, ASK_LIMIT).await?;
        let parsed = Answer::parse(&text);
        let answer = parsed.ok_or_else(|| ProviderError::Other(format!("{name}: its answer breaks off")))?;
        self.note(name, answer.mark.as_ref() == Some(&self.config.fleet));
        let machine = self.config.machines.get(name);
        let unknown = machine.is_some_and(|machine| machine.private.is_none()) && self.told(name).is_none();
        if unknown && let Some(address) = self.own_address(name).await? {
            self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), address);
        }
        Ok(answer)
    }

    /// Runs a line of shell as root that has to succeed; returns what it says.
    pub(crate) async fn run(
        &self,
        name: &str,
        what: &str,
        line: &str,
        limit: Duration,
    ) -> Result<String, ProviderError> {
        let output = self.session(name).await?.exec_as_root(line, b"", limit).await;
        let output = output.map_err(|error| at(name, provider(error)))?;
        if output.status != 0 {
            let said = String::from_utf8_lossy(&output.stderr);
            let clean: String =
                said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect();
            let text = format!("{name}: {what} failed with status {}: {}", output.status, clean.trim());
            return Err(match output.status {
                script::BUSY => ProviderError::Retryable(text),
                _ => ProviderError::Invalid(text),
            });
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The address at which the machine's sshd took our connection: not ours, and not a translated one.
    async fn own_address(&self, name: &str) -> Result<Option<IpAddr>, ProviderError> {
        let output = self.session(name).await?.exec("echo \"$SSH_CONNECTION\"", b"", ASK_LIMIT).await;
        let output = output.map_err(|error| at(name, provider(error)))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.split_whitespace().nth(2).and_then(|address| address.parse().ok()))
    }

    async fn session(&self, name: &str) -> Result<Arc<Session>, ProviderError> {
        let machine = self.config.machines.get(name);
        let machine = machine.ok_or_else(|| ProviderError::NotFound(format!("host {name}")))?;
        let session = self.sessions.get(name, &machine.reach, &self.jumps).await;
        session.map_err(|error| at(name, error))
    }
}
