//! Labs for real: root only, one at a time, in the profile `netns`.
#![expect(clippy::disallowed_methods, reason = "tests: run programs and poll with a deadline")]

mod netns_crash;
mod netns_hosts;
mod netns_instances;
mod netns_network;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use netlab::{Config, HostConfig, Lab, Place, Topology};

/// The program that the keeper is, and the command line.
const NETLAB: &str = env!("CARGO_BIN_EXE_netlab");

/// A name whose lab ends with its test and leaves nothing. It holds the process, so that it is no user's.
struct Name(String);

impl Name {
    fn new(test: &str) -> Name {
        Name(format!("t{}-{test}", std::process::id()))
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = std::fs::read_to_string(format!("/run/weave-lab/{}/log", self.0));
            eprintln!("the keeper's log: {log:?}");
        }
        let gone = netlab::down(self);
        if !thread::panicking() {
            gone.unwrap();
            assert_eq!(netlab::remains(self).unwrap(), []);
        }
    }
}

/// A lab under such a name.
struct TestLab {
    lab: Lab,
    name: Name,
}

impl TestLab {
    /// A lab without sites.
    fn new(test: &str, topology: Topology) -> TestLab {
        let name = Name::new(test);
        TestLab { lab: ensure(&name, topology), name }
    }

    /// Makes sites, numbered from 1, with so many hosts each.
    fn fill(self, sites: &[(&str, u8)]) -> TestLab {
        for ((site, hosts), index) in sites.iter().zip(1..) {
            self.ensure_site(site, index).unwrap();
            for index in 1..=*hosts {
                let begun = Instant::now();
                self.ensure_host(&host(site, index)).unwrap();
                assert!(begun.elapsed() < Duration::from_secs(30));
            }
        }
        self
    }
}

impl Deref for TestLab {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.lab
    }
}

fn ensure(name: &str, topology: Topology) -> Lab {
    Lab::ensure(&Config { name: name.to_owned(), topology, helper: Some(PathBuf::from(NETLAB)) }).unwrap()
}

/// A host with a key that nobody uses outside this test.
fn host(site: &str, index: u8) -> HostConfig {
    let (host_key_pem, authorized_key) = key().clone();
    HostConfig {
        name: format!("{site}-{index}"),
        site: site.to_owned(),
        index,
        authorized_key,
        host_key_pem,
        labels: BTreeMap::new(),
    }
}

/// The private and the public half of a key.
fn key() -> &'static (String, String) {
    static KEY: OnceLock<(String, String)> = OnceLock::new();
    KEY.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let status =
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&path).status();
        assert!(status.unwrap().success());
        let read = |path: PathBuf| std::fs::read_to_string(path).unwrap();
        (read(path.clone()), read(path.with_extension("pub")))
    })
}

fn at_host(name: &str) -> Place {
    Place::Host(name.to_owned())
}

/// Whether one ping of several passes.
fn pings(lab: &Lab, from: &Place, to: &str) -> bool {
    let output = lab.exec(from, &["ping", "-c", "3", "-i", "0.2", "-W", "1", to]).unwrap();
    output.status.success()
}

fn netlab(args: &[&str]) -> Output {
    Command::new(NETLAB).args(args).output().unwrap()
}

/// Waits for what nobody announces.
#[track_caller]
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::yield_now();
        thread::sleep(Duration::from_millis(20));
    }
}
