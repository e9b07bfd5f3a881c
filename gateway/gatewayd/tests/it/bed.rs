//! Namespaces joined by cables, with a gateway in each and namespaces to attach beside them; all gone when dropped.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The password of every test network.
pub(crate) const PASSWORD: &str = "correct-Horse7battery%staple";

/// A set of hosts; host `n` and host `m` share the subnet 10.`n`.`m`.0/24 when a cable joins them.
pub(crate) struct Bed {
    prefix: String,
    hosts: usize,
    namespaces: Vec<String>,
    folder: tempfile::TempDir,
}

impl Bed {
    /// Makes `hosts` namespaces and a cable for each pair of `cables`.
    pub(crate) fn new(hosts: usize, cables: &[(usize, usize)]) -> Bed {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("wg{}-{count}", std::process::id());
        let mut bed = Bed { prefix, hosts, namespaces: Vec::new(), folder: tempfile::tempdir().unwrap() };
        for host in 0..hosts {
            bed.add_namespace(&bed.host(host));
        }
        for &(one, other) in cables {
            let (near, far) = (format!("c{other}"), format!("c{one}"));
            bed.ip(one, &format!("link add {near} type veth peer name {far} netns {}", bed.host(other)));
            bed.ip(one, &format!("addr add {}/24 dev {near}", bed.address(one, other)));
            bed.ip(other, &format!("addr add {}/24 dev {far}", bed.address(other, one)));
            bed.ip(one, &format!("link set {near} up"));
            bed.ip(other, &format!("link set {far} up"));
        }
        bed
    }

    /// The address of `from` on its cable to `to`.
    pub(crate) fn address(&self, from: usize, to: usize) -> String {
        format!("10.{}.{}.{}", from.min(to), from.max(to), from + 1)
    }

    /// The namespace of a host.
    pub(crate) fn host(&self, host: usize) -> String {
        format!("{}-h{host}", self.prefix)
    }

    /// Makes a namespace to attach; returns its name.
    pub(crate) fn container(&mut self, name: &str) -> String {
        let name = format!("{}-{name}", self.prefix);
        self.add_namespace(&name);
        name
    }

    /// Takes a cable away for a while, or gives it back.
    pub(crate) fn plug(&self, one: usize, other: usize, plugged: bool) {
        let state = if plugged { "up" } else { "down" };
        self.ip(one, &format!("link set c{other} {state}"));
    }

    /// `weave` with the words of `line` on a host.
    pub(crate) fn weave(&self, host: usize, line: &str) -> Output {
        let mut command = self.command(&self.host(host), env!("CARGO_BIN_EXE_weave-gateway"));
        command.env("WEAVE_STATE", self.state(host)).args(line.split_whitespace());
        command.output().unwrap()
    }

    /// Like [`Bed::weave`]; fails unless the command succeeds, and returns what it printed.
    pub(crate) fn weave_ok(&self, host: usize, line: &str) -> String {
        ok(&format!("weave {line} on host {host}"), &self.weave(host, line), || self.log(host))
    }

    /// Launches a gateway that knows the password and these peers.
    pub(crate) fn launch(&self, host: usize, peers: &[String]) {
        let peers = peers.join(" ");
        self.weave_ok(host, &format!("launch --nickname h{host} --password {PASSWORD} {peers}"));
    }

    /// A command in a namespace, whatever it is for.
    pub(crate) fn command(&self, namespace: &str, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace, program]);
        command
    }

    /// Runs a line in a namespace; fails unless it succeeds, and returns what it printed.
    pub(crate) fn run(&self, namespace: &str, line: &str) -> String {
        ok(line, &self.try_run(namespace, line), String::new)
    }

    /// Runs a line in a namespace.
    pub(crate) fn try_run(&self, namespace: &str, line: &str) -> Output {
        let mut words = line.split_whitespace();
        self.command(namespace, words.next().unwrap()).args(words).output().unwrap()
    }

    /// Runs `ip` on a host.
    pub(crate) fn ip(&self, host: usize, line: &str) -> String {
        self.run(&self.host(host), &format!("ip {line}"))
    }

    /// Whether `to` answers pings of `namespace`.
    pub(crate) fn pings(&self, namespace: &str, to: &str) -> bool {
        self.try_run(namespace, &format!("ping -n -c 1 -W 1 {to}")).status.success()
    }

    /// The process of the gateway on a host.
    pub(crate) fn pid(&self, host: usize) -> u32 {
        let report: serde_json::Value = serde_json::from_str(&self.weave_ok(host, "report")).unwrap();
        report["Process"]["Pid"].as_u64().unwrap().try_into().unwrap()
    }

    /// The end of a gateway's log.
    pub(crate) fn log(&self, host: usize) -> String {
        let text = std::fs::read_to_string(self.state(host).join("weave-gateway.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// The folder of a gateway's state.
    pub(crate) fn state(&self, host: usize) -> PathBuf {
        self.folder.path().join(format!("h{host}"))
    }

    /// Where a provisioned gateway's identity lies.
    pub(crate) fn identity(&self, host: usize) -> PathBuf {
        self.folder.path().join(format!("identity-{host}.pem"))
    }

    fn add_namespace(&mut self, name: &str) {
        let added = Command::new("ip").args(["netns", "add", name]).output().unwrap();
        ok(&format!("ip netns add {name}"), &added, String::new);
        self.namespaces.push(name.to_owned());
        self.run(name, "ip link set lo up");
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for host in 0..self.hosts {
                eprintln!("── log of host {host}\n{}", self.log(host));
            }
        }
        for name in &self.namespaces {
            let pids = Command::new("ip").args(["netns", "pids", name]).output();
            let pids = pids.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
            for pid in pids.split_whitespace() {
                let _ = Command::new("kill").args(["-KILL", pid]).status();
            }
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

/// Two linked gateways with an attached namespace each, 10.32.1.1 and 10.32.1.2, fd00:32::1 and fd00:32::2.
pub(crate) fn pair() -> (Bed, String, String) {
    let mut bed = Bed::new(2, &[(0, 1)]);
    bed.launch(0, &[]);
    bed.launch(1, &[bed.address(0, 1)]);
    let (one, other) = (bed.container("c0"), bed.container("c1"));
    bed.weave_ok(0, &format!("attach 10.32.1.1/24 fd00:32::1/64 netns:{one}"));
    bed.weave_ok(1, &format!("attach 10.32.1.2/24 fd00:32::2/64 netns:{other}"));
    wait_until("the first ping", Duration::from_secs(15), || bed.pings(&one, "10.32.1.2"));
    (bed, one, other)
}

fn ok(what: &str, output: &Output, more: impl FnOnce() -> String) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what}: {}\n{out}{err}\n{}", output.status, more());
    out.into_owned()
}

/// Waits until `condition` holds; fails with `what` after `limit`.
pub(crate) fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
