//! Which packets pass, as text for `nft`: NAT and security group of a router, cuts of a switch. Pure.
//!
//! Every text is one transaction that can be repeated. It empties tables instead of replacing them: a replaced NAT
//! table would leave an instant in which private source addresses leave the site.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use crate::plan::{self, OPERATOR, Router};
use crate::values::{Nat, SiteStatus};

/// A host as its router sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Behind {
    /// The host's number in its site.
    pub(crate) index: u8,
    pub(crate) private: Ipv4Addr,
    pub(crate) public: Option<Ipv4Addr>,
}

/// The rules of a site's router with these hosts behind it.
pub(crate) fn router(site: &SiteStatus, hosts: &[Behind]) -> String {
    let nat_chains = [
        ("pre", "nat", "prerouting", "dstnat"),
        ("post", "nat", "postrouting", "srcnat"),
        ("learn", "filter", "postrouting", "srcnat + 10"),
    ];
    let mut text = emptied("ip", "nat", &nat_chains);
    text += &emptied(
        "inet",
        "fw",
        &[("input", "filter", "input", "filter"), ("forward", "filter", "forward", "filter")],
    );
    let blocked = site.nat == Some(Nat::Blocked);
    text += &match site.nat {
        None => cloud_nat(hosts),
        Some(nat) => masquerade(site, nat, hosts),
    };
    text + &firewall(site.router, blocked)
}

/// One to one: a host's public address is its alone, also for its neighbours.
fn cloud_nat(hosts: &[Behind]) -> String {
    let mut text = String::new();
    for host in hosts {
        let (Some(public), private) = (host.public, host.private) else { continue };
        text += &format!(
            "add rule ip nat pre ip daddr {public} dnat to {private}\n\
             add rule ip nat post oifname \"wan\" ip saddr {private} snat to {public}\n\
             add rule ip nat post iifname \"lan\" oifname \"lan\" ct status dnat ip saddr {private} snat to {public}\n"
        );
    }
    text
}

/// All hosts behind the router's address; the operator alone has a way in, to SSH.
fn masquerade(site: &SiteStatus, nat: Nat, hosts: &[Behind]) -> String {
    let mut text = String::from(
        "add map ip nat mapped { type inet_service : ipv4_addr . inet_service; flags dynamic,timeout; timeout 2m; \
         size 4096; }\n\
         add set ip nat seen { type inet_service . ipv4_addr; flags dynamic,timeout; timeout 2m; size 65535; }\n",
    );
    for host in hosts {
        let (private, ports) = (host.private, plan::source_ports(host.index));
        text += &format!(
            "add rule ip nat pre iifname \"wan\" ip saddr {OPERATOR} tcp dport {} dnat to {private}:22\n",
            plan::ssh_forward(host.index),
        );
        if nat != Nat::Symmetric {
            text += &format!(
                "add rule ip nat post oifname \"wan\" meta l4proto {{ tcp, udp }} ip saddr {private} \
                 snat to {}:{}-{}\n",
                site.public,
                ports.start(),
                ports.end(),
            );
        }
    }
    text += match nat {
        Nat::Full => "add rule ip nat pre iifname \"wan\" dnat ip to udp dport map @mapped\n",
        Nat::Address => {
            "add rule ip nat pre iifname \"wan\" udp dport . ip saddr @seen dnat ip to udp dport map @mapped\n"
        }
        Nat::Port | Nat::Symmetric | Nat::Blocked => "",
    };
    if matches!(nat, Nat::Full | Nat::Address) {
        text += "add rule ip nat learn oifname \"wan\" meta l4proto udp ct direction original \
                 update @mapped { udp sport : ct original ip saddr . ct original proto-src }\n\
                 add rule ip nat learn oifname \"wan\" meta l4proto udp update @seen { udp sport . ip daddr }\n";
    }
    let random = if nat == Nat::Symmetric { " fully-random" } else { "" };
    text + &format!("add rule ip nat post oifname \"wan\" masquerade{random}\n")
}

/// Forgets what [`router`] has learned; the connections themselves are the kernel's to forget.
pub(crate) fn forget_mappings() -> &'static str {
    "flush map ip nat mapped\nflush set ip nat seen\n"
}

/// Nothing comes in but answers and what the security group lets through; everything goes out.
fn firewall(router: Router, udp_blocked: bool) -> String {
    let mut text =
        String::from(if udp_blocked { "add rule inet fw forward meta l4proto udp drop\n" } else { "" });
    text += "add rule inet fw input ct state established,related accept\n\
         add rule inet fw input iifname { \"lan\", \"lo\" } accept\n\
         add rule inet fw input meta l4proto { icmp, ipv6-icmp } accept\n\
         add rule inet fw input drop\n\
         add rule inet fw forward ct state established,related accept\n\
         add rule inet fw forward iifname \"lan\" accept\n";
    text += &match router {
        Router::Cloud => format!(
            "add rule inet fw forward udp dport {{ 6783, 6784 }} accept\n\
             add rule inet fw forward tcp dport 6783 accept\n\
             add rule inet fw forward ip saddr {OPERATOR} tcp dport 22 accept\n\
             add rule inet fw forward meta l4proto icmp accept\n"
        ),
        Router::Masquerade => "add rule inet fw forward ct status dnat accept\n".to_owned(),
    };
    text + "add rule inet fw forward drop\n"
}

/// The cables of a switch: `pairs` of its ports drop each other's packets (given once per direction), `dark` ports
/// drop all. ARP passes, or healing would wait for neighbours to be found again.
pub(crate) fn cables<'a>(
    dark: impl IntoIterator<Item = &'a str>,
    pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> String {
    // Frames to and from the switch's own address do not pass its forward hook.
    let mut text = emptied(
        "bridge",
        "cables",
        &[
            ("in", "filter", "prerouting", "filter"),
            ("through", "filter", "forward", "filter"),
            ("out", "filter", "postrouting", "filter"),
        ],
    );
    for port in dark {
        text += &format!(
            "add rule bridge cables in ether type != arp iifname \"{port}\" counter drop\n\
             add rule bridge cables out ether type != arp oifname \"{port}\" counter drop\n"
        );
    }
    for (from, to) in pairs {
        text += &format!(
            "add rule bridge cables through ether type != arp iifname \"{from}\" oifname \"{to}\" counter drop\n"
        );
    }
    text
}

/// Makes a table with these base chains exist, without rules.
fn emptied(family: &str, table: &str, chains: &[(&str, &str, &str, &str)]) -> String {
    let mut text = format!("add table {family} {table}\n");
    for (chain, kind, hook, priority) in chains {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "add chain {family} {table} {chain} {{ type {kind} hook {hook} priority {priority}; }}"
        );
    }
    text + &format!("flush table {family} {table}\n")
}
