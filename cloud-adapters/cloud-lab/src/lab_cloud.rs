//! The adapter.

use std::net::IpAddr;

use cloud_core::{
    Addresses, Cloud, HostSpec, HostState, Leftover, Observed, Obstacle, Phase, ProviderError, Site, Stream,
};
use netlab::{Config, HostConfig, HostStatus, Lab, Topology};

use crate::connect;
use crate::error::provider;

/// The clouds of one fleet, all played by one lab.
#[derive(Debug, Clone)]
pub struct LabCloud {
    lab: String,
    topology: Topology,
}

impl LabCloud {
    /// A cloud in the lab called `name`, which need not exist; `topology` says which of its sites reach each other.
    pub fn new(name: &str, topology: Topology) -> LabCloud {
        LabCloud { lab: name.to_owned(), topology }
    }

    fn open(&self) -> Result<Option<Lab>, ProviderError> {
        Lab::open(&self.lab).map_err(provider)
    }

    /// The lab and the host in it, if there are both.
    fn find(&self, host: &str) -> Result<(Lab, HostStatus), ProviderError> {
        let missing = || ProviderError::NotFound(format!("host {host}"));
        let lab = self.open()?.ok_or_else(missing)?;
        let status = lab.status().map_err(provider)?.hosts.remove(host).ok_or_else(missing)?;
        Ok((lab, status))
    }
}

/// Ends the lab called `name` and all in it, or removes what a crash left of it. Asked twice, it succeeds.
pub fn down(name: &str) -> Result<(), ProviderError> {
    netlab::down(name).map_err(provider)
}

impl Cloud for LabCloud {
    fn name(&self) -> &str {
        "lab"
    }

    fn ensure_site(&self, site: &Site) -> Result<(), ProviderError> {
        let config = Config { name: self.lab.clone(), topology: self.topology, helper: None };
        Lab::ensure(&config).and_then(|lab| lab.ensure_site(&site.name, site.index)).map_err(provider)
    }

    fn obstacles(&self) -> Vec<Obstacle> {
        let Err(error) = netlab::check_machine() else { return Vec::new() };
        let text = error.to_string();
        let (what, hint) = text.split_once("; hint: ").unwrap_or((&text, "see what this machine lacks"));
        vec![Obstacle { host: "this machine".to_owned(), what: what.to_owned(), hint: hint.to_owned() }]
    }

    fn observe(&self) -> Result<Observed, ProviderError> {
        let Some(lab) = self.open()? else { return Ok(Observed::default()) };
        let status = lab.status().map_err(provider)?;
        let site = |(name, site): (String, netlab::SiteStatus)| Site { name, index: site.index };
        Ok(Observed {
            sites: status.sites.into_iter().map(site).collect(),
            hosts: status.hosts.into_iter().map(|(name, host)| state(name, host)).collect(),
            drifts: Vec::new(),
        })
    }

    fn create_host(&self, spec: &HostSpec) -> Result<HostState, ProviderError> {
        let site = || ProviderError::NotFound(format!("site {}", spec.site));
        let host = HostConfig {
            name: spec.name.clone(),
            site: spec.site.clone(),
            index: spec.index,
            authorized_key: spec.operator_public_key.clone(),
            host_key_pem: spec.host_private_key.reveal().to_owned(),
            labels: spec.labels.clone(),
        };
        let made = self.open()?.ok_or_else(site)?.ensure_host(&host).map_err(provider)?;
        Ok(state(spec.name.clone(), made))
    }

    fn destroy_host(&self, name: &str) -> Result<(), ProviderError> {
        match self.open()? {
            Some(lab) => lab.destroy_host(name).map_err(provider),
            None => Ok(()),
        }
    }

    fn remove_site(&self, name: &str) -> Result<(), ProviderError> {
        match self.open()? {
            Some(lab) => lab.remove_site_or_lab(name).map_err(provider),
            None => Ok(()),
        }
    }

    fn sweep(&self) -> Result<Vec<Leftover>, ProviderError> {
        down(&self.lab)?;
        let found = netlab::remains(&self.lab).map_err(provider)?;
        Ok(found.into_iter().map(|(kind, id)| Leftover { kind, id }).collect())
    }

    fn connect(&self, host: &str, port: u16) -> Result<Box<dyn Stream>, ProviderError> {
        let (lab, status) = self.find(host)?;
        connect::open(&lab, host, &status, port)
    }
}

fn state(name: String, host: HostStatus) -> HostState {
    HostState {
        name,
        site: host.site,
        addresses: Some(Addresses { private: IpAddr::V4(host.private), public: host.public.map(IpAddr::V4) }),
        phase: match host.phase {
            netlab::Phase::Starting => Phase::Starting,
            netlab::Phase::Running => Phase::Running,
            netlab::Phase::Stopped => Phase::Stopped,
        },
        shows_user_data: false,
    }
}
