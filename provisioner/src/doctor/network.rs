//! Findings about addresses and sizes: the overlay's range, the sites' networks, the underlay's MTU.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use cloud_core::IpNet;

use super::machine::Route;
use super::{Evidence, Finding, Id};
use crate::fleet::public_addresses;
use crate::install::Facts;

/// The overlay's MTU on an underlay of 1,500 bytes; it is never larger.
const USUAL: u32 = 1376;
/// What the gateway leaves between underlay and overlay over IPv4, and with an IPv6 address anywhere.
const OVERHEAD: u32 = 124;
const OVERHEAD_V6: u32 = 144;
/// RFC 8200 §5: IPv6 does not work on links with less.
const LEAST: u32 = 1280;
/// Routes of one host that are named together.
const NAMED: usize = 3;
/// Networks of one site that are compared with those of others.
const COMPARED: usize = 64;
/// Where an overlay may go, in the order in which they are suggested: what the default networks of clouds (10.0/16,
/// 10.128/9, 172.31/16), Docker (172.17/16 and on) and Kubernetes (10.96/12, 10.244/16) leave, then what Docker uses last.
const SUGGESTED: [&str; 6] =
    ["10.32.0.0/12", "10.64.0.0/12", "10.80.0.0/12", "10.112.0.0/12", "192.168.128.0/17", "172.24.0.0/14"];

