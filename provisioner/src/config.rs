//! `weave.toml`: what the operator wants where it is not a lab. Read strictly; every mistake is told with its line.
//!
//! For the fleet's own settings the file yields to the environment (`WEAVE_PROVISION_NAME`, `_NETWORK`, `_STATE`, `_RANGE`, `_OPERATOR`), which
//! yields to flags.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Env, Serialized};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use weave_model::NetworkName;

use crate::fleet::{CloudKind, Fleet, Found, Host, valid_name};

mod clouds;
pub mod edit;
mod keys;
mod onprem;
mod page;
mod template;

pub use clouds::{AwsSection, GcpSection};
pub use onprem::{Onprem, OnpremHost};
pub use page::Mistake;
pub use template::TEMPLATE;

use keys::Keys;
use onprem::Surroundings;
use page::{Page, Table};

/// The file that is read when none is named.
pub const FILE: &str = "weave.toml";

/// Everything the file, the environment and the flags say.
#[derive(Debug, Clone)]
pub struct Config {
    /// The fleet's name.
    pub name: String,
    /// The network's name.
    pub network: NetworkName,
    /// The directory of keys and state, if one is named.
    pub state: Option<PathBuf>,
    /// The clouds that have a section.
    pub clouds: Vec<CloudKind>,
    /// The addresses of the overlay, which nothing under it may use.
    pub range: Ipv4Net,
    /// From where the operator comes to the hosts in clouds; known where there are any.
    pub operator: Option<Ipv4Net>,
    /// What is wanted on Amazon EC2.
    pub aws: Option<AwsSection>,
    /// What is wanted on Google Compute Engine.
    pub gcp: Option<GcpSection>,
    /// The operator's own machines.
    pub onprem: Onprem,
}

/// The range that the original allocates from unless told otherwise, which its users have set aside.
pub const RANGE: &str = "10.32.0.0/12";

/// What is outside the file.
#[derive(Debug, Clone, Default)]
pub struct Outside {
    /// The flag `--name`.
    pub name: Option<String>,
    /// The flag `--state`.
    pub state: Option<PathBuf>,
    /// The operator's home.
    pub home: Option<PathBuf>,
    /// The socket of the operator's SSH agent.
    pub agent: Option<PathBuf>,
}

impl Outside {
    /// With what this process was started with.
    pub fn of_process(name: Option<String>, state: Option<PathBuf>) -> Outside {
        let path = |variable| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
        Outside { name, state, home: path("HOME"), agent: path("SSH_AUTH_SOCK") }
    }
}

/// The fleet's own settings on each layer.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Layer {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operator: Option<String>,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It has mistakes, at least one.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Mistakes(Vec<Mistake>),
    /// The environment says something impossible.
    #[error("{0}")]
    Environment(String),
}

impl Config {
    /// Reads a file.
    pub fn read(path: &Path, outside: &Outside) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        Config::parse(path, &text, outside)
    }

    /// Reads the text of a file.
    pub fn parse(path: &Path, text: &str, outside: &Outside) -> Result<Config, ConfigError> {
        let page = Page::new(&path.display().to_string(), text);
        let document = page.parse();
        let root = Table::new(&page, "the file", 0, &document, &["fleet", "onprem", "aws", "gcp"]);
        let folder = path.parent().unwrap_or(Path::new(""));
        let keys = Keys::new(folder, outside.home.clone());
        let file = fleet_section(&root);
        let mut around = Surroundings { keys, agent: outside.agent.clone() };
        let onprem = onprem::read(&root, &mut around);
        let (aws, gcp) = (clouds::aws(&root), clouds::gcp(&root));
        let clouds: Vec<CloudKind> =
            CloudKind::ALL.into_iter().filter(|kind| root.has(kind.as_str())).collect();
        if clouds.is_empty() {
            page.mistake(0, "no section says where to stand: add [onprem], [aws] or [gcp]");
        }
        if let (Some(onprem), [CloudKind::Onprem]) = (&onprem, clouds.as_slice()) {
            check_reachable(&root, onprem);
        }
        let state = file.state.as_ref().map(|state| around.keys.path(&state.to_string_lossy()));
        let mistakes = page.into_mistakes();
        if !mistakes.is_empty() {
            return Err(ConfigError::Mistakes(mistakes));
        }
        let Layer { name, network, state, range, operator } = layered(Layer { state, ..file }, outside)?;
        let name = name.unwrap_or_else(|| "weave".to_owned());
        if !valid_name(&name) {
            return Err(environment(format!("WEAVE_PROVISION_NAME: {name:?} {NAME_RULE}")));
        }
        let network = network.map_or(Ok(NetworkName::default()), |network| network.parse());
        let network = network.map_err(|error| environment(format!("WEAVE_PROVISION_NETWORK: {error}")))?;
        let block =
            |variable, text: String| block(&text).map_err(|why| environment(format!("{variable}: {why}")));
        let range = block("WEAVE_PROVISION_RANGE", range.unwrap_or_else(|| RANGE.to_owned()))?;
        let operator = operator.map(|text| block("WEAVE_PROVISION_OPERATOR", text)).transpose()?;
        let cloud_hosts = [aws.as_ref().map(|aws| &aws.hosts), gcp.as_ref().map(|gcp| &gcp.hosts)];
        if operator.is_none() && cloud_hosts.into_iter().flatten().any(|hosts| !hosts.is_empty()) {
            return Err(environment(NO_OPERATOR.to_owned()));
        }
        let onprem = onprem.unwrap_or_default();
        Ok(Config { name, network, state, clouds, range, operator, aws, gcp, onprem })
    }

    /// The numbers of the hosts wanted in a cloud that makes its hosts.
    fn made(&self, kind: CloudKind) -> Option<&BTreeSet<u8>> {
        match kind {
            CloudKind::Aws => self.aws.as_ref().map(|aws| &aws.hosts),
            CloudKind::Gcp => self.gcp.as_ref().map(|gcp| &gcp.hosts),
            CloudKind::Onprem => None,
        }
    }

    /// The sites and hosts that shall be there, in these clouds alone.
    pub fn fleet(&self, clouds: &[CloudKind]) -> Fleet {
        let mut fleet = Fleet::default();
        for kind in CloudKind::ALL.into_iter().filter(|kind| clouds.contains(kind)) {
            let Some(numbers) = self.made(kind).filter(|numbers| !numbers.is_empty()) else { continue };
            let site = kind.site();
            fleet.hosts.extend(numbers.iter().map(|index| Host {
                name: kind.host(*index),
                site: site.name.clone(),
                index: *index,
                advertise: Vec::new(),
            }));
            fleet.sites.push(site);
        }
        self.machines(clouds.contains(&CloudKind::Onprem), &mut fleet);
        fleet
    }

    /// Adds the operator's own machines; those that are not wanted are found even so.
    fn machines(&self, wanted: bool, fleet: &mut Fleet) {
        let all = &self.onprem.hosts;
        let present = all.iter().filter(|host| wanted && !host.absent);
        let mut hosts: Vec<Host> = present
            .filter_map(|host| {
                Some(Host {
                    name: host.name.clone(),
                    site: host.site.clone(),
                    index: onprem::index(all, host)?,
                    advertise: host.advertise.clone(),
                })
            })
            .collect();
        hosts.sort_by(|a, b| (&a.site, a.index).cmp(&(&b.site, b.index)));
        // Numbered over all machines, so that one that leaves renumbers no site.
        let mut sites = crate::footprint::machines(self).sites();
        fleet.found = Found {
            sites: sites.iter().map(|site| site.name.clone()).collect(),
            hosts: all.iter().map(|host| host.name.clone()).collect(),
        };
        sites.retain(|site| hosts.iter().any(|host| host.site == site.name));
        fleet.sites.append(&mut sites);
        fleet.hosts.append(&mut hosts);
    }
}

