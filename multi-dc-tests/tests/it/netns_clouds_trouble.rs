//! Hosts that are not what they shall be, and clouds that give none: one clear error each, and nothing else suffers.

use anyhow::{Context as _, ensure};
use multi_dc_tests::Run;
use multi_dc_tests::clouds::{Api, FLEET, Ground, Kind, Trouble};

const UP: [&str; 4] = ["up", "--yes", "--clouds", "aws,gcp,onprem"];

/// How often the SDK asks EC2 before it takes a 500 for an answer.
const ASKED: usize = 5;

/// Somebody else answers at the address of a new instance.
#[test]
fn a_host_with_another_key_is_told_nothing() -> anyhow::Result<()> {
    let ground = Ground::small("impostor", &[])?;
    ground.explain(|ground| {
        let clouds = ground.clouds()?;
        clouds.show_host_key("gcp-1", ground.keygen("impostor")?);
        let said = ground.provision(&UP)?.expect_code(1)?;
        let found = ground.fingerprint("impostor")?;
        let expected = [&format!("the host key is {found}, expected SHA256:"), "nothing was sent to it"];
        one_error(&said, "gcp-1: ", &expected)?;
        ensure!(said.stderr.contains("hint: either something stands between you and the host"), "{said}");

        ensure!(logins(ground, "aws-1")? > 0, "the search for logins finds none where there are some");
        ensure!(logins(ground, "gcp-1")? == 0, "somebody logged in to gcp-1");
        ground.is_clean("gcp-1")?;
        // Its way to the user-data stays as it is: that it can be closed, only the right host proves.
        ensure!(
            !clouds.changes()?.iter().any(|call| call.starts_with("instances.setMetadata")),
            "told gcp-1"
        );
        runs(ground, &["aws-1", "onprem-1"])?;

        // What the hint says.
        clouds.show_own_host_keys();
        ground.provision(&["down", "--yes"])?.expect_success()?;
        ground.is_empty()?;
        verified(ground)
    })
}

/// The power of an instance goes while its files are written, and its cloud forgets it.
#[test]
fn a_host_that_dies_while_it_is_installed_is_named_and_made_again() -> anyhow::Result<()> {
    let ground = Ground::small("dies", &[])?;
    ground.explain(|ground| {
        let (clouds, mut journal) = (ground.clouds()?, ground.journal()?);
        let mut dead = None;
        let said = ground.provision_until(&UP, || {
            if dead.is_none() {
                let writes = |step: &String| step.starts_with("gcp-1: write ");
                let begun = journal.fresh()?.into_iter().filter(|line| line.event == "begin");
                dead = begun.map(|line| line.step).find(writes);
                if dead.is_some() {
                    clouds.kill_compute(ground.lab(), "gcp-1")?;
                }
            }
            Ok(false)
        })?;
        let step = dead.context("gcp-1 was never written to")?;
        eprintln!("up with a dead host: {:?}\n{}", said.took, said.stderr);
        let said = said.expect_code(1)?;
        one_error(&said, "gcp-1: ", &["gcp-1"])?;
        ensure!(said.stderr.contains(&step), "{said}");
        runs(ground, &["aws-1", "onprem-1"])?;

        verified(ground)?;
        let births = clouds.births(&["aws-1", "gcp-1"])?;
        ensure!((births["aws-1"], births["gcp-1"]) == (1, 2), "instances made: {births:?}");
        ground.provision(&["down", "--yes"])?.expect_success()?;
        ground.is_empty()
    })
}

