//! What needs no privileges: how things are written, named and recognised.

use std::net::{Ipv4Addr, Ipv6Addr};

use netlink_packet_route::link::InfoKind;
use weave_model::Mac;

use crate::address::is_underlay;
use crate::link::{Link, check_name};
use crate::netns::OpenNetns;
use crate::{HostError, Netns, announce, attach};

#[test]
fn namespaces_are_parsed_and_printed_alike() {
    let named = |name: &str| Netns::Named(name.to_owned());
    for (text, wanted) in [
        ("netns:blue", named("blue")),
        ("netns:a:b", named("a:b")),
        ("netns:/proc/7/ns/net", Netns::Path("/proc/7/ns/net".into())),
        ("pid:1", Netns::Pid(1)),
        ("pid:4294967295", Netns::Pid(u32::MAX)),
    ] {
        let parsed: Netns = text.parse().expect(text);
        assert_eq!(parsed, wanted, "{text}");
        assert_eq!(parsed.to_string(), text);
    }
}

#[test]
fn what_names_no_namespace_is_refused_with_the_three_forms() {
    for text in [
        "",
        "blue",
        "netns:",
        "netns:.",
        "netns:..",
        "netns:a/b",
        "netns:../x",
        "pid:",
        "pid:0",
        "pid:-1",
        "pid:+1",
        "pid:4294967296",
        "pid:x",
        "PID:1",
        "container:x",
    ] {
        let error = text.parse::<Netns>().expect_err(text);
        assert_eq!(
            error.to_string(),
            format!("'{text}' names no network namespace; write netns:NAME, netns:/PATH or pid:N")
        );
    }
}

#[test]
fn a_pipe_is_no_namespace_and_is_not_waited_for() {
    let folder = tempfile::tempdir().expect("made");
    let path = folder.path().join("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("made");
    let (done, opened) = std::sync::mpsc::channel();
    let netns = Netns::Path(path);
    let named = netns.clone();
    std::thread::spawn(move || done.send(named.open().map(drop)));
    let opened = opened.recv_timeout(std::time::Duration::from_secs(5)).expect("it does not hang");
    assert!(matches!(opened, Err(HostError::NoSuchNetns { netns: of }) if of == netns));
}

#[test]
fn interface_names() {
    for good in ["weave", "vethwe-tap", "vethwepl1234567", "a", "x.y", "é"] {
        check_name(good).expect(good);
    }
    for bad in ["", ".", "..", "a/b", "a:b", "a b", "a\tb", "a\0b", "sixteen-bytes-no"] {
        assert!(matches!(check_name(bad), Err(HostError::BadName { name }) if name == bad), "{bad:?}");
    }
}

#[test]
fn the_mark_is_an_exact_alias_or_its_start() {
    for (alias, ours) in [
        (None, false),
        (Some(""), false),
        (Some("weave"), false),
        (Some("weave gateway"), true),
        (Some("weave gateway: netns:blue container 1"), true),
        (Some("weave gateways"), false),
        (Some("my weave gateway"), false),
    ] {
        let link = Link { alias: alias.map(str::to_owned), ..Link::default() };
        assert_eq!(link.is_ours(), ours, "{alias:?}");
    }
}

#[test]
fn an_alias_names_the_namespace_and_fits() {
    let netns = Netns::Named("blue".to_owned());
    assert_eq!(attach::alias(&netns, "c0ffee"), "weave gateway: netns:blue container c0ffee");
    let long = attach::alias(&netns, &"é".repeat(300));
    assert!((254..=255).contains(&long.len()), "{}", long.len());
    assert!(!attach::alias(&Netns::Named("bluebell".to_owned()), "").starts_with(&attach::alias(&netns, "")));
}

#[test]
fn a_host_end_is_named_after_the_namespace_in_15_bytes() {
    let tag = OpenNetns::current().expect("every process has one").identity.tag();
    assert_eq!(tag, OpenNetns::current().expect("every process has one").identity.tag());
    assert!(tag.len() == 7 && tag.bytes().all(|b| b.is_ascii_hexdigit()), "{tag}");
}

#[test]
fn a_namespace_that_is_not_there() {
    let directory = tempfile::tempdir().expect("a directory");
    let plain = directory.path().join("plain");
    std::fs::write(&plain, "").expect("a file");
    for netns in [
        Netns::Named("no-such-namespace".to_owned()),
        Netns::Path(directory.path().join("none")),
        Netns::Path(plain),
        Netns::Pid(u32::MAX),
    ] {
        let error = netns.open().expect_err("there is none");
        assert!(matches!(&error, HostError::NoSuchNetns { netns: named } if *named == netns), "{error}");
        assert_eq!(error.to_string(), format!("there is no network namespace '{netns}'"));
        assert!(error.hint().is_some());
    }
}

#[test]
fn underlay_interfaces() {
    let eth = |name: &str| Link { index: 2, name: name.to_owned(), running: true, ..Link::default() };
    let ours = Link { index: 9, alias: Some("weave gateway".to_owned()), ..eth("weave") };
    let all = [ours.clone(), Link { index: 8, kind: Some(InfoKind::Bridge), ..eth("br0") }];
    for (link, wanted) in [
        (eth("eth0"), true),
        (Link { kind: Some(InfoKind::Veth), ..eth("eth0") }, true),
        (eth("br-lan"), true),
        (Link { master: Some(8), ..eth("eth1") }, true),
        (Link { running: false, ..eth("eth0") }, false),
        (Link { loopback: true, ..eth("lo") }, false),
        (ours, false),
        (Link { master: Some(9), ..eth("eth1") }, false),
        (eth("docker0"), false),
        (eth("docker_gwbridge"), false),
        (eth("br-0123456789ab"), false),
        (eth("veth12ab34c"), false),
        (eth("vethwe-tap"), false),
        (eth("cni0"), false),
    ] {
        assert_eq!(is_underlay(&link, &all), wanted, "{link:?}");
    }
}

#[test]
fn announcements() {
    let mac = Mac([2, 0, 0, 0, 0, 0x0a]);
    assert_eq!(
        hex(&announce::arp(mac, Ipv4Addr::new(10, 2, 1, 1))),
        "ffffffffffff02000000000a0806\
         000108000604000102000000000a0a0201010000000000000a020101"
    );
    let frame = announce::advertisement(mac, Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));
    assert_eq!(
        hex(&frame),
        "33330000000102000000000a86dd\
         6000000000203afffd000000000000000000000000000001ff020000000000000000000000000001\
         8800CCCC20000000fd000000000000000000000000000001020102000000000a"
            .replace("CCCC", &hex(&frame[56..58]))
    );
    // RFC 8200 §8.1: the one's complement sum over pseudo header and message, checksum included, is all ones.
    let sum: u32 =
        frame[22..].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum::<u32>() + 32 + 58;
    assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
