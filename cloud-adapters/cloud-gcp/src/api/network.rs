//! Networks, subnetworks and firewall rules.

use google_cloud_compute_v1::model::{self, firewall};
use google_cloud_gax::options::RequestOptionsBuilder as _;
use google_cloud_gax::paginator::ItemPaginator as _;

use super::{Answer, Api, End};
use crate::plan::{Rule, Subnet, last};

/// A network of the project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Network {
    pub(crate) name: String,
    pub(crate) description: String,
}

impl Api {
    pub(crate) async fn network(&self, name: &str) -> Answer<Network> {
        let call = self.networks.get().set_project(&self.project).set_network(name);
        Ok(network(self.ask("networks.get", call.send()).await?))
    }

    /// The networks whose names begin so.
    pub(crate) async fn networks(&self, prefix: &str) -> Answer<Vec<Network>> {
        let call = self.networks.list().set_project(&self.project).set_max_results(self.tuning.page);
        let mut items = call.set_filter(named(prefix)).by_item();
        let mut all = Vec::new();
        while let Some(item) = self.ask("networks.list", async { items.next().await.transpose() }).await? {
            all.push(network(item));
        }
        Ok(all)
    }

    /// Makes a network without subnetworks.
    pub(crate) async fn insert_network(&self, id: &str, wanted: &Network) -> Answer<End> {
        let body = model::Network::new()
            .set_name(&wanted.name)
            .set_description(&wanted.description)
            .set_auto_create_subnetworks(false);
        let call = self.networks.insert().set_project(&self.project).set_body(body);
        let call = call.set_request_id(id).with_idempotency(true);
        self.finish("networks.insert", self.tuning.network, call.poller()).await
    }

    pub(crate) async fn delete_network(&self, name: &str) -> Answer<End> {
        let call = self.networks.delete().set_project(&self.project).set_network(name).with_idempotency(true);
        self.finish("networks.delete", self.tuning.network, call.poller()).await
    }

    /// The subnetworks of the region.
    pub(crate) async fn subnets(&self) -> Answer<Vec<Subnet>> {
        let call = self.subnetworks.list().set_project(&self.project).set_region(&self.region);
        let mut items = call.set_max_results(self.tuning.page).by_item();
        let mut all = Vec::new();
        while let Some(item) = self.ask("subnetworks.list", async { items.next().await.transpose() }).await? {
            all.push(Subnet {
                name: item.name.unwrap_or_default(),
                network: last(&item.network.unwrap_or_default()).to_owned(),
                block: item.ip_cidr_range.unwrap_or_default(),
                description: item.description.unwrap_or_default(),
            });
        }
        Ok(all)
    }

    pub(crate) async fn insert_subnet(&self, id: &str, wanted: &Subnet) -> Answer<End> {
        let body = model::Subnetwork::new()
            .set_name(&wanted.name)
            .set_network(self.network_link(&wanted.network))
            .set_ip_cidr_range(&wanted.block)
            .set_description(&wanted.description);
        let call = self.subnetworks.insert().set_project(&self.project).set_region(&self.region);
        let call = call.set_body(body).set_request_id(id).with_idempotency(true);
        self.finish("subnetworks.insert", self.tuning.network, call.poller()).await
    }

    pub(crate) async fn delete_subnet(&self, name: &str) -> Answer<End> {
        let call = self.subnetworks.delete().set_project(&self.project).set_region(&self.region);
        let call = call.set_subnetwork(name).with_idempotency(true);
        self.finish("subnetworks.delete", self.tuning.network, call.poller()).await
    }

    /// The firewall rules whose names begin so.
    pub(crate) async fn rules(&self, prefix: &str) -> Answer<Vec<Rule>> {
        let call = self.firewalls.list().set_project(&self.project).set_max_results(self.tuning.page);
        let mut items = call.set_filter(named(prefix)).by_item();
        let mut all = Vec::new();
        while let Some(item) = self.ask("firewalls.list", async { items.next().await.transpose() }).await? {
            all.push(rule(item));
        }
        Ok(all)
    }

    pub(crate) async fn insert_rule(&self, id: &str, wanted: &Rule) -> Answer<End> {
        let call = self.firewalls.insert().set_project(&self.project).set_body(self.firewall(wanted));
        let call = call.set_request_id(id).with_idempotency(true);
        self.finish("firewalls.insert", self.tuning.network, call.poller()).await
    }

    /// Makes a rule what it should be, whatever it was.
    pub(crate) async fn patch_rule(&self, wanted: &Rule) -> Answer<End> {
        let call = self.firewalls.patch().set_project(&self.project).set_firewall(&wanted.name);
        let call = call.set_body(self.firewall(wanted)).with_idempotency(true);
        self.finish("firewalls.patch", self.tuning.network, call.poller()).await
    }

    pub(crate) async fn delete_rule(&self, name: &str) -> Answer<End> {
        let call =
            self.firewalls.delete().set_project(&self.project).set_firewall(name).with_idempotency(true);
        self.finish("firewalls.delete", self.tuning.network, call.poller()).await
    }

    pub(super) fn network_link(&self, name: &str) -> String {
        format!("projects/{}/global/networks/{name}", self.project)
    }

    fn firewall(&self, rule: &Rule) -> model::Firewall {
        let ports = rule.ports.iter();
        let body = model::Firewall::new()
            .set_name(&rule.name)
            .set_network(self.network_link(&rule.network))
            .set_description(&rule.description)
            .set_priority(rule.priority)
            .set_direction(firewall::Direction::Ingress)
            .set_source_ranges(&rule.sources)
            .set_target_tags(&rule.tags)
            .set_disabled(!rule.enabled);
        if rule.allow {
            body.set_allowed(
                ports.map(|(protocol, port)| {
                    firewall::Allowed::new().set_ip_protocol(protocol).set_ports([port])
                }),
            )
        } else {
            body.set_denied(
                ports.map(|(protocol, port)| {
                    firewall::Denied::new().set_ip_protocol(protocol).set_ports([port])
                }),
            )
        }
    }
}

fn network(item: model::Network) -> Network {
    Network { name: item.name.unwrap_or_default(), description: item.description.unwrap_or_default() }
}

fn rule(item: model::Firewall) -> Rule {
    let allow = item.denied.is_empty();
    let allowed = item.allowed.into_iter().map(|part| (part.ip_protocol, part.ports));
    let denied = item.denied.into_iter().map(|part| (part.ip_protocol, part.ports));
    let flat = |(protocol, ports): (Option<String>, Vec<String>)| {
        let protocol = protocol.unwrap_or_default();
        ports.into_iter().map(move |port| (protocol.clone(), port))
    };
    Rule {
        name: item.name.unwrap_or_default(),
        network: last(&item.network.unwrap_or_default()).to_owned(),
        description: item.description.unwrap_or_default(),
        priority: item.priority.unwrap_or(1000),
        allow,
        ports: allowed.chain(denied).flat_map(flat).collect(),
        sources: item.source_ranges.into_iter().collect(),
        tags: item.target_tags.into_iter().collect(),
        enabled: !item.disabled.unwrap_or_default(),
    }
}

/// The filter for names that begin so; `eq` takes a regular expression that has to match the whole name.
fn named(prefix: &str) -> String {
    format!("name eq {prefix}.*")
}