#[test]
fn a_full_zone_is_passed_over() -> anyhow::Result<()> {
    let trouble = |api, call, times| Trouble { api, call, skip: 0, times, kind: Kind::Full };
    let troubles = [trouble(Api::Ec2, "RunInstances", ASKED), trouble(Api::Compute, "instances.insert", 1)];
    let ground = Ground::small("full", &troubles)?;
    ground.explain(|ground| {
        verified(ground)?;
        let clouds = ground.clouds()?;
        let subnets = clouds.ec2_asked("RunInstances", "NetworkInterface.1.SubnetId");
        let (last, full) = subnets.split_last().context("EC2 was asked for nothing")?;
        ensure!(full.len() == ASKED && full.iter().all(|subnet| subnet != last), "asked in {subnets:?}");
        let zones = clouds.compute_asked("instances.insert", "zone")?;
        ensure!(zones.len() == 2 && zones[0] != zones[1], "asked in {zones:?}");
        ground.provision(&["down", "--yes"])?.expect_success()?;
        ground.is_empty()
    })
}

#[test]
fn a_quota_is_named_and_what_was_made_is_kept() -> anyhow::Result<()> {
    let trouble = |api, call| Trouble { api, call, skip: 0, times: 1, kind: Kind::OverQuota };
    let troubles = [trouble(Api::Ec2, "RunInstances"), trouble(Api::Compute, "instances.insert")];
    let ground = Ground::small("quota", &troubles)?;
    ground.explain(|ground| {
        let clouds = ground.clouds()?;
        let said = ground.provision(&UP)?.expect_code(1)?;
        eprintln!("up over quotas: {:?}\n{}", said.took, said.stderr);
        let errors: Vec<&str> = said.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        ensure!(errors.len() == 2, "{said}");
        for what in [
            "host aws-1: ec2:RunInstances answered VcpuLimitExceeded: You have requested more vCPU capacity than \
             your current vCPU limit of 1",
            "host gcp-1: compute.instances.insert answered QUOTA_EXCEEDED: Quota 'CPUS' exceeded. Limit: 2.0",
        ] {
            ensure!(said.stderr.contains(what), "{what:?} is not in {said}");
        }
        // Nobody asks again for what is refused.
        ensure!(clouds.ec2_calls("RunInstances") == 1, "EC2 was asked again");
        ensure!(clouds.compute_calls("instances.insert")? == 1, "Compute Engine was asked again");
        let kept = clouds.remains(FLEET)?;
        ensure!(kept.iter().any(|thing| thing.starts_with("DescribeSecurityGroups ")), "{kept:?}");
        ensure!(kept.iter().any(|thing| thing.contains("/firewalls/")), "{kept:?}");

        verified(ground)?;
        let after = clouds.remains(FLEET)?;
        ensure!(kept.iter().all(|thing| after.contains(thing)), "of {kept:?} there is {after:?}");
        ground.provision(&["down", "--yes"])?.expect_success()?;
        ground.is_empty()
    })
}

fn verified(ground: &Ground) -> anyhow::Result<()> {
    let said = ground.provision(&UP)?.expect_success()?;
    eprintln!("up: {:?}", said.took);
    ensure!(said.stdout.contains("verified: all 6 pairs"), "{said}");
    Ok(())
}

/// Proves that a run told of one error, which begins and goes on like this.
fn one_error(said: &Run, start: &str, parts: &[&str]) -> anyhow::Result<()> {
    let errors: Vec<&str> = said.stderr.lines().filter_map(|line| line.strip_prefix("error: ")).collect();
    ensure!(errors.len() == 1 && errors[0].starts_with(start), "{errors:#?} in {said}");
    ensure!(parts.iter().all(|part| said.stderr.contains(part)), "not all of {parts:?} in {said}");
    Ok(())
}

fn runs(ground: &Ground, hosts: &[&str]) -> anyhow::Result<()> {
    for host in hosts {
        ground.run_on(host, &["systemctl", "is-active", "weave-gateway"])?.expect_success()?;
    }
    Ok(())
}

/// How many logins the SSH server of a host has let in.
fn logins(ground: &Ground, host: &str) -> anyhow::Result<usize> {
    let said =
        ground.run_on(host, &["journalctl", "--no-pager", "-o", "cat", "_COMM=sshd"])?.expect_success()?;
    ensure!(said.stdout.contains("Server listening"), "no word of the SSH server: {said}");
    Ok(said.stdout.matches("Accepted ").count())
}
