//! Hosts: instances found by their labels, made under a request id, removed until they are gone.

use cloud_core::{HostSpec, HostState, Phase, ProviderError};
use tokio::time::{Instant, sleep};

use crate::api::Launch;
use crate::cloud_init;
use crate::failure::Class;
use crate::gcp::Gcp;
use crate::network::{Place, found};
use crate::plan::{self, FLEET, HOST, SITE, Seen};

impl Gcp {
    /// The fleet's hosts, sorted by name.
    pub(crate) async fn hosts(&self) -> Result<Vec<HostState>, ProviderError> {
        let seen = self.api.instances(&self.mark(&[])).await.map_err(|f| f.about("the fleet's hosts"))?;
        Ok(plan::hosts(&seen).into_iter().map(Seen::host).collect())
    }

    /// The instance of a host that can be talked to.
    pub(crate) async fn running(&self, name: &str) -> Result<Seen, ProviderError> {
        let seen = self.instance_of(name).await?;
        let seen = seen.ok_or_else(|| ProviderError::NotFound(format!("host {name}")))?;
        if seen.phase() == Phase::Running {
            return Ok(seen);
        }
        Err(ProviderError::Retryable(format!("host {name} does not run: it is {}", seen.status)))
    }

    /// Makes a host, or adopts the one that is there.
    pub(crate) async fn make_host(&self, spec: &HostSpec) -> Result<HostState, ProviderError> {
        let what = format!("host {}", spec.name);
        // One that is being stopped or deleted is neither there nor gone.
        let seen = self
            .until(self.tuning.instance, &what, async || {
                let seen = self.instance_of(&spec.name).await?;
                let leaving = seen.as_ref().is_some_and(|seen| seen.phase() == Phase::Terminating);
                Ok((!leaving).then_some(seen))
            })
            .await?;
        let seen = match seen {
            Some(there) if there.label(SITE) != spec.site => {
                return Err(ProviderError::Conflict(format!("{what} in site {}", there.label(SITE))));
            }
            Some(there) => there,
            None => {
                let place = self.place_for(spec).await?;
                let made = self.launch(spec, &place).await?;
                // Whoever looks for the host next looks in the lists.
                self.until(self.tuning.visible, &what, async || {
                    Ok(self.instance_of(&spec.name).await?.map(drop))
                })
                .await?;
                made
            }
        };
        self.settle(spec, &seen).await
    }

    /// Takes the user-data out of a host's metadata.
    pub(crate) async fn forget_user_data(&self, name: &str) -> Result<(), ProviderError> {
        let seen = self.running(name).await?;
        let forget = async || self.api.forget_user_data(&seen.zone, &seen.name).await;
        self.when_idle(forget).await.map_err(|failure| failure.about(&format!("host {name}")))
    }

    /// Removes the instances of a host, then what belonged to it alone.
    pub(crate) async fn end_host(&self, name: &str) -> Result<(), ProviderError> {
        let only = self.mark(&[(HOST, name)]);
        self.end_instances(&format!("host {name}"), &only).await?;
        self.release_addresses(&only).await
    }

    /// Deletes instances and waits until they are gone: only then is what they use free.
    pub(crate) async fn end_instances(&self, what: &str, only: &[(&str, &str)]) -> Result<(), ProviderError> {
        let look = async || self.api.instances(only).await.map_err(|failure| failure.about(what));
        let there = look().await?;
        for seen in &there {
            self.remove(what, async || self.api.delete_instance(&seen.zone, &seen.name).await).await?;
        }
        self.until(self.tuning.instance, &format!("the end of {what}"), async || {
            // One that was made since is another's business.
            let left = look().await?.iter().any(|seen| there.iter().any(|other| other.id == seen.id));
            Ok((!left).then_some(()))
        })
        .await
    }

    async fn instance_of(&self, host: &str) -> Result<Option<Seen>, ProviderError> {
        let seen = self.api.instances(&self.mark(&[(HOST, host)])).await;
        let seen = seen.map_err(|failure| failure.about(&format!("host {host}")))?;
        Ok(plan::hosts(&seen).first().map(|seen| (*seen).clone()))
    }

