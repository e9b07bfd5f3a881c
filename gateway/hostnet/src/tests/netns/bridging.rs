//! The bridge: made, adopted, refused, removed; its ports and its own addresses.

use std::net::IpAddr;

use super::{MAC, Namespace, attachment, bridge, cidr, cidrs};
use crate::{Bridge, Change, HostError};

#[test]
fn a_bridge_is_made_once() {
    let host = Namespace::new("host");
    host.host(async |net| {
        assert_eq!(net.ensure_bridge(&bridge()).await.expect("made"), Change::Changed);
        assert_eq!(net.ensure_bridge(&bridge()).await.expect("kept"), Change::Unchanged);
    });
    let shown = host.ip("-d link show weave");
    for part in [
        "mtu 1376",
        "02:11:22:33:44:55",
        "alias weave gateway",
        ",UP",
        "stp_state 0",
        "forward_delay 0 ",
        "mcast_snooping 0",
        "nf_call_iptables 0",
        "nf_call_ip6tables 0",
        "nf_call_arptables 0",
    ] {
        assert!(shown.contains(part), "no '{part}' in {shown}");
    }
}

#[test]
fn a_bridge_follows_what_is_wanted_and_not_its_ports() {
    let host = Namespace::new("host");
    for mtu in [1376, 1500, 8916, 65535] {
        host.host(async |net| {
            let wanted = Bridge { mtu, ..bridge() };
            assert_eq!(net.ensure_bridge(&wanted).await.expect("made or changed"), Change::Changed);
            assert_eq!(net.ensure_bridge(&wanted).await.expect("kept"), Change::Unchanged);
        });
        assert!(host.ip("link show weave").contains(&format!("mtu {mtu} ")), "{mtu}");
    }
    host.ip("link add low address 00:00:00:00:00:01 mtu 1000 type veth peer name far");
    host.ip("link set low master weave up");
    let shown = host.ip("link show weave");
    assert!(shown.contains("mtu 65535") && shown.contains(&MAC.to_string()), "{shown}");

    host.ip("link set weave down alias weave address 02:00:00:00:00:01 mtu 1400 type bridge stp_state 1");
    let refused = host.host(async |net| net.ensure_bridge(&bridge()).await);
    assert!(matches!(refused, Err(HostError::Foreign { .. })), "{refused:?}");
    super::command("ip", &["-n", &host.0, "link", "set", "weave", "alias", "weave gateway"]);
    host.host(async |net| {
        assert_eq!(net.ensure_bridge(&bridge()).await.expect("repaired"), Change::Changed);
        assert_eq!(net.ensure_bridge(&bridge()).await.expect("kept"), Change::Unchanged);
    });
    let shown = host.ip("-d link show weave");
    for part in ["stp_state 0", "mtu 1376", ",UP", &MAC.to_string()] {
        assert!(shown.contains(part), "no '{part}' in {shown}");
    }
}

#[test]
fn an_mtu_of_1500_is_fixed_too() {
    let host = Namespace::new("host");
    host.host(async |net| net.ensure_bridge(&Bridge { mtu: 1500, ..bridge() }).await).expect("made");
    host.ip("link add low mtu 1000 type veth peer name far");
    host.ip("link set low master weave up");
    assert!(host.ip("link show weave").contains("mtu 1500 "));
}

#[test]
fn a_foreign_interface_of_that_name_is_refused_and_left_alone() {
    for kind in ["bridge", "veth"] {
        let host = Namespace::new("host");
        host.ip(&format!("link add weave address 02:00:00:00:00:99 type {kind}"));
        let before = host.ip("-d link show weave");
        let error = host.host(async |net| net.ensure_bridge(&bridge()).await).expect_err("it is not ours");
        assert!(matches!(&error, HostError::Foreign { interface, .. } if interface == "weave"), "{error}");
        assert_eq!(
            error.to_string(),
            format!("interface 'weave' exists and is not ours: a {kind} without the alias 'weave gateway'")
        );
        assert!(error.hint().is_some_and(|hint| hint.contains("ip link delete weave")));

        let errors = host.host(async |net| net.remove_bridge("weave").await).expect_err("it is not ours");
        assert!(matches!(&errors[..], [HostError::Foreign { .. }]), "{errors:?}");
        let exposing = host.host(async |net| net.expose("weave", cidr("10.2.0.1/16")).await);
        assert!(matches!(exposing, Err(HostError::Foreign { .. })), "{exposing:?}");
        assert_eq!(host.ip("-d link show weave"), before);
    }
}

#[test]
fn a_bridge_whose_maker_died_before_marking_it_is_adopted() {
    let host = Namespace::new("host");
    host.ip(&format!("link add weave address {MAC} type bridge"));
    host.host(async |net| {
        assert_eq!(net.ensure_bridge(&bridge()).await.expect("adopted"), Change::Changed);
        assert_eq!(net.ensure_bridge(&bridge()).await.expect("kept"), Change::Unchanged);
    });
}

