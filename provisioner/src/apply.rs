//! Does what a plan says: removals, sites, hosts, then every host's contents.
//!
//! Steps of different hosts run at the same time; each is written to the journal before it begins. Whatever fails stops
//! its host only. Files are planned again from each host's own facts once all addresses are known, so a plan made
//! before a host existed still does the right thing on it.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, anyhow};
use cloud_core::{Cloud, HostSpec, Leftover, Phase, ProviderError};
use tokio::task::JoinSet;
use weave_trust::Membership;

use crate::desired::{Desired, address_book};
use crate::fleet::{Fleet, Host};
use crate::install::{Checksum, Facts, IDENTITY, WantedFile, fit, generation};
use crate::journal::Journal;
use crate::observe::call;
use crate::plan::{Change, Plan, Step, Why, changes};
use crate::progress::Progress;
use crate::remote::{Remote, RemoteError};
use crate::retry::{Pace, retry};
use crate::rotate::Renew;
use crate::state::{FleetState, HostRecord, StateDir};
use crate::vault::Vault;

/// What steps are done with.
pub struct Engine<R> {
    /// Makes hosts.
    pub cloud: Arc<dyn Cloud>,
    /// Reaches hosts.
    pub remote: Arc<R>,
    /// Remembers steps.
    pub journal: Journal,
    /// Shows steps.
    pub progress: Progress,
    /// How long failing calls are repeated.
    pub pace: Pace,
}

/// Whose fleet it is and what it is tagged with.
#[derive(Debug, Clone)]
pub struct Owner {
    /// The fleet's name.
    pub name: String,
    /// Where its keys are.
    pub dir: StateDir,
    /// Its keys.
    pub vault: Vault,
}

type Failures = Vec<anyhow::Error>;

impl<R: Renew> Engine<R> {
    /// Applies a plan of `up`. `state` is on disk already and is replaced there as certificates are issued.
    pub async fn up(
        self: &Arc<Self>,
        plan: &Plan,
        desired: &Desired,
        owner: &Owner,
        state: &mut FleetState,
    ) -> Result<(), Failures> {
        self.remove(plan, true).await?;
        self.create_sites(plan).await?;
        self.create_hosts(plan, owner, state).await?;
        self.configure(plan, desired, owner, state).await?;
        self.forget_gone(&desired.fleet, state).await
    }

    /// Applies a plan of `down` and sweeps; returns what bears the fleet's mark even so.
    pub async fn down(self: &Arc<Self>, plan: &Plan) -> Result<Vec<Leftover>, Failures> {
        self.remove(plan, false).await?;
        let step = "sweep".to_owned();
        let swept = self.step("fleet", step, || self.cloud_call(|cloud| cloud.sweep())).await;
        swept.map_err(|error| vec![error])
    }

    /// Removes hosts and sites. Where others stay, a gateway says goodbye first, so that they send nothing more by it.
    async fn remove(self: &Arc<Self>, plan: &Plan, others_stay: bool) -> Result<(), Failures> {
        let mut tasks = JoinSet::new();
        for step in &plan.steps {
            let Step::DestroyHost { host, .. } = step else { continue };
            let (engine, host, words) = (self.clone(), host.clone(), step.words());
            tasks.spawn(async move {
                let destroy = || async {
                    if others_stay && let Err(error) = engine.remote.stop(&host).await {
                        engine.progress.line(&format!("{host} goes without a goodbye: {error}"));
                    }
                    let name = host.clone();
                    engine.cloud_call(move |cloud| cloud.destroy_host(&name)).await
                };
                engine.step(&host, words, destroy).await
            });
        }
        all(tasks).await?;
        let mut failures = Vec::new();
        for step in &plan.steps {
            let Step::RemoveSite { site, .. } = step else { continue };
            let remove = || {
                let name = site.clone();
                self.cloud_call(move |cloud| cloud.remove_site(&name))
            };
            failures.extend(self.step(site, step.words(), remove).await.err());
        }
        none(failures)
    }

    /// Has every gateway that stays forget those whose hosts are gone, which the cloud attests. All run by now, and what
    /// is remembered of a gone host stays until all have done so. They are told twice: who knows nothing of it the first
    /// time may hear of it from another that was not told yet.
    async fn forget_gone(self: &Arc<Self>, fleet: &Fleet, state: &FleetState) -> Result<(), Failures> {
        self.tell_of_gone(fleet, state).await?;
        self.tell_of_gone(fleet, state).await
    }

