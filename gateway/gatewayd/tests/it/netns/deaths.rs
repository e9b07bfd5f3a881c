//! A host dies for good, and an operator says so.

use std::time::Duration;

use weave_api::{Removal, RemovedPeer};

use crate::bed::{Bed, wait_until};

const SOON: Duration = Duration::from_secs(15);

/// `weave rmpeer` with these words on host 0: its exit status, what it printed and what it complained about.
fn rmpeer(bed: &Bed, words: &str) -> (Option<i32>, String, String) {
    let output = bed.weave(0, &format!("rmpeer {words}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// A part of what the gateway on host 0 reports.
fn part(bed: &Bed, name: &str) -> String {
    let report: serde_json::Value = serde_json::from_str(&bed.weave_ok(0, "report")).unwrap();
    report["Router"][name].to_string()
}

#[test]
fn a_dead_peer_is_forgotten_at_once_and_may_come_back() {
    let mut bed = Bed::new(3, &[(0, 1), (1, 2)]);
    (0..3).for_each(|host| {
        let before = if host == 0 { vec![] } else { vec![bed.address(host - 1, host)] };
        bed.launch(host, &before);
    });
    let (near, far) = (bed.container("near"), bed.container("far"));
    bed.weave_ok(0, &format!("attach 10.32.1.1/24 netns:{near}"));
    bed.weave_ok(2, &format!("attach 10.32.1.3/24 netns:{far}"));
    wait_until("the first ping", SOON, || bed.pings(&near, "10.32.1.3"));
    let name = bed.weave_ok(2, "report -f {{.Router.Name}}").trim().to_owned();

    let (status, out, err) = rmpeer(&bed, "h2");
    let alive = format!("error: {name}(h2) is alive: reachable via h1; stop it first\n");
    assert_eq!((status, out, err), (Some(1), String::new(), alive));
    bed.run(&bed.host(2), &format!("kill -KILL {}", bed.pid(2)));
    wait_until("h2 is out of reach", SOON, || !part(&bed, "UnicastRoutes").contains(&name));
    let peers = |host: usize| bed.weave_ok(host, "status peers");
    // What lies behind a peer without a route is shown without a name.
    let lost = || part(&bed, "MACs").contains(r#""Name":"""#);
    assert!(peers(0).contains("(h2)") && lost());

    let (status, out, err) = rmpeer(&bed, "h2 h9");
    assert_eq!((status, out.as_str()), (Some(1), "0 IPs taken over from h2\n"));
    assert_eq!(err, "error: no peer is called 'h9'; see `weave status peers`\n");
    assert!(!peers(0).contains("(h2)") && peers(1).contains("(h2)"));
    wait_until("nothing is behind h2 any more", SOON, || !lost());
    let (status, out, _) = rmpeer(&bed, &format!("{name} --output json"));
    let answers: Vec<RemovedPeer> = serde_json::from_str(&out).unwrap();
    assert_eq!((status, answers[0].outcome), (Some(1), Removal::Unknown));

    bed.launch(2, &[bed.address(1, 2)]);
    wait_until("h2 is back", SOON, || bed.pings(&near, "10.32.1.3"));
    assert!(peers(0).contains("(h2)"));
}
