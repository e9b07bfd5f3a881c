//! Another gateway program for a fleet, one host at a time, and back on the first that it does not suit.
//!
//! ```text
//!   all pairs talk ─► keep the old program beside ─► put the new one ─► restart ─► all pairs talk ─► next host
//!                                                                          └── no: the old one again, and stop
//! ```
//!
//! A run that was killed is gone on with by the next: a host that has the program and was started from it is left alone.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde::Serialize;

use crate::apply::Engine;
use crate::fleet::Fleet;
use crate::install::{Checksum, Content, Facts, GATEWAY, WantedFile};
use crate::remote::{Remote, RemoteError, SshRemote};
use crate::retry::retry;
use crate::rotate::generation_with;
use crate::ssh::quote;
use crate::verify::{Pair, Patience, verify};

/// The program that a host had before.
pub const OLD_GATEWAY: &str = "/usr/local/bin/weave-gateway.old";

/// Copying a program of some ten megabytes.
const COPY_LIMIT: Duration = Duration::from_secs(30);

/// How a host keeps the program it had. Every call is idempotent.
pub trait Swap: Remote {
    /// Copies the program to [`OLD_GATEWAY`] unless it is the one with checksum `new` already.
    fn keep(&self, host: &str, new: &Checksum) -> impl Future<Output = Result<(), RemoteError>> + Send;

    /// Puts the kept program back in place, if there is one.
    fn put_back(&self, host: &str) -> impl Future<Output = Result<(), RemoteError>> + Send;
}

impl Swap for SshRemote {
    async fn keep(&self, host: &str, new: &Checksum) -> Result<(), RemoteError> {
        let (program, old) = (quote::text(GATEWAY), quote::text(OLD_GATEWAY));
        let command = format!(
            "set -e; [ \"$(sha256sum <{program} | cut -c1-64)\" = {new} ] || \
             {{ cp -p {program} {old}.part; sync {old}.part; mv -f {old}.part {old}; }}",
            new = new.as_str(),
        );
        self.run(host, "keeping the old program", &command, b"", COPY_LIMIT).await?;
        Ok(())
    }

    async fn put_back(&self, host: &str) -> Result<(), RemoteError> {
        let (program, old) = (quote::text(GATEWAY), quote::text(OLD_GATEWAY));
        let command = format!("set -e; [ ! -f {old} ] || mv -f {old} {program}");
        self.run(host, "putting the old program back", &command, b"", COPY_LIMIT).await?;
        Ok(())
    }
}

/// What became of one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It ran from the program already.
    Current,
    /// It runs from the new program.
    Upgraded,
}

/// Why an upgrade ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// Before anything was changed on a host.
    #[error("{host}: nothing was changed there")]
    Unchanged {
        /// The host.
        host: String,
        /// What failed.
        #[source]
        source: anyhow::Error,
    },
    /// The new program did not suit, and the old one runs again.
    #[error(
        "{host}: the new program does not work there; the old one runs again, and the hosts behind it are untouched"
    )]
    RolledBack {
        /// The host.
        host: String,
        /// What failed.
        #[source]
        source: anyhow::Error,
    },
    /// Neither works.
    #[error(
        "{host}: the new program does not work there, and going back to the old one failed too: {back:#}"
    )]
    Stuck {
        /// The host.
        host: String,
        /// Why the old one does not run either.
        back: anyhow::Error,
        /// What failed first.
        #[source]
        source: anyhow::Error,
    },
}

