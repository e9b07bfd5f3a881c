//! `weave.toml`: what the operator wants where it is not a lab. Read strictly; every mistake is told with its line.
//!
//! For the fleet's own settings the file yields to the environment (`WEAVE_PROVISION_NAME`, `_NETWORK`, `_STATE`), which
//! yields to flags.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Env, Serialized};
use serde::{Deserialize, Serialize};
use weave_model::NetworkName;

use crate::fleet::{CloudKind, Fleet, Found, Host, valid_name};

mod keys;
mod onprem;
mod page;
mod template;

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
    /// The operator's own machines.
    pub onprem: Onprem,
}

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
        cloud_sections(&root);
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
        let Layer { name, network, state } = layered(Layer { state, ..file }, outside)?;
        let name = name.unwrap_or_else(|| "weave".to_owned());
        if !valid_name(&name) {
            return Err(environment(format!("WEAVE_PROVISION_NAME: {name:?} {NAME_RULE}")));
        }
        let network = network.map_or(Ok(NetworkName::default()), |network| network.parse());
        let network = network.map_err(|error| environment(format!("WEAVE_PROVISION_NETWORK: {error}")))?;
        Ok(Config { name, network, state, clouds, onprem: onprem.unwrap_or_default() })
    }

    /// The sites and hosts that shall be there.
    pub fn fleet(&self) -> Fleet {
        let all = &self.onprem.hosts;
        let present = all.iter().filter(|host| !host.absent);
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
        let found = Found {
            sites: sites.iter().map(|site| site.name.clone()).collect(),
            hosts: all.iter().map(|host| host.name.clone()).collect(),
        };
        sites.retain(|site| hosts.iter().any(|host| host.site == site.name));
        Fleet { sites, hosts, found }
    }
}

const NAME_RULE: &str = "cannot name a fleet: use 1 to 32 lower-case letters, digits and inner hyphens";

fn environment(text: String) -> ConfigError {
    ConfigError::Environment(text)
}

fn fleet_section(root: &Table<'_, '_>) -> Layer {
    let Some(fleet) = root.table("fleet", "[fleet]", &["name", "network", "state"]) else {
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
    Layer { name: name.map(|name| name.value), network: network.map(|network| network.value), state }
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

/// Reads the sections of clouds as strictly as the rest, whether or not this build can use them.
fn cloud_sections(root: &Table<'_, '_>) {
    if let Some(aws) =
        root.table("aws", "[aws]", &["region", "hosts", "instance_type", "profile", "endpoint"])
    {
        aws.required("region");
        aws.number("hosts", 255);
        for key in ["instance_type", "profile", "endpoint"] {
            aws.string(key);
        }
    }
    if let Some(gcp) = root.table("gcp", "[gcp]", &["project", "zone", "hosts", "machine_type", "endpoint"]) {
        gcp.required("project");
        gcp.required("zone");
        gcp.number("hosts", 255);
        for key in ["machine_type", "endpoint"] {
            gcp.string(key);
        }
    }
}

fn layered(file: Layer, outside: &Outside) -> Result<Layer, ConfigError> {
    let flags = Layer { name: outside.name.clone(), network: None, state: outside.state.clone() };
    Figment::from(Serialized::defaults(file))
        .merge(Env::prefixed("WEAVE_PROVISION_").only(&["name", "network", "state"]))
        .merge(Serialized::defaults(flags))
        .extract()
        .map_err(|error| environment(error.to_string()))
}
