//! The section `[onprem]`: machines and jump hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use cloud_onprem::Reach;

use super::keys::{Keys, fingerprint};
use super::page::Table;
use crate::fleet::CloudKind;
use crate::ssh::{Credential, Elevation, HostKeys, Login};

const REACH: [&str; 9] =
    ["name", "address", "port", "user", "key", "agent", "host_key", "known_hosts", "jump"];

/// One machine as the operator describes it.
#[derive(Debug, Clone)]
pub struct OnpremHost {
    /// Its name.
    pub name: String,
    /// Its site.
    pub site: String,
    /// How it is reached.
    pub reach: Reach,
    /// The address on its own interface; `None` to ask the machine.
    pub private: Option<IpAddr>,
    /// Addresses at which other sites reach it.
    pub advertise: Vec<IpAddr>,
    /// Whether what is the fleet's shall be taken away from it.
    pub absent: bool,
}

/// All machines and the jump hosts in front of them.
#[derive(Debug, Clone, Default)]
pub struct Onprem {
    /// In the order of the file.
    pub hosts: Vec<OnpremHost>,
    /// By name.
    pub jumps: BTreeMap<String, Reach>,
}

/// What is of the operator's computer rather than of the file.
pub(super) struct Surroundings {
    pub(super) keys: Keys,
    pub(super) agent: Option<PathBuf>,
}

/// Reads the section.
pub(super) fn read(root: &Table<'_, '_>, around: &mut Surroundings) -> Option<Onprem> {
    let section = root.table("onprem", "[onprem]", &["hosts", "jumps"])?;
    let mut onprem = Onprem::default();
    let mut behind = BTreeMap::new();
    for table in section.tables("jumps", "onprem.jumps", &REACH) {
        let name = table.required("name").map(|name| name.value).unwrap_or_default();
        // Nothing is run on a jump host, so nobody becomes root there.
        let reach = reach(&table, around, |_, _, _| Some(Elevation::None));
        if let Some(reach) = reach {
            behind.insert(name.clone(), (reach.jump.clone(), table.at));
            if onprem.jumps.insert(name.clone(), reach).is_some() {
                table.mistake("name", format!("two jump hosts are called {name:?}"));
            }
        }
        // A jump host with a mistake exists for those that name it.
        behind.entry(name).or_insert((None, table.at));
    }
    for (name, (_, at)) in &behind {
        let mut seen = BTreeSet::new();
        let mut next = Some(name);
        while let Some(jump) = next {
            if !seen.insert(jump) {
                section
                    .page
                    .mistake(*at, format!("onprem.jumps {name:?}: its jump hosts lead back to {jump:?}"));
                break;
            }
            next = behind.get(jump).and_then(|(jump, _)| jump.as_ref());
        }
    }
    let known = [&REACH[..], &["sudo", "site", "private", "advertise", "absent"]].concat();
    let tables = section.tables("hosts", "onprem.hosts", &known);
    if tables.is_empty() && !section.has("hosts") {
        section.mistake("hosts", "no hosts are listed; each is a table [[onprem.hosts]]");
    }
    let mut names = BTreeSet::new();
    let mut places = BTreeMap::new();
    for table in &tables {
        let name = label(table, "name", None);
        let site = label(table, "site", Some("onprem"));
        if let Some(name) = name.as_ref().filter(|name| !names.insert((*name).clone())) {
            table.mistake("name", format!("two hosts are called {name:?}"));
        }
        if let Some(name) = name.as_ref().filter(|name| CloudKind::of_host(name) != CloudKind::Onprem) {
            table
                .mistake("name", format!("hosts of [{}] are called like {name:?}", CloudKind::of_host(name)));
        }
        if let Some(site) = site.as_ref().filter(|site| CloudKind::of_site(site) != CloudKind::Onprem) {
            table.mistake("site", format!("{site:?} is the site of [{site}]; call this one differently"));
        }
        let (private, advertise) = (table.address("private"), table.addresses("advertise"));
        let absent = table.flag("absent").unwrap_or(false);
        let reach = reach(table, around, elevation);
        if let (Some(name), Some(reach)) = (&name, &reach) {
            let place = (reach.address.clone(), reach.port, reach.jump.clone());
            if let Some(other) = places.insert(place, name.clone()) {
                table.mistake("address", format!("the same machine as {other:?}"));
            }
        }
        if let (Some(name), Some(site), Some(reach)) = (name, site, reach) {
            onprem.hosts.push(OnpremHost { name, site, reach, private, advertise, absent });
        }
    }
    for table in section.tables("jumps", "onprem.jumps", &REACH).iter().chain(&tables) {
        let Some(jump) = table.string("jump").filter(|jump| !behind.contains_key(&jump.value)) else {
            continue;
        };
        table.mistake("jump", format!("there is no [[onprem.jumps]] called {:?}", jump.value));
    }
    let sites: BTreeSet<&str> = onprem.hosts.iter().map(|host| host.site.as_str()).collect();
    if sites.len() > 255 || onprem.hosts.iter().any(|host| index(&onprem.hosts, host).is_none()) {
        section.mistake("hosts", "more than 255 sites, or more than 255 hosts in one site");
    }
    Some(onprem)
}