impl<R: Swap> Engine<R> {
    /// Gives every host the program in turn; the pairs are those after the last.
    pub async fn upgrade(
        &self,
        fleet: &Fleet,
        program: &Content,
        patience: Patience,
    ) -> Result<(BTreeMap<String, Outcome>, Vec<Pair>), UpgradeError> {
        let mut outcomes = BTreeMap::new();
        let mut pairs = None;
        for host in &fleet.hosts {
            let name = host.name.clone();
            let unchanged = |source| UpgradeError::Unchanged { host: host.name.clone(), source };
            let facts = self.facts(&name).await.map_err(unchanged)?;
            if is_current(&facts, program.checksum()) {
                outcomes.insert(name, Outcome::Current);
                continue;
            }
            // Whether a host suits is told by the pairs, so all have to talk before it is touched, unless an earlier run
            // has touched it.
            if pairs.is_none() && !has_program(&facts, program.checksum()) {
                self.talk(fleet, patience).await.map_err(unchanged)?;
            }
            // Not a step of the exchange: what was kept by an earlier upgrade is nothing to go back to.
            let keep = || self.remote.keep(&name, program.checksum());
            retry(self.pace, RemoteError::is_retryable, keep)
                .await
                .map_err(|error| unchanged(error.into()))?;
            let words = format!("{name}: upgrade weave-gateway to {}", program.checksum().short());
            let tried = self.step(&name, words, || self.exchange(&name, fleet, program, patience)).await;
            match tried {
                Ok(after) => pairs = Some(after),
                Err(source) => return Err(self.go_back(name, fleet, source, patience).await),
            }
            outcomes.insert(name, Outcome::Upgraded);
        }
        let pairs = match pairs {
            Some(pairs) => pairs,
            None => {
                let host = "fleet".to_owned();
                let talk = self.talk(fleet, patience).await;
                talk.map_err(|source| UpgradeError::Unchanged { host, source })?
            }
        };
        Ok((outcomes, pairs))
    }

    async fn exchange(
        &self,
        host: &str,
        fleet: &Fleet,
        program: &Content,
        patience: Patience,
    ) -> anyhow::Result<Vec<Pair>> {
        let file = WantedFile { path: GATEWAY, mode: 0o755, content: Some(program.clone()) };
        retry(self.pace, RemoteError::is_retryable, || self.remote.put(host, &file, program)).await?;
        self.start(host).await?;
        self.talk(fleet, patience).await
    }

    /// Restarts a gateway from what lies on its host, and waits until it says that it is ready and who it is.
    async fn start(&self, host: &str) -> anyhow::Result<()> {
        let facts = self.facts(host).await?;
        let generation = generation_with(&facts, None).context("files of the gateway are missing there")?;
        let restart = || self.remote.service(host, true, &generation);
        retry(self.pace, RemoteError::is_retryable, restart).await?;
        let facts = self.facts(host).await?;
        if !facts.active || facts.applied != Some(generation) {
            return Err(anyhow!("weave-gateway does not stay up"));
        }
        Ok(())
    }

    async fn go_back(
        &self,
        host: String,
        fleet: &Fleet,
        source: anyhow::Error,
        patience: Patience,
    ) -> UpgradeError {
        let words = format!("{host}: go back to the old program");
        let back = self.step(&host, words, || async {
            retry(self.pace, RemoteError::is_retryable, || self.remote.put_back(&host)).await?;
            self.start(&host).await?;
            self.talk(fleet, patience).await
        });
        match back.await {
            Ok(_) => UpgradeError::RolledBack { host, source },
            Err(back) => UpgradeError::Stuck { host, back, source },
        }
    }

    async fn facts(&self, host: &str) -> anyhow::Result<Facts> {
        let ask = || self.remote.facts(host);
        Ok(retry(self.pace, RemoteError::is_retryable, ask).await?)
    }

    async fn talk(&self, fleet: &Fleet, patience: Patience) -> anyhow::Result<Vec<Pair>> {
        verify(&self.remote, fleet, patience).await.map_err(|(error, mut reasons)| match reasons.pop() {
            Some((host, reason)) => anyhow::Error::new(reason).context(host).context(error),
            None => anyhow::Error::new(error),
        })
    }
}

fn has_program(facts: &Facts, program: &Checksum) -> bool {
    facts.files.get(GATEWAY).is_some_and(|(sum, mode)| sum == program && *mode == 0o755)
}

/// Whether a host runs from this program already.
pub(crate) fn is_current(facts: &Facts, program: &Checksum) -> bool {
    let applied = facts.applied.is_some() && facts.applied == generation_with(facts, None);
    facts.active && applied && has_program(facts, program)
}
