//! What goes wrong is said in one line with a hint, and nothing is left half done.

use std::net::{TcpListener, UdpSocket};

use crate::bed::{Bed, PASSWORD};

/// Runs a line that has to fail; returns what it said.
fn fails(bed: &Bed, line: &str, code: i32) -> String {
    let output = bed.weave(0, line);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{line}: {said}");
    assert_eq!(bed.run(&bed.host(0), "ip -o link").lines().count(), 1, "only lo is there after: {line}");
    said
}

/// Runs `work` on a thread that stands in the namespace of host 0.
fn inside<T: Send>(bed: &Bed, work: impl FnOnce() -> T + Send) -> T {
    let file = std::fs::File::open(format!("/run/netns/{}", bed.host(0))).unwrap();
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            work()
        });
        thread.join().unwrap()
    })
}

#[test]
fn mistakes_of_usage_exit_with_2() {
    let bed = Bed::new(1, &[]);
    assert!(fails(&bed, "--no-such-flag", 2).contains("--no-such-flag"));
    assert!(fails(&bed, "launhc", 2).contains("launch"), "a suggestion");
    assert!(fails(&bed, "attach 10.2.0.1/24", 2).contains("no target"));
    assert!(fails(&bed, "attach 10.2.0.1/99 netns:x", 2).contains("'99' is not a prefix length"));
    assert!(fails(&bed, "attach 10.2.0.1/24 docker:x", 2).contains("netns:NAME, netns:/PATH or pid:N"));
    assert!(fails(&bed, "expose 10.2.0/24", 2).contains("10.2.0"));
}

#[test]
fn without_a_gateway_commands_say_how_to_start_one() {
    let bed = Bed::new(1, &[]);
    for line in [
        "status",
        "connect 192.0.2.1",
        "attach 10.2.0.1/24 netns:x",
        "expose 10.2.0.1/24",
        "rmpeer h9",
        "stop",
    ] {
        let said = fails(&bed, line, 1);
        assert!(said.starts_with("error: no gateway answers on http://127.0.0.1:6784"), "{said}");
        assert!(said.contains("hint: start it with `weave launch`"), "{said}");
    }
}

#[test]
fn bad_settings_change_nothing() {
    let bed = Bed::new(1, &[]);
    assert!(fails(&bed, "launch --mtu 100 --network No", 1).contains("mtu: 100"));
    let weak = fails(&bed, "launch --password secret", 1);
    assert!(weak.contains("too weak"), "{weak}");
    assert!(fails(&bed, "launch a:b:c", 1).contains("peers: 'b:c' is not a port"));
}

#[test]
fn a_taken_port_is_named() {
    let bed = Bed::new(1, &[]);
    let taken = inside(&bed, || UdpSocket::bind("0.0.0.0:6783").unwrap());
    let said = fails(&bed, &format!("launch --password {PASSWORD}"), 1);
    assert!(said.contains("6783") && said.contains("hint: "), "{said}");
    drop(taken);
    let taken = inside(&bed, || TcpListener::bind("127.0.0.1:6784").unwrap());
    let said = fails(&bed, &format!("launch --password {PASSWORD}"), 1);
    assert!(said.contains("6784") && said.contains("hint: "), "{said}");
    drop(taken);
}

#[test]
fn a_foreign_bridge_is_left_alone() {
    let bed = Bed::new(1, &[]);
    bed.ip(0, "link add weave type bridge");
    let output = bed.weave(0, &format!("launch --password {PASSWORD}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("'weave' exists and is not ours") && said.contains("hint: "), "{said}");
    let links = bed.run(&bed.host(0), "ip -o link");
    assert!(links.contains("weave") && !links.contains("vethwe-tap"), "{links}");
}

#[test]
fn a_second_gateway_is_refused() {
    let bed = Bed::new(1, &[]);
    bed.launch(0, &[]);
    let output = bed.weave(0, &format!("launch --password {PASSWORD}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("a gateway runs already"), "{said}");
    bed.weave_ok(0, "reset --force");
    assert_eq!(bed.run(&bed.host(0), "ip -o link").lines().count(), 1);
}

#[test]
fn without_root_it_says_so() {
    let bed = Bed::new(1, &[]);
    let program = env!("CARGO_BIN_EXE_weave-gateway");
    let nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups";
    for verb in ["launch", "daemon", "reset"] {
        let output = bed.try_run(&bed.host(0), &format!("{nobody} {program} {verb}"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("needs root") && said.contains("hint: run it with sudo"), "{said}");
    }
}

#[test]
fn without_tun_it_says_what_is_missing() {
    let bed = Bed::new(1, &[]);
    let program = env!("CARGO_BIN_EXE_weave-gateway");
    let hidden = format!("mount -t tmpfs none /dev/net && exec {program} launch --password {PASSWORD}");
    let mut command = bed.command(&bed.host(0), "unshare");
    let output = command.args(["-m", "sh", "-c", &hidden]).env("WEAVE_STATE", bed.state(0)).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("/dev/net/tun") && said.contains("hint: "), "{said}");
    assert_eq!(bed.run(&bed.host(0), "ip -o link").lines().count(), 1, "nothing is left half done");
}
