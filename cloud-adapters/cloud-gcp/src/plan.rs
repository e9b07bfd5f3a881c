//! The decisions: plain values in, plain values out. Nothing here asks the cloud.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use cloud_core::{Addresses, HostSpec, HostState, Phase, ProviderError, Site};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::config::is_name;

/// The label that marks what has labels.
pub(crate) const FLEET: &str = "weave-fleet";
/// The label with the site's name.
pub(crate) const SITE: &str = "weave-site";
/// The label with the host's name.
pub(crate) const HOST: &str = "weave-host";

/// Labels by their key.
pub(crate) type Labels = BTreeMap<String, String>;

/// The mark in the description of what has no labels: networks, subnetworks and firewall rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) fleet: String,
    pub(crate) site: Site,
}

impl Mark {
    pub(crate) fn render(&self) -> String {
        let Mark { fleet, site } = self;
        json!({ FLEET: fleet, SITE: site.name, "weave-index": site.index }).to_string()
    }

    /// Reads a description; `None` is somebody else's.
    pub(crate) fn parse(description: &str) -> Option<Mark> {
        let value: Value = serde_json::from_str(description).ok()?;
        let text = |key: &str| value.get(key)?.as_str().map(str::to_owned);
        let index = value.get("weave-index")?.as_u64()?.try_into().ok()?;
        Some(Mark { fleet: text(FLEET)?, site: Site { name: text(SITE)?, index } })
    }
}

/// The name of something in a project, which all fleets share: a site's network and tag, or a host's instance.
pub(crate) fn name(fleet: &str, part: &str) -> Result<String, ProviderError> {
    let name = format!("weave-{fleet}-{part}");
    // Rules put a word of up to 4 letters behind it.
    if is_name(&name) && name.len() <= 58 {
        return Ok(name);
    }
    Err(ProviderError::Invalid(format!(
        "the name {name} is not one for Compute Engine: want lower-case letters, digits and -, at most 58 in all"
    )))
}

/// A firewall rule of a site.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rule {
    pub(crate) name: String,
    /// The name of the network.
    pub(crate) network: String,
    pub(crate) description: String,
    /// The lower, the stronger.
    pub(crate) priority: i32,
    /// Whether it lets in or keeps out.
    pub(crate) allow: bool,
    /// Protocol and ports, e.g. `udp` and `6783-6784`.
    pub(crate) ports: BTreeSet<(String, String)>,
    pub(crate) sources: BTreeSet<String>,
    /// The tag of the instances that it is about.
    pub(crate) tags: BTreeSet<String>,
    pub(crate) enabled: bool,
}

/// The rules of a site: the mesh from anywhere, since peers stand behind any address; SSH from the operator alone.
///
/// SSH needs a rule against it too: the network `default` comes with one that lets everybody in.
pub(crate) fn wanted_rules(name: &str, network: &str, mark: &Mark, operator: Option<&str>) -> Vec<Rule> {
    let rule = |end: &str, priority, allow, ports: &[(&str, &str)], source: &str| Rule {
        name: format!("{name}-{end}"),
        network: network.to_owned(),
        description: mark.render(),
        priority,
        allow,
        ports: ports.iter().map(|(protocol, port)| ((*protocol).to_owned(), (*port).to_owned())).collect(),
        sources: BTreeSet::from([source.to_owned()]),
        tags: BTreeSet::from([name.to_owned()]),
        enabled: true,
    };
    let mesh = rule("mesh", 1000, true, &[("tcp", "6783"), ("udp", "6783-6784")], "0.0.0.0/0");
    let shut = rule("shut", 1000, false, &[("tcp", "22")], "0.0.0.0/0");
    let ssh = operator.map(|block| rule("ssh", 900, true, &[("tcp", "22")], block));
    [mesh, shut].into_iter().chain(ssh).collect()
}

/// What to do to the rules of a site.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct RuleChanges {
    pub(crate) add: Vec<Rule>,
    pub(crate) change: Vec<Rule>,
    /// The network of a rule cannot be changed.
    pub(crate) remove: Vec<String>,
}

pub(crate) fn rule_changes(wanted: &[Rule], seen: &[Rule]) -> RuleChanges {
    let mut changes = RuleChanges::default();
    for rule in wanted {
        match seen.iter().find(|seen| seen.name == rule.name) {
            None => changes.add.push(rule.clone()),
            Some(there) if there != rule => changes.change.push(rule.clone()),
            Some(_) => {}
        }
    }
    let stale = seen.iter().filter(|seen| wanted.iter().all(|rule| rule.name != seen.name));
    changes.remove = stale.map(|rule| rule.name.clone()).collect();
    changes
}

/// A subnetwork of the region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subnet {
    pub(crate) name: String,
    /// The name of the network.
    pub(crate) network: String,
    pub(crate) block: String,
    pub(crate) description: String,
}

/// The subnetwork in which hosts stand: that with the network's own name, as automatic ones have, else the first.
pub(crate) fn subnet_in<'a>(network: &str, subnets: &'a [Subnet]) -> Option<&'a Subnet> {
    let within = subnets.iter().filter(|subnet| subnet.network == network);
    within.min_by_key(|subnet| (subnet.name != network, &subnet.name))
}

/// The block of an own network.
pub(crate) fn own_block(index: u8) -> String {
    format!("10.{index}.0.0/16")
}

