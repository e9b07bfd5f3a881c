//! The decisions: plain values in, plain values out. Nothing here asks the cloud.

use std::collections::{BTreeMap, BTreeSet};

use cloud_core::{Addresses, Architecture, HostState, Phase};
use sha2::{Digest as _, Sha256};

use crate::config::Image;
use crate::failure::Failure;

/// The tag that marks everything of a fleet.
pub(crate) const FLEET: &str = "weave-fleet";
/// The tag with the site's name.
pub(crate) const SITE: &str = "weave-site";
/// The tag with the site's number, on a site's group and VPC.
pub(crate) const INDEX: &str = "weave-index";
/// The tag with the host's name, on all that belongs to one host.
pub(crate) const HOST: &str = "weave-host";

/// What a rule made by us is described as; rules described otherwise are somebody else's and stay.
pub(crate) const OURS: &str = "weave";

/// Tags by their key.
pub(crate) type Tags = BTreeMap<String, String>;

/// One permission to come in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rule {
    pub(crate) protocol: String,
    pub(crate) from: i32,
    pub(crate) to: i32,
    pub(crate) block: String,
}

impl Rule {
    /// The rule in words, e.g. `tcp 22 from 198.51.100.7/32`.
    pub(crate) fn render(&self) -> String {
        let Rule { protocol, from, to, block } = self;
        let ports = if from == to { from.to_string() } else { format!("{from}-{to}") };
        format!("{protocol} {ports} from {block}")
    }
}

/// A rule as EC2 shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeenRule {
    pub(crate) rule: Rule,
    pub(crate) description: String,
}

/// The rules of a site: the mesh from anywhere, since peers stand behind any address; SSH from the operator alone.
pub(crate) fn wanted_rules(operator: Option<&str>) -> BTreeSet<Rule> {
    let rule = |protocol: &str, from, to, block: &str| Rule {
        protocol: protocol.to_owned(),
        from,
        to,
        block: block.to_owned(),
    };
    let mesh = [rule("udp", 6783, 6784, "0.0.0.0/0"), rule("tcp", 6783, 6783, "0.0.0.0/0")];
    mesh.into_iter().chain(operator.map(|block| rule("tcp", 22, 22, block))).collect()
}

/// What to add and what to revoke, in this order: one duplicate would refuse a whole call.
pub(crate) fn rule_changes(wanted: &BTreeSet<Rule>, seen: &[SeenRule]) -> (Vec<Rule>, Vec<Rule>) {
    let add = wanted.iter().filter(|rule| seen.iter().all(|seen| seen.rule != **rule)).cloned();
    let stale = seen.iter().filter(|seen| seen.description == OURS && !wanted.contains(&seen.rule));
    (add.collect(), stale.map(|seen| seen.rule.clone()).collect())
}

/// An image as EC2 lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeenImage {
    pub(crate) id: String,
    pub(crate) created: String,
    /// In EC2's word, e.g. `arm64`.
    pub(crate) architecture: String,
    /// The name of the root disk, by which its size is set.
    pub(crate) root: String,
}

/// How to ask for an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ImageQuery {
    Id(String),
    /// By the publisher's account, so that nobody else's image of that name is taken.
    Newest {
        owner: &'static str,
        name: String,
        architecture: Architecture,
    },
}

/// The question for `image` on machines of this architecture.
pub(crate) fn image_query(image: &Image, architecture: Architecture) -> ImageQuery {
    let short = match architecture {
        Architecture::X86_64 => "amd64",
        Architecture::Arm64 => "arm64",
    };
    let newest = |owner, name| ImageQuery::Newest { owner, name, architecture };
    match image {
        Image::Ami(id) => ImageQuery::Id(id.clone()),
        Image::Debian12 => newest("136693071363", format!("debian-12-{short}-*")),
        Image::Ubuntu2404 => {
            newest("099720109477", format!("ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-{short}-server-*"))
        }
    }
}

/// The newest; dates are ISO 8601, so their order is that of their text.
pub(crate) fn newest(images: Vec<SeenImage>) -> Option<SeenImage> {
    images.into_iter().max_by(|a, b| (&a.created, &a.id).cmp(&(&b.created, &b.id)))
}

/// Graviton families have a `g` behind the generation, e.g. `t4g`, `c7gn`; `g4dn` has it before.
pub(crate) fn architecture_of(instance_type: &str) -> Architecture {
    let family = instance_type.split('.').next().unwrap_or_default();
    let behind = family.trim_start_matches(|c: char| c.is_ascii_lowercase());
    let is_arm = family == "a1" || behind.trim_start_matches(|c: char| c.is_ascii_digit()).contains('g');
    if is_arm { Architecture::Arm64 } else { Architecture::X86_64 }
}

/// An instance as EC2 describes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Seen {
    pub(crate) id: String,
    /// EC2's word, e.g. `running`.
    pub(crate) state: String,
    pub(crate) private: Option<std::net::Ipv4Addr>,
    pub(crate) public: Option<std::net::Ipv4Addr>,
    pub(crate) tags: Tags,
    /// Whether its metadata service answers.
    pub(crate) shows_user_data: bool,
    /// Why it is in this state, as a code and as words; mostly known of those that ended.
    pub(crate) reason: Option<(String, String)>,
}

impl Seen {
    /// Where it stands in its life; `None` once it is gone, which EC2 still shows for an hour.
    pub(crate) fn phase(&self) -> Option<Phase> {
        match self.state.as_str() {
            "pending" => Some(Phase::Starting),
            "running" => Some(Phase::Running),
            "stopping" | "stopped" => Some(Phase::Stopped),
            "shutting-down" => Some(Phase::Terminating),
            "terminated" => None,
            // A word of the future: it exists, and it is not known to run.
            _ => Some(Phase::Starting),
        }
    }

