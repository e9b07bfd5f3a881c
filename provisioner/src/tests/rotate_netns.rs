//! A change of the network CA and upgrades on a lab, with the built programs: real gateways, systemd and SSH.
//!
//! Root only.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const HOSTS: [&str; 4] = ["aws-1", "gcp-1", "onprem-1", "onprem-2"];

/// No step of a lab takes as long.
const LIMIT: Duration = Duration::from_secs(60);

/// A fleet that ends with the test.
struct Fleet {
    name: String,
    folder: tempfile::TempDir,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let ended = self.command(&["down", "--yes"]).output();
        let well = ended.as_ref().is_ok_and(|output| output.status.success());
        assert!(well || std::thread::panicking(), "{ended:?}");
    }
}

impl Fleet {
    fn up(test: &str) -> Fleet {
        let folder = tempfile::tempdir().unwrap();
        let fleet = Fleet { name: format!("r{}-{test}", std::process::id()), folder };
        fleet.run(&["up", "--clouds", "aws,gcp,onprem", "--yes"], 0);
        for (host, number) in HOSTS.iter().zip(1..) {
            fleet.run(&["ssh", host, "--", "weave", "expose", &format!("10.40.0.{number}/24")], 0);
        }
        fleet
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program("weave-provision"));
        command.args(["--lab", "--name", &self.name, "--state"]).arg(self.folder.path().join("state"));
        command.args(args).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end; fails unless it ends with `code`, and returns all that it said.
    #[track_caller]
    fn run(&self, args: &[&str], code: i32) -> String {
        let Output { status, stdout, stderr } = self.command(args).output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        assert_eq!(status.code(), Some(code), "{args:?}: {said}");
        said
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join("state").join(name)).unwrap_or_default()
    }

    /// Runs `rotate-keys` and kills it behind the `steps`-th step that it begins; false when it ended before.
    fn kill_rotation(&self, steps: usize) -> bool {
        let begun = || self.read("journal.jsonl").matches("\"event\":\"begin\"").count();
        let before = begun();
        let mut child =
            Killed(self.command(&["rotate-keys", "--yes"]).stdout(Stdio::null()).spawn().unwrap());
        let start = Instant::now();
        loop {
            if child.0.try_wait().unwrap().is_some() {
                return false;
            }
            if begun() >= before + steps {
                return true;
            }
            assert!(start.elapsed() < LIMIT, "the change does not get on");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn epoch(&self) -> (u64, Option<String>) {
        let fleet: serde_json::Value = serde_json::from_str(&self.read("fleet.json")).unwrap();
        let number = fleet["epoch"]["number"].as_u64().unwrap_or(1);
        (number, fleet["epoch"]["change"].as_str().map(str::to_owned))
    }
}

/// A process that is killed when dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program that was built beside this test.
fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.ancestors().nth(2).unwrap().join(name);
    assert!(
        path.exists(),
        "{} is missing: cargo build -p weave-provisioner -p weave-gatewayd",
        path.display()
    );
    path
}

#[test]
fn the_ca_changes_under_traffic_and_kills_without_a_lost_frame() {
    let fleet = Fleet::up("ca");
    let old = fleet.read("network-ca.pem");
    // From the first host to the second frames are relayed: the lab's sites are only partially connected.
    let stop = "trap 'kill -INT $p' TERM; ping -n -i 0.005 -W 2 10.40.0.2 & p=$!; wait $p; wait $p";
    let log = fleet.folder.path().join("pings");
    let mut pings = Killed(
        fleet
            .command(&["ssh", "aws-1", "--", "sh", "-c", &format!("echo $$ >/run/pings; {stop}")])
            .stdout(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap(),
    );
    let start = Instant::now();
    while fleet.command(&["ssh", "aws-1", "--", "test", "-s", "/run/pings"]).status().unwrap().code()
        != Some(0)
    {
        assert!(start.elapsed() < LIMIT, "the pings do not start");
    }
    let mut kills = 0;
    while fleet.epoch() != (2, None) {
        // The steps are repeated by the run behind the kill, and each run gets further.
        kills += usize::from(fleet.kill_rotation(3 + 2 * kills));
        assert!(start.elapsed() < 3 * LIMIT, "the change does not end");
    }
    assert!(kills >= 2, "only {kills} runs were killed");
    fleet.run(&["ssh", "aws-1", "--", "sh", "-c", "kill -TERM $(cat /run/pings)"], 0);
    pings.0.wait().unwrap();
    let text = std::fs::read_to_string(&log).unwrap();
    let number = |line: &str| line.split_once("icmp_seq=")?.1.split(' ').next()?.parse().ok();
    let answers = text.lines().filter(|line| line.contains("bytes from"));
    let came: std::collections::BTreeSet<usize> = answers.filter_map(number).collect();
    // What is under way at the end counts neither as lost nor as come.
    assert!(
        came.len() > 500 && came.last() == Some(&came.len()),
        "{} came, the last as {:?}",
        came.len(),
        came.last()
    );
    assert!(!old.is_empty() && fleet.read("network-ca.pem") != old);
    assert!(
        fleet
            .run(&["plan", "--gateway", program("weave-gateway").to_str().unwrap()], 0)
            .contains("0 to change")
    );
}

#[test]
fn a_bad_program_stops_at_the_first_host_and_a_good_one_goes_round() {
    let fleet = Fleet::up("up");
    let file = |name: &str| fleet.folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(file("bad"), "#!/bin/sh\nexit 1\n").unwrap();
    let said = fleet.run(&["upgrade", "--yes", "--gateway", &file("bad")], 1);
    assert!(said.contains("aws-1: the new program does not work there; the old one runs again"), "{said}");
    let built = program("weave-gateway");
    let plan = ["plan", "--gateway", built.to_str().unwrap()];
    assert!(fleet.run(&plan, 0).contains("0 to change"));
    // The same program with another checksum.
    let mut other = std::fs::read(&built).unwrap();
    other.push(0);
    std::fs::write(file("good"), other).unwrap();
    let said = fleet.run(&["upgrade", "--yes", "--gateway", &file("good")], 0);
    assert!(said.contains("upgraded: 4 of 4 hosts"), "{said}");
    let said = fleet.run(&["upgrade", "--yes", "--gateway", &file("good")], 0);
    assert!(said.contains("upgraded: 0 of 4 hosts"), "{said}");
    for host in HOSTS {
        fleet.run(&["ssh", host, "--", "test", "-x", "/usr/local/bin/weave-gateway.old"], 0);
    }
}