/// The number of a host in its site, in the order of the file.
pub(super) fn index(hosts: &[OnpremHost], host: &OnpremHost) -> Option<u8> {
    let mut neighbours = hosts.iter().filter(|other| other.site == host.site);
    let before = neighbours.position(|other| other.name == host.name)?;
    u8::try_from(before + 1).ok()
}

/// The keys that hosts and jump hosts share. All are read even if one is wrong.
fn reach(
    table: &Table<'_, '_>,
    around: &mut Surroundings,
    elevation: impl Fn(&Table<'_, '_>, &str, &Surroundings) -> Option<Elevation>,
) -> Option<Reach> {
    let address = table.required("address").map(|address| address.value);
    let port = match table.has("port") {
        true => table.number("port", u16::MAX.into()).and_then(|port| u16::try_from(port).ok()),
        false => Some(22),
    };
    let user =
        if table.has("user") { table.string("user").map(|user| user.value) } else { Some("root".to_owned()) };
    let elevation = user.as_deref().and_then(|user| elevation(table, user, around));
    let credential = credential(table, around);
    let host_keys = host_keys(table, address.as_deref().zip(port), around);
    let jump = table.string("jump").map(|jump| jump.value);
    let login = Login { user: user?, credential: credential?, host_keys: host_keys?, elevation: elevation? };
    Some(Reach { address: address?, port: port?, login, jump })
}

fn elevation(table: &Table<'_, '_>, user: &str, around: &Surroundings) -> Option<Elevation> {
    const FORMS: &str = "`sudo` must be \"none\", \"passwordless\" or { password_file = \"…\" }";
    let Some(value) = table.get("sudo") else {
        return Some(if user == "root" { Elevation::None } else { Elevation::Sudo });
    };
    if value.get_ref().is_table() {
        let inner = table.table("sudo", &format!("{}: sudo", table.name), &["password_file"])?;
        let file = inner.required("password_file")?;
        return match around.keys.password(&file.value) {
            Ok(password) => Some(Elevation::SudoPassword(password)),
            Err(error) => {
                inner.mistake("password_file", error);
                None
            }
        };
    }
    match value.get_ref().as_str() {
        Some("none") if user == "root" => Some(Elevation::None),
        Some("none") => {
            table.mistake("sudo", format!("user {user:?} needs sudo: installing a gateway takes root"));
            None
        }
        Some("passwordless") => Some(Elevation::Sudo),
        _ => {
            table.mistake("sudo", FORMS);
            None
        }
    }
}

fn credential(table: &Table<'_, '_>, around: &mut Surroundings) -> Option<Credential> {
    let (key, agent) = (table.string("key"), table.flag("agent"));
    match (key, agent) {
        (Some(_), Some(true)) => {
            table.mistake("agent", "`key` and `agent` exclude each other");
            None
        }
        (Some(key), _) => match around.keys.private(&key.value) {
            Ok(key) => Some(Credential::Key(key)),
            Err(error) => {
                table.mistake("key", error);
                None
            }
        },
        (None, Some(true)) => match &around.agent {
            Some(socket) => Some(Credential::Agent(socket.clone())),
            None => {
                table.mistake("agent", "SSH_AUTH_SOCK names no agent; start ssh-agent, or use `key`");
                None
            }
        },
        (None, _)
            if table.has("key") || table.get("agent").is_some_and(|agent| !agent.get_ref().is_bool()) =>
        {
            None
        }
        (None, _) => {
            table.mistake("key", "nothing says how to log in: set `key = \"FILE\"` or `agent = true`");
            None
        }
    }
}

fn host_keys(table: &Table<'_, '_>, place: Option<(&str, u16)>, around: &Surroundings) -> Option<HostKeys> {
    let (pinned, known) = (table.string("host_key"), table.string("known_hosts"));
    let outcome = match (pinned, known) {
        (Some(_), Some(_)) => Err(("known_hosts", "`host_key` and `known_hosts` exclude each other".to_owned())),
        (Some(pinned), None) => fingerprint(&pinned.value).map_err(|error| ("host_key", error)),
        (None, Some(known)) => {
            let (address, port) = place?;
            around.keys.known(&known.value, address, port).map_err(|error| ("known_hosts", error))
        }
        (None, None) if table.has("host_key") || table.has("known_hosts") => return None,
        (None, None) => Err((
            "host_key",
            "nothing says which key the host has: set `host_key` or `known_hosts`; no key is learned on first use"
                .to_owned(),
        )),
    };
    outcome.map_err(|(key, error)| table.mistake(key, error)).ok()
}

/// A name that becomes part of host names and tables.
fn label(table: &Table<'_, '_>, key: &str, default: Option<&str>) -> Option<String> {
    let text = match (table.has(key), default) {
        (false, Some(default)) => return Some(default.to_owned()),
        _ => table.required(key)?.value,
    };
    let letters = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if letters && text.len() <= 63 && !text.starts_with('-') && !text.ends_with('-') {
        return Some(text);
    }
    table.mistake(key, format!("`{key}` must be 1 to 63 lower-case letters, digits and inner hyphens"));
    None
}
