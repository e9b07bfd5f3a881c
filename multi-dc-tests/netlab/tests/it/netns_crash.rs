//! Every process of a lab is killed at any moment; `up` and `down` cope.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use netlab::{Lab, Place, Topology};

use crate::{NETLAB, Name, TestLab, at_host, netlab, wait_until};

/// The pid of the keeper.
fn keeper(lab: &str) -> i32 {
    let text = fs::read_to_string(format!("/run/weave-lab/{lab}/keeper")).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

fn first_child(pid: i32) -> i32 {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

fn kill(pid: i32) {
    let status = Command::new("kill").args(["-9", &pid.to_string()]).status();
    assert!(status.unwrap().success());
}

fn up(lab: &str) -> Child {
    let mut up = Command::new(NETLAB);
    up.args(["up", lab, "aws:1", "onprem:1"]).stdout(Stdio::null()).stderr(Stdio::piped());
    up.spawn().unwrap()
}

fn assert_down(lab: &str) {
    let down = netlab(&["down", lab]);
    assert!(down.status.success(), "{down:?}");
    assert_eq!(netlab::remains(lab).unwrap(), []);
}

/// The network namespaces that some process of the machine is in.
fn networks() -> BTreeSet<PathBuf> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| fs::read_link(entry.path().join("ns/net")).ok()).collect()
}

/// The network namespaces of a lab with the host `aws-1`.
fn networks_of(lab: &Lab) -> BTreeSet<PathBuf> {
    let places = [Place::Operator, Place::Internet, Place::Router("aws".to_owned()), at_host("aws-1")];
    let own = |place| lab.within(place, || fs::read_link("/proc/thread-self/ns/net").unwrap()).unwrap();
    let found: BTreeSet<PathBuf> = places.iter().map(own).collect();
    assert_eq!(found.len(), places.len());
    found
}

#[test]
fn a_killed_keeper_takes_all_along_and_up_starts_anew() {
    for depth in 0..3 {
        let lab = TestLab::new(&format!("keeper{depth}"), Topology::Partial).fill(&[("aws", 1)]);
        let mut sleep = lab.command(&at_host("aws-1"), "sleep").unwrap().arg("1000").spawn().unwrap();
        // The keeper, its pid 1, the controller.
        let victim = (0..depth).fold(keeper(&lab.name), |pid, _| first_child(pid));
        kill(victim);
        assert!(!sleep.wait().unwrap().success());
        wait_until("the lab is down", || Lab::open(&lab.name).unwrap().is_none());
        let again = netlab(&["up", &lab.name, "aws:1"]);
        assert!(again.status.success(), "{again:?}");
        assert!(lab.exec(&at_host("aws-1"), &["true"]).unwrap().status.success());
    }
}

#[test]
fn down_removes_what_a_killed_keeper_left() {
    let lab = Name::new("left");
    assert!(netlab(&["up", &lab, "aws:1"]).status.success());
    let own = networks_of(&Lab::open(&lab).unwrap().unwrap());
    assert!(own.iter().any(|network| networks().contains(network)));
    kill(keeper(&lab));
    assert_down(&lab);
    wait_until("no process is in a namespace of the lab", || networks().is_disjoint(&own));
}

#[test]
fn an_up_killed_at_any_moment_leaves_what_down_removes() {
    let begun = Instant::now();
    let lab = Name::new("moments");
    assert!(up(&lab).wait().unwrap().success());
    let whole = begun.elapsed();
    assert_down(&lab);
    // The beginning is where the keeper comes to be: more moments there.
    let steps = 24u32;
    for step in 0..steps {
        let moment = whole * step * step / (steps * steps);
        let mut killed = up(&lab);
        thread::sleep(moment);
        killed.kill().unwrap();
        killed.wait().unwrap();
        if step % 3 == 0 {
            assert!(up(&lab).wait().unwrap().success(), "up after a kill at {moment:?}");
        }
        assert_down(&lab);
    }
}

