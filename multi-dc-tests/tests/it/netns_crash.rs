//! Gateways are killed while endpoints ping each other ten times a second.

use std::time::Duration;

use anyhow::ensure;
use multi_dc_tests::{Fleet, Pings, Status, attach_all, within};

use crate::netns_failover::{HEALING, RELAY_GAP, report};

/// What the crash of an endpoint's own gateway may cost, its restart included.
const CRASH_GAP: Duration = Duration::from_secs(5);

/// Whichever relay is in use dies, again and again; it is replaced at once and comes back.
#[test]
fn a_relay_that_dies_is_replaced_within_two_seconds() -> anyhow::Result<()> {
    let fleet = Fleet::up("dies")?;
    fleet.explain(|fleet| {
        let [aws, gcp, ..] = attach_all(fleet)?;
        for round in 1..=6 {
            let status = fleet.wait_for_status("all as before", HEALING, Status::is_partial)?;
            let relay = &status.pair("aws-1", "gcp-1")?.via[0];
            let mut pings = Pings::start(&aws, &gcp)?;
            kill(fleet, relay)?;
            pings.wait_for_steady(HEALING)?;
            report(&format!("death {round} of a relay, {relay}"), pings.stop()?, RELAY_GAP)?;
        }
        fleet.wait_for_status("all as before", HEALING, Status::is_partial).map(drop)
    })?;
    fleet.down()
}

#[test]
fn a_crashed_gateway_comes_back_and_its_endpoint_keeps_its_addresses() -> anyhow::Result<()> {
    let fleet = Fleet::up("crash")?;
    fleet.explain(|fleet| {
        let [aws, gcp, ..] = attach_all(fleet)?;
        let addresses =
            || -> anyhow::Result<String> { Ok(aws.run(&["ip", "-o", "addr"])?.expect_success()?.stdout) };
        // IPv6 addresses are settled once duplicates have been looked for.
        within("settled addresses", HEALING, || Ok(!addresses()?.contains("tentative")))?;
        let (before, old) = (addresses()?, main_pid(fleet, "aws-1")?);
        let mut pings = Pings::start(&aws, &gcp)?;
        kill(fleet, "aws-1")?;
        let took = within("active again by itself", CRASH_GAP, || {
            let active = fleet.run_on("aws-1", &["systemctl", "is-active", "weave-gateway"])?.code() == 0;
            Ok(active && main_pid(fleet, "aws-1")? != old)
        })?;
        pings.wait_for_steady(CRASH_GAP)?;
        eprintln!("active again after {took:?}");
        report("crash of aws-1", pings.stop()?, CRASH_GAP)?;
        let after = addresses()?;
        ensure!(after == before, "the addresses were\n{before}and are\n{after}");
        fleet.wait_for_status("all pairs after the crash", HEALING, Status::all_ok).map(drop)
    })?;
    fleet.down()
}

/// Kills a gateway as an empty memory does; systemd starts it again.
fn kill(fleet: &Fleet, host: &str) -> anyhow::Result<()> {
    fleet.run_on(host, &["systemctl", "kill", "-s", "KILL", "weave-gateway"])?.expect_success().map(drop)
}

fn main_pid(fleet: &Fleet, host: &str) -> anyhow::Result<String> {
    let argv = ["systemctl", "show", "-P", "MainPID", "weave-gateway"];
    Ok(fleet.run_on(host, &argv)?.expect_success()?.stdout)
}
