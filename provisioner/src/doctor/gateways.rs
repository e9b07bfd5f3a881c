//! Findings about gateways that should run, and about the pairs of them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Evidence, Finding, Id};
use crate::fleet::public_addresses;
use crate::install::IDENTITY;
use crate::verify::{Pair, Report};

/// What the report says of a host that could not be asked; others tell why.
const ABSENT: [&str; 2] = ["unreachable", "missing"];

pub(super) fn examine(evidence: &Evidence, found: &mut impl FnMut(Finding)) {
    state(evidence, found);
    for (host, facts) in evidence.wanted_facts() {
        let restarts = facts.machine.restarts;
        if facts.active && restarts > 0 {
            let times = if restarts == 1 { "once".to_owned() } else { format!("{restarts} times") };
            found(Finding::warning(
                Id::GatewayRestarts,
                host,
                format!("its gateway ended by itself and was started again {times}"),
                format!("`weave-provision logs {host} --lines 1000` says why"),
            ));
        }
        if facts.active && !facts.enabled {
            found(Finding::warning(
                Id::GatewayNotEnabled,
                host,
                "its gateway runs and would not start at boot",
                "`weave-provision up` enables it",
            ));
        }
    }
    if let Some(report) = &evidence.report {
        gateways(evidence, report, found);
        pairs(evidence, report, found);
    }
}

/// What this machine remembers against what is there.
fn state(evidence: &Evidence, found: &mut impl FnMut(Finding)) {
    for (host, facts) in evidence.wanted_facts() {
        let known = evidence.saved.as_ref().is_some_and(|saved| saved.hosts.contains_key(host));
        if !known && facts.files.contains_key(IDENTITY) {
            found(Finding::warning(
                Id::StateLacksHost,
                host,
                "it has a certificate that the state directory knows nothing of",
                "name the directory it was made with by --state; else `weave-provision up` issues another",
            ));
        }
    }
    let (Some(saved), Some(report)) = (&evidence.saved, &evidence.report) else { return };
    for row in report.gateways.iter().filter(|row| !row.peer.is_empty()) {
        let Some(record) = saved.hosts.get(&row.host).filter(|record| record.peer != row.peer) else {
            continue;
        };
        found(Finding::error(
            Id::IdentityDiffers,
            &row.host,
            format!("its gateway calls itself {}, and the state says {}", row.peer, record.peer),
            "`weave-provision up` installs the identity that belongs there",
        ));
    }
}

fn gateways(evidence: &Evidence, report: &Report, found: &mut impl FnMut(Finding)) {
    for row in &report.gateways {
        if row.state == "active" || ABSENT.contains(&row.state.as_str()) {
            continue;
        }
        let restarts = evidence.facts.get(&row.host).map_or(0, |facts| facts.machine.restarts);
        let text = match restarts {
            0 => format!("its gateway is {}", row.state),
            _ => format!("its gateway is {}, after {restarts} attempts", row.state),
        };
        let hint = format!(
            "`weave-provision up` starts it; `weave-provision logs {}` says why it does not run",
            row.host
        );
        found(Finding::error(Id::GatewayInactive, &row.host, text, hint));
    }
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for row in report.gateways.iter().filter(|row| !row.version.is_empty()) {
        versions.entry(&row.version).or_default().push(&row.host);
    }
    if versions.len() > 1 {
        let each: Vec<String> =
            versions.iter().map(|(version, hosts)| format!("{version} on {}", hosts.join(", "))).collect();
        found(Finding::warning(
            Id::VersionDiffers,
            "the fleet",
            format!("its gateways are of different versions: {}", each.join("; ")),
            "`weave-provision up` installs one version everywhere",
        ));
    }
}

fn pairs(evidence: &Evidence, report: &Report, found: &mut impl FnMut(Finding)) {
    let active: BTreeSet<&str> =
        report.gateways.iter().filter(|row| row.state == "active").map(|row| row.host.as_str()).collect();
    let live: Vec<&Pair> = report
        .pairs
        .iter()
        .filter(|pair| active.contains(pair.from.as_str()) && active.contains(pair.to.as_str()))
        .collect();
    let mut unanswered: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for pair in live.iter().filter(|pair| !pair.ok) {
        unanswered.entry(&pair.from).or_default().push(&pair.to);
    }
    for (from, to) in unanswered {
        found(Finding::error(
            Id::PairSilent,
            from,
            format!("no frame comes back from {}", to.join(", ")),
            format!("`weave-provision ssh {from} -- weave status connections` says what stands in the way"),
        ));
    }
    relays(evidence, &live, found);
}

/// Pairs that talk and not directly: told for two sites at once where none of their hosts do.
fn relays(evidence: &Evidence, live: &[&Pair], found: &mut impl FnMut(Finding)) {
    let site = |name: &str| {
        evidence.fleet.hosts.iter().find(|host| host.name == name).map_or("", |host| host.site.as_str())
    };
    let mut between: BTreeMap<(&str, &str), Vec<&Pair>> = BTreeMap::new();
    for pair in live.iter().filter(|pair| pair.ok) {
        let (a, b) = (site(&pair.from), site(&pair.to));
        between.entry((a.min(b), a.max(b))).or_default().push(pair);
    }
    for ((a, b), pairs) in between {
        let relayed: Vec<&&Pair> =
            pairs.iter().filter(|pair| pair.path.as_deref() == Some("relay")).collect();
        if relayed.is_empty() {
            continue;
        }
        if a != b && relayed.len() == pairs.len() {
            let via: BTreeSet<&str> = relayed.iter().flat_map(|p| &p.via).map(String::as_str).collect();
            found(Finding::warning(
                Id::SitesNotDirect,
                a,
                format!(
                    "none of its hosts talks to {b} directly, only through {}: {}",
                    via.into_iter().collect::<Vec<_>>().join(", "),
                    why(evidence, &[a, b])
                ),
                format!("let UDP 6783 pass between {a} and {b}, to an address that the other can dial"),
            ));
            continue;
        }
        let mut told = BTreeSet::new();
        for pair in relayed {
            let (from, to) = (pair.from.as_str().min(&pair.to), pair.from.as_str().max(&pair.to));
            if told.insert((from, to)) {
                found(Finding::note(
                    Id::Relayed,
                    from,
                    format!(
                        "it talks to {to} through {}, while others of {a} and {b} do directly",
                        pair.via.join(", ")
                    ),
                    format!("`weave-provision ssh {from} -- weave status connections` says what was tried"),
                ));
            }
        }
    }
}

/// Why two sites do not reach each other, as far as addresses tell.
fn why(evidence: &Evidence, sites: &[&str; 2]) -> String {
    let dialled = evidence.fleet.hosts.iter().filter(|host| sites.contains(&host.site.as_str()));
    let known = dialled.filter_map(|host| {
        let seen = evidence.cloud.hosts.iter().find(|seen| seen.name == host.name)?;
        let address = public_addresses(host, &seen.addresses?).into_iter().next()?;
        Some(format!("{} at {address}", host.name))
    });
    match known.take(2).collect::<Vec<_>>().as_slice() {
        [] => "no host of either has an address that the other can dial".to_owned(),
        some => format!("{} can be dialled, so UDP 6783 is blocked on the way", some.join(" and ")),
    }
}