const NAME_RULE: &str = "cannot name a fleet: use 1 to 32 lower-case letters, digits and inner hyphens";

const NO_OPERATOR: &str = "[fleet]: `operator` is missing: from which address do you reach hosts in clouds? SSH is let in from \
     there alone; e.g. operator = \"198.51.100.7/32\" (`curl https://checkip.amazonaws.com` tells yours), or \
     WEAVE_PROVISION_OPERATOR";

/// An IPv4 block, with no bit set behind its length.
fn block(text: &str) -> Result<Ipv4Net, String> {
    let parsed = text.parse::<Ipv4Net>().ok().filter(|block| block.addr() == block.network());
    parsed.ok_or_else(|| format!("{text:?} must be an IPv4 block such as 198.51.100.7/32"))
}

fn environment(text: String) -> ConfigError {
    ConfigError::Environment(text)
}

fn fleet_section(root: &Table<'_, '_>) -> Layer {
    let Some(fleet) = root.table("fleet", "[fleet]", &["name", "network", "state", "range", "operator"])
    else {
        return Layer::default();
    };
    let name = fleet.string("name");
    if let Some(name) = name.as_ref().filter(|name| !valid_name(&name.value)) {
        fleet.mistake("name", format!("{:?} {NAME_RULE}", name.value));
    }
    let network = fleet.string("network");
    if let Some(Err(error)) = network.as_ref().map(|network| network.value.parse::<NetworkName>()) {
        fleet.mistake("network", error);
    }
    let state = fleet.string("state").map(|state| PathBuf::from(state.value));
    let [range, operator] = ["range", "operator"].map(|key| {
        let text = fleet.string(key)?.value;
        if let Err(why) = block(&text) {
            fleet.mistake(key, format!("`{key}`: {why}"));
        }
        Some(text)
    });
    let [name, network] = [name, network].map(|text| text.map(|text| text.value));
    Layer { name, network, state, range, operator }
}

/// Sites of which none can be dialled never meet.
fn check_reachable(root: &Table<'_, '_>, onprem: &Onprem) {
    let present: Vec<_> = onprem.hosts.iter().filter(|host| !host.absent).collect();
    let sites: BTreeSet<&str> = present.iter().map(|host| host.site.as_str()).collect();
    if sites.len() > 1 && present.iter().all(|host| host.advertise.is_empty()) {
        root.mistake(
            "onprem",
            format!(
                "hosts stand in {} sites and none has `advertise`: nobody could dial another site; give one an \
                 address that all others reach, or put hosts that reach each other into one site",
                sites.len()
            ),
        );
    }
}

fn layered(file: Layer, outside: &Outside) -> Result<Layer, ConfigError> {
    let flags = Layer { name: outside.name.clone(), state: outside.state.clone(), ..Layer::default() };
    Figment::from(Serialized::defaults(file))
        .merge(Env::prefixed("WEAVE_PROVISION_").only(&["name", "network", "state", "range", "operator"]))
        .merge(Serialized::defaults(flags))
        .extract()
        .map_err(|error| environment(error.to_string()))
}
