//! What the operator says about machines: where they are, how to log in, and what a fleet leaves on them. Values.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use cloud_core::Site;

use crate::ssh::Login;

/// Everything the adapter starts from.
#[derive(Debug, Clone)]
pub struct Config {
    /// The fleet's name; machines are marked with it.
    pub fleet: String,
    /// The machines by name.
    pub machines: BTreeMap<String, Machine>,
    /// The jump hosts by name. A jump host may stand behind another.
    pub jumps: BTreeMap<String, Reach>,
    /// What a fleet leaves on a machine.
    pub footprint: Footprint,
    /// What the gateway's program is for, as `uname -m` says it; `None` when that is not known or nothing is installed.
    pub architecture: Option<&'static str>,
}

impl Config {
    /// The sites of the machines, numbered in the order of their names.
    pub fn sites(&self) -> Vec<Site> {
        let names: BTreeSet<&str> = self.machines.values().map(|machine| machine.site.as_str()).collect();
        // A fleet of more than 255 sites is refused by whoever reads the configuration.
        (1..=u8::MAX).zip(names).map(|(index, name)| Site { name: name.to_owned(), index }).collect()
    }
}

/// One machine.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The site it stands in.
    pub site: String,
    /// How it is reached.
    pub reach: Reach,
    /// The address on its own interface; `None` to ask the machine.
    pub private: Option<IpAddr>,
    /// The address at which other sites reach it.
    pub public: Option<IpAddr>,
}

/// How a machine is reached.
#[derive(Debug, Clone)]
pub struct Reach {
    /// Its name or address, as seen from here or from its jump host.
    pub address: String,
    /// The port of its SSH.
    pub port: u16,
    /// How to log in.
    pub login: Login,
    /// The jump host it stands behind.
    pub jump: Option<String>,
}

/// What a fleet leaves on a machine, and how it is taken away again.
#[derive(Debug, Clone)]
pub struct Footprint {
    /// The service.
    pub service: &'static str,
    /// The service's unit file, for systemd.
    pub unit: &'static str,
    /// The service's script, for others. `SCRIPT stop` ends the gateway.
    pub script: &'static str,
    /// The gateway's program. `PROGRAM reset` removes what it made in the kernel and its own state.
    pub program: &'static str,
    /// A symbolic link and where it points.
    pub link: (&'static str, &'static str),
    /// The folder of the settings; it is removed when it is empty.
    pub folder: &'static str,
    /// The other files.
    pub files: Vec<&'static str>,
    /// Files that go with the others, and that without them are no gateway: logs, notes of who supervises.
    pub traces: Vec<&'static str>,
    /// Network interfaces that are there while the gateway runs, or after it was killed.
    pub interfaces: Vec<&'static str>,
}

impl Footprint {
    /// The file that says whose machine it is. The adapter writes it before anything else is put there and removes it
    /// after everything else is gone.
    pub(crate) fn mark(&self) -> String {
        format!("{}/fleet", self.folder)
    }
}