/// An instance as Compute Engine shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Seen {
    /// Never given twice, as names are.
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) zone: String,
    pub(crate) status: String,
    pub(crate) labels: Labels,
    pub(crate) private: Option<Ipv4Addr>,
    pub(crate) public: Option<Ipv4Addr>,
    /// Whether its metadata holds the user-data.
    pub(crate) shows_user_data: bool,
}

impl Seen {
    pub(crate) fn label(&self, key: &str) -> &str {
        self.labels.get(key).map(String::as_str).unwrap_or_default()
    }

    /// Where it stands in its life. An instance that is being deleted is `STOPPING`, one that is off `TERMINATED`.
    pub(crate) fn phase(&self) -> Phase {
        match self.status.as_str() {
            "RUNNING" => Phase::Running,
            "STOPPING" | "PENDING_STOP" | "DEPROVISIONING" => Phase::Terminating,
            "TERMINATED" | "STOPPED" | "SUSPENDING" | "SUSPENDED" => Phase::Stopped,
            // PENDING, PROVISIONING, STAGING, REPAIRING, and what the future brings.
            _ => Phase::Starting,
        }
    }

    /// The host that it is. One without a private address does not run, whatever its status.
    pub(crate) fn host(&self) -> HostState {
        let phase = match self.phase() {
            Phase::Running if self.private.is_none() => Phase::Starting,
            phase => phase,
        };
        HostState {
            name: self.label(HOST).to_owned(),
            site: self.label(SITE).to_owned(),
            addresses: self
                .private
                .map(|private| Addresses { private: private.into(), public: self.public.map(Into::into) }),
            phase,
            shows_user_data: self.shows_user_data,
        }
    }

    /// Twins in two zones: the one that runs first, then by zone, so that everybody takes the same one.
    fn rank(&self) -> (u8, &str, &str) {
        let order = match self.phase() {
            Phase::Running => 0,
            Phase::Starting => 1,
            Phase::Stopped => 2,
            Phase::Terminating => 3,
        };
        (order, &self.zone, &self.name)
    }
}

/// The instances that are hosts, one for each name, sorted by name.
pub(crate) fn hosts(seen: &[Seen]) -> Vec<&Seen> {
    let mut by_name: BTreeMap<&str, &Seen> = BTreeMap::new();
    for instance in seen.iter().filter(|seen| !seen.label(HOST).is_empty()) {
        let best = by_name.entry(instance.label(HOST)).or_insert(instance);
        if instance.rank() < best.rank() {
            *best = instance;
        }
    }
    by_name.into_values().collect()
}

/// The labels of a host. The caller's come first: they cannot replace the marks by which the host is found.
pub(crate) fn host_labels(fleet: &str, spec: &HostSpec) -> Labels {
    let fit = |text: &str| -> String {
        let letter = |c: char| match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() || c == '-' || c == '_' => c,
            _ => '-',
        };
        text.chars().map(letter).take(63).collect()
    };
    let mut labels = Labels::new();
    for (key, value) in &spec.labels {
        // A key starts with a letter.
        let key = fit(key).trim_start_matches(|c: char| !c.is_ascii_lowercase()).to_owned();
        if !key.is_empty() {
            labels.insert(key, fit(value));
        }
    }
    let marks = [(FLEET, fleet), (SITE, &spec.site), (HOST, &spec.name)];
    labels.extend(marks.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())));
    labels
}

/// The id under which something is asked for: asked twice with it within an hour, Compute Engine acts once.
///
/// Ids outlive what they made, so the attempt counts the ids that led to something gone already.
pub(crate) fn request_id(parts: &[&str], attempt: usize) -> String {
    let text = format!("{}\0{attempt}", parts.join("\0"));
    let mut id = [0; 16];
    id.copy_from_slice(&Sha256::digest(text.as_bytes())[..16]);
    // RFC 9562 §5.8: version 8, made as its maker likes.
    id[6] = id[6] & 0x0f | 0x80;
    id[8] = id[8] & 0x3f | 0x80;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("{}-{}-{}-{}-{}", hex(&id[..4]), hex(&id[4..6]), hex(&id[6..8]), hex(&id[8..10]), hex(&id[10..]))
}

/// The zones in the order to try: those chosen or all, turned by the host's number so that hosts spread.
pub(crate) fn zones_for(up: &BTreeSet<String>, chosen: &[String], host: u8) -> Vec<String> {
    let chosen = |zone: &&String| chosen.is_empty() || chosen.contains(zone);
    let mut zones: Vec<String> = up.iter().filter(chosen).cloned().collect();
    if !zones.is_empty() {
        let first = usize::from(host.saturating_sub(1)) % zones.len();
        zones.rotate_left(first);
    }
    zones
}

/// The type of the boot disk: the newer series of machines take no Persistent Disk, the older ones no Hyperdisk.
///
/// By Google's pages of each machine series: from the fourth generation on (c4, c4a, n4, m4, x4, …) there are
/// Hyperdisks alone. A series of the future is taken for a new one.
pub(crate) fn disk_type(machine_type: &str) -> &'static str {
    let series = machine_type.split('-').next().unwrap_or_default();
    let generation = series.trim_matches(|c: char| c.is_ascii_alphabetic()).parse::<u32>();
    let fourth = generation.is_ok_and(|number| number >= 4);
    // Of the third generation, only this variety.
    if fourth || machine_type.starts_with("a3-ultragpu-") { "hyperdisk-balanced" } else { "pd-balanced" }
}

/// The last part of a URL that names something.
pub(crate) fn last(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or_default()
}