    /// The network of the host's site, with what a crash left out of it.
    async fn place_for(&self, spec: &HostSpec) -> Result<Place, ProviderError> {
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

    /// Makes an instance in the first zone with room.
    async fn launch(&self, spec: &HostSpec, place: &Place) -> Result<Seen, ProviderError> {
        let what = format!("host {}", spec.name);
        let name = plan::name(&self.config.fleet, &spec.name)?;
        let user_data = cloud_init::user_data(spec)?;
        let labels = plan::host_labels(&self.config.fleet, spec);
        let (project, family) = (&self.config.image_project, &self.config.image_family);
        let image = self.api.image(project, family).await;
        let image = image.map_err(|f| f.about(&format!("image family {family} of project {project}")))?;
        let up = self.api.zones().await;
        let up = up.map_err(|f| f.about(&format!("the zones of region {}", self.config.region)))?;
        let zones = plan::zones_for(&up, &self.config.zones, spec.index);
        let address = if self.config.static_address { Some(self.ensure_address(spec).await?) } else { None };
        let mut full = None;
        for zone in &zones {
            let insert = async |id: &str| {
                let launch = Launch {
                    request_id: id,
                    name: &name,
                    zone,
                    machine_type: &self.config.machine_type,
                    image: &image,
                    disk_gib: self.config.disk_gib,
                    network: &place.network,
                    subnet: &place.subnet,
                    tag: &place.tag,
                    address: address.as_deref(),
                    spot: self.config.spot,
                    user_data: &user_data,
                    labels: &labels,
                };
                self.api.insert_instance(&launch).await
            };
            let find = async || found(self.api.instance(zone, &name).await);
            match self.make(&["instance", zone, &name], insert, find).await {
                Ok(seen) if self.is_host(&seen, spec) => return Ok(seen),
                Ok(_) => return Err(ProviderError::Conflict(format!("instance {name} in zone {zone}"))),
                Err(failure) if failure.class() == Class::Capacity => {
                    tracing::info!(zone, "no room for the machine type");
                    full = Some(failure.about(&what));
                }
                Err(failure) => return Err(failure.about(&what)),
            }
        }
        Err(full.unwrap_or_else(|| {
            ProviderError::Invalid(format!(
                "{what} has no zone to stand in: region {} has none that is up among `zones`",
                self.config.region
            ))
        }))
    }

    /// Whether an instance bears the marks of a host; its name alone proves nothing.
    fn is_host(&self, seen: &Seen, spec: &HostSpec) -> bool {
        seen.label(FLEET) == self.config.fleet
            && seen.label(HOST) == spec.name
            && seen.label(SITE) == spec.site
    }

    /// Waits until an instance, new or adopted, runs; starts one that is off.
    async fn settle(&self, spec: &HostSpec, seen: &Seen) -> Result<HostState, ProviderError> {
        let what = format!("host {}", spec.name);
        let Seen { zone, name, .. } = seen;
        if seen.phase() == Phase::Stopped {
            self.api.start_instance(zone, name).await.map_err(|failure| failure.about(&what))?;
        }
        self.until(self.tuning.instance, &format!("{what} running"), async || {
            let seen = self.api.instance(zone, name).await.map_err(|failure| match failure.class() {
                Class::NotFound => {
                    ProviderError::Retryable(format!("{what} was removed while it was starting"))
                }
                _ => failure.about(&what),
            })?;
            match seen.phase() {
                Phase::Running if seen.private.is_some() => Ok(Some(seen.host())),
                Phase::Running | Phase::Starting => Ok(None),
                _ => Err(ProviderError::Retryable(format!("{what} does not run: it is {}", seen.status))),
            }
        })
        .await
    }

    /// The static address of a host.
    async fn ensure_address(&self, spec: &HostSpec) -> Result<String, ProviderError> {
        let what = format!("address of host {}", spec.name);
        let name = plan::name(&self.config.fleet, &spec.name)?;
        let labels = plan::host_labels(&self.config.fleet, spec);
        let only = self.mark(&[(HOST, &spec.name)]);
        let find = async || {
            let all = self.api.addresses(&only).await?;
            Ok(all.into_iter().find(|there| there.name == name && there.region == self.config.region))
        };
        let there = match find().await.map_err(|failure: crate::failure::Failure| failure.about(&what))? {
            Some(there) => there,
            None => {
                let insert = async |id: &str| self.api.insert_address(id, &name, &labels).await;
                let parts = ["address", &self.config.region, &name];
                self.make(&parts, insert, find).await.map_err(|failure| failure.about(&what))?
            }
        };
        there.address.ok_or_else(|| ProviderError::Retryable(format!("{what} is still being reserved")))
    }
}
