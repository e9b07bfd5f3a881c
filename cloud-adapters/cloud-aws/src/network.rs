//! A site's network: a VPC that is there or an own one, and a security group that is always own.

use std::collections::BTreeMap;

use cloud_core::{ProviderError, Site};

use crate::api::{Group, Vpc};
use crate::aws::Aws;
use crate::plan::{self, FLEET, INDEX, SITE, Table, Tags};

/// Where the hosts of a site stand.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) vpc: String,
    pub(crate) group: String,
}

impl Aws {
    /// The sites of which anything exists.
    pub(crate) async fn sites(&self) -> Result<Vec<Site>, ProviderError> {
        let (vpcs, groups) = self.pieces(None).await?;
        let tags = vpcs.iter().map(|vpc| &vpc.tags).chain(groups.iter().map(|group| &group.tags));
        let sites: BTreeMap<&String, u8> = tags
            .filter_map(|tags| Some((tags.get(SITE)?, tags.get(INDEX)?.parse().unwrap_or_default())))
            .collect();
        Ok(sites.into_iter().map(|(name, index)| Site { name: name.clone(), index }).collect())
    }

    /// Makes what is missing of a site's network.
    pub(crate) async fn ensure_network(&self, site: &Site) -> Result<Network, ProviderError> {
        let _alone = self.networks.lock().await;
        let (vpcs, groups) = self.pieces(Some(&site.name)).await?;
        let (vpc, ours) = self.ensure_vpc(site, &vpcs, &groups).await?;
        if ours {
            self.ensure_subnets(site, &vpc).await?;
            self.ensure_way_out(site, &vpc).await?;
        }
        let group = self.ensure_group(site, &vpc).await?;
        Ok(Network { vpc, group })
    }

    /// The own VPCs and the groups of one site, or of all.
    pub(crate) async fn pieces(&self, site: Option<&str>) -> Result<(Vec<Vpc>, Vec<Group>), ProviderError> {
        let narrower: Vec<_> = site.map(|name| ("tag:weave-site", name)).into_iter().collect();
        let only = self.mark(&narrower);
        let what = || format!("the networks of fleet {}", self.config.fleet);
        let vpcs = self.api.vpcs(&only).await.map_err(|failure| failure.about(&what()))?;
        let groups = self.api.groups(&only).await.map_err(|failure| failure.about(&what()))?;
        Ok((vpcs, groups))
    }

    /// The VPC to stand in and whether it is our own: the one that the site has, the one named, the default, a new one.
    async fn ensure_vpc(
        &self,
        site: &Site,
        own: &[Vpc],
        groups: &[Group],
    ) -> Result<(String, bool), ProviderError> {
        let name = &site.name;
        let stands_in = own.iter().map(|vpc| &vpc.id).chain(groups.iter().map(|group| &group.vpc)).next();
        if let (Some(wanted), Some(actual)) = (&self.config.vpc, stands_in)
            && (!own.is_empty() || groups.iter().any(|group| group.vpc != *wanted))
        {
            return Err(ProviderError::Invalid(format!(
                "site {name} stands in VPC {actual} and shall stand in {wanted}: remove the site first"
            )));
        }
        if !own.is_empty() {
            return Ok((self.remove_twins(own, groups).await?, true));
        }
        if let Some(wanted) = &self.config.vpc {
            let found = self.api.vpcs(&[("vpc-id", wanted)]).await;
            let found = found.map_err(|failure| failure.about(&format!("VPC {wanted}")))?;
            let missing = || ProviderError::NotFound(format!("VPC {wanted} in {}", self.region()));
            return found.first().map(|vpc| (vpc.id.clone(), false)).ok_or_else(missing);
        }
        if let Some(group) = groups.first() {
            return Ok((group.vpc.clone(), false));
        }
        let default = self.api.vpcs(&[("is-default", "true")]).await;
        let default = default.map_err(|failure| failure.about("the default VPC"))?;
        if let Some(vpc) = default.into_iter().next() {
            return Ok((vpc.id, false));
        }
        let what = format!("VPC of site {name}");
        let block = format!("10.{}.0.0/16", site.index);
        let id = self.api.create_vpc(&block, &self.site_tags(site)).await;
        let id = id.map_err(|failure| failure.about(&what))?;
        let seen = self
            .until(self.tuning.visible, &what, async || {
                let vpcs = self.pieces(Some(name)).await?.0;
                Ok(vpcs.iter().any(|vpc| vpc.id == id).then_some(vpcs))
            })
            .await?;
        Ok((self.remove_twins(&seen, &[]).await?, true))
    }

    /// Leaves one of the VPCs of a site: CreateVpc knows no token, so a lost answer makes two.
    async fn remove_twins(&self, vpcs: &[Vpc], groups: &[Group]) -> Result<String, ProviderError> {
        let used = |vpc: &Vpc| groups.iter().any(|group| group.vpc == vpc.id);
        let mut by_use: Vec<&Vpc> = vpcs.iter().collect();
        by_use.sort_by_key(|vpc| (!used(vpc), &vpc.id));
        for twin in by_use.iter().skip(1).filter(|vpc| !used(vpc)) {
            tracing::info!(vpc = twin.id, "removing a twin");
            self.remove_vpc(&twin.id).await?;
        }
        by_use
            .first()
            .map(|vpc| vpc.id.clone())
            .ok_or_else(|| ProviderError::NotFound("the site's VPC".to_owned()))
    }

