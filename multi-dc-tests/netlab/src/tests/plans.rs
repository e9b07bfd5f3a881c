//! Addresses and names.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::plan::{self, HIGHEST, OPERATOR, Router};
use crate::range::Range;

#[test]
fn no_two_things_share_an_address_or_a_port() {
    let mut taken = BTreeSet::from([OPERATOR]);
    for site in 1..=HIGHEST {
        assert!(taken.insert(plan::router_public(site)));
        assert!(taken.insert(plan::lan(site).router()));
        for host in 1..=HIGHEST {
            assert!(taken.insert(plan::host_private(plan::lan(site), host)));
            assert!(taken.insert(plan::host_public(Router::Cloud, site, host).unwrap()));
        }
    }
    let mut last = 0;
    for host in 1..=HIGHEST {
        let ports = plan::source_ports(host);
        assert!(*ports.start() > last && ports.start() < ports.end(), "{ports:?}");
        last = *ports.end();
    }
}

#[test]
fn the_first_host_behind_a_masquerade_keeps_the_port_of_gateways() {
    assert_eq!(*plan::source_ports(1).start(), 6783);
    assert_eq!(plan::host_public(Router::of("onprem"), 3, 1), None);
    assert_eq!(plan::host_ssh(None, 3, 2), "203.0.113.48:2202".parse().unwrap());
    assert_eq!(
        plan::host_ssh(plan::host_public(Router::of("aws"), 1, 2), 1, 2),
        "203.0.113.18:22".parse().unwrap()
    );
}

#[test]
fn names_that_would_leave_their_folder_or_meet_ours_are_refused() {
    for bad in ["", "..", "a/b", "A", "-a", "a-", "a b", "internet", "op", "r-aws", "wan", "a123456789012345"]
    {
        assert!(plan::check_host(bad).is_err(), "{bad}");
        assert!(plan::check_site(bad).is_err(), "{bad}");
    }
    for good in ["aws-1", "a", "onprem", "x9"] {
        plan::check_host(good).unwrap();
        plan::check_site(good).unwrap();
    }
    for bad in [0, HIGHEST + 1, 255] {
        assert!(plan::check_index("site", bad).is_err());
    }
}

#[test]
fn a_range_has_room_for_hosts_and_a_router() {
    let range: Range = "172.31.0.0/16".parse().unwrap();
    assert_eq!((range.to_string().as_str(), range.length()), ("172.31.0.0/16", 16));
    assert_eq!(range.router(), Ipv4Addr::new(172, 31, 0, 1));
    for (address, suits) in [
        ("172.31.0.0", false),
        ("172.31.0.1", false),
        ("172.31.0.2", true),
        ("172.31.255.254", true),
        ("172.31.255.255", false),
        ("172.30.0.2", false),
        ("172.32.0.2", false),
    ] {
        assert_eq!(range.suits(address.parse().unwrap()), suits, "{address}");
    }
    for bad in ["", "10.1.0.0", "10.1.0.0/25", "10.1.0.0/7", "10.1.0.1/24", "x/24", "10.1.0.0/-8"] {
        assert!(bad.parse::<Range>().is_err(), "{bad}");
    }
}
