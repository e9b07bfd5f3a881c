//! The values of the API: what a lab, its sites, hosts, places and cables are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::plan::Router;
use crate::range::Range;

/// What a lab shall be. Sites and hosts come later.
#[derive(Debug, Clone)]
pub struct Config {
    /// Tells labs apart on this machine; 1 to 32 of a-z, 0-9 and hyphens.
    pub name: String,
    /// Which sites reach each other.
    pub topology: Topology,
    /// The program that is started as the keeper. It must call [`crate::dispatch_hidden`] first thing in `main`.
    /// Default: the running program.
    pub helper: Option<PathBuf>,
}

/// Which sites reach each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Topology {
    /// All but `aws` and `gcp`, between which everything is dropped.
    #[default]
    Partial,
    /// All.
    Full,
}

impl FromStr for Topology {
    type Err = Error;

    fn from_str(text: &str) -> Result<Topology, Error> {
        match text {
            "partial" => Ok(Topology::Partial),
            "full" => Ok(Topology::Full),
            _ => Err(Error::Invalid(format!("topology `{text}` is neither `partial` nor `full`"))),
        }
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Topology::Partial => "partial",
            Topology::Full => "full",
        })
    }
}

/// What a new host shall be. `Debug` does not show the key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostConfig {
    /// Unique in the lab; becomes the host name.
    pub name: String,
    /// The site it stands in, which must exist.
    pub site: String,
    /// The host's number in its site, from 1.
    pub index: u8,
    /// The one key that may log in as root, as a line of `authorized_keys`.
    pub authorized_key: String,
    /// The host's own SSH key, OpenSSH PEM.
    pub host_key_pem: String,
    /// Shown in the description, without meaning to the lab.
    pub labels: BTreeMap<String, String>,
}

impl fmt::Debug for HostConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostConfig")
            .field("name", &self.name)
            .field("site", &self.site)
            .field("index", &self.index)
            .field("authorized_key", &self.authorized_key)
            .field("host_key_pem", &"***")
            .field("labels", &self.labels)
            .finish()
    }
}

/// All there is in a lab; also what its `lab.json` holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The lab's name.
    pub name: String,
    /// Which sites reach each other.
    pub topology: Topology,
    /// The sites by name.
    pub sites: BTreeMap<String, SiteStatus>,
    /// The hosts by name.
    pub hosts: BTreeMap<String, HostStatus>,
    /// Cables cut by [`crate::Lab::cut`].
    pub cuts: BTreeSet<Cable>,
}

/// One site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteStatus {
    /// The site's number, from which its addresses follow.
    pub index: u8,
    /// The addresses of its LAN.
    pub lan: Range,
    /// The kind of its router.
    pub router: Router,
    /// The router's address on the internet.
    pub public: Ipv4Addr,
    /// How the router masquerades, if it does.
    pub nat: Option<Nat>,
}

/// How a masquerading router treats UDP, by the classes of RFC 4787 §4.1 and §5: to whom the port that a host got is
/// the same, and who may send to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Nat {
    /// One port for all destinations; everybody may send to it.
    Full,
    /// One port for all destinations; addresses that were sent to may send to it.
    Address,
    /// One port for all destinations; addresses and ports that were sent to may send to it.
    #[default]
    Port,
    /// A random port for each destination, which alone may send to it.
    Symmetric,
    /// No UDP at all.
    Blocked,
}

impl FromStr for Nat {
    type Err = Error;

    fn from_str(text: &str) -> Result<Nat, Error> {
        Ok(match text {
            "full" => Nat::Full,
            "address" => Nat::Address,
            "port" => Nat::Port,
            "symmetric" => Nat::Symmetric,
            "blocked" => Nat::Blocked,
            _ => {
                return Err(Error::Invalid(format!(
                    "`{text}` is no kind of NAT: full, address, port, symmetric or blocked"
                )));
            }
        })
    }
}

/// One host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStatus {
    /// The site it stands in.
    pub site: String,
    /// The host's number in its site.
    pub index: u8,
    /// The address on its own interface.
    pub private: Ipv4Addr,
    /// The public address that is its alone, if its router gives it one.
    pub public: Option<Ipv4Addr>,
    /// Where the operator reaches its SSH.
    pub ssh: SocketAddrV4,
    /// Where it stands in its life.
    pub phase: Phase,
    /// As given at its creation.
    pub labels: BTreeMap<String, String>,
}

/// Where a host stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Booting; its SSH does not answer yet.
    Starting,
    /// Its SSH has answered.
    Running,
    /// It powered off or its system died.
    Stopped,
}

/// A place of the lab where programs can run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Where the operator's computer stands: on the internet, with a public address.
    Operator,
    /// The switch all routers hang on.
    Internet,
    /// The router of a site.
    Router(String),
    /// A host.
    Host(String),
}

impl FromStr for Place {
    type Err = Error;

    /// `op`, `internet`, `r-SITE` or a host's name.
    fn from_str(text: &str) -> Result<Place, Error> {
        Ok(match text {
            "op" => Place::Operator,
            "internet" => Place::Internet,
            _ => match text.strip_prefix("r-") {
                Some(site) => Place::Router(site.to_owned()),
                None => Place::Host(text.to_owned()),
            },
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Operator => f.write_str("op"),
            Place::Internet => f.write_str("internet"),
            Place::Router(site) => write!(f, "r-{site}"),
            Place::Host(host) => f.write_str(host),
        }
    }
}

/// Something that can be cut. Nobody loses carrier: packets vanish, as they do beyond the next switch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cable {
    /// All packets between two sites, both ways.
    Between(String, String),
    /// All packets between a site and the internet, or a host and its LAN.
    Of(String),
}

impl Cable {
    /// The cable between two sites; the order does not matter.
    pub fn between(a: &str, b: &str) -> Cable {
        let (a, b) = if a <= b { (a, b) } else { (b, a) };
        Cable::Between(a.to_owned(), b.to_owned())
    }

    /// The cable of a site's router or of a host.
    pub fn of(name: &str) -> Cable {
        Cable::Of(name.to_owned())
    }
}
