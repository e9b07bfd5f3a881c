//! The cables of a lab, made with `ip` in batches. Knows the shape; which packets pass is in `rules`.
//!
//! ```text
//!   op wan ═══ op ┐                 ┌ aws ═══ wan r-aws lan ═ aws-1 ═══ eth0 aws-1
//!                 └─ br0 (internet) ┼ gcp ═══ wan r-gcp lan ═ gcp-1 ═══ eth0 gcp-1
//!                                   └ onprem ═══ …            each ═══ a veth pair, each name one namespace
//! ```

use std::fs::{self, File};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use nix::sched::{CloneFlags, setns};

use crate::error::Error;
use crate::keeper::Inside;
use crate::plan;
use crate::values::{HostStatus, SiteStatus};

/// The namespace of the switch between the routers.
pub(crate) const INTERNET: &str = "internet";

/// The namespace of a site's router.
pub(crate) fn router(site: &str) -> String {
    format!("r-{site}")
}

/// Makes the switch and the operator's cable to it. The operator's namespace is the keeper's own.
pub(crate) fn make_internet() -> Result<(), Error> {
    batch(None, &["netns add internet"])?;
    inside(INTERNET, forward)??;
    let operator = plan::hardware(plan::OPERATOR);
    batch(
        None,
        &[
            "link set lo up",
            "link add br0 netns internet type bridge forward_delay 0 stp_state 0",
            &format!("link add wan address {operator} type veth peer name op netns internet"),
            &format!("addr add {}/24 dev wan", plan::OPERATOR),
            "link set wan up",
        ],
    )?;
    batch(Some(INTERNET), &["link set lo up", "link set br0 up", "link set op master br0 up"])
}

/// Makes a site's router, its LAN and its cable to the internet.
pub(crate) fn make_site(name: &str, site: &SiteStatus) -> Result<(), Error> {
    let namespace = router(name);
    batch(None, &[format!("netns add {namespace}")])?;
    inside(&namespace, forward)??;
    let gateway = site.lan.router();
    let (wan, lan) = (plan::hardware(site.public), plan::hardware(gateway));
    batch(
        None,
        &[
            format!("link add wan address {wan} netns {namespace} type veth peer name {name} netns internet"),
            format!("link add lan address {lan} netns {namespace} type bridge forward_delay 0 stp_state 0"),
        ],
    )?;
    batch(Some(INTERNET), &[format!("link set {name} master br0 up")])?;
    batch(
        Some(&namespace),
        &[
            "link set lo up".to_owned(),
            format!("addr add {}/24 dev wan", site.public),
            "link set wan up".to_owned(),
            format!("addr add {gateway}/{} dev lan", site.lan.length()),
            "link set lan up".to_owned(),
        ],
    )
}

/// Makes a host's namespace, its cable to the LAN and its public address on the router.
pub(crate) fn make_host(name: &str, site: &SiteStatus, host: &HostStatus) -> Result<(), Error> {
    let (namespace, own) = (router(&host.site), plan::hardware(host.private));
    batch(
        None,
        &[
            format!("netns add {name}"),
            format!("link add eth0 address {own} netns {name} type veth peer name {name} netns {namespace}"),
        ],
    )?;
    batch(Some(&namespace), &[format!("link set {name} master lan up")])?;
    add_public(host)?;
    batch(
        Some(name),
        &[
            "link set lo up".to_owned(),
            format!("addr add {}/{} dev eth0", host.private, site.lan.length()),
            "link set eth0 up".to_owned(),
            format!("route add default via {}", site.lan.router()),
        ],
    )
}

/// Gives the router of a host's site the public address that is the host's alone.
pub(crate) fn add_public(host: &HostStatus) -> Result<(), Error> {
    let Some(public) = host.public else { return Ok(()) };
    batch(Some(&router(&host.site)), &[format!("addr add {} dev wan", with_length(public))])
}

/// Undoes [`add_public`], as far as it is done.
pub(crate) fn remove_public(host: &HostStatus) -> Result<(), Error> {
    let Some(public) = host.public else { return Ok(()) };
    batch_force(&router(&host.site), &[format!("addr del {} dev wan", with_length(public))])
}

/// Tells routers, and the operator, that these addresses are on the internet.
pub(crate) fn add_routes(
    routers: impl IntoIterator<Item = String>,
    addresses: impl Iterator<Item = Ipv4Addr>,
) -> Result<(), Error> {
    let lines: Vec<String> = addresses.map(|address| format!("route replace {address}/32 dev wan")).collect();
    if lines.is_empty() {
        return Ok(());
    }
    batch(None, &lines)?;
    routers.into_iter().try_for_each(|router| batch(Some(&router), &lines))
}

