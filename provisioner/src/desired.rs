//! Which files every host shall have, given its fleet, the identities issued and the addresses known so far.

use std::collections::BTreeMap;

use cloud_core::{Phase, Secret};
use weave_model::NetworkName;

use crate::fleet::{AddressBook, Fleet, dialable, public_addresses};
use crate::install::{Content, GatewayConfig, WantedFile, wanted_files};
use crate::state::{FleetState, StateError};
use crate::vault::Vault;

/// What all hosts have in common.
#[derive(Debug, Clone)]
pub struct Desired {
    /// Sites and hosts.
    pub fleet: Fleet,
    /// The gateway's program.
    pub gateway: Content,
    /// The network they are in.
    pub network: NetworkName,
}

impl Desired {
    /// The wanted files by host.
    pub fn files(
        &self,
        vault: &Vault,
        state: Option<&FleetState>,
        addresses: &AddressBook,
    ) -> Result<BTreeMap<String, Vec<WantedFile>>, StateError> {
        let mut files = BTreeMap::new();
        for host in &self.fleet.hosts {
            let identity: Option<Secret> = match state {
                Some(state) => vault.identity(state, &host.name)?,
                None => None,
            };
            let peers = dialable(&self.fleet, host, addresses);
            let config = addresses.get(&host.name).zip(peers).map(|(own, peers)| {
                let advertise = public_addresses(host, own);
                GatewayConfig::new(&host.name, &host.site, self.network.as_str(), &peers, &advertise)
            });
            files.insert(host.name.clone(), wanted_files(&self.gateway, identity.as_ref(), config.as_ref()));
        }
        Ok(files)
    }
}

/// The addresses that the cloud has told; those of a host on its way out do not count.
pub fn address_book(observed: &cloud_core::Observed) -> AddressBook {
    let there = observed.hosts.iter().filter(|host| host.phase != Phase::Terminating);
    there.filter_map(|host| Some((host.name.clone(), host.addresses?))).collect()
}
