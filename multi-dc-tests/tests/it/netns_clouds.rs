//! Fleets in emulated clouds: the product asks the clouds' own APIs for hosts, which begin with nothing but user-data.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use multi_dc_tests::clouds::{Api, Clouds, FLEET, Ground, Kind, PROJECT, SECRET_ACCESS_KEY, Trouble};
use multi_dc_tests::{Run, Secrets, base64, ordered_pairs, within};
use netlab::{HostStatus, Phase};
use serde_json::json;

/// For what a landlord does to a host that need not boot.
const SOON: Duration = Duration::from_secs(20);

/// From a call of the API to an SSH server, on a busy machine.
const BOOT: Duration = Duration::from_secs(60);

/// The hosts of the fleet, in the order of their addresses on the switch.
const HOSTS: [&str; 4] = ["aws-1", "gcp-1", "onprem-1", "onprem-2"];

/// From nothing to a verified fleet in three clouds, again, and back to nothing.
#[test]
fn up_makes_hosts_of_user_data_and_down_leaves_nothing_in_the_clouds() -> anyhow::Result<()> {
    let ground = Ground::new("clouds", &[])?;
    ground.explain(|ground| {
        let up = &["up", "--yes", "-vv", "--clouds", "aws,gcp,onprem"];
        let said = ground.provision(up)?.expect_success()?;
        eprintln!("up: {:?}", said.took);
        ensure!(said.stdout.contains("verified: all 12 pairs"), "{said}");
        ensure!(shows_path(&said, "aws-1", "gcp-1", "relay"), "{said}");
        ensure!(shows_path(&said, "aws-1", "onprem-1", "direct"), "{said}");
        let again = ground.provision(&["up", "--yes"])?.expect_success()?;
        eprintln!("up again: {:?}", again.took);
        ensure!(again.stdout.lines().any(|line| line == "plan: 0 to change"), "{again}");
        pings_everywhere(ground)?;
        let there = ground.clouds()?.remains(FLEET)?;
        for kind in ["DescribeInstances ", "DescribeSecurityGroups ", "/instances/", "/firewalls/"] {
            // What is not found here would not be missed below.
            ensure!(there.iter().any(|thing| thing.contains(kind)), "no {kind} in {there:?}");
        }
        let secrets = secrets(ground)?;
        ground.provision(&["plan", "--json"])?.expect_success()?;
        ground.provision(&["status", "--json"])?.expect_success()?;
        let journal = std::fs::read(ground.state().join("journal.jsonl"))?;

        let down = ground.provision(&["down", "--yes", "-vv"])?.expect_success()?;
        eprintln!("down: {:?}", down.took);
        let said = [ground.said(), journal].concat();
        ensure!(String::from_utf8_lossy(&said).contains("DEBUG"), "nothing was logged");
        secrets.check(&said)?;
        eprintln!("no secret of {} forms in {} bytes", secrets.count(), said.len());
        ground.is_empty()?;
        for host in ["onprem-1", "onprem-2"] {
            ground.is_clean(host)?;
        }
        ensure!(ground.clouds()?.complaints().is_empty(), "{:?}", ground.clouds()?.complaints());
        Ok(())
    })
}

/// Throttled, failed and lost calls cost time, and neither a host nor the run.
#[test]
fn up_and_down_get_by_when_the_clouds_fail_now_and_then() -> anyhow::Result<()> {
    let trouble = |api, call, skip, times, kind| Trouble { api, call, skip, times, kind };
    let troubles = [
        trouble(Api::Ec2, "DescribeInstances", 1, 2, Kind::Throttled),
        trouble(Api::Ec2, "RunInstances", 0, 1, Kind::Lost),
        trouble(Api::Ec2, "AuthorizeSecurityGroupIngress", 0, 1, Kind::Failed),
        trouble(Api::Ec2, "TerminateInstances", 0, 1, Kind::Lost),
        trouble(Api::Compute, "instances.aggregatedList", 1, 2, Kind::Throttled),
        trouble(Api::Compute, "instances.insert", 0, 1, Kind::Lost),
        trouble(Api::Compute, "firewalls.insert", 0, 1, Kind::Failed),
        trouble(Api::Compute, "instances.delete", 0, 1, Kind::Throttled),
    ];
    let ground = Ground::new("troubles", &troubles)?;
    ground.explain(|ground| {
        let said = ground.provision(&["up", "--yes", "--clouds", "aws,gcp,onprem"])?.expect_success()?;
        eprintln!("up: {:?}", said.took);
        ensure!(said.stdout.contains("verified: all 12 pairs"), "{said}");
        // The first were lost; what came of them was not made twice.
        let clouds = ground.clouds()?;
        ensure!(clouds.ec2_calls("RunInstances") >= 2, "no call of EC2 was lost");
        ensure!(clouds.compute_calls("instances.insert")? >= 2, "no call of Compute Engine was lost");
        ground.wait_for_instances(&["aws-1", "gcp-1"], SOON)?;
        let again = ground.provision(&["up", "--yes"])?.expect_success()?;
        ensure!(again.stdout.lines().any(|line| line == "plan: 0 to change"), "{again}");
        ground.provision(&["down", "--yes"])?.expect_success()?;
        ground.is_empty()
    })
}

