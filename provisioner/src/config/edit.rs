//! Changes to the text of a `weave.toml` that leave everything else in it as it was written.

use std::net::IpAddr;

use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, Value};

use crate::fleet::CloudKind;

/// Why a text cannot be changed so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// It is no TOML.
    #[error("{0}")]
    Syntax(String),
    /// It has no such section.
    #[error("the file has no section [{0}]")]
    NoSection(CloudKind),
    /// A key does not hold what it should.
    #[error("[{0}]: `hosts` makes no sense")]
    Hosts(CloudKind),
    /// All numbers are taken.
    #[error("[{0}] has 255 hosts, and that is all that a site can have")]
    Full(CloudKind),
    /// It lists no such host.
    #[error("the file lists no host {0:?}")]
    NoHost(String),
    /// It lists such a host.
    #[error("the file lists a host {0:?} already")]
    Taken(String),
}

/// A machine of the operator's, as flags describe it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewMachine {
    /// Its name.
    pub name: String,
    /// Name or address of its SSH.
    pub address: String,
    /// The port of its SSH.
    pub port: Option<u16>,
    /// Who logs in.
    pub user: Option<String>,
    /// File of the key to log in with; otherwise those of the agent.
    pub key: Option<String>,
    /// File where its key is known.
    pub known_hosts: Option<String>,
    /// The fingerprint of its key.
    pub host_key: Option<String>,
    /// The jump host in front of it.
    pub jump: Option<String>,
    /// Its site.
    pub site: Option<String>,
    /// Addresses at which other sites reach it.
    pub advertise: Vec<IpAddr>,
}

/// Adds a host to a cloud that makes its hosts; returns the text and the host's name.
pub fn add_made(text: &str, kind: CloudKind) -> Result<(String, String), EditError> {
    let mut document = parse(text)?;
    let hosts = hosts(&mut document, kind)?;
    let mut numbers = numbers(hosts, kind)?;
    let free = (1..=u8::MAX).find(|number| !numbers.contains(number)).ok_or(EditError::Full(kind))?;
    numbers.push(free);
    put(hosts, numbers);
    Ok((document.to_string(), kind.host(free)))
}

/// Takes a host of a cloud that makes its hosts out.
pub fn remove_made(text: &str, host: &str) -> Result<String, EditError> {
    let kind = CloudKind::of_host(host);
    let mut document = parse(text)?;
    let hosts = hosts(&mut document, kind)?;
    let mut numbers = numbers(hosts, kind)?;
    let before = numbers.len();
    numbers.retain(|number| kind.host(*number) != host);
    if numbers.len() == before {
        return Err(EditError::NoHost(host.to_owned()));
    }
    put(hosts, numbers);
    Ok(document.to_string())
}

/// Adds a machine behind those that are listed.
pub fn add_machine(text: &str, machine: &NewMachine) -> Result<String, EditError> {
    let mut document = parse(text)?;
    let onprem = document.entry("onprem").or_insert_with(|| Item::Table(Table::new()));
    let onprem = onprem.as_table_mut().ok_or(EditError::NoSection(CloudKind::Onprem))?;
    let machines = onprem.entry("hosts").or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    let machines = machines.as_array_of_tables_mut().ok_or(EditError::Hosts(CloudKind::Onprem))?;
    if machines.iter().any(|table| named(table, &machine.name)) {
        return Err(EditError::Taken(machine.name.clone()));
    }
    let mut table = Table::new();
    table.decor_mut().set_prefix("\n");
    let mut say = |key: &str, said: Option<Value>| {
        if let Some(said) = said {
            table.insert(key, Item::Value(said));
        }
    };
    let text = |text: &Option<String>| text.as_deref().map(Value::from);
    say("name", Some(machine.name.as_str().into()));
    say("address", Some(machine.address.as_str().into()));
    say("port", machine.port.map(|port| i64::from(port).into()));
    say("user", text(&machine.user));
    say("key", text(&machine.key));
    say("agent", machine.key.is_none().then_some(true.into()));
    say("known_hosts", text(&machine.known_hosts));
    say("host_key", text(&machine.host_key));
    say("jump", text(&machine.jump));
    say("site", text(&machine.site));
    let advertise: Array = machine.advertise.iter().map(ToString::to_string).collect();
    say("advertise", (!advertise.is_empty()).then_some(Value::Array(advertise)));
    machines.push(table);
    Ok(document.to_string())
}

/// Says that a machine shall carry nothing of the fleet any more.
pub fn make_absent(text: &str, host: &str) -> Result<String, EditError> {
    let mut document = parse(text)?;
    let machines = machines(&mut document)?;
    let table = machines.iter_mut().find(|table| named(table, host));
    let table = table.ok_or_else(|| EditError::NoHost(host.to_owned()))?;
    table.insert("absent", Item::Value(true.into()));
    Ok(document.to_string())
}

/// Takes a machine out of the list.
pub fn forget_machine(text: &str, host: &str) -> Result<String, EditError> {
    let mut document = parse(text)?;
    let machines = machines(&mut document)?;
    let before = machines.len();
    machines.retain(|table| !named(table, host));
    if machines.len() == before {
        return Err(EditError::NoHost(host.to_owned()));
    }
    Ok(document.to_string())
}

fn parse(text: &str) -> Result<DocumentMut, EditError> {
    text.parse().map_err(|error: toml_edit::TomlError| EditError::Syntax(error.message().to_owned()))
}

fn named(table: &Table, name: &str) -> bool {
    table.get("name").and_then(Item::as_str) == Some(name)
}

fn machines(document: &mut DocumentMut) -> Result<&mut ArrayOfTables, EditError> {
    let onprem = document.get_mut("onprem").ok_or(EditError::NoSection(CloudKind::Onprem))?;
    let hosts = onprem.get_mut("hosts").and_then(Item::as_array_of_tables_mut);
    hosts.ok_or(EditError::Hosts(CloudKind::Onprem))
}

/// The value of `hosts` of a cloud; 1 where nothing is said, as the file means it.
fn hosts(document: &mut DocumentMut, kind: CloudKind) -> Result<&mut Value, EditError> {
    let section = document.get_mut(kind.as_str()).and_then(Item::as_table_mut);
    let section = section.ok_or(EditError::NoSection(kind))?;
    let hosts = section.entry("hosts").or_insert_with(|| Item::Value(1.into()));
    hosts.as_value_mut().ok_or(EditError::Hosts(kind))
}

fn numbers(hosts: &Value, kind: CloudKind) -> Result<Vec<u8>, EditError> {
    let number = |value: &Value| value.as_integer().and_then(|number| u8::try_from(number).ok());
    let read = match hosts.as_array() {
        Some(list) => list.iter().map(number).collect(),
        None => number(hosts).map(|count| (1..=count).collect()),
    };
    read.ok_or(EditError::Hosts(kind))
}

/// Writes a count where the numbers go from 1 on, and the numbers otherwise.
fn put(hosts: &mut Value, mut numbers: Vec<u8>) {
    numbers.sort_unstable();
    numbers.dedup();
    let counted = numbers.iter().zip(1..).all(|(number, place)| *number == place);
    let count = i64::try_from(numbers.len()).unwrap_or_default();
    let decor = hosts.decor().clone();
    *hosts = if counted { count.into() } else { Value::Array(numbers.into_iter().map(i64::from).collect()) };
    *hosts.decor_mut() = decor;
}
