//! Tables and properties of the values.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use proptest::prelude::*;

use crate::{Cidr, Mac, PeerName, ShortId, Target, canonical};

#[test]
fn peer_names_parse_as_the_original_did() {
    let check = |text: &str, expected: Option<[u8; 6]>| {
        assert_eq!(text.parse::<PeerName>().ok().map(PeerName::octets), expected, "{text}");
    };
    check("7a:9f:eb:b6:0c:6e", Some([0x7a, 0x9f, 0xeb, 0xb6, 0x0c, 0x6e]));
    check("::1", Some([0, 0, 0, 0, 0, 1]));
    check("1::", Some([1, 0, 0, 0, 0, 0]));
    check("::", Some([0; 6]));
    check("1:2::5:6", Some([1, 2, 0, 0, 5, 6]));
    check("1:2:3:4:5", None);
    check("1:2:3:4:5:6:7", None);
    check("1:2:3:4:5:6::", None);
    check("1::3::5", None);
    check("zz:00:00:00:00:01", None);
    check("+1:00:00:00:00:01", None);
    check("", None);
}

#[test]
fn interface_addresses_say_what_is_wrong() {
    let check = |text: &str, expected: &str| {
        let shown = text.parse::<Cidr>().map_or_else(|e| e.to_string(), |c| c.to_string());
        assert_eq!(shown, expected);
    };
    check("10.2.1.1/24", "10.2.1.1/24");
    check("fd00::1/64", "fd00::1/64");
    check("10.2.1.1", "'10.2.1.1' has no prefix length; write it as in 10.2.1.1/24");
    check("10.2.1/24", "'10.2.1' is not an IP address");
    check("10.2.1.1/33", "'33' is not a prefix length from 0 to 32");
    check("10.2.1.1/+8", "'+8' is not a prefix length from 0 to 32");
    check("fd00::1/129", "'129' is not a prefix length from 0 to 128");
}

#[test]
fn prefixes_contain_and_overlap() {
    let cidr = |text: &str| text.parse::<Cidr>().unwrap();
    assert_eq!(cidr("10.2.3.4/16").network(), cidr("10.2.0.0/16"));
    assert_eq!(cidr("10.2.3.4/0").network(), cidr("0.0.0.0/0"));
    assert!(cidr("10.0.0.0/8").contains("10.255.0.1".parse::<IpAddr>().unwrap()));
    assert!(!cidr("10.0.0.0/8").contains("fd00::1".parse::<IpAddr>().unwrap()));
    assert!(cidr("10.0.0.0/8").overlaps(cidr("10.1.0.0/16")));
    assert!(cidr("10.1.0.0/16").overlaps(cidr("10.0.0.0/8")));
    assert!(!cidr("10.1.0.0/16").overlaps(cidr("10.2.0.0/16")));
}

#[test]
fn targets_take_names_and_both_families() {
    let check = |text: &str, expected: Option<(&str, Option<u16>)>| {
        let target = text.parse::<Target>().ok();
        assert_eq!(target.as_ref().map(|t| (t.host(), t.port())), expected, "{text}");
    };
    check("10.0.0.1", Some(("10.0.0.1", None)));
    check("10.0.0.1:7000", Some(("10.0.0.1", Some(7000))));
    check("host-1.example.com:7000", Some(("host-1.example.com", Some(7000))));
    check("fd00::1", Some(("fd00::1", None)));
    check("[fd00::1]:7000", Some(("fd00::1", Some(7000))));
    check("[fd00::1]", Some(("fd00::1", None)));
    check("10.0.0.999", None);
    check("10.0.0.1:0", None);
    check("10.0.0.1:70000", None);
    check("a b", None);
    check("-x", None);
    check("", None);
}

#[test]
fn addresses_have_one_spelling() {
    let check = |input: &str, expected: &str| {
        let (input, expected): (SocketAddr, SocketAddr) = (input.parse().unwrap(), expected.parse().unwrap());
        assert_eq!(canonical(input), expected);
    };
    check("192.0.2.1:6783", "192.0.2.1:6783");
    check("[::ffff:192.0.2.1]:6783", "192.0.2.1:6783");
    check("[2001:db8::1]:6783", "[2001:db8::1]:6783");
    check("[fe80::1%3]:6783", "[fe80::1%3]:6783");
    let labelled = SocketAddrV6::new("2001:db8::1".parse().unwrap(), 6783, 7, 0);
    assert_eq!(canonical(labelled.into()), "[2001:db8::1]:6783".parse().unwrap());
}

proptest! {
    #[test]
    fn macs_survive_text_and_number(octets: [u8; 6]) {
        let mac = Mac(octets);
        prop_assert_eq!(mac.to_string().parse::<Mac>().unwrap(), mac);
        prop_assert_eq!(Mac::from_u64(mac.to_u64()), mac);
    }

    #[test]
    fn short_ids_never_name_everybody(number: u16) {
        prop_assert_eq!(ShortId::new(number).is_some(), number < 0xfff);
    }

    #[test]
    fn parsers_never_panic(text: String) {
        let _ = (text.parse::<Mac>(), text.parse::<Cidr>(), text.parse::<Target>());
    }
}
