//! Lines, JSON and captured bytes.

use std::time::Duration;

use crate::capture::{Canary, Search};
use crate::pings::{Replies, Reply};
use crate::status::Status;
use crate::transfer::Moved;

#[test]
fn a_reply_is_read_and_nothing_else() {
    let line = "[1795559032.5] 64 bytes from 10.32.1.2: icmp_seq=17 ttl=64 time=1.11 ms";
    let reply = Reply { sequence: 17, at: Duration::from_millis(1_795_559_032_500) };
    assert_eq!(Reply::parse(line), Some(reply));
    for line in [
        "PING 10.32.1.2 (10.32.1.2) 56(84) bytes of data.",
        "[1795559032.5] no answer yet for icmp_seq=17",
        "[1795559032.5] From 10.32.1.1 icmp_seq=3 Destination Host Unreachable",
        "5 packets transmitted, 5 received, 0% packet loss, time 407ms",
        "",
    ] {
        assert_eq!(Reply::parse(line), None, "{line}");
    }
}

#[test]
fn gaps_losses_and_repetitions_are_counted() {
    let reply = |(sequence, at)| Reply { sequence, at: Duration::from_millis(at) };
    let replies = Replies([(3, 100), (4, 200), (4, 210), (8, 900), (7, 910), (9, 1000)].map(reply).to_vec());
    assert_eq!(replies.longest_gap(), Duration::from_millis(690));
    assert_eq!(replies.lost(), 2);
    assert_eq!(replies.repeated(), 1);
    let some = replies.between(Duration::from_millis(200), Duration::from_millis(900));
    assert_eq!(some.0.len(), 3);
    assert_eq!(Replies::default().longest_gap(), Duration::ZERO);
    assert_eq!(Replies::default().lost(), 0);
}

#[test]
fn a_canary_is_found_across_every_seam() {
    let canary = Canary(*b"0010010001000010");
    let stream: Vec<u8> = [&b"0010"[..], &canary.0, b"1", &canary.0, &canary.0, b"001001000100001"].concat();
    let plain = stream.windows(16).filter(|window| *window == canary.0).count() as u64;
    assert_eq!(plain, 3);
    for size in 1..stream.len() {
        let mut search = Search::new(canary);
        let found: u64 = stream.chunks(size).map(|piece| search.take(piece)).sum();
        assert_eq!(found, plain, "in pieces of {size}");
    }
}

#[test]
fn a_status_has_exactly_the_documented_fields() {
    let good = r#"{"gateways":[{"host":"aws-1","site":"aws","peer":"52:f9:f2:ce:ef:e6","version":"1","state":"active"}],
        "pairs":[{"from":"aws-1","to":"gcp-1","path":"relay","via":["onprem-2"],"rtt_ms":0.4,"mtu":1376,"ok":true},
                 {"from":"gcp-1","to":"aws-1","path":null,"via":[],"rtt_ms":null,"mtu":null,"ok":false}]}"#;
    let status = Status::parse(good).unwrap();
    assert_eq!(status.gateways[0].state, "active");
    assert_eq!(status.pair("aws-1", "gcp-1").unwrap().via, ["onprem-2"]);
    assert!(!status.all_ok() && !status.is_partial());
    for (from, to) in [
        (r#""version":"1","#, ""),
        (r#""version":"1","#, r#""version":1,"#),
        (r#""ok":true"#, r#""ok":true,"more":1"#),
        (r#""via":["onprem-2"]"#, r#""via":"onprem-2""#),
        (r#""mtu":1376"#, r#""mtu":-1"#),
        (r#""gateways""#, r#""hosts""#),
    ] {
        assert!(good.contains(from));
        assert!(Status::parse(&good.replace(from, to)).is_err(), "{from} → {to}");
    }
}

#[test]
fn a_transfer_is_read() {
    let digest = "ab".repeat(32);
    let moved = Moved::parse(&format!("200000000 {digest} 2.5")).unwrap();
    assert_eq!(moved, Moved { bytes: 200_000_000, digest, took: Duration::from_millis(2500) });
    assert!((moved.speed() - 80.0).abs() < 1e-9);
    assert_eq!(Moved::parse("ready"), None);
}