/// Undoes [`add_routes`], as far as it is done.
pub(crate) fn remove_routes(
    routers: impl IntoIterator<Item = String>,
    address: Ipv4Addr,
) -> Result<(), Error> {
    let lines = [format!("route del {address}/32 dev wan")];
    // Gone already is as good, as in `batch_force`.
    let _ = batch(None, &lines);
    routers.into_iter().try_for_each(|router| batch_force(&router, &lines))
}

/// An address of the internet, as `ip addr` takes it: those that follow from numbers are all on one LAN.
fn with_length(public: Ipv4Addr) -> String {
    format!("{public}/{}", if plan::is_numbered(public) { 24 } else { 32 })
}

/// Removes what [`make_host`] made, as far as it is there.
pub(crate) fn remove_host(name: &str, host: &HostStatus) -> Result<(), Error> {
    let namespace = router(&host.site);
    if Inside::network(&namespace).exists() {
        // The cable goes first: its namespace lives on for a moment if a process still leaves it.
        remove_link(&namespace, name)?;
        remove_public(host)?;
    }
    remove_namespace(name)
}

/// Removes what [`make_site`] made, as far as it is there.
pub(crate) fn remove_site(name: &str) -> Result<(), Error> {
    if Inside::network(INTERNET).exists() {
        remove_link(INTERNET, name)?;
    }
    remove_namespace(&router(name))
}

fn remove_link(namespace: &str, link: &str) -> Result<(), Error> {
    batch_force(namespace, &[format!("link del {link}")])
}

fn remove_namespace(name: &str) -> Result<(), Error> {
    if Inside::network(name).exists() { batch(None, &[format!("netns del {name}")]) } else { Ok(()) }
}

/// Makes the calling namespace pass packets on, and nothing else look at them.
fn forward() -> Result<(), Error> {
    let root = Path::new("/proc/sys/net");
    fs::write(root.join("ipv4/ip_forward"), "1").map_err(Error::io("letting a router forward"))?;
    for interface in ["all", "default"] {
        // Replies leave through NAT, so the reverse path is not the forward one. Absent files mean absent features.
        let _ = fs::write(root.join(format!("ipv4/conf/{interface}/rp_filter")), "0");
        let _ = fs::write(root.join(format!("ipv6/conf/{interface}/accept_dad")), "0");
    }
    for table in ["ip", "ip6", "arp"] {
        // On machines that run containers br_netfilter would drag bridged frames through the router's IP hooks.
        let _ = fs::write(root.join(format!("bridge/bridge-nf-call-{table}tables")), "0");
    }
    Ok(())
}

/// Runs a function in a named network namespace, on a thread of its own because a namespace belongs to a thread.
pub(crate) fn inside<T: Send>(name: &str, run: impl FnOnce() -> T + Send) -> Result<T, Error> {
    let path = Inside::network(name);
    let namespace = File::open(&path).map_err(Error::io(format_args!("opening {}", path.display())))?;
    inside_of(&namespace, run)
}

/// Runs a function in an open network namespace, on a thread of its own.
pub(crate) fn inside_of<T: Send>(namespace: &File, run: impl FnOnce() -> T + Send) -> Result<T, Error> {
    let visit = || {
        setns(namespace, CloneFlags::CLONE_NEWNET).map_err(Error::errno("entering a network namespace"))?;
        Ok(run())
    };
    thread::scope(|scope| scope.spawn(visit).join())
        .unwrap_or_else(|_| Err(Error::Failed("a visit to a network namespace panicked".to_owned())))
}

/// Runs lines of `ip` in a named namespace, or the keeper's own.
fn batch(namespace: Option<&str>, lines: &[impl AsRef<str>]) -> Result<(), Error> {
    let mut ip = Command::new("ip");
    ip.args(namespace.map(|name| ["-n", name]).into_iter().flatten()).args(["-batch", "-"]);
    let text: String = lines.iter().flat_map(|line| [line.as_ref(), "\n"]).collect();
    feed(&mut ip, &text)
}

/// Runs lines of `ip` each of which may find its work done already.
fn batch_force(namespace: &str, lines: &[impl AsRef<str>]) -> Result<(), Error> {
    let text: String = lines.iter().flat_map(|line| [line.as_ref(), "\n"]).collect();
    let mut ip = Command::new("ip");
    ip.args(["-n", namespace, "-force", "-batch", "-"]);
    // A refusal is a line whose work was done already; a real one shows when the next thing is made.
    let _ = feed(&mut ip, &text);
    Ok(())
}

/// Runs a program with text as its input; its complaint is the error.
pub(crate) fn feed(command: &mut Command, text: &str) -> Result<(), Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = || Error::io(format!("running {program}"));
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(failed())?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends early says why itself.
        let _ = stdin.write_all(text.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed())?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(Error::Failed(format!("{program} refused: {}", complaint.trim().replace('\n', "; "))))
}
