//! Nobody on the way can read what passes: neither the routers nor the host that relays.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use multi_dc_tests::{Canary, Capture, Endpoint, Fleet, attach_all, ordered_pairs, transfer, within};
use netlab::Place;

/// Enough for many trains of large packets.
const BULK: u64 = 20_000_000;

#[test]
fn no_router_and_no_relay_sees_what_it_carries() -> anyhow::Result<()> {
    let fleet = Fleet::up("sealed")?;
    fleet.explain(|fleet| {
        let endpoints = attach_all(fleet)?;
        let canary = Canary::new()?;
        let mut control = on_overlay(&endpoints[0], canary)?;
        let mut underlay = on_underlay(fleet, canary)?;

        for (from, to) in ordered_pairs(&endpoints) {
            from.ping(&["-p", &canary.hex(), "-s", "1000"], &to.v4())?;
        }
        let [aws, gcp, ..] = &endpoints;
        transfer(aws, gcp, BULK, &canary, Duration::from_secs(60))?;
        transfer(gcp, aws, BULK, &canary, Duration::from_secs(60))?;

        // The control: the same bytes, looked for in the same way, are found where they are in clear.
        let blocks = 2 * BULK.div_ceil(1 << 16);
        within("the canary is seen at the sender", Duration::from_secs(10), || Ok(control.found() >= blocks))
            .with_context(|| format!("{} of {blocks} in {} bytes", control.found(), control.bytes()))?;
        control.stop();
        carried(&underlay)?;
        for capture in &mut underlay {
            capture.stop();
            eprintln!("{}: {} bytes", capture.place, capture.bytes());
            ensure!(capture.found() == 0, "{} saw the canary {} times", capture.place, capture.found());
        }
        Ok(())
    })?;
    fleet.down()
}

fn on_overlay(endpoint: &Endpoint<'_>, canary: Canary) -> anyhow::Result<Capture> {
    let place = format!("the endpoint of {}", endpoint.host);
    Capture::start(&place, &mut endpoint.command(&["tcpdump"])?, "ethwe", canary)
}

/// Both interfaces of every router, and the one that connects each host on-prem.
fn on_underlay(fleet: &Fleet, canary: Canary) -> anyhow::Result<Vec<Capture>> {
    let lab = fleet.lab()?;
    let routers = ["aws", "gcp", "onprem"].map(|site| (Place::Router(site.to_owned()), "any"));
    let hosts = ["onprem-1", "onprem-2"].map(|host| (Place::Host(host.to_owned()), "eth0"));
    let start = |(place, interface): (Place, &str)| {
        Capture::start(&place.to_string(), &mut lab.command(&place, "tcpdump")?, interface, canary)
    };
    routers.into_iter().chain(hosts).map(start).collect()
}

/// Every router, and the relays together, were on the way of both transfers; otherwise nothing would be proved.
fn carried(underlay: &[Capture]) -> anyhow::Result<()> {
    let seen =
        |place: &str| underlay.iter().filter(|c| c.place.starts_with(place)).map(Capture::bytes).sum::<u64>();
    for place in ["r-aws", "r-gcp", "r-onprem", "onprem-"] {
        within(&format!("{place} has seen both transfers"), Duration::from_secs(10), || {
            Ok(seen(place) >= 2 * BULK)
        })
        .with_context(|| format!("{place} has seen {} bytes", seen(place)))?;
    }
    Ok(())
}
