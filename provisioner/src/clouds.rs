//! Several clouds as one: every call goes to the cloud that its site or host belongs to.

use std::sync::Arc;

use cloud_core::{
    Cloud, HostSpec, HostState, IpNet, Leftover, Observed, Obstacle, ProviderError, Site, Stream,
};
use tokio::runtime::Handle;

use crate::fleet::CloudKind;

/// The clouds that a fleet stands in, or stood in. Sites and hosts tell by their names where they belong.
pub struct Clouds {
    members: Vec<(CloudKind, Arc<dyn Cloud>)>,
    name: String,
}

impl Clouds {
    /// Joins clouds, one of each kind.
    pub fn new(members: Vec<(CloudKind, Arc<dyn Cloud>)>) -> Clouds {
        let names: Vec<&str> = members.iter().map(|(kind, _)| kind.as_str()).collect();
        let name = names.join(", ");
        Clouds { members, name }
    }

    fn of(&self, kind: CloudKind, what: &str) -> Result<&dyn Cloud, ProviderError> {
        let member = self.members.iter().find(|(member, _)| *member == kind);
        let unknown = || ProviderError::NotFound(format!("{what} in {}", self.name));
        member.map(|(_, cloud)| cloud.as_ref()).ok_or_else(unknown)
    }

    fn of_site(&self, site: &str) -> Result<&dyn Cloud, ProviderError> {
        self.of(CloudKind::of_site(site), &format!("site {site}"))
    }

    fn of_host(&self, host: &str) -> Result<&dyn Cloud, ProviderError> {
        self.of(CloudKind::of_host(host), &format!("host {host}"))
    }

    /// Asks all of them at the same time; answers come in the order of the members.
    fn of_all<T: Send>(&self, ask: impl Fn(&dyn Cloud) -> T + Sync) -> Vec<(CloudKind, T)> {
        // Adapters find the runtime that they wait on around the call.
        let runtime = Handle::try_current().ok();
        std::thread::scope(|scope| {
            let (ask, runtime) = (&ask, runtime.as_ref());
            let spawn = |(kind, cloud): &'_ (CloudKind, Arc<dyn Cloud>)| {
                let (kind, cloud) = (*kind, cloud.clone());
                let asked = scope.spawn(move || {
                    let _inside = runtime.map(Handle::enter);
                    ask(cloud.as_ref())
                });
                (kind, asked)
            };
            let asked: Vec<_> = self.members.iter().map(spawn).collect();
            let joined = asked.into_iter().map(|(kind, thread)| match thread.join() {
                Ok(answer) => (kind, answer),
                Err(panic) => std::panic::resume_unwind(panic),
            });
            joined.collect()
        })
    }
}

/// An error of one of several clouds says whose it is.
fn named(kind: CloudKind, error: ProviderError) -> ProviderError {
    let name = |text: String| format!("{kind}: {text}");
    match error {
        ProviderError::Retryable(text) => ProviderError::Retryable(name(text)),
        ProviderError::Permission(text) => ProviderError::Permission(name(text)),
        ProviderError::Quota(text) => ProviderError::Quota(name(text)),
        ProviderError::NotFound(text) => ProviderError::NotFound(name(text)),
        ProviderError::Conflict(text) => ProviderError::Conflict(name(text)),
        ProviderError::Invalid(text) => ProviderError::Invalid(name(text)),
        ProviderError::Other(text) => ProviderError::Other(name(text)),
    }
}

impl Cloud for Clouds {
    fn name(&self) -> &str {
        &self.name
    }

    fn ensure_site(&self, site: &Site) -> Result<(), ProviderError> {
        self.of_site(&site.name)?.ensure_site(site)
    }

    fn networks(&self, site: &Site) -> Result<Vec<IpNet>, ProviderError> {
        self.of_site(&site.name)?.networks(site)
    }

    fn observe(&self) -> Result<Observed, ProviderError> {
        let mut all = Observed::default();
        for (kind, seen) in self.of_all(|cloud| cloud.observe()) {
            let seen = seen.map_err(|error| named(kind, error))?;
            all.sites.extend(seen.sites);
            all.hosts.extend(seen.hosts);
            all.drifts.extend(seen.drifts);
        }
        all.sites.sort_by(|a, b| a.name.cmp(&b.name));
        all.hosts.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    fn obstacles(&self) -> Vec<Obstacle> {
        self.of_all(|cloud| cloud.obstacles()).into_iter().flat_map(|(_, obstacles)| obstacles).collect()
    }

    fn create_host(&self, spec: &HostSpec) -> Result<HostState, ProviderError> {
        self.of_host(&spec.name)?.create_host(spec)
    }

    fn hide_user_data(&self, host: &str) -> Result<(), ProviderError> {
        self.of_host(host)?.hide_user_data(host)
    }

    fn destroy_host(&self, name: &str) -> Result<(), ProviderError> {
        self.of_host(name)?.destroy_host(name)
    }

    fn remove_site(&self, name: &str) -> Result<(), ProviderError> {
        self.of_site(name)?.remove_site(name)
    }

    fn sweep(&self) -> Result<Vec<Leftover>, ProviderError> {
        let mut all = Vec::new();
        for (kind, left) in self.of_all(|cloud| cloud.sweep()) {
            all.extend(left.map_err(|error| named(kind, error))?);
        }
        Ok(all)
    }

    fn connect(&self, host: &str, port: u16) -> Result<Box<dyn Stream>, ProviderError> {
        self.of_host(host)?.connect(host, port)
    }
}
