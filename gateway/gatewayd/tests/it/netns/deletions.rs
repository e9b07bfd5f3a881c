//! Somebody deletes what the gateway stands on.

use std::time::Duration;

use crate::bed::{pair, wait_until};

const SOON: Duration = Duration::from_secs(15);
/// Twice as long as the bridge goes unwatched.
const MENDED_WITHIN: Duration = Duration::from_secs(30);

#[test]
fn a_deleted_bridge_is_made_anew_with_its_containers() {
    let (bed, one, other) = pair();
    bed.ip(0, "link delete weave");
    assert!(!bed.pings(&one, "10.32.1.2"));
    wait_until("pings over the new bridge", MENDED_WITHIN, || bed.pings(&other, "10.32.1.1"));
    bed.run(&one, "ping -n -c 1 -W 2 -M do -s 1348 10.32.1.2");
    wait_until("echoes over the new bridge", SOON, || {
        bed.weave(0, "ping all").status.success() && bed.weave(1, "ping all").status.success()
    });
    let log = bed.log(0);
    assert!(log.contains("the bridge had been deleted and was made anew"), "{log}");
}

#[test]
fn a_deleted_tap_ends_the_gateway_with_the_reason() {
    let (bed, one, other) = pair();
    let folder = format!("/proc/{}", bed.pid(0));
    bed.ip(0, "link delete vethwe-tap");
    wait_until("the gateway has ended", SOON, || !std::path::Path::new(&folder).exists());
    let log = bed.log(0);
    assert!(log.contains("error: the data path has ended"), "{log}");
    assert!(log.contains("somebody has deleted the TAP device"), "{log}");
    bed.launch(0, &[]);
    wait_until("pings after the restart", SOON, || {
        bed.pings(&other, "10.32.1.1") && bed.pings(&one, "10.32.1.2")
    });
}
