//! The adapter: one fleet in one region.

use std::time::Duration;

use cloud_core::{Cloud, HostSpec, HostState, IpNet, Leftover, Observed, ProviderError, Site, Stream, dial};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::api::Api;
use crate::config::{Access, AwsConfig, Tuning};
use crate::failure::{Class, Failure};
use crate::network::sites_of;

/// One fleet's share of EC2 in one region.
///
/// Calls block the thread they are made on until the cloud has answered; they must not be made from async code.
pub struct Aws {
    pub(crate) config: AwsConfig,
    pub(crate) api: Api,
    pub(crate) tuning: Tuning,
    /// Held while a network changes: hosts are made at the same time, and each looks after the network of its site.
    pub(crate) networks: Mutex<()>,
    runtime: Handle,
}

impl Aws {
    /// Finds region and credentials, without asking the cloud for anything.
    ///
    /// `runtime` has to be one of several threads: a single-threaded one does not turn while a call blocks.
    pub fn new(config: AwsConfig, runtime: Handle) -> Result<Aws, ProviderError> {
        Aws::tuned(config, Access::Chain, Tuning::default(), runtime)
    }

    pub(crate) fn tuned(
        config: AwsConfig,
        access: Access,
        tuning: Tuning,
        runtime: Handle,
    ) -> Result<Aws, ProviderError> {
        config.check()?;
        let api = runtime.block_on(Api::connect(&config, access, tuning))?;
        Ok(Aws { config, api, tuning, networks: Mutex::new(()), runtime })
    }

    /// The region that the fleet stands in.
    pub fn region(&self) -> &str {
        self.api.region()
    }

    /// The tags by which the fleet, and more narrowly a part of it, is found.
    pub(crate) fn mark<'a>(&'a self, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        [("tag:weave-fleet", self.config.fleet.as_str())].into_iter().chain(more.iter().copied()).collect()
    }

    /// Looks until there is something to see, at most `limit` long. What may pass by itself is looked at again.
    pub(crate) async fn until<T>(
        &self,
        limit: Duration,
        what: &str,
        mut look: impl AsyncFnMut() -> Result<Option<T>, ProviderError>,
    ) -> Result<T, ProviderError> {
        let deadline = Instant::now() + limit;
        loop {
            let waiting = match look().await {
                Ok(Some(seen)) => return Ok(seen),
                Ok(None) => ProviderError::Retryable(format!("{what}: not within {} s", limit.as_secs())),
                Err(error) if error.is_retryable() => error,
                Err(error) => return Err(error),
            };
            if Instant::now() + self.tuning.poll > deadline {
                return Err(waiting);
            }
            sleep(self.tuning.poll).await;
        }
    }

    /// Acts on something just made, until EC2 knows it everywhere. `false`: what was asked for was so already.
    pub(crate) async fn once_known(
        &self,
        what: &str,
        mut act: impl AsyncFnMut() -> Result<(), Failure>,
    ) -> Result<bool, ProviderError> {
        self.until(self.tuning.visible, what, async || match act().await {
            Ok(()) => Ok(Some(true)),
            Err(failure) => match failure.class() {
                Class::NotFound => Err(ProviderError::Retryable(failure.about(what).to_string())),
                Class::Exists => Ok(Some(false)),
                _ => Err(failure.about(what)),
            },
        })
        .await
    }

    /// Removes something: what is gone is gone, and what is still in use is tried again for a while.
    pub(crate) async fn remove(
        &self,
        what: &str,
        mut act: impl AsyncFnMut() -> Result<(), Failure>,
    ) -> Result<(), ProviderError> {
        self.until(self.tuning.visible, what, async || match act().await {
            Ok(()) => Ok(Some(())),
            Err(failure) if failure.class() == Class::NotFound => Ok(Some(())),
            Err(failure) => Err(failure.about(what)),
        })
        .await
    }

    async fn open(&self, host: &str, port: u16) -> Result<Box<dyn Stream>, ProviderError> {
        let seen = self.running(host).await?;
        let Some(public) = seen.public else {
            return Err(ProviderError::Retryable(format!("host {host} has no public address yet")));
        };
        dial(host, public.into(), port, self.tuning.dial, "security group").await
    }
}

impl Cloud for Aws {
    fn name(&self) -> &str {
        "aws"
    }

    fn ensure_site(&self, site: &Site) -> Result<(), ProviderError> {
        self.runtime.block_on(self.ensure_network(site)).map(drop)
    }

    fn networks(&self, site: &Site) -> Result<Vec<IpNet>, ProviderError> {
        self.runtime.block_on(self.blocks_of(site))
    }

    fn observe(&self) -> Result<Observed, ProviderError> {
        self.runtime.block_on(async {
            let (vpcs, groups) = self.pieces(None).await?;
            let (sites, hosts) = (sites_of(&vpcs, &groups), self.hosts().await?);
            let drifts = self.drifts(&sites, &vpcs, &groups).await?;
            Ok(Observed { sites, hosts, drifts })
        })
    }

    fn create_host(&self, spec: &HostSpec) -> Result<HostState, ProviderError> {
        self.runtime.block_on(self.make_host(spec))
    }

    /// Closes the host's metadata service. Before, `touch /etc/cloud/cloud-init.disabled` there: cloud-init has done
    /// its work and would wait for the service at the next boot.
    fn hide_user_data(&self, host: &str) -> Result<(), ProviderError> {
        self.runtime.block_on(self.close_metadata(host))
    }

    fn destroy_host(&self, name: &str) -> Result<(), ProviderError> {
        self.runtime.block_on(self.end_host(name))
    }

    fn remove_site(&self, name: &str) -> Result<(), ProviderError> {
        self.runtime.block_on(self.remove_network(name))
    }

    fn sweep(&self) -> Result<Vec<Leftover>, ProviderError> {
        self.runtime.block_on(self.sweep_fleet())
    }

    fn connect(&self, host: &str, port: u16) -> Result<Box<dyn Stream>, ProviderError> {
        self.runtime.block_on(self.open(host, port))
    }
}
