//! A new network CA, and certificates of it, for a fleet that goes on forwarding.
//!
//! ```text
//!   trust    every host trusts the next CA beside the old one
//!   issue    every host gets a certificate of the next CA
//!   drop     every host trusts the next CA alone
//!   forget   the old CA's key is destroyed here
//! ```
//!
//! A phase begins when all hosts have what the one before gives, all pairs ping, and, before `drop`, everybody knows
//! everybody's new certificate. The phase stands in `fleet.json` before the first host is given anything of it, so a run
//! that was killed is gone on with, and `up` in between gives new hosts what the phase gives.
//!
//! Not here: gateway keys, WireGuard keys, the pre-shared key and SSH keys; they stay.

mod epoch;
mod host;

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Instant;

use anyhow::{Context as _, anyhow};
use weave_trust::Membership;

use crate::apply::{Engine, Owner};
use crate::fleet::Fleet;
use crate::install::{CONFIG, Checksum, Content, Facts, GATEWAY, IDENTITY, WantedFile, service_path};
use crate::remote::{Remote, RemoteError};
use crate::retry::retry;
use crate::state::FleetState;
use crate::verify::{Pair, Patience, verify};

pub use epoch::{Epoch, Phase};
pub use host::MARK;
#[cfg(test)]
pub(crate) use host::{adopt_command, parse_versions};

/// Where a renewed identity lies until the gateway is about to read it.
pub const STAGED: &str = "/etc/weave/identity.pem.next";

/// The version of every peer's record, by its name in the network.
pub type Versions = BTreeMap<String, u64>;

/// What a host does to go on with another identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adoption {
    /// Whether the identity lies at [`STAGED`]; else it is in place.
    pub staged: bool,
    /// What the gateway notes once it uses the identity.
    pub mark: String,
    /// The generation to note instead of [`Adoption::before`], if that is the one noted: the service need not be
    /// restarted for an identity that it has taken.
    pub after: Option<Checksum>,
    /// The generation of what lay on the host so far.
    pub before: Option<Checksum>,
}

/// How gateways are given another identity while they run. Every call is idempotent.
pub trait Renew: Remote {
    /// Puts the staged identity in place, has the gateway read it, and returns when the gateway uses it.
    fn adopt(&self, host: &str, adoption: &Adoption) -> impl Future<Output = Result<(), RemoteError>> + Send;

    /// Asks a gateway which records it knows.
    fn versions(&self, host: &str) -> impl Future<Output = Result<Versions, RemoteError>> + Send;
}

type Failures = Vec<anyhow::Error>;

impl<R: Renew> Engine<R> {
    /// Begins a change of the network CA, or goes on with one, to its end. `state` is replaced on disk with every phase.
    pub async fn rotate(
        &self,
        fleet: &Fleet,
        owner: &Owner,
        state: &mut FleetState,
        patience: Patience,
    ) -> Result<Vec<Pair>, Failures> {
        check_complete(fleet, state).map_err(|error| vec![error])?;
        if state.epoch.change.is_none() {
            // A fleet in which not all talk cannot tell whether the change has harmed it.
            self.prove(fleet, patience).await?;
            let make = || async { owner.vault.make_next_ca(&state.epoch).map_err(Into::into) };
            self.step("fleet", "make the next network CA".to_owned(), make).await.map_err(one)?;
            enter(Phase::Trust, owner, state).map_err(one)?;
        }
        let mut proven = None;
        while let Some(phase) = state.epoch.change {
            if phase == Phase::Forget {
                // What is gone does not come back: not before the last proof, and nothing can fail behind it.
                let pairs = match proven.take() {
                    Some(pairs) => pairs,
                    None => self.prove(fleet, patience).await?,
                };
                let forget = || async { owner.vault.forget_old_ca().map_err(Into::into) };
                self.step("fleet", phase.words().to_owned(), forget).await.map_err(one)?;
                state.epoch = Epoch { number: state.epoch.number.saturating_add(1), change: None };
                owner.dir.put_fleet(state).map_err(|error| one(error.into()))?;
                return Ok(pairs);
            }
            for host in &fleet.hosts {
                self.renew(&host.name, phase, owner, state).await.map_err(one)?;
            }
            proven = Some(self.prove(fleet, patience).await?);
            let next = match phase {
                Phase::Trust => Phase::Issue,
                Phase::Issue => {
                    self.settle(fleet, state, patience).await.map_err(one)?;
                    Phase::Drop
                }
                Phase::Drop | Phase::Forget => Phase::Forget,
            };
            enter(next, owner, state).map_err(one)?;
        }
        self.prove(fleet, patience).await
    }

    /// Gives one host what the phase gives.
    async fn renew(&self, host: &str, phase: Phase, owner: &Owner, state: &FleetState) -> anyhow::Result<()> {
        let membership = owner.vault.membership(state, host)?;
        let membership = membership.with_context(|| format!("{host}: its gateway key is missing"))?;
        let words = format!("{host}: {}", phase.words());
        self.step(host, words, || self.renew_host(host, &membership)).await
    }

