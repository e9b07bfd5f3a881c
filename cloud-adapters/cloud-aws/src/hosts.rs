//! Hosts: instances found by their tags, made under a token, removed until they are gone.

use std::collections::BTreeSet;

use cloud_core::{HostSpec, HostState, Phase, ProviderError, Secret};
use tokio::time::{Instant, sleep};

use crate::api::Launch;
use crate::aws::Aws;
use crate::cloud_init;
use crate::failure::Class;
use crate::network::Network;
use crate::plan::{self, FLEET, HOST, SITE, Seen, SeenImage, Subnet, Tags};

/// How many dead instances a token may lead to before this looks like something else.
const MAX_ATTEMPTS: usize = 8;

impl Aws {
    /// The fleet's hosts, sorted by name.
    pub(crate) async fn hosts(&self) -> Result<Vec<HostState>, ProviderError> {
        let seen = self.api.instances(&self.mark(&[])).await.map_err(|f| f.about("the fleet's hosts"))?;
        Ok(plan::hosts(&seen).into_iter().filter_map(Seen::host).collect())
    }

    /// The instance of a host that can be talked to.
    pub(crate) async fn running(&self, name: &str) -> Result<Seen, ProviderError> {
        let seen = self.instances_of(name).await?;
        let hosts = plan::hosts(&seen);
        let host = *hosts.first().ok_or_else(|| ProviderError::NotFound(format!("host {name}")))?;
        match host.phase() {
            Some(Phase::Running) => Ok(host.clone()),
            _ => Err(ProviderError::Retryable(format!("host {name} does not run: it is {}", host.state))),
        }
    }

    /// Makes a host, or adopts the one that is there.
    pub(crate) async fn make_host(&self, spec: &HostSpec) -> Result<HostState, ProviderError> {
        let seen = self.instances_of(&spec.name).await?;
        let id = match seen.iter().filter(|seen| seen.is_live()).min_by_key(|seen| seen.rank()) {
            Some(there) if there.tag(SITE) != spec.site => {
                let (name, site) = (&spec.name, there.tag(SITE));
                return Err(ProviderError::Conflict(format!("host {name} in site {site}")));
            }
            Some(there) => there.id.clone(),
            None => {
                let network = self.network_for(spec).await?;
                self.launch(spec, &network, seen.len()).await?
            }
        };
        self.settle(spec, &id).await
    }

    /// Closes the metadata service of a host and waits until EC2 says so everywhere.
    pub(crate) async fn close_metadata(&self, name: &str) -> Result<(), ProviderError> {
        let what = format!("host {name}");
        let seen = self.running(name).await?;
        if !seen.shows_user_data {
            return Ok(());
        }
        self.api.disable_metadata(&seen.id).await.map_err(|failure| failure.about(&what))?;
        self.until(self.tuning.visible, &format!("the end of the metadata of {what}"), async || {
            Ok((!self.running(name).await?.shows_user_data).then_some(()))
        })
        .await
    }

    /// Removes the instances of a host, then what belonged to it alone.
    pub(crate) async fn end_host(&self, name: &str) -> Result<(), ProviderError> {
        let what = format!("host {name}");
        self.end_instances(&what, &self.mark(&[("tag:weave-host", name)])).await?;
        self.release_addresses(&self.mark(&[("tag:weave-host", name)])).await
    }

    /// Terminates instances and waits until they are gone: only then is what they use free.
    pub(crate) async fn end_instances(&self, what: &str, only: &[(&str, &str)]) -> Result<(), ProviderError> {
        let seen = self.api.instances(only).await.map_err(|failure| failure.about(what))?;
        for live in seen.iter().filter(|seen| seen.is_live()) {
            self.remove(what, async || self.api.terminate(&live.id).await).await?;
        }
        self.until(self.tuning.instance, &format!("the end of {what}"), async || {
            let seen = self.api.instances(only).await.map_err(|failure| failure.about(what))?;
            Ok(seen.iter().all(|seen| seen.phase().is_none()).then_some(()))
        })
        .await
    }

    pub(crate) async fn offered(&self) -> Result<BTreeSet<String>, ProviderError> {
        let kind = &self.config.instance_type;
        let offered = self.api.offered(kind).await.map_err(|f| f.about(&format!("instance type {kind}")))?;
        let zone = self.config.zone.as_deref();
        if offered.is_empty() || zone.is_some_and(|zone| !offered.contains(zone)) {
            let place = zone.unwrap_or(self.region());
            return Err(ProviderError::Invalid(format!(
                "there is no instance type {kind} in {place}: choose another `instance_type` or `zone`"
            )));
        }
        Ok(offered)
    }

