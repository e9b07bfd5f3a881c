//! The adapter: one fleet in one region.

use std::time::Duration;

use cloud_core::{Cloud, HostSpec, HostState, IpNet, Leftover, Observed, ProviderError, Site, Stream, dial};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::api::{Api, End};
use crate::config::{GcpConfig, Tuning};
use crate::failure::{Class, Failure, Stage};
use crate::plan;

/// How many request ids may lead to something gone, within the hour that Compute Engine remembers them.
const MAX_ATTEMPTS: usize = 16;

/// One fleet's share of Compute Engine in one region.
///
/// Calls block the thread they are made on until the cloud has answered; they must not be made from async code.
pub struct Gcp {
    pub(crate) config: GcpConfig,
    pub(crate) api: Api,
    pub(crate) tuning: Tuning,
    /// Held while a network changes: hosts are made at the same time, and each looks after the network of its site.
    pub(crate) networks: Mutex<()>,
    runtime: Handle,
}

impl Gcp {
    /// Finds credentials, without asking the cloud for anything.
    ///
    /// `runtime` has to be one of several threads: a single-threaded one does not turn while a call blocks. Where the
    /// process has no default provider of cryptography for rustls yet, ring becomes it.
    pub fn new(config: GcpConfig, runtime: Handle) -> Result<Gcp, ProviderError> {
        Gcp::tuned(config, Tuning::default(), runtime)
    }

    pub(crate) fn tuned(config: GcpConfig, tuning: Tuning, runtime: Handle) -> Result<Gcp, ProviderError> {
        config.check()?;
        let api = runtime.block_on(Api::connect(&config, tuning))?;
        Ok(Gcp { config, api, tuning, networks: Mutex::new(()), runtime })
    }

    /// The labels by which the fleet, and more narrowly a part of it, is found.
    pub(crate) fn mark<'a>(&'a self, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        [(plan::FLEET, self.config.fleet.as_str())].into_iter().chain(more.iter().copied()).collect()
    }

    /// Looks until there is something to see, at most `limit` long.
    pub(crate) async fn until<T>(
        &self,
        limit: Duration,
        what: &str,
        mut look: impl AsyncFnMut() -> Result<Option<T>, ProviderError>,
    ) -> Result<T, ProviderError> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(seen) = look().await? {
                return Ok(seen);
            }
            if Instant::now() + self.tuning.poll > deadline {
                return Err(ProviderError::Retryable(format!("{what}: not within {} s", limit.as_secs())));
            }
            sleep(self.tuning.poll).await;
        }
    }

    /// Acts until nothing else is busy with it.
    pub(crate) async fn when_idle<T>(
        &self,
        mut act: impl AsyncFnMut() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + self.tuning.network;
        loop {
            match act().await {
                // What an earlier request led to stays what it is.
                Err(failure)
                    if failure.class() == Class::Busy
                        && failure.stage != Stage::Earlier
                        && Instant::now() + self.tuning.poll < deadline =>
                {
                    sleep(self.tuning.poll).await;
                }
                answer => return answer,
            }
        }
    }

    /// Makes something with a name of its own, which `find` sees where it is there.
    ///
    /// `find` says so when the name is another's. `parts` and the number of the attempt give the request's id, so that
    /// a request whose answer was lost is not made twice.
    pub(crate) async fn make<T>(
        &self,
        parts: &[&str],
        mut insert: impl AsyncFnMut(&str) -> Result<End, Failure>,
        mut find: impl AsyncFnMut() -> Result<Option<T>, Failure>,
    ) -> Result<T, Failure> {
        let mut last = Failure { message: "too often made and removed".to_owned(), ..Failure::default() };
        let own = [&[self.config.fleet.as_str(), self.config.project.as_str()], parts].concat();
        for attempt in 0..MAX_ATTEMPTS {
            let id = plan::request_id(&own, attempt);
            let new = match self.when_idle(async || insert(&id).await).await {
                Ok(end) => end == End::Now,
                Err(failure) if failure.class() == Class::Exists => {
                    last = failure;
                    true
                }
                Err(failure) if failure.stage == Stage::Earlier => {
                    last = failure;
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            if let Some(made) = find().await? {
                return Ok(made);
            }
            if new {
                // It is there, and the list lags behind.
                sleep(self.tuning.poll).await;
            }
        }
        Err(last)
    }

    /// Removes something: what is gone is gone, and what is still in use is tried again for a while.
    pub(crate) async fn remove(
        &self,
        what: &str,
        act: impl AsyncFnMut() -> Result<End, Failure>,
    ) -> Result<(), ProviderError> {
        match self.when_idle(act).await {
            Err(failure) if failure.class() != Class::NotFound => Err(failure.about(what)),
            _ => Ok(()),
        }
    }

    async fn open(&self, host: &str, port: u16) -> Result<Box<dyn Stream>, ProviderError> {
        let seen = self.running(host).await?;
        let Some(public) = seen.public else {
            return Err(ProviderError::Retryable(format!("host {host} has no public address yet")));
        };
        dial(host, public.into(), port, self.tuning.dial, "firewall rule").await
    }
}

impl Cloud for Gcp {
    fn name(&self) -> &str {
        "gcp"
    }

    fn ensure_site(&self, site: &Site) -> Result<(), ProviderError> {
        self.runtime.block_on(self.ensure_network(site)).map(drop)
    }

    fn networks(&self, site: &Site) -> Result<Vec<IpNet>, ProviderError> {
        self.runtime.block_on(self.blocks_of(site))
    }

    fn observe(&self) -> Result<Observed, ProviderError> {
        self.runtime.block_on(async {
            let pieces = self.pieces(None).await?;
            let (sites, hosts) = (pieces.sites(), self.hosts().await?);
            let drifts = self.drifts(&sites, &pieces).await?;
            Ok(Observed { sites, hosts, drifts })
        })
    }

    fn create_host(&self, spec: &HostSpec) -> Result<HostState, ProviderError> {
        self.runtime.block_on(self.make_host(spec))
    }

    /// Takes the user-data out of the host's metadata; cloud-init acts on the user-data of an instance once.
    fn hide_user_data(&self, host: &str) -> Result<(), ProviderError> {
        self.runtime.block_on(self.forget_user_data(host))
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
