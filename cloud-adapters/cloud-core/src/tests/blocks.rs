//! Blocks of addresses.

use crate::{ProviderError, is_ipv4_block, parse_blocks};

#[test]
fn blocks_are_written_as_clouds_write_them() {
    for (text, good) in [
        ("0.0.0.0/0", true),
        ("198.51.100.7/32", true),
        ("198.51.100.0/24", true),
        ("255.255.255.255/32", true),
        ("198.51.100.7/24", false),
        ("198.51.100.7", false),
        ("198.51.100.7/33", false),
        ("198.51.100.7/+32", false),
        ("198.51.100.0/024", false),
        ("198.051.100.0/24", false),
        (" 198.51.100.0/24", false),
        ("::/0", false),
        ("", false),
        ("/", false),
    ] {
        assert_eq!(is_ipv4_block(text), good, "{text:?}");
    }
}

#[test]
fn blocks_of_a_cloud_come_once_and_in_order() {
    let blocks = parse_blocks("VPC v", ["10.1.0.0/16", "fd00::/56", "10.0.0.0/16", "10.1.0.0/16"]).unwrap();
    let texts: Vec<String> = blocks.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["10.0.0.0/16", "10.1.0.0/16", "fd00::/56"]);
    let ProviderError::Other(text) = parse_blocks("VPC v", ["ten"]).unwrap_err() else { panic!() };
    assert_eq!(text, "VPC v has \"ten\" as a block of addresses");
}
