//! Removal: of networks, of addresses, and of whatever else still bears the fleet's mark.

use cloud_core::{Leftover, Phase, ProviderError, all_of};

use crate::api::{Address, Group};
use crate::aws::Aws;
use crate::plan;

impl Aws {
    /// Removes a site's network, from what depends to what is depended on.
    pub(crate) async fn remove_network(&self, name: &str) -> Result<(), ProviderError> {
        let at = self.mark(&[("tag:weave-site", name)]);
        let seen = self.api.instances(&at).await.map_err(|f| f.about("the fleet's hosts"))?;
        if let Some(host) = seen.iter().find_map(plan::Seen::host) {
            return Err(match host.phase {
                Phase::Terminating => {
                    ProviderError::Retryable(format!("site {name}: host {} is not gone yet", host.name))
                }
                _ => ProviderError::Invalid(format!("site {name} still has host {}", host.name)),
            });
        }
        self.release_addresses(&at).await?;
        let (vpcs, groups) = self.pieces(Some(name)).await?;
        let mut failed = Vec::new();
        for group in &groups {
            let what = format!("security group {}", group.id);
            failed.extend(self.remove(&what, async || self.api.delete_group(&group.id).await).await.err());
        }
        all_of(std::mem::take(&mut failed))?;
        for vpc in &vpcs {
            failed.extend(self.remove_vpc(&vpc.id).await.err());
        }
        all_of(failed)?;
        self.remove_idle_gateways(&at, None).await?;
        self.until(self.tuning.visible, &format!("the end of site {name}"), async || {
            let (vpcs, groups) = self.pieces(Some(name)).await?;
            Ok((vpcs.is_empty() && groups.is_empty()).then_some(()))
        })
        .await
    }

    /// Removes an own VPC with what is ours in it.
    pub(crate) async fn remove_vpc(&self, vpc: &str) -> Result<(), ProviderError> {
        let within = self.mark(&[("vpc-id", vpc)]);
        let about = |kind: &str, id: &str| format!("{kind} {id}");
        let groups = self.api.groups(&within).await.map_err(|f| f.about(&about("VPC", vpc)))?;
        for Group { id, .. } in &groups {
            self.remove(&about("security group", id), async || self.api.delete_group(id).await).await?;
        }
        let subnets = self.api.subnets(&within).await.map_err(|f| f.about(&about("VPC", vpc)))?;
        for subnet in &subnets {
            let id = &subnet.id;
            self.remove(&about("subnet", id), async || self.api.delete_subnet(id).await).await?;
        }
        let attached = self.mark(&[("attachment.vpc-id", vpc)]);
        let gateways = self.api.gateways(&attached).await.map_err(|f| f.about(&about("VPC", vpc)))?;
        for gateway in &gateways {
            let (id, what) = (&gateway.id, about("internet gateway", &gateway.id));
            self.remove(&what, async || self.api.detach_gateway(id, vpc).await).await?;
            self.remove(&what, async || self.api.delete_gateway(id).await).await?;
        }
        self.remove(&about("VPC", vpc), async || self.api.delete_vpc(vpc).await).await
    }

    /// Deletes gateways of ours that are attached to nothing.
    ///
    /// `but` was attached a moment ago, which may not be visible yet.
    pub(crate) async fn remove_idle_gateways(
        &self,
        only: &[(&str, &str)],
        but: Option<&str>,
    ) -> Result<(), ProviderError> {
        let gateways = self.api.gateways(only).await.map_err(|f| f.about("the fleet's internet gateways"))?;
        for gateway in gateways.iter().filter(|gateway| gateway.vpc.is_none() && but != Some(&gateway.id)) {
            let what = format!("internet gateway {}", gateway.id);
            self.remove(&what, async || self.api.delete_gateway(&gateway.id).await).await?;
        }
        Ok(())
    }

    /// Gives elastic addresses back. One that stays does not keep the others, and all that stay are told.
    pub(crate) async fn release_addresses(&self, only: &[(&str, &str)]) -> Result<(), ProviderError> {
        let addresses =
            self.api.addresses(only).await.map_err(|f| f.about("the fleet's elastic addresses"))?;
        let mut failed = Vec::new();
        for address in &addresses {
            failed.extend(self.release_address(address).await.err());
        }
        all_of(failed)
    }

    async fn release_address(&self, address: &Address) -> Result<(), ProviderError> {
        let what = format!("elastic address {}", address.id);
        if let Some(association) = &address.association {
            self.remove(&what, async || self.api.disassociate(association).await).await?;
        }
        self.remove(&what, async || self.api.release(&address.id).await).await
    }

    /// Removes all of the fleet and lists what is there even so. What cannot be removed does not stop the rest.
    pub(crate) async fn sweep_fleet(&self) -> Result<Vec<Leftover>, ProviderError> {
        let all = self.mark(&[]);
        note(self.end_instances("the fleet's hosts", &all).await);
        note(self.release_addresses(&all).await);
        let (vpcs, groups) = self.pieces(None).await?;
        for group in &groups {
            let what = format!("security group {}", group.id);
            note(self.remove(&what, async || self.api.delete_group(&group.id).await).await);
        }
        for vpc in &vpcs {
            note(self.remove_vpc(&vpc.id).await);
        }
        note(self.remove_idle_gateways(&all, None).await);
        for id in self.api.volumes(&all).await.map_err(|f| f.about("the fleet's volumes"))? {
            note(self.remove(&format!("volume {id}"), async || self.api.delete_volume(&id).await).await);
        }
        for id in self.api.interfaces(&all).await.map_err(|f| f.about("the fleet's interfaces"))? {
            note(
                self.remove(&format!("interface {id}"), async || self.api.delete_interface(&id).await).await,
            );
        }
        self.leftovers().await
    }

    /// What exists with the fleet's mark, asked of each kind: the list of tags also holds those of things long gone.
    async fn leftovers(&self) -> Result<Vec<Leftover>, ProviderError> {
        let all = self.mark(&[]);
        let about = |f: crate::failure::Failure| f.about("what is left of the fleet");
        let (vpcs, groups) = self.pieces(None).await?;
        let instances = self.api.instances(&all).await.map_err(about)?;
        let there = instances.into_iter().filter(|seen| seen.phase().is_some());
        let kinds: [(&str, Vec<String>); 8] = [
            ("host", there.map(|seen| format!("{} ({})", seen.tag(plan::HOST), seen.id)).collect()),
            (
                "elastic address",
                self.api.addresses(&all).await.map_err(about)?.into_iter().map(|a| a.id).collect(),
            ),
            ("volume", self.api.volumes(&all).await.map_err(about)?),
            ("interface", self.api.interfaces(&all).await.map_err(about)?),
            ("security group", groups.into_iter().map(|group| group.id).collect()),
            ("subnet", self.api.subnets(&all).await.map_err(about)?.into_iter().map(|s| s.id).collect()),
            (
                "internet gateway",
                self.api.gateways(&all).await.map_err(about)?.into_iter().map(|g| g.id).collect(),
            ),
            ("VPC", vpcs.into_iter().map(|vpc| vpc.id).collect()),
        ];
        let listed = kinds.into_iter().flat_map(|(kind, ids)| ids.into_iter().map(move |id| (kind, id)));
        Ok(listed.map(|(kind, id)| Leftover { kind: kind.to_owned(), id }).collect())
    }
}

/// Says what could not be removed; the list of leftovers then names it.
fn note(removed: Result<(), ProviderError>) {
    if let Err(error) = removed {
        tracing::warn!(%error, "the sweep goes on without this");
    }
}
