//! From nothing to a verified fleet, again, and back to nothing.

use std::time::Duration;

use anyhow::ensure;
use multi_dc_tests::{CLOUDS, Fleet, HOSTS, Run, Status, ordered_pairs};

#[test]
fn up_verifies_all_pairs_and_down_leaves_nothing() -> anyhow::Result<()> {
    let fleet = Fleet::new("up")?;
    let said = fleet.provision(&["up", "--clouds", CLOUDS, "--yes"])?.expect_success()?;
    ensure!(said.stdout.contains("verified: all 12 pairs"), "{said}");
    eprintln!("up: {:?}", said.took);
    shows_settled_paths(&said)?;
    fleet.explain(is_as_documented)?;

    let again = fleet.provision(&["up", "--clouds", CLOUDS, "--yes"])?.expect_success()?;
    eprintln!("up again: {:?}", again.took);
    ensure!(again.stdout.lines().any(|line| line.contains("0 to change")), "{again}");
    ensure!(again.took <= Duration::from_secs(10), "{again}");
    // What `up` was given is remembered.
    let bare = fleet.provision(&["up", "--yes"])?.expect_success()?;
    ensure!(bare.stdout.lines().any(|line| line.contains("0 to change")), "{bare}");

    fleet.down()
}

/// What `up` itself prints: only aws and gcp reach each other by a relay, and what passes is known.
fn shows_settled_paths(said: &Run) -> anyhow::Result<()> {
    for (from, to) in ordered_pairs(&HOSTS) {
        let line = said.stdout.lines().find(|line| {
            let mut words = line.split_whitespace();
            (words.next(), words.next()) == (Some(from), Some(to))
        });
        let words: Vec<&str> = line.unwrap_or_default().split_whitespace().collect();
        let relayed = !from.starts_with("onprem") && !to.starts_with("onprem");
        let way = if relayed { "relay" } else { "direct" };
        ensure!(words.get(2) == Some(&way) && words.contains(&"1376"), "{from} → {to}: {said}");
    }
    Ok(())
}

fn is_as_documented(fleet: &Fleet) -> anyhow::Result<()> {
    let status =
        fleet.wait_for_status("only aws ↔ gcp relayed", Duration::from_secs(10), Status::is_partial)?;
    let hosts: Vec<&str> = status.gateways.iter().map(|gateway| gateway.host.as_str()).collect();
    ensure!(hosts == HOSTS, "{hosts:?}");
    for gateway in &status.gateways {
        let site = gateway.host.trim_end_matches(['-', '1', '2']);
        ensure!((gateway.site.as_str(), gateway.state.as_str()) == (site, "active"), "{gateway:?}");
        let mac: Vec<&str> = gateway.peer.split(':').collect();
        let hex = |part: &&str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        ensure!(mac.len() == 6 && mac.iter().all(hex) && !gateway.version.is_empty(), "{gateway:?}");
    }
    let pairs: Vec<(&str, &str)> =
        status.pairs.iter().map(|pair| (pair.from.as_str(), pair.to.as_str())).collect();
    let expected: Vec<(&str, &str)> = ordered_pairs(&HOSTS).map(|(from, to)| (*from, *to)).collect();
    ensure!(pairs == expected, "{pairs:?}");
    for pair in &status.pairs {
        ensure!(pair.ok && pair.mtu == Some(1376), "{pair:?}");
        ensure!(pair.rtt_ms.is_some_and(|rtt| rtt > 0.0 && rtt < 1000.0), "{pair:?}");
    }
    let text = fleet.provision(&["status"])?.expect_success()?;
    ensure!(HOSTS.iter().all(|host| text.stdout.contains(host)), "{text}");
    ensure!(text.stdout.contains("relay via onprem-"), "{text}");
    Ok(())
}

#[test]
fn full_topology_needs_no_relay() -> anyhow::Result<()> {
    let fleet = Fleet::new("full")?;
    fleet.provision(&["up", "--clouds", CLOUDS, "--topology", "full", "--yes"])?.expect_success()?;
    fleet.explain(|fleet| {
        let direct = |status: &Status| {
            status.pairs.iter().all(|pair| pair.path.as_deref() == Some("direct") && pair.via.is_empty())
        };
        fleet.wait_for_status("every pair direct", Duration::from_secs(10), direct)
    })?;
    fleet.down()
}

#[test]
fn a_fleet_grows_and_what_was_changed_by_hand_is_repaired() -> anyhow::Result<()> {
    let fleet = Fleet::new("grows")?;
    fleet.explain(|fleet| {
        let small = fleet.provision(&["up", "--clouds", "aws,onprem", "--yes"])?.expect_success()?;
        ensure!(small.stdout.contains("verified: all 6 pairs"), "{small}");
        let grown = fleet.provision(&["up", "--clouds", CLOUDS, "--yes"])?.expect_success()?;
        ensure!(grown.stdout.contains("verified: all 12 pairs"), "{grown}");
        let created: Vec<_> = grown.stdout.lines().filter(|line| line.contains("+ create")).collect();
        ensure!(created.len() == 2 && created.iter().all(|line| line.contains("gcp")), "{grown}");

        fleet.gateway("gcp-1", "stop")?;
        fleet.run_on("onprem-2", &["rm", "/etc/weave/gateway.toml"])?.expect_success()?;
        let plan = fleet.provision(&["plan"])?.expect_success()?;
        let steps = |said: &Run| -> Vec<String> {
            said.stdout.lines().filter(|line| line.starts_with("  ")).map(str::to_owned).collect()
        };
        let touched = |step: &String| step.contains("gcp-1") || step.contains("onprem-2");
        ensure!(steps(&plan).iter().all(touched) && steps(&plan).len() >= 2, "{plan}");
        let repaired = fleet.provision(&["up", "--yes"])?.expect_success()?;
        ensure!(steps(&repaired) == steps(&plan), "planned was {plan}\ndone was {repaired}");
        ensure!(repaired.stdout.contains("verified: all 12 pairs"), "{repaired}");
        let again = fleet.provision(&["plan"])?.expect_success()?;
        ensure!(again.stdout.contains("0 to change"), "{again}");
        Ok(())
    })?;
    fleet.down()
}

/// What all the other tests rely on: their fleet ends with them, whatever their end.
#[test]
fn a_test_that_panics_leaves_nothing() -> anyhow::Result<()> {
    let left = Fleet::new("panics")?;
    let outcome = std::panic::catch_unwind(|| -> anyhow::Result<()> {
        let fleet = Fleet::new("panics")?;
        fleet.provision(&["up", "--clouds", "aws", "--yes"])?.expect_success()?;
        panic!("as a test does that fails");
    });
    ensure!(outcome.is_err(), "nothing panicked: {outcome:?}");
    left.is_gone()
}
