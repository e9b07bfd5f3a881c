//! What people and programs read: tables, JSON, errors.

use std::collections::BTreeMap;

use crate::cli::Failure;
use crate::fleet::{CloudKind, Fleet};
use crate::remote::RemoteError;
use crate::ssh::SshError;
use crate::state::StateError;
use crate::verify::{Gateway, GatewayRow, Report, pairs, parse_pings, parse_state};

fn sample() -> Report {
    let fleet = Fleet::lab(&[CloudKind::Aws, CloudKind::Gcp]);
    let answer = br#"[{"peer":"aa:00:00:00:00:02","nickname":"gcp-1","path":"relay","via":["onprem-1"],
        "sent":3,"received":3,"rtt_ms":41.26,"mtu":1376,"ok":true}]"#;
    let answers = BTreeMap::from([("aws-1".to_owned(), parse_pings(answer).unwrap())]);
    let row = |host: &str, site: &str, peer: &str, version: &str, state: &str| GatewayRow {
        host: host.to_owned(),
        site: site.to_owned(),
        peer: peer.to_owned(),
        version: version.to_owned(),
        state: state.to_owned(),
    };
    let gateways = vec![
        row("aws-1", "aws", "aa:00:00:00:00:01", "1.2.3", "active"),
        row("gcp-1", "gcp", "", "", "unreachable"),
    ];
    Report { gateways, pairs: pairs(&fleet, &answers) }
}

#[test]
fn a_report_as_a_table() {
    let expected = "\
GATEWAY  SITE  PEER               VERSION  STATE
aws-1    aws   aa:00:00:00:00:01  1.2.3    active
gcp-1    gcp   -                  -        unreachable

FROM   TO     PATH                RTT      MTU   PING
aws-1  gcp-1  relay via onprem-1  41.3 ms  1376  ok
gcp-1  aws-1  -                   -        -     FAILS
";
    assert_eq!(crate::render::report(&sample()), expected);
    assert!(!sample().ok());
}

#[test]
fn a_report_as_json() {
    let expected = concat!(
        r#"{"gateways":[{"host":"aws-1","site":"aws","peer":"aa:00:00:00:00:01","version":"1.2.3","state":"active"},"#,
        r#"{"host":"gcp-1","site":"gcp","peer":"","version":"","state":"unreachable"}],"#,
        r#""pairs":[{"from":"aws-1","to":"gcp-1","path":"relay","via":["onprem-1"],"rtt_ms":41.26,"mtu":1376,"ok":true},"#,
        r#"{"from":"gcp-1","to":"aws-1","path":null,"via":[],"rtt_ms":null,"mtu":null,"ok":false}]}"#,
    );
    assert_eq!(serde_json::to_string(&sample()).unwrap(), expected);
}

#[test]
fn a_host_cannot_draw_on_the_terminal() {
    let mut report = sample();
    report.gateways[0].version = "\x1b[2J\x07evil\r".to_owned();
    let text = crate::render::report(&report);
    assert!(text.contains("[2Jevil") && !text.contains('\x1b') && !text.contains('\r'), "{text:?}");
}

#[test]
fn a_gateway_that_says_nothing_or_nonsense_is_still_a_row() {
    let state = |answer: &str| parse_state(answer);
    let json = r#"{"version":"1.2.3","peer":"aa:00:00:00:00:01","nickname":"aws-1"}"#;
    let good = state(&format!("state active\n{json}\n"));
    assert_eq!((good.state.as_str(), good.version.as_str()), ("active", "1.2.3"));
    assert_eq!(good.peer, "aa:00:00:00:00:01");
    assert_eq!(state("state failed\n"), Gateway { state: "failed".to_owned(), ..Gateway::default() });
    assert_eq!(state("state active\n{oops").version, "");
    assert_eq!(state("").state, "unknown");
    assert!(parse_pings(b"").is_err() && parse_pings(b"{}").is_err() && parse_pings(b"\xff").is_err());
}

#[test]
fn errors_name_their_causes_and_a_way_out() {
    let inner = SshError::HostKey { expected: "SHA256:aaa".to_owned(), found: "SHA256:bbb".to_owned() };
    let error = anyhow::Error::new(RemoteError::from(inner)).context("aws-1: ask for its state");
    let expected = "\
error: aws-1: ask for its state
  the host key is SHA256:bbb, expected SHA256:aaa; nothing was sent to it
hint: either something stands between you and the host, or the host was rebuilt outside weave-provision; if it was, \
`weave-provision down` and `up` make it anew
";
    assert_eq!(Failure::new(error).render(), expected);

    let locked = StateError::Locked { holder: "`weave-provision up`, process 7".to_owned() };
    let expected = "\
error: another run works on this fleet: `weave-provision up`, process 7
hint: wait until it has ended; `weave-provision status` needs no lock
";
    assert_eq!(Failure::from(locked).render(), expected);
}