#[test]
fn commands_at_once_agree() {
    let lab = Name::new("race");
    let ups: Vec<Child> = (0..4).map(|_| up(&lab)).collect();
    for up in ups {
        let output = up.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!(Lab::open(&lab).unwrap().unwrap().status().unwrap().hosts.len(), 2);
    let downs: Vec<_> = (0..4).map(|_| Command::new(NETLAB).args(["down", &lab]).spawn().unwrap()).collect();
    for mut down in downs {
        assert!(down.wait().unwrap().success());
    }
    assert_eq!(netlab::remains(&lab).unwrap(), []);
}

#[test]
fn commands_against_each_other_end() {
    let lab = Name::new("fight");
    let commands = (0..16).map(|round| {
        if round % 2 == 0 { up(&lab) } else { Command::new(NETLAB).args(["down", &lab]).spawn().unwrap() }
    });
    // An `up` may rightly say that its lab vanished, and `down` that processes came faster than it could kill them.
    for mut command in commands.collect::<Vec<Child>>() {
        command.wait().unwrap();
    }
    assert!(up(&lab).wait().unwrap().success());
    assert_down(&lab);
}

#[test]
fn a_keeper_needs_nothing_of_the_command_that_started_it() {
    let lab = Name::new("bare");
    let script = format!(
        "mkdir -p /tmp/{lab} && cd /tmp/{lab} && rmdir /tmp/{lab} && \
         exec env -i PATH=$PATH setsid {NETLAB} up {lab} aws:1 <&- | cat",
        lab = &*lab
    );
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let open = Lab::open(&lab).unwrap().expect("the lab is up");
    assert!(open.exec(&Place::Operator, &["true"]).unwrap().status.success());
    assert_down(&lab);
}

#[test]
fn a_lab_stands_in_odd_surroundings() {
    let read_only = "for m in /sys/fs/cgroup /sys/fs/cgroup/unified; do \
                     mount -o bind,ro $m $m && mount -o remount,bind,ro $m; done 2>/dev/null;";
    let around = [("pid", "-m -p -f --mount-proc", ""), ("net", "-n", ""), ("ro", "-m", read_only)];
    for (test, flags, before) in around {
        let lab = Name::new(test);
        let script = format!(
            "{before} {NETLAB} up {lab} aws:1 && {NETLAB} exec {lab} aws-1 hostname && {NETLAB} down {lab} && \
             ! grep /run/weave-lab/{lab} /proc/mounts",
            lab = &*lab
        );
        let unshare = format!("exec unshare {flags} -- sh -c '{script}'");
        let output = Command::new("sh").args(["-c", &unshare]).output().unwrap();
        assert!(output.status.success(), "{test}: {output:?}");
        assert_eq!(output.stdout, b"aws-1\n", "{test}");
        assert_eq!(netlab::remains(&lab).unwrap(), []);
    }
}

#[test]
fn a_host_of_a_lab_can_hold_a_lab() {
    let lab = TestLab::new("outer", Topology::Partial).fill(&[("aws", 1)]);
    let outer = at_host("aws-1");
    let run = |argv: &[&str]| {
        let output = lab.exec(&outer, argv).unwrap();
        assert!(output.status.success(), "{argv:?}: {output:?}");
        output.stdout
    };
    // Where this program lies may be one of the folders that hosts do not see.
    let mut copy = lab.command(&outer, "sh").unwrap();
    copy.args(["-c", "cat >/usr/local/bin/netlab && chmod 755 /usr/local/bin/netlab"]);
    assert!(copy.stdin(fs::File::open(NETLAB).unwrap()).status().unwrap().success());
    run(&["netlab", "up", &lab.name, "gcp:1"]);
    assert_eq!(run(&["netlab", "exec", &lab.name, "gcp-1", "hostname"]), b"gcp-1\n");
    run(&["netlab", "down", &lab.name]);
    run(&["test", "!", "-e", "/run/weave-lab"]);
    // The outer one of the same name has not noticed.
    assert_eq!(run(&["hostname"]), b"aws-1\n");
}
