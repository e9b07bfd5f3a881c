//! The texts that scripts read, and the JSON that keeps its spelling.

use std::collections::BTreeMap;

use crate::*;

fn report() -> Report {
    let link = |name: &str, nick: &str, established| PeerConnection {
        name: name.to_owned(),
        nick_name: nick.to_owned(),
        address: "192.0.2.2:6783".to_owned(),
        outbound: true,
        established,
        rtt_ms: 1.0,
    };
    let peer = |name: &str, nick: &str, connections| Peer {
        name: name.to_owned(),
        nick_name: nick.to_owned(),
        site: String::new(),
        uid: 1,
        short_id: Some(2),
        version: 3,
        connections,
    };
    let connection = |state, info: &str, attrs: &[(&str, &str)]| Connection {
        address: "192.0.2.2:6783".to_owned(),
        outbound: true,
        state,
        info: info.to_owned(),
        attrs: attrs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
    };
    let (a, b) = ("7a:9f:eb:b6:0c:6e", "7a:9f:eb:b6:0c:6f");
    Report {
        ready: true,
        version: "0.1.0".to_owned(),
        process: Process { pid: 7, supervised: false },
        version_check: VersionCheck::default(),
        router: Router {
            protocol: "weave".to_owned(),
            protocol_min_version: 1,
            protocol_max_version: 1,
            network: "weave".to_owned(),
            encryption: true,
            peer_discovery: true,
            name: a.to_owned(),
            nick_name: "one".to_owned(),
            site: "aws".to_owned(),
            short_id: Some(1),
            port: 6783,
            bridge: "weave".to_owned(),
            interface: "vethwe-tap (user datapath, 1 worker)".to_owned(),
            mtu: 1376,
            exposed: Vec::new(),
            peers: vec![
                peer(a, "one", vec![link(b, "two", true)]),
                peer(b, "two", vec![link(a, "one", false)]),
            ],
            unicast_routes: Vec::new(),
            broadcast_routes: Vec::new(),
            connections: vec![
                connection(ConnectionState::Established, "7a:9f:eb:b6:0c:6f(two)", &[("mtu", "1376")]),
                connection(ConnectionState::Failed, "no answer, retry in 4s", &[]),
            ],
            termination_count: 0,
            targets: vec!["192.0.2.2".to_owned()],
            paths: vec![Path {
                peer: b.to_owned(),
                nick_name: "two".to_owned(),
                kind: PathKind::Relay,
                via: vec!["three".to_owned()],
                reason: "no link: no answer".to_owned(),
                session: None,
            }],
            macs: Vec::new(),
            drops: BTreeMap::new(),
            trusted_subnets: Vec::new(),
        },
    }
}

#[test]
fn the_summary_has_the_labels_that_scripts_look_for() {
    let expected = "        Version: 0.1.0 (version check update disabled)

        Service: router
       Protocol: weave 1
           Name: 7a:9f:eb:b6:0c:6e(one)
     Encryption: enabled
  PeerDiscovery: enabled
        Targets: 1
    Connections: 2 (1 established, 1 failed)
          Peers: 2 (with 1 established, 1 pending connections)
 TrustedSubnets: none
        Network: weave
      Interface: vethwe-tap (user datapath, 1 worker)
            MTU: 1376
           Site: aws
";
    let mut report = report();
    assert_eq!(report.text(Section::Summary), expected);
    report.router.encryption = false;
    assert!(report.text(Section::Summary).contains("\n     Encryption: disabled ("));
}

#[test]
fn sections_have_their_columns() {
    let report = report();
    assert_eq!(report.text(Section::Targets), "192.0.2.2\n");
    assert_eq!(
        report.text(Section::Connections),
        "-> 192.0.2.2:6783        established 7a:9f:eb:b6:0c:6f(two) mtu=1376\n\
         -> 192.0.2.2:6783        failed      no answer, retry in 4s\n"
    );
    assert_eq!(
        report.text(Section::Peers),
        "7a:9f:eb:b6:0c:6e(one)\n   -> 192.0.2.2:6783        7a:9f:eb:b6:0c:6f(two)                established\n\
         7a:9f:eb:b6:0c:6f(two)\n   -> 192.0.2.2:6783        7a:9f:eb:b6:0c:6e(one)                pending\n"
    );
    assert_eq!(
        report.text(Section::Paths),
        "7a:9f:eb:b6:0c:6f(two)                relay via three          (no link: no answer)\n"
    );
    assert!("dns2".parse::<Section>().is_err());
}

#[test]
fn the_json_keeps_its_spelling() {
    let json = serde_json::to_value(report()).unwrap();
    assert_eq!(json["Router"]["NickName"], "one");
    assert_eq!(json["VersionCheck"]["NextCheckAt"], "");
    assert_eq!(json["Router"]["TerminationCount"], 0);
    assert_eq!(json["Router"]["Peers"][1]["ShortID"], 2);
    assert_eq!(json["Router"]["Connections"][0]["State"], "established");
    assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report());
}
