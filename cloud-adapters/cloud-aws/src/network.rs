//! A site's network: a VPC that is there or an own one, and a security group that is always own.

use std::collections::BTreeMap;

use cloud_core::{Drift, IpNet, ProviderError, Site, parse_blocks};

use crate::api::{Group, Vpc};
use crate::aws::Aws;
use crate::drift::{self, Own};
use crate::failure::Failure;
use crate::plan::{self, FLEET, INDEX, SITE, Table, Tags};

/// Where the hosts of a site stand.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) vpc: String,
    pub(crate) group: String,
}

/// The VPC that a site stands in or would stand in.
#[derive(Debug)]
enum Place {
    Own(Vpc),
    /// One that was there and stays.
    Theirs(Vpc),
    /// One to be made, with this block.
    New(String),
}

impl Aws {
    /// The sites of which anything exists.
    pub(crate) async fn sites(&self) -> Result<Vec<Site>, ProviderError> {
        let (vpcs, groups) = self.pieces(None).await?;
        Ok(sites_of(&vpcs, &groups))
    }

    /// What making sure of these sites would change, of all their VPCs and groups.
    pub(crate) async fn drifts(
        &self,
        sites: &[Site],
        vpcs: &[Vpc],
        groups: &[Group],
    ) -> Result<Vec<Drift>, ProviderError> {
        let mut drifts = Vec::new();
        for site in sites {
            let own: Vec<Vpc> = vpcs.iter().filter(|vpc| is_of(&vpc.tags, site)).cloned().collect();
            let groups: Vec<Group> =
                groups.iter().filter(|group| is_of(&group.tags, site)).cloned().collect();
            let (kept, twins) = drift::twins(&own, &groups);
            let stands_in = kept.map(|vpc| &vpc.id).or(groups.first().map(|group| &group.vpc));
            let mut whats: Vec<String> =
                twins.iter().map(|twin| format!("VPC {} is one too many", twin.id)).collect();
            if let Some(vpc) = kept {
                let kind = &self.config.instance_type;
                let offered = self.api.offered(kind).await;
                let offered = offered.map_err(|f| f.about(&format!("instance type {kind}")))?;
                let seen = self.own_network(site, &vpc.id).await?;
                whats.extend(seen.drifts(&vpc.id, site.index, &offered, self.config.zone.as_deref()));
            }
            let group = groups.iter().find(|group| Some(&group.vpc) == stands_in);
            let wanted = plan::wanted_rules(self.config.operator_address.as_deref());
            whats.extend(drift::of_group(&self.group_name(site), &wanted, group));
            drifts.extend(whats.into_iter().map(|what| Drift { site: site.name.clone(), what }));
        }
        Ok(drifts)
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

    /// The blocks of the VPC in which the hosts of a site stand or would stand.
    pub(crate) async fn blocks_of(&self, site: &Site) -> Result<Vec<IpNet>, ProviderError> {
        let (vpcs, groups) = self.pieces(Some(&site.name)).await?;
        match self.place(site, &vpcs, &groups).await? {
            Place::Own(vpc) | Place::Theirs(vpc) => {
                parse_blocks(&format!("VPC {}", vpc.id), vpc.blocks.iter().map(String::as_str))
            }
            Place::New(block) => parse_blocks(&format!("site {}", site.name), [block.as_str()]),
        }
    }

    /// The VPC to stand in: the one that the site has, the one named, the default, a new one.
    async fn place(&self, site: &Site, own: &[Vpc], groups: &[Group]) -> Result<Place, ProviderError> {
        let name = &site.name;
        let stands_in = own.iter().map(|vpc| &vpc.id).chain(groups.iter().map(|group| &group.vpc)).next();
        if let (Some(wanted), Some(actual)) = (&self.config.vpc, stands_in)
            && (!own.is_empty() || groups.iter().any(|group| group.vpc != *wanted))
        {
            return Err(ProviderError::Invalid(format!(
                "site {name} stands in VPC {actual} and shall stand in {wanted}: remove the site first"
            )));
        }
        if let (Some(vpc), _) = drift::twins(own, groups) {
            return Ok(Place::Own(vpc.clone()));
        }
        if let Some(wanted) = &self.config.vpc {
            let found = self.api.vpcs(&[("vpc-id", wanted)]).await;
            let found = found.map_err(|failure| failure.about(&format!("VPC {wanted}")))?;
            let missing = || ProviderError::NotFound(format!("VPC {wanted} in {}", self.region()));
            return found.into_iter().next().map(Place::Theirs).ok_or_else(missing);
        }
        if let Some(Group { vpc, .. }) = groups.first() {
            let found = self.api.vpcs(&[("vpc-id", vpc)]).await;
            let found = found.map_err(|failure| failure.about(&format!("VPC {vpc}")))?;
            let missing = || ProviderError::NotFound(format!("VPC {vpc} of site {name}"));
            return found.into_iter().next().map(Place::Theirs).ok_or_else(missing);
        }
        let default = self.api.vpcs(&[("is-default", "true")]).await;
        let default = default.map_err(|failure| failure.about("the default VPC"))?;
        Ok(default.into_iter().next().map_or_else(|| Place::New(plan::own_block(site.index)), Place::Theirs))
    }

    /// Makes the VPC to stand in exist; tells whether it is our own.
    async fn ensure_vpc(
        &self,
        site: &Site,
        own: &[Vpc],
        groups: &[Group],
    ) -> Result<(String, bool), ProviderError> {
        let name = &site.name;
        let block = match self.place(site, own, groups).await? {
            Place::Own(_) => return Ok((self.remove_twins(own, groups).await?, true)),
            Place::Theirs(vpc) => return Ok((vpc.id, false)),
            Place::New(block) => block,
        };
        let what = format!("VPC of site {name}");
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
        let (kept, twins) = drift::twins(vpcs, groups);
        for twin in twins {
            tracing::info!(vpc = twin.id, "removing a twin");
            self.remove_vpc(&twin.id).await?;
        }
        kept.map(|vpc| vpc.id.clone()).ok_or_else(|| ProviderError::NotFound("the site's VPC".to_owned()))
    }

    async fn ensure_subnets(&self, site: &Site, vpc: &str) -> Result<(), ProviderError> {
        let offered = self.offered().await?;
        let what = format!("subnet of site {}", site.name);
        let list =
            async || self.api.subnets(&[("vpc-id", vpc)]).await.map_err(|failure| failure.about(&what));
        let there = list().await?;
        let zone = self.config.zone.as_deref();
        let missing = drift::missing_subnets(site.index, &offered, zone, &there);
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
        let there = self.api.gateways(&at).await.map_err(|failure| failure.about(&what))?;
        let way = drift::way_out(vpc, &there);
        let gateway = match way.gateway {
            Some(gateway) => gateway.id.clone(),
            None => {
                let made = self.api.create_gateway(&self.site_tags(site)).await;
                made.map_err(|failure| failure.about(&what))?
            }
        };
        if !way.attached {
            self.once_known(&what, async || self.api.attach_gateway(&gateway, vpc).await).await?;
        }
        // A lost answer makes two.
        self.remove_idle_gateways(&at, Some(&gateway)).await?;
        let what = format!("route of site {} to the internet", site.name);
        let tables = self.tables(vpc).await?;
        if !tables.iter().any(|table| table.main) {
            return Err(ProviderError::NotFound(format!("the main route table of VPC {vpc}")));
        }
        let missing = drift::table_without_way(&tables);
        if let Some(table) = missing {
            self.once_known(&what, async || self.api.create_route(&table.id, &gateway).await).await?;
        }
        if !way.attached || missing.is_some() {
            self.until(self.tuning.visible, &what, async || {
                let Own { gateways, tables, .. } = self.own_network(site, vpc).await?;
                let leads = drift::way_out(vpc, &gateways).attached;
                Ok((leads && drift::table_without_way(&tables).is_none()).then_some(()))
            })
            .await?;
        }
        Ok(())
    }

    /// What there is in an own VPC.
    async fn own_network(&self, site: &Site, vpc: &str) -> Result<Own, ProviderError> {
        let about = |failure: Failure| failure.about(&format!("VPC {vpc} of site {}", site.name));
        let at = self.mark(&[("tag:weave-site", &site.name)]);
        Ok(Own {
            subnets: self.api.subnets(&[("vpc-id", vpc)]).await.map_err(about)?,
            gateways: self.api.gateways(&at).await.map_err(about)?,
            tables: self.tables(vpc).await?,
        })
    }

    async fn ensure_group(&self, site: &Site, vpc: &str) -> Result<String, ProviderError> {
        let name = self.group_name(site);
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
            // Some are there already: the answer to the first attempt was lost, or another `up` was faster.
            self.once_known(&what, async || self.api.authorize(&group.id, &add, &tags).await).await?;
        }
        if !stale.is_empty() {
            self.remove(&what, async || self.api.revoke(&group.id, &stale).await).await?;
        }
        if !add.is_empty() || !stale.is_empty() {
            self.until(self.tuning.visible, &format!("the rules of {what}"), async || {
                Ok(drift::of_group(&name, &wanted, find().await?.as_ref()).is_empty().then_some(()))
            })
            .await?;
        }
        Ok(group.id)
    }

    pub(crate) async fn tables(&self, vpc: &str) -> Result<Vec<Table>, ProviderError> {
        self.api.tables(vpc).await.map_err(|failure| failure.about(&format!("the route tables of VPC {vpc}")))
    }

    fn group_name(&self, site: &Site) -> String {
        format!("weave-{}-{}", self.config.fleet, site.name)
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

/// The sites that own VPCs and groups name, sorted by name.
pub(crate) fn sites_of(vpcs: &[Vpc], groups: &[Group]) -> Vec<Site> {
    let tags = vpcs.iter().map(|vpc| &vpc.tags).chain(groups.iter().map(|group| &group.tags));
    let sites: BTreeMap<&String, u8> = tags
        .filter_map(|tags| Some((tags.get(SITE)?, tags.get(INDEX)?.parse().unwrap_or_default())))
        .collect();
    sites.into_iter().map(|(name, index)| Site { name: name.clone(), index }).collect()
}

fn is_of(tags: &Tags, site: &Site) -> bool {
    tags.get(SITE) == Some(&site.name)
}