    async fn instances_of(&self, host: &str) -> Result<Vec<Seen>, ProviderError> {
        let only = self.mark(&[("tag:weave-host", host)]);
        self.api.instances(&only).await.map_err(|failure| failure.about(&format!("host {host}")))
    }

    /// The network of the host's site, with what a crash left out of it.
    async fn network_for(&self, spec: &HostSpec) -> Result<Network, ProviderError> {
        // What was made a moment ago may not show yet.
        let deadline = Instant::now() + self.tuning.visible;
        loop {
            let site = self.sites().await?.into_iter().find(|site| site.name == spec.site);
            if let Some(site) = site {
                return self.ensure_network(&site).await;
            }
            if Instant::now() + self.tuning.poll > deadline {
                return Err(ProviderError::NotFound(format!("site {}", spec.site)));
            }
            sleep(self.tuning.poll).await;
        }
    }

    /// Runs an instance in the first zone with room; returns its id.
    async fn launch(&self, spec: &HostSpec, network: &Network, gone: usize) -> Result<String, ProviderError> {
        let what = format!("host {}", spec.name);
        let user_data = Secret::new(cloud_init::base64(cloud_init::user_data(spec)?.reveal().as_bytes()));
        let (image, tags) = (self.image().await?, self.host_tags(spec));
        let subnets = self.subnets(network, spec.index).await?;
        let mut full = None;
        'zones: for subnet in &subnets {
            for attempt in gone..gone + MAX_ATTEMPTS {
                let (fleet, region) = (&self.config.fleet, self.region());
                let token = plan::token(fleet, region, &spec.name, &subnet.zone, attempt);
                let launch = Launch {
                    token: &token,
                    image: &image,
                    instance_type: &self.config.instance_type,
                    subnet: &subnet.id,
                    group: &network.group,
                    root_gib: self.config.root_gib,
                    spot: self.config.spot,
                    user_data: &user_data,
                    tags: &tags,
                };
                // A group or a subnet of a moment ago may not be known yet where instances are run.
                let run = async || match self.api.run(&launch).await {
                    Err(failure) if failure.class() == Class::NotFound => {
                        Err(ProviderError::Retryable(failure.about(&what).to_string()))
                    }
                    answer => Ok(Some(answer)),
                };
                match self.until(self.tuning.visible, &what, run).await? {
                    Ok(seen) if seen.is_live() => return Ok(seen.id),
                    // The token is that of an instance of yesterday.
                    Ok(_) => {}
                    Err(failure) if failure.class() == Class::Capacity => {
                        tracing::info!(zone = subnet.zone, "no room for the instance type");
                        full = Some(failure.about(&what));
                        continue 'zones;
                    }
                    // Asked for before with other words: it is there and not visible yet, or it was yesterday.
                    Err(failure) if failure.class() == Class::Exists => {
                        let find = async || {
                            let seen = self.instances_of(&spec.name).await?;
                            Ok(seen.into_iter().find(Seen::is_live))
                        };
                        match self.until(self.tuning.visible, &what, find).await {
                            Ok(seen) => return Ok(seen.id),
                            Err(error) if !error.is_retryable() => return Err(error),
                            Err(_) => {}
                        }
                    }
                    Err(failure) => return Err(failure.about(&what)),
                }
            }
            return Err(ProviderError::Conflict(format!("{what} under {MAX_ATTEMPTS} tokens")));
        }
        Err(full.unwrap_or_else(|| ProviderError::Invalid(format!("{what} has no zone to stand in"))))
    }

    async fn image(&self) -> Result<SeenImage, ProviderError> {
        let wanted = self.config.architecture;
        let query = plan::image_query(&self.config.image, wanted);
        let what = format!("image {}", self.config.image);
        let found = self.api.images(&query).await.map_err(|failure| failure.about(&what))?;
        let newest = plan::newest(found);
        let image = newest.ok_or_else(|| ProviderError::NotFound(format!("{what} in {}", self.region())))?;
        // Of an image that is named by its id, only this tells.
        if image.architecture != wanted.to_string() {
            let has = &image.architecture;
            return Err(ProviderError::Invalid(format!(
                "{what} is for {has} and the hosts are {wanted}: choose another `image` or `architecture`"
            )));
        }
        Ok(image)
    }

    /// The subnets to try, one for each zone; in a VPC that is somebody else's, only those with a way out.
    async fn subnets(&self, network: &Network, host: u8) -> Result<Vec<Subnet>, ProviderError> {
        let (vpc, zone) = (&network.vpc, self.config.zone.as_deref());
        let all = self.api.subnets(&[("vpc-id", vpc)]).await;
        let mut all = all.map_err(|failure| failure.about(&format!("the subnets of VPC {vpc}")))?;
        if self.config.vpc.is_some() {
            let tables = self.tables(vpc).await?;
            all.retain(|subnet| plan::is_public(&subnet.id, &tables));
        }
        let chosen = plan::subnets_for(&all, &self.offered().await?, zone, host);
        if chosen.is_empty() {
            let place = zone.unwrap_or("any zone that offers the instance type");
            return Err(ProviderError::Invalid(format!(
                "VPC {vpc} has no subnet with a route to the internet in {place}: add one, or choose another `vpc`"
            )));
        }
        Ok(chosen)
    }

    /// Brings an instance, new or adopted, to what a gateway needs, and waits until it runs.
    async fn settle(&self, spec: &HostSpec, id: &str) -> Result<HostState, ProviderError> {
        let what = format!("host {}", spec.name);
        let look = async || {
            let seen = self.instances_of(&spec.name).await?;
            // Some causes show only here, e.g. the quota of volumes and the key of their encryption.
            let alive = |seen: Seen| if seen.is_live() { Ok(seen) } else { Err(seen.end().about(&what)) };
            Ok(seen.into_iter().find(|seen| seen.id == id).map(alive))
        };
        let seen = self.until(self.tuning.visible, &what, look).await??;
        if seen.phase() == Some(Phase::Stopped) {
            self.until(self.tuning.instance, &what, async || {
                self.api.start(id).await.map(Some).map_err(|failure| failure.about(&what))
            })
            .await?;
        }
        self.once_known(&what, async || self.api.disable_source_check(id).await).await?;
        let running = async || {
            let runs = |seen: &Seen| seen.phase() == Some(Phase::Running) && seen.private.is_some();
            Ok(look().await?.filter(|found| found.as_ref().map_or(true, runs)))
        };
        let mut seen = self.until(self.tuning.instance, &format!("{what} running"), running).await??;
        if self.config.elastic_ip {
            self.ensure_address(spec, id).await?;
            seen = self.until(self.tuning.visible, &what, running).await??;
        }
        seen.host().ok_or_else(|| ProviderError::Retryable(format!("{what} does not run")))
    }

    async fn ensure_address(&self, spec: &HostSpec, instance: &str) -> Result<(), ProviderError> {
        let what = format!("elastic address of host {}", spec.name);
        let only = self.mark(&[("tag:weave-host", &spec.name)]);
        let list = async || self.api.addresses(&only).await.map_err(|failure| failure.about(&what));
        let there = list().await?;
        let has = there.iter().find(|address| address.instance.as_deref() == Some(instance));
        let id = match has.or(there.first()) {
            Some(address) => address.id.clone(),
            None => {
                let made = self.api.allocate(&self.host_tags(spec)).await;
                made.map_err(|failure| failure.about(&what))?
            }
        };
        if has.is_none() {
            // An instance of this name that is going away may hold it still.
            let held = there.iter().filter(|address| address.id == id).find_map(|a| a.association.as_ref());
            if let Some(association) = held {
                self.remove(&what, async || self.api.disassociate(association).await).await?;
            }
            self.once_known(&what, async || self.api.associate(&id, instance).await).await?;
        }
        self.until(self.tuning.visible, &what, async || {
            let all = list().await?;
            let mut ours = all.iter().filter(|address| address.id == id);
            Ok(ours.any(|address| address.instance.as_deref() == Some(instance)).then_some(()))
        })
        .await?;
        // AllocateAddress knows no token, so a lost answer makes two.
        for twin in list().await?.iter().filter(|address| address.id != id) {
            if let Some(association) = &twin.association {
                self.remove(&what, async || self.api.disassociate(association).await).await?;
            }
            self.remove(&what, async || self.api.release(&twin.id).await).await?;
        }
        Ok(())
    }

    /// Labels of the caller first: they cannot replace the marks by which the host is found.
    fn host_tags(&self, spec: &HostSpec) -> Tags {
        let mut tags: Tags = spec.labels.clone();
        let marks =
            [("Name", &spec.name), (FLEET, &self.config.fleet), (SITE, &spec.site), (HOST, &spec.name)];
        tags.extend(marks.into_iter().map(|(key, value)| (key.to_owned(), value.clone())));
        tags
    }
}