    async fn tell_of_gone(self: &Arc<Self>, fleet: &Fleet, state: &FleetState) -> Result<(), Failures> {
        let mut tasks = JoinSet::new();
        for gone in state.leaving(fleet) {
            let Some(HostRecord { peer, .. }) = state.hosts.get(&gone) else { continue };
            for host in &fleet.hosts {
                let (engine, host, peer) = (self.clone(), host.name.clone(), peer.clone());
                let words = format!("{host}: forget the gateway of {gone}");
                tasks.spawn(async move {
                    let forget = || async {
                        let tell = || engine.remote.forget_peer(&host, &peer);
                        Ok(retry(engine.pace, RemoteError::is_retryable, tell).await?)
                    };
                    engine.step(&host, words, forget).await
                });
            }
        }
        all(tasks).await
    }

    async fn create_sites(self: &Arc<Self>, plan: &Plan) -> Result<(), Failures> {
        let mut failures = Vec::new();
        for step in &plan.steps {
            let (Step::CreateSite(site, _) | Step::MendSite { site, .. }) = step else { continue };
            let ensure = || {
                let site = site.clone();
                self.cloud_call(move |cloud| cloud.ensure_site(&site))
            };
            failures.extend(self.step(&site.name, step.words(), ensure).await.err());
        }
        none(failures)
    }

    async fn create_hosts(
        self: &Arc<Self>,
        plan: &Plan,
        owner: &Owner,
        state: &mut FleetState,
    ) -> Result<(), Failures> {
        let wanted = plan.steps.iter().filter_map(|step| match step {
            Step::CreateHost(host, _) => Some((host, true, step.words())),
            Step::StartHost(host) => Some((host, !state.hosts.contains_key(&host.name), step.words())),
            _ => None,
        });
        let wanted: Vec<_> = wanted.collect();
        let specs = wanted
            .into_iter()
            .map(|(host, new, words)| {
                if new {
                    owner.vault.issue(state, &host.name)?;
                }
                Ok((spec(host, owner)?, words))
            })
            .collect::<anyhow::Result<Vec<_>>>()
            .map_err(|error| vec![error.context("while making the keys of new hosts")])?;
        if specs.is_empty() {
            return Ok(());
        }
        // Before anything exists, so that a crash behind this line leaves no host whose certificate is forgotten.
        owner.dir.put_fleet(state).map_err(|error| vec![error.into()])?;
        let mut tasks = JoinSet::new();
        for (spec, words) in specs {
            let engine = self.clone();
            tasks.spawn(async move {
                let name = spec.name.clone();
                engine.step(&name, words, || engine.create_host(spec.clone())).await
            });
        }
        all(tasks).await
    }

    /// Creates a host and waits until it runs and has addresses.
    async fn create_host(&self, spec: HostSpec) -> anyhow::Result<()> {
        let name = spec.name.clone();
        self.wait_for(&name, "be gone", |phase| phase != Some(Phase::Terminating)).await?;
        self.cloud_call(move |cloud| cloud.create_host(&spec)).await?;
        self.wait_for(&name, "run", |phase| phase == Some(Phase::Running)).await
    }

    /// Observes until the phase of a host is as wanted.
    async fn wait_for(
        &self,
        name: &str,
        verb: &'static str,
        wanted: impl Fn(Option<Phase>) -> bool,
    ) -> anyhow::Result<()> {
        let look = || async {
            let observed = call(&self.cloud, |cloud| cloud.observe()).await?;
            let host = observed.hosts.into_iter().find(|host| host.name == name);
            // A host runs for us once it can be reached.
            let phase = host.map(|host| match (host.phase, host.addresses) {
                (Phase::Running, None) => Phase::Starting,
                (phase, _) => phase,
            });
            if wanted(phase) {
                Ok(())
            } else {
                Err(ProviderError::Retryable(format!("the host does not {verb}")))
            }
        };
        Ok(retry(self.pace, ProviderError::is_retryable, look).await?)
    }