    async fn ensure_subnets(&self, site: &Site, vpc: &str) -> Result<(), ProviderError> {
        let offered = self.offered().await?;
        let what = format!("subnet of site {}", site.name);
        let list =
            async || self.api.subnets(&[("vpc-id", vpc)]).await.map_err(|failure| failure.about(&what));
        let there = list().await?;
        let wanted = plan::own_subnets(site.index, &offered, self.config.zone.as_deref());
        let missing = wanted.into_iter().filter(|(zone, _)| there.iter().all(|subnet| subnet.zone != *zone));
        for (zone, block) in missing {
            let tags = self.site_tags(site);
            self.once_known(&what, async || self.api.create_subnet(vpc, &zone, &block, &tags).await).await?;
            self.until(self.tuning.visible, &what, async || {
                Ok(list().await?.iter().any(|subnet| subnet.block == block).then_some(()))
            })
            .await?;
        }
        Ok(())
    }

    /// Makes an own network lead to the internet: one gateway, and a route to it in the main table.
    async fn ensure_way_out(&self, site: &Site, vpc: &str) -> Result<(), ProviderError> {
        let what = format!("internet gateway of site {}", site.name);
        let at = self.mark(&[("tag:weave-site", &site.name)]);
        let list = async || self.api.gateways(&at).await.map_err(|failure| failure.about(&what));
        let there = list().await?;
        let attached = there.iter().find(|gateway| gateway.vpc.as_deref() == Some(vpc));
        let idle = there.iter().find(|gateway| gateway.vpc.is_none());
        let gateway = match (attached, idle) {
            (Some(gateway), _) => gateway.id.clone(),
            (None, Some(gateway)) => gateway.id.clone(),
            (None, None) => {
                let made = self.api.create_gateway(&self.site_tags(site)).await;
                made.map_err(|failure| failure.about(&what))?
            }
        };
        if attached.is_none() {
            self.once_known(&what, async || self.api.attach_gateway(&gateway, vpc).await).await?;
        }
        // A lost answer makes two.
        self.remove_idle_gateways(&at, Some(&gateway)).await?;
        let what = format!("route of site {} to the internet", site.name);
        let tables = self.api.tables(vpc).await.map_err(|failure| failure.about(&what))?;
        let main = tables.iter().find(|table| table.main);
        let main =
            main.ok_or_else(|| ProviderError::NotFound(format!("the main route table of VPC {vpc}")))?;
        if !main.public {
            self.once_known(&what, async || self.api.create_route(&main.id, &gateway).await).await?;
        }
        Ok(())
    }

    async fn ensure_group(&self, site: &Site, vpc: &str) -> Result<String, ProviderError> {
        let name = format!("weave-{}-{}", self.config.fleet, site.name);
        let what = format!("security group {name}");
        let at = self.mark(&[("tag:weave-site", &site.name), ("vpc-id", vpc)]);
        let find = async || {
            let groups = self.api.groups(&at).await.map_err(|failure| failure.about(&what))?;
            Ok(groups.into_iter().next())
        };
        let tags = self.site_tags(site);
        let group = match find().await? {
            Some(group) => group,
            None => {
                let create = async || self.api.create_group(&name, vpc, &tags).await;
                let made = self.once_known(&what, create).await?;
                // Not made and ours: an answer was lost. Not made and not ours: somebody else's of the same name.
                self.until(self.tuning.visible, &what, find).await.map_err(|error| {
                    let theirs = !made && error.is_retryable();
                    if theirs { ProviderError::Conflict(format!("{what} in VPC {vpc}")) } else { error }
                })?
            }
        };
        let wanted = plan::wanted_rules(self.config.operator_address.as_deref());
        let (add, stale) = plan::rule_changes(&wanted, &group.rules);
        if !add.is_empty() {
            let authorize = async || self.api.authorize(&group.id, &add, &tags).await;
            if !self.once_known(&what, authorize).await? {
                // The answer to the first attempt was lost, or another `up` was faster.
                let seen = find().await?.map(|group| group.rules).unwrap_or_default();
                if !plan::rule_changes(&wanted, &seen).0.is_empty() {
                    return Err(ProviderError::Retryable(format!("{what}: its rules are changing")));
                }
            }
        }
        if !stale.is_empty() {
            self.remove(&what, async || self.api.revoke(&group.id, &stale).await).await?;
        }
        Ok(group.id)
    }

    pub(crate) async fn tables(&self, vpc: &str) -> Result<Vec<Table>, ProviderError> {
        self.api.tables(vpc).await.map_err(|failure| failure.about(&format!("the route tables of VPC {vpc}")))
    }

    fn site_tags(&self, site: &Site) -> Tags {
        let fleet = &self.config.fleet;
        let pairs = [
            ("Name", format!("weave-{fleet}-{}", site.name)),
            (FLEET, fleet.clone()),
            (SITE, site.name.clone()),
            (INDEX, site.index.to_string()),
        ];
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }
}
