//! What a site's network is other than wanted: decided once, for `ensure_site` to put right and for `observe` to tell.
//! Pure.

use std::collections::BTreeSet;

use crate::api::{Gateway, Group, Vpc};
use crate::plan::{self, Rule, Subnet, Table};

/// An own network as it is.
#[derive(Debug, Default)]
pub(crate) struct Own {
    pub(crate) subnets: Vec<Subnet>,
    /// The site's gateways, attached or not.
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) tables: Vec<Table>,
}

impl Own {
    /// What `ensure_site` would change in the VPC of a site, given the zones that offer the instance type.
    pub(crate) fn drifts(
        &self,
        vpc: &str,
        index: u8,
        offered: &BTreeSet<String>,
        zone: Option<&str>,
    ) -> Vec<String> {
        let mut drifts: Vec<String> = missing_subnets(index, offered, zone, &self.subnets)
            .into_iter()
            .map(|(zone, block)| format!("VPC {vpc} has no subnet {block} in zone {zone}"))
            .collect();
        let way = way_out(vpc, &self.gateways);
        if !way.attached {
            drifts.push(format!("VPC {vpc} has no internet gateway"));
        }
        let surplus = |gateway: &&Gateway| format!("internet gateway {} is attached to nothing", gateway.id);
        drifts.extend(way.surplus.iter().map(surplus));
        if table_without_way(&self.tables).is_some() {
            drifts.push(format!("VPC {vpc} has no route to the internet"));
        }
        drifts
    }
}

/// Of the VPCs of a site the one that stays and those that go: CreateVpc knows no token, so a lost answer makes two.
pub(crate) fn twins<'a>(own: &'a [Vpc], groups: &[Group]) -> (Option<&'a Vpc>, Vec<&'a Vpc>) {
    let used = |vpc: &Vpc| groups.iter().any(|group| group.vpc == vpc.id);
    let mut by_use: Vec<&Vpc> = own.iter().collect();
    by_use.sort_by_key(|vpc| (!used(vpc), &vpc.id));
    let gone = by_use.iter().skip(1).filter(|vpc| !used(vpc)).copied().collect();
    (by_use.first().copied(), gone)
}

/// The subnets to make: zone and block.
pub(crate) fn missing_subnets(
    index: u8,
    offered: &BTreeSet<String>,
    zone: Option<&str>,
    there: &[Subnet],
) -> Vec<(String, String)> {
    let mut wanted = plan::own_subnets(index, offered, zone);
    wanted.retain(|(zone, _)| there.iter().all(|subnet| subnet.zone != *zone));
    wanted
}

/// The gateway of an own network, of those that the site has.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct WayOut<'a> {
    /// `None` has to be made.
    pub(crate) gateway: Option<&'a Gateway>,
    pub(crate) attached: bool,
    /// A lost answer makes two: those that are attached to nothing and have to go.
    pub(crate) surplus: Vec<&'a Gateway>,
}

pub(crate) fn way_out<'a>(vpc: &str, gateways: &'a [Gateway]) -> WayOut<'a> {
    let attached = gateways.iter().find(|gateway| gateway.vpc.as_deref() == Some(vpc));
    let gateway = attached.or_else(|| gateways.iter().find(|gateway| gateway.vpc.is_none()));
    let surplus = gateways.iter().filter(|other| other.vpc.is_none() && Some(*other) != gateway).collect();
    WayOut { gateway, attached: attached.is_some(), surplus }
}

/// The main table of an own network where it does not lead to the internet.
pub(crate) fn table_without_way(tables: &[Table]) -> Option<&Table> {
    tables.iter().find(|table| table.main && !table.public)
}

/// What `ensure_site` would change in the security group of a site, which has this name.
pub(crate) fn of_group(name: &str, wanted: &BTreeSet<Rule>, group: Option<&Group>) -> Vec<String> {
    let Some(group) = group else { return vec![format!("security group {name} does not exist")] };
    let (add, stale) = plan::rule_changes(wanted, &group.rules);
    let lacks = add.iter().map(|rule| format!("security group {name} does not let in {}", rule.render()));
    let stale = stale.iter().map(|rule| format!("security group {name} lets in {}", rule.render()));
    lacks.chain(stale).collect()
}
