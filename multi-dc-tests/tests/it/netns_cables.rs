//! Packets vanish without a word, as they do when a cable is cut, while endpoints ping each other ten times a second.

use std::time::Duration;

use anyhow::ensure;
use multi_dc_tests::{Fleet, Pings, Status, attach_all, clock, within};
use netlab::Cable;

use crate::netns_failover::{HEALING, RELAY_GAP, report};

/// Nobody says goodbye: that the relay is gone shows only in what does not come back through it.
#[test]
fn a_relay_that_falls_silent_is_replaced_within_two_seconds() -> anyhow::Result<()> {
    let fleet = Fleet::up("silent")?;
    fleet.explain(|fleet| {
        let [aws, gcp, ..] = attach_all(fleet)?;
        let lab = fleet.lab()?;
        for round in 1..=3 {
            let status = fleet.wait_for_status("all as before", HEALING, Status::is_partial)?;
            let relay = &status.pair("aws-1", "gcp-1")?.via[0];
            let mut pings = Pings::start(&aws, &gcp)?;
            lab.cut(Cable::of(relay))?;
            pings.wait_for_steady(HEALING)?;
            lab.heal(Cable::of(relay))?;
            report(&format!("silence {round} of a relay, {relay}"), pings.stop()?, RELAY_GAP)?;
        }
        fleet.wait_for_status("all as before", HEALING, Status::is_partial).map(drop)
    })?;
    fleet.down()
}

#[test]
fn a_site_that_is_cut_off_disturbs_nobody_and_is_back_within_ten_seconds() -> anyhow::Result<()> {
    let fleet = Fleet::up("cut")?;
    fleet.explain(|fleet| {
        let [aws, gcp, first, second] = attach_all(fleet)?;
        let lab = fleet.lab()?;
        let others = [(aws, first), (second, aws), (first, second)];
        let mut pings: Vec<Pings> =
            others.iter().map(|(from, to)| Pings::start(from, to)).collect::<anyhow::Result<_>>()?;
        let mut to_gcp = Pings::start(&aws, &gcp)?;

        lab.cut(Cable::of("gcp"))?;
        let cut = clock()?;
        within("the end of the outage", 2 * outage()?, || Ok(clock()? - cut >= outage()?))?;
        lab.heal(Cable::of("gcp"))?;
        let healed = clock()?;
        to_gcp.wait_for_steady(HEALING)?;
        let status = fleet.wait_for_status("all pairs after the cut", HEALING, Status::all_ok)?;
        let back = clock()? - healed;
        ensure!(back <= HEALING, "all pairs work again only after {back:?}:\n{status}");

        let to_gcp = to_gcp.stop()?;
        let first_back = to_gcp.0.iter().find(|reply| reply.at > healed).map(|reply| reply.at - healed);
        eprintln!(
            "cut for {:?}; gcp answers {first_back:?} after the heal, all ok after {back:?}",
            healed - cut
        );
        let silent = to_gcp.between(cut + Duration::from_secs(1), healed);
        ensure!(silent.0.is_empty(), "gcp was not cut off: {silent:?}");
        for pings in &mut pings {
            pings.wait_for_more(5, HEALING)?;
        }
        for (pings, (from, to)) in pings.into_iter().zip(&others) {
            let replies = pings.stop()?;
            let (lost, repeated) = (replies.lost(), replies.repeated());
            ensure!((lost, repeated) == (0, 0), "{} → {}: {lost} lost, {repeated} twice", from.host, to.host);
        }
        Ok(())
    })?;
    fleet.down()
}

/// A minute shows more than twenty seconds do; set it where there is time.
fn outage() -> anyhow::Result<Duration> {
    let seconds = match std::env::var("WEAVE_TEST_OUTAGE_SECONDS") {
        Ok(text) => text.parse()?,
        Err(_) => 20,
    };
    Ok(Duration::from_secs(seconds))
}
