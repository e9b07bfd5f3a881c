//! A network of three changes its CA under traffic: no frame is lost, no link ends, and the old CA is worth nothing.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::process::Child;
use std::time::Duration;

use weave_model::NetworkName;
use weave_trust::{IdentityKey, Membership, NetworkCa, Trust};

use crate::bed::{Bed, wait_until};

const SOON: Duration = Duration::from_secs(20);

fn ca(seed: u8) -> NetworkCa {
    NetworkCa::from_seed(NetworkName::default(), [seed; 32])
}

/// What host `host` is given: its certificate of CA `by`, these CAs, and the pre-shared key that all have.
fn membership(host: usize, by: u8, trust: Trust) -> Membership {
    let key = IdentityKey::from_seed([100 + host as u8; 32]);
    let identity = ca(by).issue(key.peer_name(), &key, u64::from(by));
    Membership { identity, trust, psk: ca(1).network_psk() }
}

fn put(bed: &Bed, host: usize, text: &str) {
    let path = bed.identity(host);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

fn launch(bed: &Bed, host: usize, membership: &Membership, peer: &str) {
    put(bed, host, &membership.to_pem());
    let identity = bed.identity(host);
    let flags = format!("--nickname h{host} --identity {}", identity.display());
    bed.weave_ok(host, &format!("launch {flags} {peer}"));
}

fn hang_up(bed: &Bed, host: usize) {
    bed.run(&bed.host(host), &format!("kill -HUP {}", bed.pid(host)));
}

/// Replaces the identity of a running gateway and waits until it has taken it.
fn renew(bed: &Bed, host: usize, to: &Membership) {
    put(bed, host, &to.to_pem());
    hang_up(bed, host);
    let mark = bed.state(host).join("identity.mark");
    let taken = || std::fs::read_to_string(&mark).is_ok_and(|text| text.trim() == to.mark());
    wait_until(&format!("h{host} has taken its identity"), SOON, taken);
}

fn log(bed: &Bed, host: usize) -> String {
    std::fs::read_to_string(bed.state(host).join("weave-gateway.log")).unwrap()
}

/// The lines of all logs that tell of links that came or went.
fn links(bed: &Bed) -> usize {
    let tells = |line: &&str| ["link up", "link down", "link closed"].iter().any(|what| line.contains(what));
    (0..3).map(|host| log(bed, host).lines().filter(tells).count()).sum()
}

/// The version of every peer's record, as a gateway knows them.
fn versions(bed: &Bed, host: usize) -> Vec<(String, u64)> {
    let report: serde_json::Value = serde_json::from_str(&bed.weave_ok(host, "report")).unwrap();
    let peers = report["Router"]["Peers"].as_array().unwrap();
    let version = |p: &serde_json::Value| Some((p["Name"].as_str()?.to_owned(), p["Version"].as_u64()?));
    let mut versions: Vec<_> = peers.iter().filter_map(version).collect();
    versions.sort();
    versions
}

/// 200 pings a second until told to stop; killed when dropped.
struct Pings {
    child: Child,
    /// What ping says: a line for each answer.
    said: File,
}

impl Pings {
    fn start(bed: &Bed, from: &str, to: &str) -> Pings {
        let said = tempfile::tempfile().unwrap();
        let mut command = bed.command(from, "ping");
        command.args(["-n", "-i", "0.005", "-W", "2", to]).stdout(said.try_clone().unwrap());
        Pings { child: command.spawn().unwrap(), said }
    }

    /// How many came back, and how many of those sent before the last of them did not. What is under way at the end
    /// counts as neither.
    fn stop(mut self) -> (usize, usize) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
        self.child.wait().unwrap();
        let mut text = String::new();
        self.said.rewind().unwrap();
        self.said.read_to_string(&mut text).unwrap();
        let number = |line: &str| line.split_once("icmp_seq=")?.1.split(' ').next()?.parse().ok();
        let came: BTreeSet<usize> =
            text.lines().filter(|line| line.contains("bytes from")).filter_map(number).collect();
        (came.len(), came.last().map_or(0, |last| last - came.len()))
    }
}

impl Drop for Pings {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_change_of_the_ca_loses_no_frame_and_shuts_the_old_one_out() {
    // 0 and 2 talk through 1; 3 shares a cable with 0.
    let mut bed = Bed::new(4, &[(0, 1), (1, 2), (0, 3)]);
    let (old, both, new) = (ca(1).trust(), ca(1).trust().joined(&ca(2).trust()), ca(2).trust());
    launch(&bed, 0, &membership(0, 1, old.clone()), "");
    launch(&bed, 1, &membership(1, 1, old.clone()), &bed.address(0, 1));
    launch(&bed, 2, &membership(2, 1, old.clone()), &bed.address(1, 2));
    let names: Vec<String> = (0..3).map(|host| bed.container(&format!("c{host}"))).collect();
    for (host, name) in names.iter().enumerate() {
        bed.weave_ok(host, &format!("attach 10.32.1.{}/24 netns:{name}", host + 1));
    }
    wait_until("0 reaches 2", SOON, || bed.pings(&names[0], "10.32.1.3"));
    wait_until("1 reaches 2", SOON, || bed.pings(&names[1], "10.32.1.3"));
    let settled = |bed: &Bed| (1..3).all(|host| versions(bed, host) == versions(bed, 0));
    wait_until("all know the same", SOON, || settled(&bed));

    let before = links(&bed);
    let streams = [(0, "10.32.1.3"), (2, "10.32.1.2")].map(|(from, to)| Pings::start(&bed, &names[from], to));
    for host in 0..3 {
        renew(&bed, host, &membership(host, 1, both.clone()));
    }
    let first: Vec<_> = versions(&bed, 0);
    for host in [2, 0, 1] {
        renew(&bed, host, &membership(host, 2, both.clone()));
    }
    let later = |bed: &Bed| versions(bed, 0).iter().zip(&first).all(|(now, then)| now.1 > then.1);
    wait_until("all know the new certificates", SOON, || settled(&bed) && later(&bed));
    for host in [1, 2, 0] {
        renew(&bed, host, &membership(host, 2, new.clone()));
    }
    put(&bed, 0, "this is no identity\n");
    hang_up(&bed, 0);
    wait_until("the bad file is named", SOON, || log(&bed, 0).contains("nothing is reloaded"));
    // What a reload sets off late, such as probes of paths, comes within this time.
    bed.run(&names[1], "ping -n -q -i 0.02 -c 200 -W 2 10.32.1.1");
    for stream in streams {
        let (came, lost) = stream.stop();
        assert!(came > 700, "only {came} pings");
        assert_eq!(lost, 0, "of {came} frames");
    }
    assert_eq!(links(&bed), before, "no link came or went");

    launch(&bed, 3, &membership(3, 1, both.clone()), &bed.address(0, 3));
    let refused = |bed: &Bed| bed.weave_ok(3, "status connections").contains("refused our certificate");
    wait_until("the old certificate is refused", SOON, || refused(&bed));
    assert!(
        !versions(&bed, 0)
            .iter()
            .any(|(name, _)| *name == membership(3, 1, old.clone()).identity.name().to_string())
    );
    renew(&bed, 3, &membership(3, 2, both));
    let member = membership(3, 2, new).identity.name().to_string();
    wait_until("the new one lets it in", SOON, || versions(&bed, 1).iter().any(|(name, _)| *name == member));
}
