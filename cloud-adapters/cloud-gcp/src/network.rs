//! A site's network: one that is there or an own one, and firewall rules that are always own.

use std::collections::BTreeMap;

use cloud_core::{Drift, IpNet, ProviderError, Site, parse_blocks};

use crate::api::Network;
use crate::drift;
use crate::failure::{Class, Failure};
use crate::gcp::Gcp;
use crate::plan::{self, Mark, Rule, Subnet};

/// Where the hosts of a site stand.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) network: String,
    pub(crate) subnet: String,
    /// The tag that the rules are about.
    pub(crate) tag: String,
}

/// What exists of the networks of sites.
#[derive(Debug)]
pub(crate) struct Pieces {
    pub(crate) networks: Vec<Network>,
    pub(crate) rules: Vec<Rule>,
}

impl Pieces {
    /// The sites that they name, sorted by name.
    pub(crate) fn sites(&self) -> Vec<Site> {
        let descriptions = self.networks.iter().map(|network| &network.description);
        let descriptions = descriptions.chain(self.rules.iter().map(|rule| &rule.description));
        let sites: BTreeMap<String, u8> =
            descriptions.filter_map(|text| Mark::parse(text)).map(|m| (m.site.name, m.site.index)).collect();
        sites.into_iter().map(|(name, index)| Site { name, index }).collect()
    }

    /// Of the pieces of one site: the network that it stands in, and whether that is its own.
    fn stands_in(&self) -> Option<(&str, bool)> {
        let own = self.networks.first().map(|network| (network.name.as_str(), true));
        own.or_else(|| self.rules.first().map(|rule| (rule.network.as_str(), false)))
    }
}

impl Gcp {
    /// The sites of which anything exists.
    pub(crate) async fn sites(&self) -> Result<Vec<Site>, ProviderError> {
        Ok(self.pieces(None).await?.sites())
    }

    /// What making sure of these sites would change, of the pieces of all.
    pub(crate) async fn drifts(&self, sites: &[Site], all: &Pieces) -> Result<Vec<Drift>, ProviderError> {
        let subnets = if all.networks.is_empty() {
            Vec::new()
        } else {
            self.api.subnets().await.map_err(|failure| failure.about("the fleet's subnetworks"))?
        };
        let mut drifts = Vec::new();
        for site in sites {
            let tag = plan::name(&self.config.fleet, &site.name)?;
            let pieces = Pieces {
                networks: all
                    .networks
                    .iter()
                    .filter(|n| self.owns(&n.description, Some(&site.name)))
                    .cloned()
                    .collect(),
                rules: all
                    .rules
                    .iter()
                    .filter(|r| self.owns(&r.description, Some(&site.name)))
                    .cloned()
                    .collect(),
            };
            let Some((network, own)) = pieces.stands_in() else { continue };
            let mut whats = Vec::new();
            if own {
                whats.extend(drift::of_network(network, &tag, &subnets));
            }
            let mark = self.mark_of(site);
            let wanted = plan::wanted_rules(&tag, network, &mark, self.config.operator_address.as_deref());
            whats.extend(drift::of_rules(&wanted, &pieces.rules));
            drifts.extend(whats.into_iter().map(|what| Drift { site: site.name.clone(), what }));
        }
        Ok(drifts)
    }

    /// Makes what is missing of a site's network.
    pub(crate) async fn ensure_network(&self, site: &Site) -> Result<Place, ProviderError> {
        let _alone = self.networks.lock().await;
        let tag = plan::name(&self.config.fleet, &site.name)?;
        let mark = self.mark_of(site);
        let pieces = self.pieces(Some(&site.name)).await?;
        let (network, own) = self.choose_network(&tag, &mark, &pieces).await?;
        if own {
            self.ensure_subnet(&tag, &network, &mark).await?;
        }
        let subnet = self.subnet(&network).await?;
        self.ensure_rules(&tag, &network, &mark, &pieces.rules).await?;
        Ok(Place { network, subnet, tag })
    }

    /// The own networks and the rules of one site, or of all.
    pub(crate) async fn pieces(&self, site: Option<&str>) -> Result<Pieces, ProviderError> {
        let prefix = format!("weave-{}-", self.config.fleet);
        let what = || format!("the networks of fleet {}", self.config.fleet);
        let mut networks = self.api.networks(&prefix).await.map_err(|failure| failure.about(&what()))?;
        let mut rules = self.api.rules(&prefix).await.map_err(|failure| failure.about(&what()))?;
        networks.retain(|network| self.owns(&network.description, site));
        rules.retain(|rule| self.owns(&rule.description, site));
        Ok(Pieces { networks, rules })
    }

    fn mark_of(&self, site: &Site) -> Mark {
        Mark { fleet: self.config.fleet.clone(), site: site.clone() }
    }

    /// Whether a description says that it is the fleet's and, if one is named, the site's.
    pub(crate) fn owns(&self, description: &str, site: Option<&str>) -> bool {
        let ours =
            |mark: &Mark| mark.fleet == self.config.fleet && site.is_none_or(|site| site == mark.site.name);
        Mark::parse(description).as_ref().is_some_and(ours)
    }

