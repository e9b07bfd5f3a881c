//! Three and four hosts: relays, broadcast, loss and repair.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::bed::{Bed, wait_until};

const SOON: Duration = Duration::from_secs(15);

/// Gateways on all hosts of `cables`, each given the hosts before it that it shares a cable with; a namespace on each.
fn mesh(hosts: usize, cables: &[(usize, usize)]) -> (Bed, Vec<String>) {
    let mut bed = Bed::new(hosts, cables);
    for host in 0..hosts {
        let peers: Vec<String> = cables
            .iter()
            .filter(|(_, later)| *later == host)
            .map(|&(earlier, _)| bed.address(earlier, host))
            .collect();
        bed.launch(host, &peers);
    }
    let names: Vec<String> = (0..hosts).map(|host| bed.container(&format!("c{host}"))).collect();
    for (host, name) in names.iter().enumerate() {
        bed.weave_ok(host, &format!("attach 10.32.1.{}/24 netns:{name}", host + 1));
    }
    for (host, name) in names.iter().enumerate() {
        for other in (0..hosts).filter(|other| *other != host) {
            let to = format!("10.32.1.{}", other + 1);
            wait_until(&format!("{host} reaches {other}"), SOON, || bed.pings(name, &to));
        }
    }
    (bed, names)
}

/// A capture of what passes in a namespace, ended when dropped.
struct Capture {
    child: Child,
    file: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

impl Capture {
    fn start(bed: &Bed, namespace: &str, interface: &str, filter: &str) -> Capture {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("capture");
        let mut command = bed.command(namespace, "tcpdump");
        command.args(["-i", interface, "-s", "0", "-U", "-Z", "root", "-w"]).arg(&file).arg(filter);
        command.stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // Its first words say that it listens.
        let mut byte = [0];
        child.stderr.as_mut().unwrap().read_exact(&mut byte).unwrap();
        wait_until("the capture has begun", SOON, || file.exists());
        Capture { child, file, _folder: folder }
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.file).unwrap()
    }

    /// How many packets it has caught.
    fn packets(&self) -> usize {
        let read = Command::new("tcpdump").args(["-n", "-r"]).arg(&self.file).output().unwrap();
        String::from_utf8_lossy(&read.stdout).lines().count()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn a_relay_passes_on_what_it_cannot_read() {
    let (bed, names) = mesh(3, &[(0, 1), (1, 2)]);
    let paths = bed.weave_ok(0, "status paths");
    assert!(paths.lines().any(|l| l.contains("(h2)") && l.contains("relay via h1")), "{paths}");
    assert!(paths.lines().any(|l| l.contains("(h1)") && l.contains("direct")), "{paths}");
    let capture = Capture::start(&bed, &bed.host(1), "any", "");
    // 16 bytes of the pattern are a canary that no ciphertext holds by chance.
    let canary = "c0ffee42deadbeefc0ffee42deadbeef";
    bed.run(&names[0], &format!("ping -n -c 3 -i 0.1 -W 2 -p {canary} 10.32.1.3"));
    wait_until("the sealed pings are captured", SOON, || capture.bytes().len() > 1000);
    let canary: Vec<u8> =
        (0..16).map(|at| u8::from_str_radix(&canary[at * 2..at * 2 + 2], 16).unwrap()).collect();
    assert!(!holds(&capture.bytes(), &canary), "the relay carries the canary in clear");
    bed.run(&names[0], "ping -n -c 2 -i 0.1 -W 2 -M do -s 1348 10.32.1.3");
}

#[test]
fn broadcasts_reach_everybody_once_and_relays_that_die_are_replaced() {
    // A square whose diagonal 0–3 is missing: 0–1, 0–2, 1–3, 2–3.
    let (bed, names) = mesh(4, &[(0, 1), (0, 2), (1, 3), (2, 3)]);
    let broadcasts = "icmp[icmptype] == icmp-echo and dst host 10.32.1.255";
    let captures: Vec<Capture> =
        names[1..].iter().map(|name| Capture::start(&bed, name, "ethwe", broadcasts)).collect();
    // Nobody has to answer; what counts is what arrives.
    let _ = bed.try_run(&names[0], "ping -n -b -c 5 -i 0.1 -W 1 10.32.1.255");
    for (host, capture) in captures.iter().enumerate() {
        wait_until(&format!("broadcasts at {}", host + 1), SOON, || capture.packets() >= 5);
    }
    // The last copies of a loop would have come by now: each takes less than a round trip.
    bed.run(&names[0], "ping -n -c 3 -i 0.1 -W 1 10.32.1.4");
    let counts: Vec<usize> = captures.iter().map(Capture::packets).collect();
    assert_eq!(counts, [5, 5, 5], "each broadcast once");
    drop(captures);
    let relay = if bed.weave_ok(0, "status paths").contains("relay via h1") { 1 } else { 2 };
    bed.run(&bed.host(relay), &format!("kill -KILL {}", bed.pid(relay)));
    let start = Instant::now();
    wait_until("pings through the other relay", Duration::from_secs(3), || bed.pings(&names[0], "10.32.1.4"));
    assert!(start.elapsed() < Duration::from_secs(3));
    let other = 3 - relay;
    let reaches = format!("relay via h{other}");
    wait_until("the other relay is shown", SOON, || bed.weave_ok(0, "status paths").contains(&reaches));
    bed.launch(relay, &[bed.address(0, relay)]);
    wait_until("the relay is back", SOON, || bed.pings(&names[0], &format!("10.32.1.{}", relay + 1)));
}

#[test]
fn a_cable_that_comes_back_is_used_again() {
    let (bed, names) = mesh(3, &[(0, 1), (1, 2), (0, 2)]);
    let direct = |bed: &Bed| {
        bed.weave_ok(0, "status paths").lines().any(|line| line.contains("(h2)") && line.contains("direct"))
    };
    wait_until("direct at first", SOON, || direct(&bed));
    bed.plug(0, 2, false);
    wait_until("relayed without the cable", Duration::from_secs(3), || bed.pings(&names[0], "10.32.1.3"));
    wait_until("the relay is shown", SOON, || bed.weave_ok(0, "status paths").contains("relay via h1"));
    bed.plug(0, 2, true);
    wait_until("direct again", Duration::from_secs(30), || direct(&bed));
    assert!(bed.pings(&names[0], "10.32.1.3"));
}