/// Somebody stops an instance at the console, and it comes back at another address: `up` brings the fleet back.
#[test]
fn an_instance_that_was_stopped_comes_back_elsewhere() -> anyhow::Result<()> {
    let ground = Ground::new("stopped", &[])?;
    ground.explain(|ground| {
        let (clouds, up) = (ground.clouds()?, &["up", "--yes", "--clouds", "aws,gcp,onprem"]);
        ground.provision(up)?.expect_success()?;
        let first = host(ground, "aws-1")?.public;
        let instances = clouds.ec2("DescribeInstances", "")?;
        let id = between(&instances, "<instanceId>", "<").context("no instance")?;
        clouds.ec2("StopInstances", &format!("&InstanceId.1={id}"))?;
        within("aws-1 is off", SOON, || Ok(host(ground, "aws-1")?.phase == Phase::Stopped))?;
        let plan = ground.provision(&["plan"])?.expect_success()?;
        ensure!(!plan.stdout.contains("0 to change"), "{plan}");

        let again = ground.provision(&["up", "--yes"])?.expect_success()?;
        eprintln!("up after a stop: {:?}", again.took);
        ensure!(again.stdout.contains("verified: all 12 pairs"), "{again}");
        let second = host(ground, "aws-1")?.public;
        ensure!(second.is_some() && second != first, "aws-1 is still at {first:?}");
        pings_everywhere(ground)?;
        ground.provision(&["down", "--yes"])?.expect_success()?;
        ground.is_empty()
    })
}

/// What nobody may say: the keys in the state directory, what each gateway has of them, the user-data that brought
/// them, and the operator's own key to EC2.
fn secrets(ground: &Ground) -> anyhow::Result<Secrets> {
    let mut secrets = Secrets::of_state(&ground.state())?;
    for host in HOSTS {
        let identity = ground.run_on(host, &["cat", "/etc/weave/identity.pem"])?.expect_success()?;
        secrets.add_pem(&format!("the identity of {host}"), &identity.stdout);
    }
    let texts = ground.clouds()?.user_data()?;
    ensure!(texts.len() == 2, "{} instances were asked for", texts.len());
    for text in texts {
        ensure!(text.contains("OPENSSH PRIVATE KEY"), "no key came in the user-data");
        secrets.add("user-data", text.as_bytes());
    }
    secrets.add("the secret access key", SECRET_ACCESS_KEY.as_bytes());
    // The network's, the operator's, two of each host, the pre-shared one: each as it is, in hex, in a list, in base64.
    ensure!(secrets.count() >= (1 + 1 + 2 + 2 * 2 + 2 + 1) * 4, "{secrets:?}");
    Ok(secrets)
}

fn host(ground: &Ground, name: &str) -> anyhow::Result<HostStatus> {
    ground.lab().status()?.hosts.remove(name).with_context(|| format!("the lab has no {name}"))
}

/// Whether the table that `up` prints shows this path.
fn shows_path(said: &Run, from: &str, to: &str, way: &str) -> bool {
    said.stdout.lines().any(|line| line.split_whitespace().take(3).eq([from, to, way]))
}

/// Attaches a namespace on every host to the switch and pings from each to each.
fn pings_everywhere(ground: &Ground) -> anyhow::Result<()> {
    let address = |host: &str| HOSTS.iter().zip(1..).find(|(name, _)| **name == host).map_or(0, |(_, at)| at);
    for host in HOSTS {
        ground.run_on(host, &["ip", "netns", "add", "app"])?.expect_success()?;
        let own = format!("10.32.1.{}/24", address(host));
        ground.run_on(host, &["weave", "attach", &own, "netns:app"])?.expect_success()?;
    }
    for (from, to) in ordered_pairs(&HOSTS) {
        let to = format!("10.32.1.{}", address(to));
        let ping = ["ip", "netns", "exec", "app", "ping", "-n", "-c", "5", "-i", "0.05", "-w", "5", &to];
        ground.run_on(from, &ping)?.expect_success()?;
    }
    Ok(())
}

