//! Removal: of networks, of addresses, and of whatever else still bears the fleet's mark.

use std::collections::BTreeSet;

use cloud_core::{Leftover, Phase, ProviderError, all_of};

use crate::api::Address;
use crate::failure::Failure;
use crate::gcp::Gcp;
use crate::network::Pieces;
use crate::plan::{self, HOST, SITE};

impl Gcp {
    /// Removes a site's network, from what depends to what is depended on.
    pub(crate) async fn remove_network(&self, name: &str) -> Result<(), ProviderError> {
        let at = self.mark(&[(SITE, name)]);
        let seen = self.api.instances(&at).await.map_err(|f| f.about("the fleet's hosts"))?;
        if let Some(host) = plan::hosts(&seen).first().map(|seen| seen.host()) {
            return Err(match host.phase {
                Phase::Terminating => {
                    ProviderError::Retryable(format!("site {name}: host {} is not gone yet", host.name))
                }
                _ => ProviderError::Invalid(format!("site {name} still has host {}", host.name)),
            });
        }
        self.release_addresses(&at).await?;
        let _alone = self.networks.lock().await;
        all_of(self.remove_pieces(Some(name)).await?)
    }

    /// Gives static addresses back, in whatever region they are. One that stays does not keep the others, and all
    /// that stay are told.
    pub(crate) async fn release_addresses(&self, only: &[(&str, &str)]) -> Result<(), ProviderError> {
        let all = self.api.addresses(only).await.map_err(|f| f.about("the fleet's addresses"))?;
        let mut failed = Vec::new();
        for Address { name, region, .. } in &all {
            let what = format!("address {name} in {region}");
            let delete = async || self.api.delete_address(region, name).await;
            failed.extend(self.remove(&what, delete).await.err());
        }
        all_of(failed)
    }

    /// Removes all of the fleet and lists what is there even so. What cannot be removed does not stop the rest.
    pub(crate) async fn sweep_fleet(&self) -> Result<Vec<Leftover>, ProviderError> {
        let all = self.mark(&[]);
        let ended = self.end_instances("the fleet's hosts", &all).await;
        let released = self.release_addresses(&all).await;
        let _alone = self.networks.lock().await;
        let failed = self.remove_pieces(None).await?;
        for error in ended.err().into_iter().chain(released.err()).chain(failed) {
            tracing::warn!(%error, "the sweep goes on without this");
        }
        self.leftovers().await
    }

    /// Removes the rules, subnetworks and own networks of one site, or of all, and tells what could not be.
    async fn remove_pieces(&self, site: Option<&str>) -> Result<Vec<ProviderError>, ProviderError> {
        let Pieces { networks, rules } = self.pieces(site).await?;
        let mut failed = Vec::new();
        // Their networks cannot go either; to ask would be to wait.
        let mut held = BTreeSet::new();
        for rule in &rules {
            let what = format!("firewall rule {}", rule.name);
            if let Err(error) = self.remove(&what, async || self.api.delete_rule(&rule.name).await).await {
                failed.push(error);
                held.insert(&rule.network);
            }
        }
        let subnets = self.api.subnets().await.map_err(|f| f.about("the fleet's subnetworks"))?;
        for subnet in subnets.iter().filter(|subnet| self.owns(&subnet.description, site)) {
            let what = format!("subnetwork {}", subnet.name);
            let delete = async || self.api.delete_subnet(&subnet.name).await;
            if let Err(error) = self.remove(&what, delete).await {
                failed.push(error);
                held.insert(&subnet.network);
            }
        }
        for network in networks.iter().filter(|network| !held.contains(&network.name)) {
            let what = format!("network {}", network.name);
            let delete = async || self.api.delete_network(&network.name).await;
            failed.extend(self.remove(&what, delete).await.err());
        }
        Ok(failed)
    }

    /// What exists with the fleet's mark.
    async fn leftovers(&self) -> Result<Vec<Leftover>, ProviderError> {
        let all = self.mark(&[]);
        let about = |failure: Failure| failure.about("what is left of the fleet");
        let Pieces { networks, rules } = self.pieces(None).await?;
        let instances = self.api.instances(&all).await.map_err(about)?;
        let addresses = self.api.addresses(&all).await.map_err(about)?;
        let mut subnets = self.api.subnets().await.map_err(about)?;
        subnets.retain(|subnet| self.owns(&subnet.description, None));
        let kinds: [(&str, Vec<String>); 5] = [
            ("host", instances.iter().map(|seen| format!("{} ({})", seen.label(HOST), seen.name)).collect()),
            ("address", addresses.iter().map(|seen| format!("{} ({})", seen.name, seen.region)).collect()),
            ("firewall rule", rules.into_iter().map(|rule| rule.name).collect()),
            ("subnetwork", subnets.into_iter().map(|subnet| subnet.name).collect()),
            ("network", networks.into_iter().map(|network| network.name).collect()),
        ];
        let listed = kinds.into_iter().flat_map(|(kind, ids)| ids.into_iter().map(move |id| (kind, id)));
        Ok(listed.map(|(kind, id)| Leftover { kind: kind.to_owned(), id }).collect())
    }
}
