//! Two hosts: launch, attach, ping, and everything an operator does with them.

use std::time::Duration;

use crate::bed::{Bed, PASSWORD, pair, wait_until};

const SOON: Duration = Duration::from_secs(10);

#[test]
fn attached_namespaces_reach_each_other() {
    let (bed, one, other) = pair();
    bed.run(&one, "ping -n -c 3 -i 0.1 -W 2 10.32.1.2");
    bed.run(&other, "ping -6 -n -c 3 -i 0.1 -W 2 fd00:32::1");
    bed.run(&one, "ping -n -c 3 -i 0.1 -W 2 -M do -s 1348 10.32.1.2");
    assert!(
        !bed.try_run(&one, "ping -n -c 1 -W 1 -M do -s 1349 10.32.1.2").status.success(),
        "beyond the MTU"
    );
    let connections = bed.weave_ok(1, "status connections");
    assert!(
        connections.starts_with("-> 10.0.1.1:6783         established encrypted   user   "),
        "{connections}"
    );
    wait_until("the MTU is shown", SOON, || {
        bed.weave_ok(1, "status connections").contains("(h0) mtu=1376 rtt=")
    });
    assert!(bed.weave_ok(0, "status connections").starts_with("<- "), "the other end did not dial");
    assert!(bed.weave_ok(0, "status peers").contains("(h1)"));
    assert!(bed.weave_ok(1, "status").contains("Connections: 1 (1 established)"));
    let pings = bed.weave_ok(0, "ping all --output json");
    assert!(pings.contains("\"path\":\"direct\"") && pings.contains("\"ok\":true"), "{pings}");
}

#[test]
fn detach_expose_hide_and_stop_undo_what_was_done() {
    let (bed, one, other) = pair();
    assert_eq!(bed.weave_ok(0, "expose 10.32.1.100/24"), "10.32.1.100\n");
    wait_until("the exposed host answers", SOON, || bed.pings(&other, "10.32.1.100"));
    bed.weave_ok(0, "hide 10.32.1.100/24");
    assert!(!bed.pings(&other, "10.32.1.100"));
    assert_eq!(bed.weave_ok(0, &format!("detach 10.32.1.1/24 netns:{one}")), "10.32.1.1\n");
    assert!(bed.run(&one, "ip -o link").contains("ethwe"), "an IPv6 address is left");
    bed.weave_ok(0, &format!("detach netns:{one}"));
    assert!(!bed.run(&one, "ip -o link").contains("ethwe"));
    bed.weave_ok(0, "stop");
    assert!(bed.run(&bed.host(0), "ip -o link").contains("weave"), "the bridge stays for the next launch");
    bed.weave_ok(0, "reset");
    let links = bed.run(&bed.host(0), "ip -o link");
    assert!(!links.contains("weave") && !links.contains("vethwe"), "{links}");
}

#[test]
fn a_killed_gateway_comes_back_and_containers_keep_their_interfaces() {
    let (bed, one, other) = pair();
    // The kernel is still looking for duplicates of the link-local one.
    let before = bed.run(&one, "ip -o addr show dev ethwe scope global");
    let (pid, name) = (bed.pid(0), bed.weave_ok(0, "report -f {{.Router.Name}}"));
    bed.run(&bed.host(0), &format!("kill -KILL {pid}"));
    wait_until("the gateway is gone", SOON, || !bed.weave(0, "status").status.success());
    bed.launch(0, &[]);
    assert_eq!(bed.weave_ok(0, "report -f {{.Router.Name}}"), name, "the name stays");
    assert_eq!(bed.run(&one, "ip -o addr show dev ethwe scope global"), before);
    wait_until("pings after the restart", SOON, || bed.pings(&other, "10.32.1.1"));
}

#[test]
fn another_password_is_refused_with_the_reason_on_both_sides() {
    let bed = Bed::new(2, &[(0, 1)]);
    bed.launch(0, &[]);
    bed.weave_ok(1, &format!("launch --password {PASSWORD}X {}", bed.address(0, 1)));
    wait_until("the dialler says why", SOON, || {
        bed.weave_ok(1, "status connections").contains("password or CA differ")
    });
    let listener = bed.weave_ok(0, "status connections");
    assert!(
        listener.starts_with("<- 10.0.1.2:6783         failed ")
            && listener.contains("password or CA differ"),
        "{listener}"
    );
    assert!(bed.log(0).contains("password or CA differ"), "and so does its log");
    assert!(bed.weave_ok(0, "status").contains("Peers: 1\n"), "nobody joined");
}

#[test]
fn targets_added_and_forgotten_outlive_a_restart() {
    let bed = Bed::new(2, &[(0, 1)]);
    bed.launch(0, &[]);
    bed.launch(1, &[]);
    let target = bed.address(0, 1);
    bed.weave_ok(1, &format!("connect {target}"));
    wait_until("a link", SOON, || bed.weave_ok(1, "status connections").contains("established"));
    bed.weave_ok(1, "stop");
    bed.launch(1, &[]);
    assert_eq!(bed.weave_ok(1, "status targets"), format!("{target}\n"));
    wait_until("a link again", SOON, || bed.weave_ok(1, "status connections").contains("established"));
    bed.weave_ok(1, &format!("forget {target}"));
    wait_until("no target", SOON, || bed.weave_ok(1, "status targets").is_empty());
}
