//! What a new host shall be: one that the lab prepares, or one that prepares itself at its first boot.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::values::HostConfig;

/// What a host shall be that plays an instance of a cloud: the cloud says its addresses, and cloud-init makes of it at
/// its first boot what the user-data says. It begins without keys and without a name. `Debug` does not show the
/// user-data.
#[derive(Clone, PartialEq, Eq)]
pub struct InstanceConfig {
    /// Unique in the lab; the host itself does not hear it.
    pub name: String,
    /// The site it stands in, which must exist.
    pub site: String,
    /// The host's number in its site, from 1.
    pub index: u8,
    /// The address on its own interface, within the site's range.
    pub private: Ipv4Addr,
    /// The public address that is its alone; hosts behind a masquerade have none, all others need one.
    pub public: Option<Ipv4Addr>,
    /// What the cloud calls it. cloud-init runs once for each.
    pub instance_id: String,
    /// What cloud-init shall do.
    pub user_data: String,
    /// Shown in the description, without meaning to the lab.
    pub labels: BTreeMap<String, String>,
}

/// Either, as the keeper is asked for it.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) name: String,
    pub(crate) site: String,
    pub(crate) index: u8,
    /// Its private and its public address; otherwise they follow from its number.
    pub(crate) addresses: Option<(Ipv4Addr, Option<Ipv4Addr>)>,
    pub(crate) first_boot: FirstBoot,
    pub(crate) labels: BTreeMap<String, String>,
}

/// Who prepares a host.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum FirstBoot {
    /// The lab, before.
    Prepared { authorized_key: String, host_key_pem: String },
    /// The host itself.
    CloudInit { instance_id: String, user_data: String },
}

impl Order {
    /// From the request to an SSH banner.
    pub(crate) fn deadline(&self) -> Duration {
        match self.first_boot {
            // Measured: 1 to 3 s; the rest is for machines busy with something else.
            FirstBoot::Prepared { .. } => Duration::from_secs(30),
            // Measured: 3 to 6 s, most of them Python's.
            FirstBoot::CloudInit { .. } => Duration::from_secs(90),
        }
    }
}

impl From<&HostConfig> for Order {
    fn from(host: &HostConfig) -> Order {
        let HostConfig { name, site, index, authorized_key, host_key_pem, labels } = host.clone();
        let first_boot = FirstBoot::Prepared { authorized_key, host_key_pem };
        Order { name, site, index, addresses: None, first_boot, labels }
    }
}

impl From<&InstanceConfig> for Order {
    fn from(instance: &InstanceConfig) -> Order {
        let InstanceConfig { name, site, index, private, public, instance_id, user_data, labels } =
            instance.clone();
        let first_boot = FirstBoot::CloudInit { instance_id, user_data };
        Order { name, site, index, addresses: Some((private, public)), first_boot, labels }
    }
}

impl fmt::Debug for InstanceConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstanceConfig")
            .field("name", &self.name)
            .field("site", &self.site)
            .field("index", &self.index)
            .field("private", &self.private)
            .field("public", &self.public)
            .field("instance_id", &self.instance_id)
            .field("user_data", &"***")
            .field("labels", &self.labels)
            .finish()
    }
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Order").field("name", &self.name).field("site", &self.site).finish_non_exhaustive()
    }
}
