//! Answers that were lost: what was made is found again, and twins go.

use std::collections::BTreeSet;

use cloud_core::{Cloud as _, HostSpec, Secret};

use super::{Emulator, site, spec, tuning};
use crate::config::AwsConfig;
use emulators::Fault;

#[test]
fn of_a_run_makes_no_second_host() {
    let emulator = Emulator::start();
    let cloud = emulator.cloud();
    cloud.ensure_site(&site()).unwrap();
    emulator.proxy.fail("RunInstances", 1, Fault::Lose);
    cloud.create_host(&spec("aws-1", 1)).unwrap();
    assert_eq!(emulator.instances(&cloud).len(), 1);
    let runs = emulator.proxy.calls("RunInstances");
    let tokens: BTreeSet<_> = runs.iter().map(|run| &run["ClientToken"]).collect();
    assert_eq!((runs.len(), tokens.len()), (2, 1));
}

#[test]
fn of_every_attempt_of_a_run_makes_no_second_host() {
    const NONE: &str =
        "<DescribeInstancesResponse><requestId>r</requestId><reservationSet/></DescribeInstancesResponse>";
    let emulator = Emulator::start();
    let cloud = emulator.cloud();
    cloud.ensure_site(&site()).unwrap();
    emulator.proxy.fail("RunInstances", 3, Fault::Lose);
    assert!(cloud.create_host(&spec("aws-1", 1)).unwrap_err().is_retryable());
    // The next try does not even see it yet: the token alone keeps it single.
    emulator.proxy.fail("DescribeInstances", 1, Fault::Raw(200, NONE));
    emulator.cloud().create_host(&spec("aws-1", 1)).unwrap();
    let runs = emulator.proxy.calls("RunInstances");
    let tokens: BTreeSet<_> = runs.iter().map(|run| &run["ClientToken"]).collect();
    assert_eq!((emulator.instances(&cloud).len(), runs.len(), tokens.len()), (1, 4, 1));
}

#[test]
fn of_a_run_that_asked_in_other_words_is_found() {
    let emulator = Emulator::start();
    let cloud = emulator.cloud();
    cloud.ensure_site(&site()).unwrap();
    cloud.create_host(&spec("aws-1", 1)).unwrap();
    const NONE: &str =
        "<DescribeInstancesResponse><requestId>r</requestId><reservationSet/></DescribeInstancesResponse>";
    emulator.proxy.fail("DescribeInstances", 3, Fault::Raw(200, NONE));
    emulator.proxy.fail("RunInstances", 1, Fault::Error(400, "IdempotentParameterMismatch"));
    cloud.create_host(&spec("aws-1", 1)).unwrap();
    assert_eq!((emulator.instances(&cloud).len(), emulator.proxy.calls("RunInstances").len()), (1, 2));
}

#[test]
fn tokens_of_hosts_long_gone_are_left_behind() {
    const GONE: &str = "<RunInstancesResponse><reservationId>r-1</reservationId><instancesSet><item>\
                        <instanceId>i-0123</instanceId><instanceState><code>48</code><name>terminated</name>\
                        </instanceState></item></instancesSet></RunInstancesResponse>";
    let emulator = Emulator::start();
    let cloud = emulator.cloud();
    cloud.ensure_site(&site()).unwrap();
    emulator.proxy.fail("RunInstances", 1, Fault::Error(400, "IdempotentParameterMismatch"));
    emulator.proxy.fail("RunInstances", 1, Fault::Raw(200, GONE));
    let host = cloud.create_host(&spec("aws-1", 1)).unwrap();
    assert_eq!(host.name, "aws-1");
    cloud.destroy_host("aws-1").unwrap();
    // One that is still listed as terminated is not even tried.
    cloud
        .create_host(&HostSpec { host_private_key: Secret::new(super::PRIVATE), ..spec("aws-1", 1) })
        .unwrap();
    let runs = emulator.proxy.calls("RunInstances");
    let tokens: Vec<_> = runs.iter().map(|run| run["ClientToken"].as_str()).collect();
    assert_eq!(tokens.len(), 4, "{tokens:?}");
    assert_eq!(emulator.instances(&cloud).len(), 1);
    assert_eq!(tokens[..3].iter().collect::<BTreeSet<_>>().len(), 3);
}

#[test]
fn of_every_creation_leaves_one_of_each() {
    let emulator = Emulator::start_empty();
    let cloud = emulator.cloud_with(AwsConfig { elastic_ip: true, ..emulator.config() }, tuning());
    for action in [
        "CreateVpc",
        "CreateSubnet",
        "CreateInternetGateway",
        "AttachInternetGateway",
        "CreateRoute",
        "CreateSecurityGroup",
        "AuthorizeSecurityGroupIngress",
        "AllocateAddress",
        "AssociateAddress",
        "ModifyInstanceAttribute",
    ] {
        emulator.proxy.fail(action, 1, Fault::Lose);
    }
    cloud.ensure_site(&site()).unwrap();
    cloud.create_host(&spec("aws-1", 1)).unwrap();
    assert!(
        emulator.proxy.calls("CreateVpc").len() == 2 && emulator.proxy.calls("AllocateAddress").len() == 2
    );
    let (api, mark) = (&cloud.api, cloud.mark(&[]));
    let count = emulator.runtime.block_on(async {
        (
            api.vpcs(&[]).await.unwrap().len(),
            api.subnets(&[]).await.unwrap().len(),
            api.gateways(&[]).await.unwrap().len(),
            api.groups(&mark).await.unwrap().len(),
            api.addresses(&[]).await.unwrap().len(),
        )
    });
    assert_eq!(count, (1, 3, 1, 1, 1));
    emulator.assert_all_marked();
    assert_eq!(cloud.sweep().unwrap(), []);
}

#[test]
fn of_every_attempt_of_a_vpc_leaves_one() {
    let emulator = Emulator::start_empty();
    let cloud = emulator.cloud();
    emulator.proxy.fail("CreateVpc", 3, Fault::Lose);
    assert!(cloud.ensure_site(&site()).unwrap_err().is_retryable());
    let there = || emulator.runtime.block_on(cloud.api.vpcs(&[])).unwrap().len();
    assert_eq!(there(), 3);
    // What exists of a site shows, so that it is not forgotten at the end.
    assert_eq!(cloud.observe().unwrap().sites, [site()]);
    cloud.ensure_site(&site()).unwrap();
    assert_eq!((there(), emulator.proxy.calls("CreateVpc").len()), (1, 3));
}

#[test]
fn twins_of_a_crash_go_at_the_next_look() {
    let emulator = Emulator::start_empty();
    let cloud = emulator.cloud();
    cloud.ensure_site(&site()).unwrap();
    cloud.create_host(&spec("aws-1", 1)).unwrap();
    // Made by a run that ended before it looked.
    let tags = emulator.runtime.block_on(cloud.api.vpcs(&cloud.mark(&[]))).unwrap().remove(0).tags;
    let twin = emulator.runtime.block_on(cloud.api.create_vpc("10.1.0.0/16", &tags)).unwrap();
    cloud.ensure_site(&site()).unwrap();
    let left = emulator.runtime.block_on(cloud.api.vpcs(&[])).unwrap();
    assert!(left.len() == 1 && left[0].id != twin, "{left:?}");
    assert_eq!(cloud.observe().unwrap().hosts.len(), 1);
}
