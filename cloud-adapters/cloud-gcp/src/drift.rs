//! What a site's network is other than wanted, in words, as `ensure_site` would put it right. Pure.

use std::collections::BTreeSet;

use crate::plan::{Rule, Subnet, rule_changes};

/// What `ensure_site` would change in the firewall rules of a site.
pub(crate) fn of_rules(wanted: &[Rule], seen: &[Rule]) -> Vec<String> {
    let changes = rule_changes(wanted, seen);
    let missing = changes.add.iter().map(|rule| format!("firewall rule {} does not exist", rule.name));
    let other = changes.change.iter().flat_map(|rule| {
        let there = seen.iter().find(|seen| seen.name == rule.name);
        there.map(|there| format!("firewall rule {} {}", rule.name, difference(rule, there)))
    });
    let surplus = changes.remove.iter().map(|name| format!("firewall rule {name} is one too many"));
    missing.chain(other).chain(surplus).collect()
}

/// What `ensure_site` would make in the own network of a site.
pub(crate) fn of_network(network: &str, subnet: &str, there: &[Subnet]) -> Option<String> {
    let missing = there.iter().all(|seen| seen.name != subnet);
    missing.then(|| format!("network {network} has no subnetwork {subnet}"))
}

/// How a rule that is there differs from the one that is wanted.
fn difference(wanted: &Rule, there: &Rule) -> String {
    let Rule { name: _, network, description, priority, allow, ports, sources, tags, enabled } = there;
    let mut words = Vec::new();
    if *enabled != wanted.enabled {
        words.push(if *enabled { "is enabled" } else { "is disabled" }.to_owned());
    }
    if *network != wanted.network {
        words.push(format!("is in network {network} instead of {}", wanted.network));
    }
    if *allow != wanted.allow {
        words.push(if *allow { "lets in" } else { "keeps out" }.to_owned());
    }
    if *sources != wanted.sources {
        words.push(format!("is about {} instead of {}", list(sources), list(&wanted.sources)));
    }
    if *ports != wanted.ports {
        let flat = |ports: &BTreeSet<(String, String)>| {
            list(&ports.iter().map(|(protocol, port)| format!("{protocol} {port}")).collect())
        };
        words.push(format!("is about {} instead of {}", flat(ports), flat(&wanted.ports)));
    }
    if *tags != wanted.tags {
        words.push(format!("is for the tag {} instead of {}", list(tags), list(&wanted.tags)));
    }
    if *priority != wanted.priority {
        words.push(format!("has priority {priority} instead of {}", wanted.priority));
    }
    if *description != wanted.description {
        words.push("bears another mark".to_owned());
    }
    words.join(", ")
}

fn list(texts: &BTreeSet<String>) -> String {
    if texts.is_empty() {
        "nothing".to_owned()
    } else {
        texts.iter().map(String::as_str).collect::<Vec<_>>().join(" and ")
    }
}
