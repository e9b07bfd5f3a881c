//! Which addresses and ports everything in a lab has. Pure arithmetic on site and host numbers.
//!
//! ```text
//!   internet 203.0.113.0/24    operator .250    router of site i  .(16 i)    host j of site i  .(16 i + j)
//!   site i   10.i.0.0/24       router   .1      host j            .(10 + j)
//! ```
//!
//! A site may be given another range, and an instance any address: those are the caller's.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::range::Range;

/// The operator's address on the lab's internet.
pub const OPERATOR: Ipv4Addr = public(250);

/// The highest number of a site and of a host in its site: beyond it `16 i + j` would reach the operator's address and
/// a host's range of source ports would pass 65535.
pub(crate) const HIGHEST: u8 = 14;

/// What kind of router a site has. The site's name decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Router {
    /// One public address per host, translated one to one, behind a security group.
    Cloud,
    /// One public address for all hosts; connections only go out.
    Masquerade,
}

impl Router {
    /// `onprem`, `onprem-2` and so on masquerade; all others are clouds.
    pub fn of(site: &str) -> Router {
        if site.starts_with("onprem") { Router::Masquerade } else { Router::Cloud }
    }
}

/// Says whether a name can be a site, a host or a lab: it becomes part of paths, interfaces and host names.
pub(crate) fn check_name(kind: &str, name: &str, longest: usize) -> Result<(), Error> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let edge = name.starts_with('-') || name.ends_with('-');
    if name.is_empty() || name.len() > longest || edge || !name.chars().all(legal) {
        return Err(Error::Invalid(format!(
            "{kind} name `{name}` is not 1 to {longest} of a-z, 0-9 and inner hyphens"
        )));
    }
    Ok(())
}

/// Says whether a site may be called so. `r-NAME` must fit into an interface name (15 bytes).
pub(crate) fn check_site(name: &str) -> Result<(), Error> {
    check_name("site", name, 13)?;
    check_reserved("site", name)
}

/// Says whether a host may be called so. The name is also that of its cable, an interface.
pub(crate) fn check_host(name: &str) -> Result<(), Error> {
    check_name("host", name, 15)?;
    check_reserved("host", name)
}

fn check_reserved(kind: &str, name: &str) -> Result<(), Error> {
    if matches!(name, "op" | "internet" | "wan" | "lan" | "lo" | "br0" | "keeper") || name.starts_with("r-") {
        return Err(Error::Invalid(format!("{kind} name `{name}` is one the lab uses itself")));
    }
    Ok(())
}

/// Says whether a site's or host's number is in range.
pub(crate) fn check_index(kind: &str, index: u8) -> Result<(), Error> {
    if (1..=HIGHEST).contains(&index) {
        return Ok(());
    }
    Err(Error::Invalid(format!("{kind} number {index} is not in 1 to {HIGHEST}")))
}

/// The public address of a site's router.
pub(crate) fn router_public(site: u8) -> Ipv4Addr {
    public(site * 16)
}

/// The addresses of a site's LAN, unless it is given others.
pub(crate) fn lan(site: u8) -> Range {
    Range::new(Ipv4Addr::new(10, site, 0, 0), 24)
}

/// A host's address on its own interface.
pub(crate) fn host_private(lan: Range, host: u8) -> Ipv4Addr {
    lan.nth(10 + host)
}

/// Whether an address is one of those that follow from numbers, which everybody on the internet finds by itself.
pub(crate) fn is_numbered(address: Ipv4Addr) -> bool {
    address.octets()[..3] == OPERATOR.octets()[..3]
}

/// The public address that is a host's alone, where its router gives it one.
pub(crate) fn host_public(router: Router, site: u8, host: u8) -> Option<Ipv4Addr> {
    match router {
        Router::Cloud => Some(public(site * 16 + host)),
        Router::Masquerade => None,
    }
}

/// The hardware address of the interface with this address. Always the same, so that no neighbour's memory is wrong
/// when a host or a site comes back.
pub(crate) fn hardware(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    // 02: administered locally.
    format!("02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// Where the operator reaches the SSH of a host with this public address.
pub(crate) fn host_ssh(public: Option<Ipv4Addr>, site: u8, host: u8) -> SocketAddrV4 {
    match public {
        Some(public) => SocketAddrV4::new(public, 22),
        None => SocketAddrV4::new(router_public(site), ssh_forward(host)),
    }
}

/// The port of a masquerading router that leads the operator to a host's SSH.
pub(crate) fn ssh_forward(host: u8) -> u16 {
    2200 + u16::from(host)
}

/// The public source ports of a masqueraded host. Disjoint, so that the mapping does not depend on the destination
/// even when two hosts use one source port; the first host keeps 6783.
pub(crate) fn source_ports(host: u8) -> RangeInclusive<u16> {
    let base = u16::from(host) * 4000;
    base + 2783..=base + 6782
}

const fn public(last: u8) -> Ipv4Addr {
    // RFC 5737 §3: addresses for documentation, never anybody's.
    Ipv4Addr::new(203, 0, 113, last)
}
