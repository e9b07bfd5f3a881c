//! What the operator wants: sites, hosts and how the hosts of a fleet may reach each other. Pure values.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use cloud_core::{Addresses, Site};
use serde::{Deserialize, Serialize};

/// The port of every gateway, UDP and TCP.
pub const GATEWAY_PORT: u16 = 6783;

/// A kind of data centre that a fleet may stand in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CloudKind {
    /// Amazon Web Services.
    Aws,
    /// Google Cloud.
    Gcp,
    /// The operator's own machines.
    Onprem,
}

impl CloudKind {
    /// Every kind, in the order of their site numbers.
    pub const ALL: [CloudKind; 3] = [CloudKind::Aws, CloudKind::Gcp, CloudKind::Onprem];

    /// The name of its site.
    pub fn as_str(self) -> &'static str {
        match self {
            CloudKind::Aws => "aws",
            CloudKind::Gcp => "gcp",
            CloudKind::Onprem => "onprem",
        }
    }

    /// The site it stands for; the number does not depend on which other clouds are chosen.
    pub fn site(self) -> Site {
        let index = match self {
            CloudKind::Aws => 1,
            CloudKind::Gcp => 2,
            CloudKind::Onprem => 3,
        };
        Site { name: self.as_str().to_owned(), index }
    }

    /// The name of its host with this number, in a cloud that makes its hosts.
    pub fn host(self, index: u8) -> String {
        format!("{}-{index}", self.as_str())
    }

    /// The cloud that makes a site of this name; on-prem sites are called as the operator likes, but never so.
    pub fn of_site(name: &str) -> CloudKind {
        [CloudKind::Aws, CloudKind::Gcp]
            .into_iter()
            .find(|kind| kind.as_str() == name)
            .unwrap_or(CloudKind::Onprem)
    }

    /// The cloud that makes a host of this name; on-prem hosts are called as the operator likes, but never so.
    pub fn of_host(name: &str) -> CloudKind {
        let made = |kind: &CloudKind| {
            let number = name.strip_prefix(kind.as_str()).and_then(|rest| rest.strip_prefix('-'));
            number.is_some_and(|number| number.parse::<u8>().is_ok())
        };
        [CloudKind::Aws, CloudKind::Gcp].into_iter().find(made).unwrap_or(CloudKind::Onprem)
    }

    /// How many hosts the lab gives it: on-prem has two, so that one site has an inside.
    fn lab_hosts(self) -> u8 {
        match self {
            CloudKind::Aws | CloudKind::Gcp => 1,
            CloudKind::Onprem => 2,
        }
    }
}

impl fmt::Display for CloudKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name is none of the known clouds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no cloud is called {0:?}; known are aws, gcp and onprem")]
pub struct UnknownCloud(String);

impl FromStr for CloudKind {
    type Err = UnknownCloud;

    fn from_str(text: &str) -> Result<CloudKind, UnknownCloud> {
        CloudKind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| UnknownCloud(text.to_owned()))
    }
}

/// How the sites of a lab reach each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Topology {
    /// Some pairs of sites reach each other only through a third.
    #[default]
    Partial,
    /// Every site reaches every other.
    Full,
}

impl Topology {
    /// The word on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Topology::Partial => "partial",
            Topology::Full => "full",
        }
    }
}

/// One host that shall exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Unique in the fleet, e.g. `onprem-2`.
    pub name: String,
    /// The name of its site.
    pub site: String,
    /// Its number in its site, from 1.
    pub index: u8,
    /// Addresses at which other sites reach it, besides those that the cloud tells.
    pub advertise: Vec<IpAddr>,
}

/// Everything that shall exist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fleet {
    /// Sorted by number.
    pub sites: Vec<Site>,
    /// Sorted by site, then number.
    pub hosts: Vec<Host>,
    /// What was there before the fleet and stays after it, wanted or not.
    pub found: Found,
}

/// Names of sites and hosts that nobody makes or destroys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Sites.
    pub sites: BTreeSet<String>,
    /// Hosts.
    pub hosts: BTreeSet<String>,
}

impl Fleet {
    /// The lab's fleet for these clouds, whatever their order and however often one is named.
    pub fn lab(clouds: &[CloudKind]) -> Fleet {
        let chosen = CloudKind::ALL.into_iter().filter(|kind| clouds.contains(kind));
        let mut fleet = Fleet::default();
        for kind in chosen {
            let site = kind.site();
            fleet.hosts.extend((1..=kind.lab_hosts()).map(|index| Host {
                name: format!("{}-{index}", site.name),
                site: site.name.clone(),
                index,
                advertise: Vec::new(),
            }));
            fleet.sites.push(site);
        }
        fleet
    }
}

/// Addresses of the hosts that the cloud has told so far.
pub type AddressBook = BTreeMap<String, Addresses>;

/// The addresses at which `host` may dial the others: private ones within its site, public ones across.
///
/// `None` while an address of some host is unknown; a host elsewhere without a public address cannot be dialled and
/// dials us.
pub fn dialable(fleet: &Fleet, host: &Host, addresses: &AddressBook) -> Option<Vec<IpAddr>> {
    let mut peers = Vec::new();
    for other in fleet.hosts.iter().filter(|other| other.name != host.name) {
        let known = addresses.get(&other.name)?;
        if other.site == host.site {
            peers.push(known.private);
        } else {
            peers.extend(public_addresses(other, known));
        }
    }
    Some(peers)
}

/// The addresses at which other sites reach a host: what the cloud tells, then what the operator says.
pub fn public_addresses(host: &Host, known: &Addresses) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = known.public.into_iter().collect();
    for address in &host.advertise {
        if !addresses.contains(address) {
            addresses.push(*address);
        }
    }
    addresses
}

/// Whether a text can name a fleet: it becomes part of host names, file names and cloud tags.
pub fn valid_name(text: &str) -> bool {
    let letters = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    letters && (1..=32).contains(&text.len()) && !text.starts_with('-') && !text.ends_with('-')
}
