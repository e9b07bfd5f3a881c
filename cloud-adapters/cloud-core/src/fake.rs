//! A cloud in memory, with faults on demand.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::cloud::{Cloud, Stream};
use crate::error::ProviderError;
use crate::values::{Addresses, Drift, HostSpec, HostState, Leftover, Observed, Phase, Site};

/// A cloud that exists only in this process.
#[derive(Debug, Default)]
pub struct Fake {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sites: BTreeMap<String, Site>,
    hosts: BTreeMap<String, HostState>,
    drifts: Vec<Drift>,
    faults: VecDeque<(&'static str, ProviderError)>,
    calls: Vec<String>,
}

impl Fake {
    /// Creates a cloud without sites.
    pub fn new() -> Fake {
        Fake::default()
    }

    /// Makes the next call of this operation (`create_host`, …) fail once; several faults queue up.
    pub fn fail_next(&self, operation: &'static str, error: ProviderError) {
        self.state().faults.push_back((operation, error));
    }

    /// The mutating calls so far, e.g. `create_host aws-1`, failed ones included.
    pub fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }

    /// Changes a host behind the fleet's back, e.g. stops it.
    pub fn alter(&self, host: &str, change: impl FnOnce(&mut HostState)) {
        if let Some(host) = self.state().hosts.get_mut(host) {
            change(host);
        }
    }

    /// Makes a site differ from what is wanted, until it is ensured again.
    pub fn drift(&self, site: &str, what: &str) {
        self.state().drifts.push(Drift { site: site.to_owned(), what: what.to_owned() });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a mutating call and answers with the fault that waits for it, if any.
    fn begin(&self, operation: &str, subject: &str) -> Result<MutexGuard<'_, State>, ProviderError> {
        let mut state = self.state();
        state.calls.push(format!("{operation} {subject}"));
        match state.faults.iter().position(|(wanted, _)| *wanted == operation) {
            Some(at) => match state.faults.remove(at) {
                Some((_, error)) => Err(error),
                None => Ok(state),
            },
            None => Ok(state),
        }
    }
}

impl Cloud for Fake {
    fn name(&self) -> &str {
        "fake"
    }

    fn ensure_site(&self, site: &Site) -> Result<(), ProviderError> {
        let mut state = self.begin("ensure_site", &site.name)?;
        state.sites.insert(site.name.clone(), site.clone());
        state.drifts.retain(|drift| drift.site != site.name);
        Ok(())
    }

    fn observe(&self) -> Result<Observed, ProviderError> {
        let state = self.state();
        Ok(Observed {
            sites: state.sites.values().cloned().collect(),
            hosts: state.hosts.values().cloned().collect(),
            drifts: state.drifts.clone(),
        })
    }

    fn create_host(&self, spec: &HostSpec) -> Result<HostState, ProviderError> {
        let mut state = self.begin("create_host", &spec.name)?;
        let site = state.sites.get(&spec.site).cloned();
        let site = site.ok_or_else(|| ProviderError::NotFound(format!("site {}", spec.site)))?;
        let host = state.hosts.entry(spec.name.clone()).or_insert_with(|| HostState {
            name: spec.name.clone(),
            site: spec.site.clone(),
            addresses: Some(Addresses {
                private: IpAddr::V4(Ipv4Addr::new(10, site.index, 0, spec.index)),
                // RFC 5737 §3: addresses for documentation.
                public: Some(IpAddr::V4(Ipv4Addr::new(203, 0, 113, site.index * 10 + spec.index))),
            }),
            phase: Phase::Running,
            shows_user_data: false,
        });
        if host.site != spec.site {
            return Err(ProviderError::Conflict(format!("host {}", spec.name)));
        }
        if host.phase == Phase::Stopped {
            host.phase = Phase::Running;
        }
        Ok(host.clone())
    }

    fn hide_user_data(&self, host: &str) -> Result<(), ProviderError> {
        let mut state = self.begin("hide_user_data", host)?;
        let known =
            state.hosts.get_mut(host).ok_or_else(|| ProviderError::NotFound(format!("host {host}")))?;
        known.shows_user_data = false;
        Ok(())
    }

    fn destroy_host(&self, name: &str) -> Result<(), ProviderError> {
        self.begin("destroy_host", name)?.hosts.remove(name);
        Ok(())
    }

    fn remove_site(&self, name: &str) -> Result<(), ProviderError> {
        let mut state = self.begin("remove_site", name)?;
        if let Some(host) = state.hosts.values().find(|host| host.site == name) {
            return Err(ProviderError::Invalid(format!("site {name} still has host {}", host.name)));
        }
        state.sites.remove(name);
        Ok(())
    }

    fn sweep(&self) -> Result<Vec<Leftover>, ProviderError> {
        let state = self.begin("sweep", "fleet")?;
        let leftover = |kind: &str, id: &String| Leftover { kind: kind.to_owned(), id: id.clone() };
        Ok(state
            .hosts
            .keys()
            .map(|id| leftover("host", id))
            .chain(state.sites.keys().map(|id| leftover("site", id)))
            .collect())
    }

    fn connect(&self, host: &str, port: u16) -> Result<Box<dyn Stream>, ProviderError> {
        let known = self.begin("connect", host)?.hosts.contains_key(host);
        Err(if known {
            ProviderError::Retryable(format!("nothing listens on port {port} of {host}"))
        } else {
            ProviderError::NotFound(format!("host {host}"))
        })
    }
}
