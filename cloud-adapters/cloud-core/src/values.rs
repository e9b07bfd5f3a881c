//! The values that cross the trait.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// One data centre of the fleet: a VPC, a network or a LAN.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Site {
    /// Unique in the fleet, e.g. `aws`.
    pub name: String,
    /// The site's number, from 1; adapters that invent addresses derive them from it.
    pub index: u8,
}

/// What a new host shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSpec {
    /// Unique in the fleet, e.g. `aws-1`; it becomes the host name.
    pub name: String,
    /// The name of the site it stands in.
    pub site: String,
    /// The host's number in its site, from 1.
    pub index: u8,
    /// The one key that may log in as root, as a line of `authorized_keys`.
    pub operator_public_key: String,
    /// The host's own SSH key (OpenSSH PEM), made by the operator so that it is known before the first contact.
    pub host_private_key: Secret,
    /// What the host is tagged with.
    pub labels: BTreeMap<String, String>,
}

/// Where a host stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Asked for and not usable yet.
    Starting,
    /// Up, as far as the cloud can tell.
    Running,
    /// It exists and does not run.
    Stopped,
    /// On its way out; its name may not be usable yet.
    Terminating,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Starting => "starting",
            Phase::Running => "running",
            Phase::Stopped => "stopped",
            Phase::Terminating => "terminating",
        })
    }
}

/// A host's addresses in the underlay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// The address on the host's own interface.
    pub private: IpAddr,
    /// The address at which other sites reach it; `None` where it can only dial out.
    pub public: Option<IpAddr>,
}

/// One host as the cloud reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostState {
    /// The name it was created under.
    pub name: String,
    /// The site it stands in.
    pub site: String,
    /// Known once the host is [`Phase::Running`] at the latest.
    pub addresses: Option<Addresses>,
    /// Where it stands in its life.
    pub phase: Phase,
    /// Whether every process on it can still read the user-data it started from, and in it the host's SSH key.
    pub shows_user_data: bool,
}

/// Everything of the fleet that exists in one cloud.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Sites whose networks exist, sorted by name.
    pub sites: Vec<Site>,
    /// Hosts, sorted by name.
    pub hosts: Vec<HostState>,
    /// What [`Cloud::ensure_site`](crate::Cloud::ensure_site) would put right in these sites.
    pub drifts: Vec<Drift>,
}

/// Something of a site that is not as the fleet wants it, e.g. a firewall rule that lets another operator in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Drift {
    /// The site.
    pub site: String,
    /// What is other than wanted, e.g. `firewall rule weave-prod-aws-ssh lets in 198.51.100.7/32`.
    pub what: String,
}

/// Something of the fleet that a sweep still found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leftover {
    /// What it is, e.g. `host`, `security group`.
    pub kind: String,
    /// How the cloud names it.
    pub id: String,
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.id)
    }
}

/// Something that keeps a host from becoming part of the fleet, and that does not pass by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Obstacle {
    /// The host.
    pub host: String,
    /// What is in the way.
    pub what: String,
    /// What the operator can do about it.
    pub hint: String,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.host, self.what)
    }
}

/// Text that must not be shown. Prints `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