#[test]
fn a_port_joins_the_bridge() {
    let host = Namespace::new("host");
    host.host(async |net| {
        net.ensure_bridge(&bridge()).await.expect("made");
        let absent = net.ensure_port("weave", "vethwe-tap", 1376).await.expect_err("there is none");
        assert!(matches!(&absent, HostError::NoSuchInterface { name } if name == "vethwe-tap"), "{absent}");
    });
    host.ip("tuntap add mode tap name vethwe-tap");
    host.host(async |net| {
        let join = async || net.ensure_port("weave", "vethwe-tap", 1376).await.expect("joined");
        assert_eq!(join().await, Change::Changed);
        assert_eq!(join().await, Change::Unchanged);
    });
    let shown = host.ip("link show vethwe-tap");
    assert!(shown.contains("master weave") && shown.contains("mtu 1376") && shown.contains(",UP"), "{shown}");

    host.ip("link add other type bridge");
    host.ip("link add taken type veth peer name far");
    host.ip("link set taken master other");
    let taken = host.host(async |net| net.ensure_port("weave", "taken", 1376).await).expect_err("taken");
    assert!(taken.to_string().contains("a port of 'other'"), "{taken}");

    host.host(async |net| {
        net.remove_interface("vethwe-tap").await.expect("removed");
        net.remove_interface("vethwe-tap").await.expect("gone already");
    });
    assert!(!host.interfaces().contains(&"vethwe-tap".to_owned()));
}

#[test]
fn the_bridge_has_addresses_of_its_own() {
    let host = Namespace::new("host");
    let container = Namespace::new("a");
    let addresses = cidrs(&["10.2.1.1/24", "10.2.1.2/24", "fd00::1/64"]);
    host.host(async |net| {
        assert_eq!(net.exposed("weave").await.expect("no bridge"), []);
        assert_eq!(net.hide("weave", addresses[0]).await.expect("no bridge"), Change::Unchanged);
        net.ensure_bridge(&bridge()).await.expect("made");
        for &address in &addresses {
            assert_eq!(net.expose("weave", address).await.expect("added"), Change::Changed);
            assert_eq!(net.expose("weave", address).await.expect("kept"), Change::Unchanged);
        }
        assert_eq!(net.exposed("weave").await.expect("listed"), addresses);
        net.attach(&attachment(&container, &["10.2.1.9/24", "fd00::9/64"])).await.expect("attached");
    });
    super::exchange(&host.socket("10.2.1.1"), &container.socket("10.2.1.9"));
    super::exchange(&host.socket("fd00::1"), &container.socket("fd00::9"));

    // Where the gateway may not set it, the kernel would drop the second address with the first.
    host.run(|| std::fs::write("/proc/sys/net/ipv4/conf/weave/promote_secondaries", "0")).expect("writable");
    host.host(async |net| {
        assert_eq!(net.hide("weave", addresses[0]).await.expect("removed"), Change::Changed);
        assert_eq!(net.hide("weave", addresses[0]).await.expect("gone"), Change::Unchanged);
        assert_eq!(net.exposed("weave").await.expect("listed"), addresses[1..]);
    });
}

#[test]
fn the_underlay_is_what_is_neither_ours_nor_an_engine_s() {
    let host = Namespace::new("host");
    let container = Namespace::new("a");
    let wire = Namespace::new("wire");
    for (name, address) in
        [("eth0", "198.51.100.7/24"), ("docker0", "172.17.0.1/16"), ("eth9", "203.0.113.9/24")]
    {
        host.ip(&format!("link add {name} mtu 1460 type veth peer name {name} netns {}", wire.0));
        host.ip(&format!("address add {address} dev {name}"));
        host.ip(&format!("link set {name} up"));
        // The other end of eth9 stays down: no carrier.
        if name != "eth9" {
            wire.ip(&format!("link set {name} up"));
        }
    }
    host.ip("address add 192.0.2.1/32 dev lo");
    host.ip("link set lo up");
    host.ip("address add 2001:db8::7/64 dev eth0 nodad");
    host.ip("address add 2001:db8::8/64 dev eth0 nodad preferred_lft 0");
    let found = host.host(async |net| {
        net.ensure_bridge(&bridge()).await.expect("made");
        net.expose("weave", cidr("10.2.1.1/24")).await.expect("added");
        net.attach(&attachment(&container, &["10.2.1.9/24"])).await.expect("attached");
        net.underlay_addresses().await.expect("listed")
    });
    let eth0 = |address: &str| ("eth0".to_owned(), address.parse::<IpAddr>().expect("an address"), 1460);
    assert_eq!(found, [eth0("198.51.100.7"), eth0("2001:db8::7")]);
}