    async fn configure(
        self: &Arc<Self>,
        plan: &Plan,
        desired: &Desired,
        owner: &Owner,
        state: &mut FleetState,
    ) -> Result<(), Failures> {
        let hosts: Vec<&Host> = desired
            .fleet
            .hosts
            .iter()
            .filter(|host| {
                plan.steps
                    .iter()
                    .any(|step| matches!(step, Step::Configure { host: name, .. } if *name == host.name))
            })
            .collect();
        if hosts.is_empty() {
            return Ok(());
        }
        let (mut files, showing) = self
            .files(&hosts, desired, owner, state)
            .await
            .map_err(|error| vec![error.context("while preparing what the hosts shall carry")])?;
        let mut tasks = JoinSet::new();
        for host in hosts {
            let files = files.remove(&host.name).unwrap_or_default();
            let membership = owner.vault.membership(state, &host.name).map_err(|error| vec![error.into()])?;
            let (engine, name) = (self.clone(), host.name.clone());
            let shows = showing.contains(&name);
            tasks.spawn(async move {
                engine.configure_host(&name, &files, membership).await?;
                if shows { engine.hide_user_data(&name).await } else { Ok(()) }
            });
        }
        all(tasks).await
    }

    /// What the hosts shall carry, and which of them show their user-data.
    async fn files(
        &self,
        hosts: &[&Host],
        desired: &Desired,
        owner: &Owner,
        state: &mut FleetState,
    ) -> anyhow::Result<(BTreeMap<String, Vec<WantedFile>>, BTreeSet<String>)> {
        let forgotten: Vec<&&Host> =
            hosts.iter().filter(|host| !state.hosts.contains_key(&host.name)).collect();
        if !forgotten.is_empty() {
            for host in forgotten {
                owner.vault.issue(state, &host.name)?;
            }
            owner.dir.put_fleet(state)?;
        }
        let observed = self.cloud_call(|cloud| cloud.observe()).await?;
        let files = desired.files(&owner.vault, Some(state), &address_book(&observed))?;
        for host in hosts {
            let complete = files.get(&host.name).is_some_and(|files| generation(files).is_some());
            if !complete {
                return Err(anyhow!("the addresses around {} are not known yet; run `up` again", host.name));
            }
        }
        let showing = observed.hosts.into_iter().filter(|host| host.shows_user_data).map(|host| host.name);
        Ok((files, showing.collect()))
    }

    /// Once the host has proved its key. Without cloud-init, which has done its work, the next boot would not wait for
    /// the service that is closed here.
    async fn hide_user_data(&self, host: &str) -> anyhow::Result<()> {
        let act = || async {
            retry(self.pace, RemoteError::is_retryable, || self.remote.disable_cloud_init(host)).await?;
            let name = host.to_owned();
            self.cloud_call(move |cloud| cloud.hide_user_data(&name)).await
        };
        self.step(host, format!("{host}: {}", Change::HideUserData), act).await
    }

    async fn configure_host(
        &self,
        host: &str,
        files: &[WantedFile],
        membership: Option<Membership>,
    ) -> anyhow::Result<()> {
        let mut facts = self.ask_patiently(host).await?;
        let files = &fit(files, &facts);
        let generation = generation(files).context("a content is not known")?;
        if changes(files, Some(&facts), true).contains(&Change::Reload)
            && let Some(membership) = &membership
        {
            self.reload(host, files, &generation, &facts, membership).await?;
            facts = self.ask_patiently(host).await?;
        }
        for change in changes(files, Some(&facts), true) {
            self.change(host, files, &generation, &change).await?;
        }
        Ok(())
    }

    /// Has the gateway go on with a renewed identity. One that cannot is left with it in place, to be restarted.
    async fn reload(
        &self,
        host: &str,
        files: &[WantedFile],
        generation: &Checksum,
        facts: &Facts,
        membership: &Membership,
    ) -> anyhow::Result<()> {
        let words = format!("{host}: {}", Change::Reload);
        let adopt = || async { Ok(self.hand_over(host, facts, membership).await?) };
        let Err(error) = self.step(host, words, adopt).await else { return Ok(()) };
        if !matches!(error.downcast_ref(), Some(RemoteError::Failed { .. })) {
            return Err(error);
        }
        self.progress.line(&format!("{error:#}; it is restarted instead"));
        let change = Change::Put { path: IDENTITY, why: Why::Differs };
        self.change(host, files, generation, &change).await
    }