/// The landlord without the product: instances by hand.
#[test]
fn instances_of_both_clouds_become_hosts_and_go_with_them() -> anyhow::Result<()> {
    let ground = Ground::new("landlord", &[])?;
    ground.explain(|ground| {
        let clouds = ground.clouds()?;
        let user_data = |name: &str| format!("#cloud-config\n{}\n", json!({ "hostname": name }));
        let id = launch(clouds, "aws-1", &user_data("from-ec2"))?;
        let instance = json!({
            "name": "weave-e2e-hand-made",
            "labels": { "weave-fleet": "e2e", "weave-host": "gcp-1" },
            "machineType": "zones/europe-west1-b/machineTypes/e2-small",
            "disks": [{ "initializeParams": { "sourceImage": "ubuntu-2404-noble-amd64-v20261020" } }],
            "networkInterfaces": [{
                "network": format!("projects/{PROJECT}/global/networks/default"),
                "subnetwork": format!("projects/{PROJECT}/regions/europe-west1/subnetworks/default"),
                "accessConfigs": [{}],
            }],
            "metadata": { "items": [{ "key": "user-data", "value": user_data("from-compute") }] },
        });
        clouds.compute("POST", "zones/europe-west1-b/instances", &instance)?;
        ground.wait_for_instances(&["aws-1", "gcp-1"], SOON)?;
        for (host, name, range, public) in
            [("aws-1", "from-ec2", "172.31.", "54.214."), ("gcp-1", "from-compute", "10.128.", "34.78.")]
        {
            within(&format!("{host} runs"), BOOT, || {
                Ok(ground.lab().status()?.hosts.get(host).is_some_and(|host| host.phase == Phase::Running))
            })?;
            let seen = self::host(ground, host)?;
            ensure!(seen.private.to_string().starts_with(range), "{seen:?}");
            ensure!(seen.public.is_some_and(|address| address.to_string().starts_with(public)), "{seen:?}");
            let said = ground.run_on(host, &["hostname"])?.expect_success()?;
            ensure!(said.stdout.trim() == name, "{said}");
        }

        let first = host(ground, "aws-1")?.public;
        clouds.ec2("StopInstances", &format!("&InstanceId.1={id}"))?;
        within("aws-1 is off", SOON, || Ok(host(ground, "aws-1")?.phase == Phase::Stopped))?;
        clouds.ec2("StartInstances", &format!("&InstanceId.1={id}"))?;
        within("aws-1 is on again", BOOT, || Ok(host(ground, "aws-1")?.phase == Phase::Running))?;
        // As EC2 does without an elastic address.
        let moved = host(ground, "aws-1")?.public;
        ensure!(moved.is_some() && moved != first, "aws-1 is still at {first:?}");

        let listed = clouds.remains(FLEET)?;
        ensure!(listed.contains(&format!("DescribeInstances {id}")), "{listed:?}");
        ensure!(
            listed.contains(&"zones/europe-west1-b/instances/weave-e2e-hand-made".to_owned()),
            "{listed:?}"
        );
        clouds.ec2("TerminateInstances", &format!("&InstanceId.1={id}"))?;
        clouds.compute("DELETE", "zones/europe-west1-b/instances/weave-e2e-hand-made", &json!({}))?;
        ground.is_empty()?;
        ensure!(clouds.complaints().is_empty(), "{:?}", clouds.complaints());
        Ok(())
    })
}

/// Runs an instance with a public address; returns its id.
fn launch(clouds: &Clouds, host: &str, user_data: &str) -> anyhow::Result<String> {
    let images = clouds.ec2("DescribeImages", "&Owner.1=136693071363")?;
    let image = between(&images, "<imageId>", "<").context("no image")?;
    let subnets = clouds.ec2("DescribeSubnets", "")?;
    let subnet = between(&subnets, "<subnetId>", "<").context("no subnet")?;
    let encoded: String = base64(user_data.as_bytes()).replace('+', "%2B").replace('=', "%3D");
    let more = format!(
        "&ImageId={image}&InstanceType=t3.small&MinCount=1&MaxCount=1&UserData={encoded}\
         &NetworkInterface.1.DeviceIndex=0&NetworkInterface.1.SubnetId={subnet}\
         &NetworkInterface.1.AssociatePublicIpAddress=true&TagSpecification.1.ResourceType=instance\
         &TagSpecification.1.Tag.1.Key=weave-fleet&TagSpecification.1.Tag.1.Value=e2e\
         &TagSpecification.1.Tag.2.Key=weave-host&TagSpecification.1.Tag.2.Value={host}"
    );
    let answer = clouds.ec2("RunInstances", &more)?;
    between(&answer, "<instanceId>", "<").map(str::to_owned).context("no instance")
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(after).map(|(found, _)| found)
}
