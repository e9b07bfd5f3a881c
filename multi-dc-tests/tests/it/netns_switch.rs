//! The overlay is one switch: unicast, broadcast and multicast between plain namespaces on all hosts.

use std::time::Duration;

use anyhow::ensure;
use multi_dc_tests::{
    Canary, Endpoint, Fleet, HOSTS, Kind, Listener, attach_all, ordered_pairs, send, send_tagged, transfer,
    within,
};

#[test]
fn every_pair_pings_and_everybody_hears_what_is_for_all() -> anyhow::Result<()> {
    let fleet = Fleet::up("switch")?;
    fleet.explain(|fleet| {
        let endpoints = attach_all(fleet)?;
        pings(&endpoints)?;
        to_all(&endpoints, Kind::Multicast, ["hello group", "end of group"])?;
        to_all(&endpoints, Kind::Dhcp, ["discover", "end of discover"])?;
        // Nobody has these addresses, so nobody else asks for them.
        to_all(&endpoints, Kind::Arp, ["10.32.1.99", "10.32.1.98"])?;
        neighbours_are_found_again(&endpoints)?;
        tags_pass(&endpoints)
    })?;
    fleet.down()
}

fn pings(endpoints: &[Endpoint<'_>]) -> anyhow::Result<()> {
    for (from, to) in ordered_pairs(endpoints) {
        from.ping(&[], &to.v4())?;
        from.ping(&["-6"], &to.v6())?;
        // 1348 and the headers of ICMP and IPv4 fill the overlay's MTU of 1376; one more does not leave.
        from.ping(&["-M", "do", "-s", "1348"], &to.v4())?;
        from.ping(&["-6", "-M", "do", "-s", "1328"], &to.v6())?;
        // Fragments, made by the sender.
        from.ping(&["-s", "4000"], &to.v4())?;
    }
    let too_long =
        endpoints[0].run(&["ping", "-c", "1", "-W", "1", "-M", "do", "-s", "1349", &endpoints[1].v4()])?;
    ensure!(too_long.code() != 0, "{too_long}");
    Ok(())
}

/// Sends the first text from every endpoint in turn: all others hear it once, as the second proves, which comes later.
fn to_all(endpoints: &[Endpoint<'_>], kind: Kind, texts: [&str; 2]) -> anyhow::Result<()> {
    for from in endpoints {
        let others = endpoints.iter().filter(|other| *other != from);
        let mut listeners =
            others.map(|other| Listener::start(other, kind)).collect::<anyhow::Result<Vec<_>>>()?;
        for text in texts {
            send(from, kind, text)?;
            for listener in &mut listeners {
                listener.wait_for(text)?;
            }
        }
        for (listener, text) in listeners.iter().flat_map(|listener| texts.map(|text| (listener, text))) {
            let (count, at) = (listener.count(text), listener.host());
            ensure!(count == 1, "{kind} {text:?} from {} was heard {count} times at {at}", from.host);
        }
    }
    Ok(())
}

fn neighbours_are_found_again(endpoints: &[Endpoint<'_>]) -> anyhow::Result<()> {
    for (from, to) in ordered_pairs(endpoints) {
        from.run(&["ip", "neigh", "flush", "all"])?.expect_success()?;
        from.ping(&[], &to.v4())?;
    }
    Ok(())
}

/// A frame of a VLAN passes from each to each with its tag, also the largest that a VLAN device would send. (A VLAN device
/// itself needs a module that not every kernel has.)
fn tags_pass(endpoints: &[Endpoint<'_>]) -> anyhow::Result<()> {
    to_all(endpoints, Kind::Tagged, ["to all", "the end"])?;
    for to in endpoints {
        let mut listener = Listener::start(to, Kind::Tagged)?;
        for from in endpoints.iter().filter(|from| *from != to) {
            let text = format!("from {}", from.host);
            send_tagged(from, to, &text)?;
            listener.wait_for(&text)?;
            ensure!(listener.count(&text) == 1, "{text} was heard more than once at {}", to.host);
        }
    }
    Ok(())
}

/// In each direction.
const BULK: u64 = 200_000_000;

#[test]
fn a_relayed_tcp_stream_arrives_whole_both_ways() -> anyhow::Result<()> {
    let fleet = Fleet::up("tcp")?;
    fleet.explain(|fleet| {
        let [aws, gcp, ..] = attach_all(fleet)?;
        let canary = Canary::new()?;
        for (from, to) in [(aws, gcp), (gcp, aws)] {
            let moved = transfer(&from, &to, BULK, &canary, Duration::from_secs(120))?;
            eprintln!("{} → {}: {:.1} MB/s", from.host, to.host, moved.speed());
        }
        // What it took has not worn the gateways out.
        let limit = Duration::from_secs(10);
        within("every gateway runs", limit, || {
            Ok(fleet.run_on_all(&HOSTS, &["systemctl", "is-active", "weave-gateway"]).is_ok())
        })?;
        fleet.wait_for_status("all pairs after the stream", limit, |status| status.all_ok()).map(drop)
    })?;
    fleet.down()
}
