//! The adapter.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cloud_core::{
    Addresses, Cloud, HostSpec, HostState, Leftover, Observed, Obstacle, Phase, ProviderError, Site, Stream,
};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::contact::{ASK_LIMIT, Contact};
use crate::machines::{Config, Machine};
use crate::obstacle::{login_hint, obstacle, reason};
use crate::script::{self, Answer};

/// A stop may take ten seconds, twice; the rest is for busy machines.
const REMOVE_LIMIT: Duration = Duration::from_secs(60);

/// One fleet's machines.
pub struct OnpremCloud {
    contact: Arc<Contact>,
    /// Sites that were asked for and have no machine of ours yet.
    ensured: Mutex<BTreeSet<String>>,
}

impl OnpremCloud {
    /// Nothing is contacted yet.
    pub fn new(config: Config) -> OnpremCloud {
        OnpremCloud { contact: Arc::new(Contact::new(config)), ensured: Mutex::default() }
    }

    /// Asks all machines at once; each answers, or says why not.
    fn ask_all(&self) -> Result<BTreeMap<String, Result<Answer, ProviderError>>, ProviderError> {
        let contact = self.contact.clone();
        block(async move {
            let mut asked = JoinSet::new();
            for name in contact.config.machines.keys() {
                let (contact, name) = (contact.clone(), name.clone());
                asked.spawn(async move { (name.clone(), contact.ask(&name).await) });
            }
            asked.join_all().await.into_iter().collect()
        })
    }

    fn machine(&self, name: &str) -> Result<&Machine, ProviderError> {
        self.contact.config.machines.get(name).ok_or_else(|| ProviderError::NotFound(format!("host {name}")))
    }

    fn ours(&self, answer: &Answer) -> bool {
        answer.mark.as_ref() == Some(&self.contact.config.fleet)
    }

    /// What there is, given what the machines said. Of a machine that does not answer it is not known whose it is; it
    /// counts as ours, so that neither is it forgotten nor do its neighbours lose its address.
    fn seen(&self, answers: &BTreeMap<String, Result<Answer, ProviderError>>) -> Observed {
        let counts = |name: &&String| {
            answers.get(*name).is_none_or(|answer| match answer {
                Ok(answer) => self.ours(answer),
                Err(_) => true,
            })
        };
        let machines = &self.contact.config.machines;
        let hosts: Vec<HostState> = machines.keys().filter(counts).map(|name| self.state(name)).collect();
        let ensured = self.ensured.lock().unwrap_or_else(PoisonError::into_inner);
        let exists =
            |site: &Site| ensured.contains(&site.name) || hosts.iter().any(|host| host.site == site.name);
        let sites = self.contact.config.sites().into_iter().filter(exists).collect();
        Observed { sites, hosts, drifts: Vec::new() }
    }

    fn state(&self, name: &str) -> HostState {
        let machine = &self.contact.config.machines[name];
        let private = machine.private.or_else(|| self.contact.told(name));
        let addresses = private.map(|private| Addresses { private, public: machine.public });
        HostState {
            name: name.to_owned(),
            site: machine.site.clone(),
            addresses,
            phase: Phase::Running,
            shows_user_data: false,
        }
    }
}

impl Cloud for OnpremCloud {
    fn name(&self) -> &str {
        "onprem"
    }

    fn ensure_site(&self, site: &Site) -> Result<(), ProviderError> {
        if !self.contact.config.sites().contains(site) {
            return Err(ProviderError::NotFound(format!("site {}", site.name)));
        }
        self.ensured.lock().unwrap_or_else(PoisonError::into_inner).insert(site.name.clone());
        Ok(())
    }

    fn observe(&self) -> Result<Observed, ProviderError> {
        let answers = self.ask_all()?;
        for (name, answer) in &answers {
            if let Err(error) = answer {
                tracing::debug!(host = name, %error, "the machine does not answer");
            }
        }
        Ok(self.seen(&answers))
    }

    fn obstacles(&self) -> Vec<Obstacle> {
        let Ok(answers) = self.ask_all() else { return Vec::new() };
        let config = &self.contact.config;
        let found = |(host, answer): (String, Result<Answer, ProviderError>)| {
            let (what, hint) = match answer {
                // It may be back before its turn comes.
                Err(error) if error.is_retryable() => return None,
                Err(error) => (reason(&host, &error), login_hint(&error)),
                Ok(answer) => obstacle(&answer, config)?,
            };
            Some(Obstacle { host, what, hint: hint.to_owned() })
        };
        answers.into_iter().filter_map(found).collect()
    }

    fn create_host(&self, spec: &HostSpec) -> Result<HostState, ProviderError> {
        let site = || ProviderError::NotFound(format!("site {}", spec.site));
        let ensured = self.ensured.lock().unwrap_or_else(PoisonError::into_inner).contains(&spec.site);
        if !ensured && !self.observe()?.sites.iter().any(|known| known.name == spec.site) {
            return Err(site());
        }
        let machine = self.machine(&spec.name)?;
        if machine.site != spec.site {
            return Err(ProviderError::Conflict(format!("host {}", spec.name)));
        }
        let (contact, name) = (self.contact.clone(), spec.name.clone());
        block(async move {
            let answer = contact.ask(&name).await?;
            if let Some((what, _)) = obstacle(&answer, &contact.config) {
                return Err(ProviderError::Invalid(format!("{name}: {what}")));
            }
            let claim = script::claim(&contact.config.footprint, &contact.config.fleet);
            contact.run(&name, "marking it as the fleet's", &claim, ASK_LIMIT).await?;
            contact.note(&name, true);
            Ok(())
        })??;
        Ok(self.state(&spec.name))
    }

    fn destroy_host(&self, name: &str) -> Result<(), ProviderError> {
        if self.machine(name).is_err() {
            return Ok(());
        }
        let (contact, name) = (self.contact.clone(), name.to_owned());
        block(async move {
            let remove = script::remove(&contact.config.footprint, &contact.config.fleet);
            contact.run(&name, "removing what is the fleet's", &remove, REMOVE_LIMIT).await?;
            contact.note(&name, false);
            Ok(())
        })?
    }

    fn remove_site(&self, name: &str) -> Result<(), ProviderError> {
        if let Some(host) = self.observe()?.hosts.iter().find(|host| host.site == name) {
            return Err(ProviderError::Invalid(format!("site {name} still has host {}", host.name)));
        }
        self.ensured.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        Ok(())
    }

    fn sweep(&self) -> Result<Vec<Leftover>, ProviderError> {
        let mut leftovers = Vec::new();
        for (host, answer) in self.ask_all()? {
            let answer = answer?;
            if !self.ours(&answer) {
                continue;
            }
            let mark = [("file".to_owned(), self.contact.config.footprint.mark())];
            let all = answer.found.into_iter().chain(mark);
            leftovers.extend(all.map(|(kind, id)| Leftover { kind, id: format!("{host}:{id}") }));
        }
        Ok(leftovers)
    }

    fn connect(&self, host: &str, port: u16) -> Result<Box<dyn Stream>, ProviderError> {
        let reach = self.machine(host)?.reach.clone();
        let (contact, host) = (self.contact.clone(), host.to_owned());
        block(async move {
            contact.check_ours(&host).await?;
            contact.jumps.dial(&reach, port).await
        })?
    }
}

/// Runs to the end on this thread, which may block.
fn block<T>(future: impl Future<Output = T>) -> Result<T, ProviderError> {
    let runtime = Handle::try_current();
    let runtime = runtime
        .map_err(|_| ProviderError::Other("talking to a host needs a tokio runtime around it".to_owned()))?;
    Ok(runtime.block_on(future))
}