    /// Whether it can be terminated: neither gone nor on its way.
    pub(crate) fn is_live(&self) -> bool {
        !matches!(self.phase(), None | Some(Phase::Terminating))
    }

    /// Why it ended, as a failure of the call that ran it.
    pub(crate) fn end(&self) -> Failure {
        let (code, message) = self.reason.clone().unwrap_or_default();
        let cause = match code.split_once('.') {
            // Somebody ended it: the next one may live.
            Some(("Client", "UserInitiatedShutdown" | "InstanceInitiatedShutdown")) | None => {
                "Unavailable".to_owned()
            }
            // Told like this when a key may not be used or an image does not start: it would happen again.
            Some(("Client", "InternalError")) => code.clone(),
            Some((_, cause)) => cause.to_owned(),
        };
        let message = format!("the instance {} ended while it started ({code}: {message})", self.id);
        Failure { action: "RunInstances", code: Some(cause), message, ..Failure::default() }
    }

    pub(crate) fn tag(&self, key: &str) -> &str {
        self.tags.get(key).map_or("", String::as_str)
    }

    /// The host that it is; `None` once it is gone.
    pub(crate) fn host(&self) -> Option<HostState> {
        Some(HostState {
            name: self.tag(HOST).to_owned(),
            site: self.tag(SITE).to_owned(),
            addresses: self
                .private
                .map(|private| Addresses { private: private.into(), public: self.public.map(Into::into) }),
            phase: self.phase()?,
            shows_user_data: self.shows_user_data,
        })
    }

    /// Twins: the live one first, then the one that runs, then by id, so that everybody takes the same one.
    pub(crate) fn rank(&self) -> (bool, bool, &str) {
        (!self.is_live(), self.phase() != Some(Phase::Running), &self.id)
    }
}

/// The instances that are hosts, one for each name, sorted by name.
pub(crate) fn hosts(seen: &[Seen]) -> Vec<&Seen> {
    let mut by_name: BTreeMap<&str, &Seen> = BTreeMap::new();
    for instance in seen.iter().filter(|seen| seen.phase().is_some() && !seen.tag(HOST).is_empty()) {
        let best = by_name.entry(instance.tag(HOST)).or_insert(instance);
        if instance.rank() < best.rank() {
            *best = instance;
        }
    }
    by_name.into_values().collect()
}

/// The token under which a host is asked for: asked twice with it, EC2 makes one instance.
///
/// Tokens outlive the instances they made, so the attempt counts those that are gone already. The rest of what is
/// asked for is not in it: an answer lost yesterday must be found again although the newest image has changed.
pub(crate) fn token(fleet: &str, region: &str, host: &str, zone: &str, attempt: usize) -> String {
    let text = [fleet, region, host, zone, &attempt.to_string()].join("\0");
    let hash = Sha256::digest(text.as_bytes());
    hash.iter().take(16).fold("weave-".to_owned(), |token, byte| format!("{token}{byte:02x}"))
}

/// A subnet in which hosts could stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subnet {
    pub(crate) id: String,
    pub(crate) zone: String,
    pub(crate) block: String,
    /// Whether it is its zone's default.
    pub(crate) default: bool,
    pub(crate) tags: Tags,
}

/// One subnet for each zone that can be used, in the order to try: hosts spread over the zones by their number.
pub(crate) fn subnets_for(
    subnets: &[Subnet],
    offered: &BTreeSet<String>,
    zone: Option<&str>,
    host: u8,
) -> Vec<Subnet> {
    let mut by_zone: BTreeMap<&str, &Subnet> = BTreeMap::new();
    for subnet in subnets {
        let usable = offered.contains(&subnet.zone) && zone.is_none_or(|zone| zone == subnet.zone);
        let best = by_zone.get(subnet.zone.as_str());
        let better = best.is_none_or(|best| (!subnet.default, &subnet.id) < (!best.default, &best.id));
        if usable && better {
            by_zone.insert(&subnet.zone, subnet);
        }
    }
    let mut chosen: Vec<Subnet> = by_zone.into_values().cloned().collect();
    if !chosen.is_empty() {
        let first = usize::from(host.saturating_sub(1)) % chosen.len();
        chosen.rotate_left(first);
    }
    chosen
}

/// A route table: whose it is and whether it leads to the internet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) id: String,
    /// Whether it serves the subnets without a table of their own.
    pub(crate) main: bool,
    pub(crate) subnets: Vec<String>,
    /// Whether `0.0.0.0/0` goes to an internet gateway.
    pub(crate) public: bool,
}

/// Whether what stands in `subnet` can be reached from outside.
pub(crate) fn is_public(subnet: &str, tables: &[Table]) -> bool {
    let own = tables.iter().find(|table| table.subnets.iter().any(|id| id == subnet));
    own.or_else(|| tables.iter().find(|table| table.main)).is_some_and(|table| table.public)
}

/// The block of an own network.
pub(crate) fn own_block(index: u8) -> String {
    format!("10.{index}.0.0/16")
}

/// The subnets of an own network: zone and block, at most three, the zones by name.
pub(crate) fn own_subnets(
    index: u8,
    offered: &BTreeSet<String>,
    zone: Option<&str>,
) -> Vec<(String, String)> {
    // By the zone's place among all: another `zone` tomorrow gets a block of its own.
    let block = |(at, name): (usize, &String)| (name.clone(), format!("10.{index}.{at}.0/24"));
    let usable = |(name, _): &(String, String)| zone.is_none_or(|zone| zone == name.as_str());
    offered.iter().enumerate().map(block).filter(usable).take(3).collect()
}