    /// Asks a host for its state, for as long as one may take to boot.
    async fn ask_patiently(&self, host: &str) -> anyhow::Result<Facts> {
        self.progress.begin(host, &format!("{host}: wait for ssh"));
        let patient = AtomicBool::new(false);
        let ask = || async {
            let answer = self.remote.facts(host).await;
            if let Err(error) = &answer
                && error.is_retryable()
                && !patient.swap(true, Ordering::Relaxed)
            {
                let limit = self.pace.limit.as_secs();
                self.progress.line(&format!("{host} cannot be reached yet; trying for {limit} s"));
            }
            answer
        };
        retry(self.pace, RemoteError::is_retryable, ask)
            .await
            .with_context(|| format!("{host}: ask for its state"))
    }

    async fn change(
        &self,
        host: &str,
        files: &[WantedFile],
        generation: &Checksum,
        change: &Change,
    ) -> anyhow::Result<()> {
        let words = format!("{host}: {change}");
        let act = || async {
            retry(self.pace, RemoteError::is_retryable, || async {
                match &change {
                    Change::Put { path, .. } => {
                        let file = files.iter().find(|file| file.path == *path);
                        match file.and_then(|file| Some((file, file.content.as_ref()?))) {
                            Some((file, content)) => self.remote.put(host, file, content).await,
                            None => Ok(()),
                        }
                    }
                    Change::Link => self.remote.link(host).await,
                    Change::Enable | Change::ReadService => {
                        self.remote.service(host, false, generation).await
                    }
                    // Done apart from these: the one before, the other once all else is.
                    Change::Reload | Change::HideUserData => Ok(()),
                    // Facts say which service it is, and so does the change then.
                    Change::PutService(_) => Ok(()),
                    // A service that is just failing from old files has to let go of them.
                    Change::Start | Change::Restart => self.remote.service(host, true, generation).await,
                }
            })
            .await
            .map_err(anyhow::Error::new)
        };
        self.step(host, words, act).await
    }
}

impl<R: Remote> Engine<R> {
    /// Does one step between two lines of the journal.
    pub(crate) async fn step<T, F: Future<Output = anyhow::Result<T>>>(
        &self,
        subject: &str,
        words: String,
        act: impl FnOnce() -> F,
    ) -> anyhow::Result<T> {
        self.journal.begin(&words).context("cannot write the journal")?;
        self.progress.begin(subject, &words);
        let outcome = act().await;
        let failure = outcome.as_ref().err().map(|error| format!("{error:#}"));
        self.journal.finish(&words, failure).context("cannot write the journal")?;
        if outcome.is_ok() {
            self.progress.done(subject, &words);
        }
        outcome.context(words)
    }

    /// Makes a call of the cloud, again while it asks for patience.
    async fn cloud_call<T: Send + 'static>(
        &self,
        ask: impl Fn(&dyn Cloud) -> Result<T, ProviderError> + Send + Sync + 'static,
    ) -> anyhow::Result<T> {
        let ask = Arc::new(ask);
        let attempt = || {
            let ask = ask.clone();
            call(&self.cloud, move |cloud| ask(cloud))
        };
        Ok(retry(self.pace, ProviderError::is_retryable, attempt).await?)
    }
}

/// What a host shall be; its SSH keys are made here if there are none.
fn spec(host: &Host, owner: &Owner) -> anyhow::Result<HostSpec> {
    Ok(HostSpec {
        name: host.name.clone(),
        site: host.site.clone(),
        index: host.index,
        operator_public_key: owner.vault.operator_line()?,
        host_private_key: owner.vault.host_key(&host.name)?,
        labels: BTreeMap::from([("weave".to_owned(), owner.name.clone())]),
    })
}

async fn all(mut tasks: JoinSet<anyhow::Result<()>>) -> Result<(), Failures> {
    let mut failures = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok(outcome) => failures.extend(outcome.err()),
            Err(panic) => failures.push(anyhow::Error::new(panic).context("a step failed unexpectedly")),
        }
    }
    failures.sort_by_key(|failure| format!("{failure:#}"));
    none(failures)
}

fn none(failures: Failures) -> Result<(), Failures> {
    if failures.is_empty() { Ok(()) } else { Err(failures) }
}