pub(super) fn examine(evidence: &Evidence, found: &mut impl FnMut(Finding)) {
    if let Some(range) = evidence.range {
        overlay(evidence, range, found);
    }
    sites(evidence, found);
    mtu(evidence, found);
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

/// Whether a route says something about a network there. A default route does not, nor its two halves, by which a VPN
/// takes it over.
fn is_real(route: &&Route) -> bool {
    let ours = ["weave", "vethwe"].iter().any(|prefix| route.interface.starts_with(prefix));
    route.net.prefix_len() > 1 && !ours && route.interface != "lo"
}

fn overlay(evidence: &Evidence, range: IpNet, found: &mut impl FnMut(Finding)) {
    let hint = match suggestion(evidence) {
        Some(free) => format!("nobody here uses {free}: set `range = \"{free}\"` in [fleet] of weave.toml"),
        None => "set `range` in [fleet] of weave.toml to addresses that nobody uses".to_owned(),
    };
    for (site, networks) in &evidence.networks {
        for network in networks.iter().filter(|network| overlap(network, &range)) {
            let text = format!("its network {network} overlaps the overlay's {range}");
            found(Finding::error(Id::OverlayOverlaps, site, text, &hint));
        }
    }
    for (host, facts) in evidence.wanted_facts() {
        let real = facts.machine.routes.iter().filter(is_real);
        let (hard, soft): (Vec<&Route>, Vec<&Route>) = real
            .filter(|route| overlap(&route.net, &range))
            // The overlay's own route is narrower than one that leads to a router for all of it and more: frames find
            // their way, and only hosts of that other network become unreachable.
            .partition(|route| !(route.routed && route.net.contains(&range) && route.net != range));
        if !hard.is_empty() {
            let text = format!("its {} the overlay's {range}", listed(&hard, "overlaps", "overlap"));
            found(Finding::error(Id::OverlayOverlaps, host, text, &hint));
        }
        if !soft.is_empty() {
            let text = format!("its {} around the overlay's {range}", listed(&soft, "leads", "lead"));
            found(Finding::warning(Id::OverlayOverlaps, host, text, &hint));
        }
    }
    let own: Vec<&Route> =
        evidence.routes.iter().filter(is_real).filter(|route| overlap(&route.net, &range)).collect();
    if !own.is_empty() {
        let text = format!("its {} elsewhere than to the overlay's {range}", listed(&own, "leads", "lead"));
        found(Finding::note(Id::OverlayOverlaps, "this machine", text, &hint));
    }
}

fn listed(routes: &[&Route], one: &str, many: &str) -> String {
    let nets: BTreeSet<String> = routes.iter().map(|r| format!("{} ({})", r.net, r.interface)).collect();
    let names: Vec<&str> = nets.iter().take(NAMED).map(String::as_str).collect();
    let more = nets.len().saturating_sub(NAMED);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    let (noun, verb) = if nets.len() == 1 { ("route", one) } else { ("routes", many) };
    format!("{noun} {}{rest} {verb}", names.join(", "))
}

fn suggestion(evidence: &Evidence) -> Option<IpNet> {
    let used = || {
        let routes = evidence.facts.values().flat_map(|facts| &facts.machine.routes).chain(&evidence.routes);
        routes.filter(is_real).map(|route| &route.net).chain(evidence.networks.values().flatten())
    };
    SUGGESTED
        .iter()
        .filter_map(|text| text.parse().ok())
        .find(|net: &IpNet| Some(*net) != evidence.range && !used().any(|other| overlap(net, other)))
}

fn sites(evidence: &Evidence, found: &mut impl FnMut(Finding)) {
    let mut networks: BTreeMap<&str, BTreeSet<IpNet>> = BTreeMap::new();
    for (site, nets) in &evidence.networks {
        networks.entry(site).or_default().extend(nets.iter().take(COMPARED));
    }
    for host in &evidence.fleet.hosts {
        let Some(facts) = evidence.facts.get(&host.name) else { continue };
        let nets = networks.entry(&host.site).or_default();
        let links = facts.machine.routes.iter().filter(is_real);
        let links = links.filter(|route| !route.routed && is_underlay(&route.interface));
        for route in links.take(COMPARED) {
            if nets.len() < COMPARED {
                nets.insert(route.net);
            }
        }
    }
    let all: Vec<_> = networks.iter().collect();
    for (at, (site, nets)) in all.iter().enumerate() {
        for (other, others) in &all[at + 1..] {
            let both = nets.iter().find_map(|a| Some((a, others.iter().find(|b| overlap(a, b))?)));
            let Some((a, b)) = both else { continue };
            found(Finding::note(
                Id::SitesOverlap,
                **site,
                format!("its network {a} overlaps {b} of {other}"),
                "nothing has to be done: the switch does not care; routes between the sites would",
            ));
        }
    }
}

/// The gateway's rule, by names: whether peers may be reached through an interface.
fn is_underlay(name: &str) -> bool {
    let of_engine = ["docker", "veth", "cni", "cali", "flannel", "podman", "virbr", "lxcbr", "weave"].iter();
    let of_docker = name
        .strip_prefix("br-")
        .is_some_and(|id| id.len() == 12 && id.bytes().all(|b| b.is_ascii_hexdigit()));
    name != "lo" && !of_docker && !of_engine.into_iter().any(|prefix| name.starts_with(prefix))
}

fn mtu(evidence: &Evidence, found: &mut impl FnMut(Finding)) {
    let overhead = if has_v6(evidence) { OVERHEAD_V6 } else { OVERHEAD };
    let underlays: Vec<(&str, &str, u32)> = evidence
        .wanted_facts()
        .filter_map(|(host, facts)| narrowest(facts).map(|(interface, mtu)| (host, interface, mtu)))
        .collect();
    for (host, interface, mtu) in &underlays {
        if *mtu < LEAST + overhead {
            found(Finding::warning(
                Id::UnderlayMtu,
                *host,
                format!(
                    "the MTU of {interface} is {mtu}, which leaves {} for the overlay, and IPv6 needs {LEAST}",
                    mtu.saturating_sub(overhead)
                ),
                format!(
                    "where the network carries it: `weave-provision ssh {host} -- ip link set dev {interface} mtu {}`",
                    LEAST + overhead
                ),
            ));
        }
    }
    let smallest = underlays.iter().min_by_key(|(host, _, mtu)| (*mtu, *host));
    if let Some((host, interface, mtu)) = smallest.filter(|(.., mtu)| *mtu < USUAL + overhead) {
        found(Finding::note(
            Id::OverlayMtu,
            "the fleet",
            format!(
                "frames of up to {} bytes pass everywhere, not {USUAL}: {interface} of {host} has an MTU of {mtu}",
                mtu.saturating_sub(overhead)
            ),
            "nothing has to be done: larger packets are answered with ICMP or cut into fragments",
        ));
    }
}

/// The interface with the smallest MTU that peers may be reached through.
fn narrowest(facts: &Facts) -> Option<(&str, u32)> {
    let mtus = facts.machine.mtus.iter().filter(|(name, _)| is_underlay(name));
    mtus.map(|(name, mtu)| (name.as_str(), *mtu)).min_by_key(|(_, mtu)| *mtu)
}

fn has_v6(evidence: &Evidence) -> bool {
    let told = evidence.cloud.hosts.iter().filter_map(|host| {
        let known = host.addresses.as_ref()?;
        let wanted = evidence.fleet.hosts.iter().find(|wanted| wanted.name == host.name)?;
        Some(public_addresses(wanted, known).into_iter().chain([known.private]).collect::<Vec<_>>())
    });
    told.flatten().any(|address| matches!(address, IpAddr::V6(_)))
}
