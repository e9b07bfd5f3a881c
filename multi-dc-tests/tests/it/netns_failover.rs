//! Gateways stop and restart while endpoints ping each other ten times a second.

use std::thread;
use std::time::Duration;

use anyhow::ensure;
use multi_dc_tests::{
    Canary, Fleet, HOSTS, Pair, Pings, Replies, Status, attach_all, clock, transfer, within,
};

/// What the loss of a relay may cost.
pub(crate) const RELAY_GAP: Duration = Duration::from_secs(2);

/// What everything may take to be as before once the trouble is over.
pub(crate) const HEALING: Duration = Duration::from_secs(10);

#[test]
fn a_relay_that_stops_is_replaced_within_two_seconds() -> anyhow::Result<()> {
    let fleet = Fleet::up("relay")?;
    fleet.explain(|fleet| {
        let [aws, gcp, ..] = attach_all(fleet)?;
        let status = fleet.wait_for_status("a relay in use", HEALING, Status::is_partial)?;
        let relay = &status.pair("aws-1", "gcp-1")?.via[0];
        let mut pings = Pings::start(&aws, &gcp)?;
        fleet.gateway(relay, "stop")?;
        pings.wait_for_steady(HEALING)?;
        // It did not come back meanwhile: the other one carries.
        let state = fleet.run_on(relay, &["systemctl", "is-active", "weave-gateway"])?;
        ensure!(state.stdout.trim() == "inactive", "{state}");
        report(&format!("stop of relay {relay}"), pings.stop()?, RELAY_GAP)?;
        // Who left is missed by `status`, which still reports the others.
        let (code, status) = fleet.status()?;
        let silent = |pair: &Pair| pair.from == *relay || pair.to == *relay;
        ensure!(code == 3 && status.pairs.iter().all(|pair| pair.ok != silent(pair)), "{code}\n{status}");
        fleet.gateway(relay, "start")?;
        fleet.wait_for_status("all as before", HEALING, Status::is_partial).map(drop)
    })?;
    fleet.down()
}

/// Long enough for the relay to leave in the middle.
const BULK: u64 = 500_000_000;

#[test]
fn a_tcp_stream_survives_the_loss_of_its_relay() -> anyhow::Result<()> {
    let fleet = Fleet::up("stream")?;
    fleet.explain(|fleet| {
        let [aws, gcp, ..] = attach_all(fleet)?;
        let status = fleet.wait_for_status("a relay in use", HEALING, Status::is_partial)?;
        let relay = &status.pair("aws-1", "gcp-1")?.via[0];
        let arrived = || -> anyhow::Result<u64> {
            let said = gcp.run(&["cat", "/sys/class/net/ethwe/statistics/rx_bytes"])?.expect_success()?;
            Ok(said.stdout.trim().parse()?)
        };
        let canary = Canary::new()?;
        let moved = thread::scope(|scope| {
            let stream = scope.spawn(|| transfer(&aws, &gcp, BULK, &canary, Duration::from_secs(120)));
            within("a fifth of the stream", HEALING * 2, || Ok(arrived()? > BULK / 5))?;
            fleet.gateway(relay, "stop")?;
            let after = arrived()?;
            ensure!(after < BULK, "{relay} left only after the stream");
            eprintln!("{relay} left after {after} of {BULK} bytes");
            stream.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?
        })?;
        eprintln!("{:.1} MB/s over all", moved.speed());
        Ok(())
    })?;
    fleet.down()
}

/// Two relays that leave and come back in turn never leave the others without a path.
#[test]
fn relays_that_come_and_go_in_turn_are_never_missed() -> anyhow::Result<()> {
    let fleet = Fleet::up("turns")?;
    fleet.explain(|fleet| {
        let [aws, gcp, ..] = attach_all(fleet)?;
        for round in 1..=6 {
            let relay = HOSTS[2 + round % 2];
            let mut pings = Pings::start(&aws, &gcp)?;
            fleet.gateway(relay, "stop")?;
            pings.wait_for_steady(HEALING)?;
            fleet.gateway(relay, "start")?;
            // The next to leave is the other one; this one must be able to stand in.
            fleet.wait_for_status("all pairs again", HEALING, Status::all_ok)?;
            pings.wait_for_steady(HEALING)?;
            report(&format!("round {round}, {relay}"), pings.stop()?, RELAY_GAP)?;
        }
        Ok(())
    })?;
    fleet.down()
}

#[test]
fn all_gateways_restart_at_once() -> anyhow::Result<()> {
    let fleet = Fleet::up("restart")?;
    fleet.explain(|fleet| {
        let [aws, gcp, ..] = attach_all(fleet)?;
        let mut pings = Pings::start(&aws, &gcp)?;
        let begun = clock()?;
        fleet.run_on_all(&HOSTS, &["systemctl", "restart", "weave-gateway"])?;
        let restarted = clock()? - begun;
        fleet.wait_for_status("all pairs after the restart", HEALING, Status::all_ok)?;
        let took = clock()? - begun;
        eprintln!("restarted in {restarted:?}; all pairs work after {took:?}");
        ensure!(took < HEALING, "all pairs work again only after {took:?}");
        pings.wait_for_steady(HEALING)?;
        report("restart of all", pings.stop()?, HEALING)
    })?;
    fleet.down()
}

pub(crate) fn report(what: &str, replies: Replies, limit: Duration) -> anyhow::Result<()> {
    let (gap, lost) = (replies.longest_gap(), replies.lost());
    eprintln!("{what}: gap {gap:?}, {lost} of {} lost", replies.0.len());
    ensure!(gap < limit, "{what}: nothing passed for {gap:?}");
    Ok(())
}
