//! The life of hosts and what runs on them.

use std::io::Write as _;
use std::process::Stdio;

use netlab::{Error, Lab, Phase, Place, Topology};

use crate::{Name, TestLab, at_host, host, netlab, pings, wait_until};

fn phase(lab: &Lab, name: &str) -> Phase {
    lab.status().unwrap().hosts[name].phase
}

fn output(lab: &Lab, place: &Place, argv: &[&str]) -> String {
    let output = lab.exec(place, argv).unwrap();
    assert!(output.status.success(), "{argv:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_host_is_a_machine_with_systemd_and_a_network_of_its_own() {
    let lab = TestLab::new("machine", Topology::Partial).fill(&[("aws", 1)]);
    let aws = at_host("aws-1");
    assert_eq!(output(&lab, &aws, &["hostname"]), "aws-1");
    wait_until("systemd is done", || {
        lab.exec(&aws, &["systemctl", "is-system-running"]).unwrap().stdout == b"running\n"
    });
    assert_eq!(output(&lab, &aws, &["systemctl", "list-units", "--failed", "--no-legend"]), "");
    assert!(output(&lab, &aws, &["ip", "-4", "-o", "addr", "show", "eth0"]).contains("10.1.0.11/24"));
    // What a gateway needs, and what it must not have: the machine's clock and secrets.
    output(&lab, &aws, &["ip", "tuntap", "add", "dev", "tap0", "mode", "tap"]);
    assert!(!lab.exec(&aws, &["date", "-s", "2001-01-01"]).unwrap().status.success());
    assert_eq!(output(&lab, &aws, &["stat", "-f", "-c", "%T", "/root"]), "tmpfs");
    assert_eq!(output(&lab, &aws, &["stat", "-c", "%a", "/etc/weave-lab/hostkey"]), "600");
    assert!(!output(&lab, &aws, &["env"]).contains("CARGO"));
}

#[test]
fn programs_pass_on_input_output_and_code_and_die_with_their_proxy() {
    let lab = TestLab::new("exec", Topology::Partial).fill(&[("aws", 1)]);
    let aws = at_host("aws-1");
    let code = lab.exec(&aws, &["sh", "-c", "exit 7"]).unwrap().status.code();
    assert_eq!(code, Some(7));
    let mut cat = lab.command(&aws, "cat").unwrap();
    let mut cat = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    cat.stdin.take().unwrap().write_all(b"through").unwrap();
    assert_eq!(cat.wait_with_output().unwrap().stdout, b"through");
    assert!(lab.exec(&aws, &["no-such-program"]).is_err());

    let sleepers = || lab.exec(&aws, &["pgrep", "-x", "sleep"]).unwrap().status.success();
    let mut sleep = lab.command(&aws, "sleep").unwrap().arg("1000").spawn().unwrap();
    wait_until("the program runs", sleepers);
    sleep.kill().unwrap();
    sleep.wait().unwrap();
    wait_until("the program is dead", || !sleepers());

    let places = [Place::Operator, Place::Internet, Place::Router("aws".to_owned()), aws];
    for place in &places {
        let links = output(&lab, place, &["ip", "-o", "link"]);
        assert!(links.contains("lo"), "{links}");
    }
    let mut left: Vec<_> = places
        .iter()
        .map(|place| lab.command(place, "sleep").unwrap().arg("1000").spawn().unwrap())
        .collect();
    netlab::down(&lab.name).unwrap();
    for sleep in &mut left {
        assert!(!sleep.wait().unwrap().success());
    }
}

#[test]
fn a_host_reboots_by_itself_and_boots_again_when_asked() {
    let lab = TestLab::new("reboot", Topology::Partial).fill(&[("aws", 1)]);
    let aws = at_host("aws-1");
    output(&lab, &aws, &["touch", "/etc/kept", "/run/lost"]);
    // The host dies under the command: its code says nothing.
    lab.exec(&aws, &["systemctl", "reboot", "--force"]).unwrap();
    wait_until("the host is up again", || {
        phase(&lab, "aws-1") == Phase::Running
            && lab
                .exec(&aws, &["test", "-e", "/run/lost"])
                .is_ok_and(|output| output.status.code() == Some(1))
    });
    output(&lab, &aws, &["test", "-e", "/etc/kept"]);

    // A supervisor that is killed takes its host along.
    let supervisor = ["pkill", "-KILL", "-f", "netlab-host aws-1"];
    assert!(lab.exec(&Place::Operator, &supervisor).unwrap().status.success());
    wait_until("the host is off", || phase(&lab, "aws-1") == Phase::Stopped);
    lab.ensure_host(&host("aws", 1)).unwrap();

    lab.exec(&aws, &["systemctl", "poweroff", "--force"]).unwrap();
    wait_until("the host is off", || phase(&lab, "aws-1") == Phase::Stopped);
    assert!(matches!(lab.exec(&aws, &["true"]), Err(Error::Failed(_))));
    lab.ensure_host(&host("aws", 1)).unwrap();
    assert_eq!(phase(&lab, "aws-1"), Phase::Running);
    output(&lab, &aws, &["test", "-e", "/etc/kept"]);
}

#[test]
fn hosts_and_sites_come_and_go_and_mistakes_are_named() {
    let lab = TestLab::new("life", Topology::Partial).fill(&[("aws", 2)]);
    let before = lab.status().unwrap();
    lab.ensure_site("aws", 1).unwrap();
    lab.ensure_host(&host("aws", 2)).unwrap();
    assert_eq!(lab.status().unwrap(), before);

    assert!(matches!(lab.ensure_site("aws", 2), Err(Error::Conflict(_, _))));
    assert!(matches!(lab.ensure_site("gcp", 1), Err(Error::Conflict(_, _))));
    assert!(matches!(lab.ensure_site("../x", 2), Err(Error::Invalid(_))));
    assert!(matches!(lab.ensure_host(&host("gcp", 1)), Err(Error::NotFound(_))));
    let mut twin = host("aws", 2);
    twin.name = "twin".to_owned();
    assert!(matches!(lab.ensure_host(&twin), Err(Error::Conflict(_, _))));
    assert!(matches!(lab.remove_site("aws"), Err(Error::Invalid(_))));
    assert!(matches!(lab.exec(&at_host("nobody"), &["true"]), Err(Error::NotFound(_))));

    for _ in 0..3 {
        lab.destroy_host("aws-1").unwrap();
        lab.destroy_host("aws-1").unwrap();
        assert!(!lab.status().unwrap().hosts.contains_key("aws-1"));
        lab.ensure_host(&host("aws", 1)).unwrap();
        // Neither the router nor a neighbour remembers the earlier host's interface.
        assert!(pings(&lab, &at_host("aws-2"), "10.1.0.11"));
    }
    for name in ["aws-1", "aws-2"] {
        lab.destroy_host(name).unwrap();
    }
    lab.remove_site("aws").unwrap();
    lab.remove_site("aws").unwrap();
    lab.ensure_site("gcp", 1).unwrap();
    lab.remove_site_or_lab("gcp").unwrap();
    assert!(Lab::open(&lab.name).unwrap().is_none());
}

#[test]
fn the_command_line_goes_through_a_life() {
    let name = Name::new("cli");
    for _ in 0..2 {
        let up = netlab(&["up", &name, "aws:1", "onprem:1"]);
        assert!(up.status.success(), "{up:?}");
    }
    let seen = netlab(&["exec", &name, "onprem-1", "ping", "-c1", "-W2", "203.0.113.17"]);
    assert!(seen.status.success(), "{seen:?}");
    assert!(netlab(&["cut", &name, "aws", "onprem"]).status.success());
    let seen = netlab(&["exec", &name, "onprem-1", "ping", "-c1", "-W1", "203.0.113.17"]);
    assert_eq!(seen.status.code(), Some(1), "{seen:?}");
    assert!(netlab(&["heal", &name, "aws", "onprem"]).status.success());
    let status = String::from_utf8(netlab(&["status", &name]).stdout).unwrap();
    assert_eq!(status.matches("\"running\"").count(), 2, "{status}");
    for _ in 0..2 {
        assert!(netlab(&["down", &name]).status.success());
    }
    let status = netlab(&["status", &name]);
    assert!(
        String::from_utf8(status.stderr).unwrap().starts_with(&format!("error: lab {} is not up", &*name))
    );
    assert_eq!(netlab::remains(&name).unwrap(), []);
}