    /// The blocks of the region's subnetworks in the network in which the hosts of a site stand or would stand.
    pub(crate) async fn blocks_of(&self, site: &Site) -> Result<Vec<IpNet>, ProviderError> {
        let pieces = self.pieces(Some(&site.name)).await?;
        let located = self.locate(&site.name, &pieces).await?;
        let mut blocks = Vec::new();
        if let Some((network, _)) = &located {
            let all = self.api.subnets().await;
            let all = all.map_err(|f| f.about(&format!("the subnetworks of network {network}")))?;
            blocks.extend(
                all.into_iter().filter(|subnet| subnet.network == *network).map(|subnet| subnet.block),
            );
        }
        // An own network that is to be made, or whose making was cut short.
        if blocks.is_empty() && located.is_none_or(|(_, own)| own) {
            blocks.push(plan::own_block(site.index));
        }
        parse_blocks(&format!("site {}", site.name), blocks.iter().map(String::as_str))
    }

    /// The network to stand in and whether it is our own: the one that the site has, the one named, `default`. `None`:
    /// one has to be made.
    async fn locate(&self, site: &str, pieces: &Pieces) -> Result<Option<(String, bool)>, ProviderError> {
        let stands_in = pieces.stands_in();
        if let (Some((actual, _)), Some(wanted)) = (stands_in, &self.config.network)
            && actual != wanted
        {
            return Err(ProviderError::Invalid(format!(
                "site {site} stands in network {actual} and shall stand in {wanted}: remove the site first"
            )));
        }
        if let Some((actual, own)) = stands_in {
            return Ok(Some((actual.to_owned(), own)));
        }
        let wanted = self.config.network.as_deref();
        match self.api.network(wanted.unwrap_or("default")).await {
            Ok(network) => Ok(Some((network.name, false))),
            Err(failure) if wanted.is_none() && failure.class() == Class::NotFound => Ok(None),
            Err(failure) => {
                let name = wanted.unwrap_or("default");
                Err(failure.about(&format!("network {name} in project {}", self.config.project)))
            }
        }
    }

    /// The network to stand in, made if need be, and whether it is our own.
    async fn choose_network(
        &self,
        name: &str,
        mark: &Mark,
        pieces: &Pieces,
    ) -> Result<(String, bool), ProviderError> {
        let site = &mark.site.name;
        if let Some(located) = self.locate(site, pieces).await? {
            return Ok(located);
        }
        let network = Network { name: name.to_owned(), description: mark.render() };
        let find = async || found(self.api.network(name).await);
        let insert = async |id: &str| self.api.insert_network(id, &network).await;
        let what = format!("network {name}");
        let made = self.make(&["network", name], insert, find).await.map_err(|f| f.about(&what))?;
        if self.owns(&made.description, Some(site)) {
            Ok((made.name, true))
        } else {
            Err(ProviderError::Conflict(what))
        }
    }

    /// Makes the one subnetwork of an own network in this region.
    async fn ensure_subnet(&self, name: &str, network: &str, mark: &Mark) -> Result<(), ProviderError> {
        let what = format!("subnetwork {name}");
        let find = async || {
            let all = self.api.subnets().await?;
            Ok(all.into_iter().find(|subnet| subnet.name == name))
        };
        let wanted = Subnet {
            name: name.to_owned(),
            network: network.to_owned(),
            block: plan::own_block(mark.site.index),
            description: mark.render(),
        };
        let made = match find().await.map_err(|failure: Failure| failure.about(&what))? {
            Some(there) => there,
            None => {
                let insert = async |id: &str| self.api.insert_subnet(id, &wanted).await;
                let parts = ["subnetwork", &self.config.region, name];
                self.make(&parts, insert, find).await.map_err(|failure| failure.about(&what))?
            }
        };
        let ours = self.owns(&made.description, Some(&mark.site.name)) && made.network == network;
        if ours { Ok(()) } else { Err(ProviderError::Conflict(what)) }
    }

    async fn subnet(&self, network: &str) -> Result<String, ProviderError> {
        let what = || format!("the subnetworks of network {network}");
        let all = self.api.subnets().await.map_err(|failure| failure.about(&what()))?;
        let chosen = plan::subnet_in(network, &all).map(|subnet| subnet.name.clone());
        chosen.ok_or_else(|| {
            ProviderError::Invalid(format!(
                "network {network} has no subnetwork in region {}: add one, or choose another `network` or `region`",
                self.config.region
            ))
        })
    }

    async fn ensure_rules(
        &self,
        tag: &str,
        network: &str,
        mark: &Mark,
        seen: &[Rule],
    ) -> Result<(), ProviderError> {
        let what = |name: &str| format!("firewall rule {name}");
        let wanted = plan::wanted_rules(tag, network, mark, self.config.operator_address.as_deref());
        let changes = plan::rule_changes(&wanted, seen);
        for rule in &changes.add {
            let name = &rule.name;
            let find = async || {
                let all = self.api.rules(name).await?;
                Ok(all.into_iter().find(|there| there.name == *name))
            };
            let insert = async |id: &str| self.api.insert_rule(id, rule).await;
            let made = self.make(&["firewall", name], insert, find).await;
            let made = made.map_err(|failure| failure.about(&what(name)))?;
            if !self.owns(&made.description, Some(&mark.site.name)) {
                return Err(ProviderError::Conflict(what(name)));
            }
        }
        for rule in &changes.change {
            let patch = self.api.patch_rule(rule).await;
            patch.map_err(|failure| failure.about(&what(&rule.name)))?;
        }
        for name in &changes.remove {
            self.remove(&what(name), async || self.api.delete_rule(name).await).await?;
        }
        Ok(())
    }
}

/// `None` where there is nothing of the name.
pub(crate) fn found<T>(answer: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(there) => Ok(Some(there)),
        Err(failure) if failure.class() == Class::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}