    async fn renew_host(&self, host: &str, membership: &Membership) -> anyhow::Result<()> {
        let facts =
            retry(self.pace, RemoteError::is_retryable, || async { self.remote.facts(host).await }).await?;
        if !facts.active {
            return Err(anyhow!("weave-gateway does not run there; `weave-provision up` starts it"));
        }
        Ok(self.hand_over(host, &facts, membership).await?)
    }

    /// Gives a gateway that runs a renewed identity, and returns when it uses that.
    pub(crate) async fn hand_over(
        &self,
        host: &str,
        facts: &Facts,
        membership: &Membership,
    ) -> Result<(), RemoteError> {
        let content = Content::new(membership.to_pem().into_bytes());
        let wanted = content.checksum();
        let staged = facts.files.get(IDENTITY) != Some(&(wanted.clone(), 0o600));
        if staged {
            let file = WantedFile { path: STAGED, mode: 0o600, content: Some(content.clone()) };
            let put = || self.remote.put(host, &file, &content);
            retry(self.pace, RemoteError::is_retryable, put).await?;
        }
        let (before, after) = (generation_with(facts, None), generation_with(facts, Some(wanted)));
        let adoption = Adoption { staged, mark: membership.mark(), before, after };
        let adopt = || self.remote.adopt(host, &adoption);
        retry(self.pace, RemoteError::is_retryable, adopt).await
    }

    async fn prove(&self, fleet: &Fleet, patience: Patience) -> Result<Vec<Pair>, Failures> {
        verify(&self.remote, fleet, patience).await.map_err(|(error, reasons)| {
            let reason = |(host, reason)| anyhow::Error::new(reason).context(host);
            [anyhow::Error::new(error)].into_iter().chain(reasons.into_iter().map(reason)).collect()
        })
    }

    /// Waits until every gateway knows of every peer at least what that peer itself says at this moment. A certificate
    /// travels ahead of the record that follows it, so the new ones are known everywhere then.
    async fn settle(&self, fleet: &Fleet, state: &FleetState, patience: Patience) -> anyhow::Result<()> {
        let ask = |host: String| {
            retry(self.pace, RemoteError::is_retryable, move || {
                let host = host.clone();
                async move { self.remote.versions(&host).await }
            })
        };
        let mut own = Versions::new();
        for host in &fleet.hosts {
            let peer = state.hosts.get(&host.name).map(|record| record.peer.clone()).unwrap_or_default();
            let known = ask(host.name.clone()).await.with_context(|| host.name.clone())?;
            let version = known.get(&peer).copied();
            own.insert(
                peer,
                version.with_context(|| format!("{}: its gateway has another name", host.name))?,
            );
        }
        let start = Instant::now();
        let mut pause = patience.pause;
        loop {
            let mut behind = Vec::new();
            for host in &fleet.hosts {
                let known = ask(host.name.clone()).await.with_context(|| host.name.clone())?;
                if own.iter().any(|(peer, version)| known.get(peer).is_none_or(|seen| seen < version)) {
                    behind.push(host.name.clone());
                }
            }
            if behind.is_empty() {
                return Ok(());
            }
            if start.elapsed() + pause > patience.limit {
                return Err(anyhow!(
                    "these gateways still do not know all certificates: {}",
                    behind.join(", ")
                ));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(std::time::Duration::from_secs(2));
        }
    }
}

/// Notes that the hosts are to be given what `phase` gives.
fn enter(phase: Phase, owner: &Owner, state: &mut FleetState) -> anyhow::Result<()> {
    state.epoch.change = Some(phase);
    if phase == Phase::Issue {
        // Those that the fleet is about to lose too: one that it keeps after all does not take a certificate of the same
        // number.
        let hosts: Vec<String> = state.hosts.keys().cloned().collect();
        for host in &hosts {
            owner.vault.issue(state, host)?;
        }
    }
    Ok(owner.dir.put_fleet(state)?)
}

/// Refuses to begin where a host is missing: it would be shut out.
fn check_complete(fleet: &Fleet, state: &FleetState) -> anyhow::Result<()> {
    let unmade = fleet.hosts.iter().filter(|host| !state.hosts.contains_key(&host.name));
    let unmade: Vec<&str> = unmade.map(|host| host.name.as_str()).collect();
    if fleet.hosts.is_empty() || !unmade.is_empty() {
        return Err(anyhow!(
            "these hosts have no gateway yet; `weave-provision up` installs it: {}",
            unmade.join(", ")
        ));
    }
    Ok(())
}

/// The [`generation`](crate::install::generation) of what lies on a host, with another identity or as it is; `None`
/// where a file is missing.
pub fn generation_with(facts: &Facts, identity: Option<&Checksum>) -> Option<Checksum> {
    let mut text = String::new();
    for path in [GATEWAY, IDENTITY, CONFIG, service_path(facts.init())] {
        let there = facts.files.get(path).map(|(sum, _)| sum);
        let sum = identity.filter(|_| path == IDENTITY).or(there)?;
        text.push_str(sum.as_str());
        text.push('\n');
    }
    Some(Checksum::of(text.as_bytes()))
}

fn one(error: anyhow::Error) -> Failures {
    vec![error]
}
