//! Hosts as they come out of the emulator.

use std::collections::BTreeSet;
use std::net::{IpAddr, TcpListener};

use cloud_core::{Architecture, Cloud as _, Phase, ProviderError};

use super::{Emulator, site, spec, tuning};
use crate::Image;
use crate::cloud_init::{base64, user_data};
use crate::config::AwsConfig;
use emulators::Fault;

#[test]
fn a_host_is_run_as_it_should_be() {
    let emulator = Emulator::start();
    let cloud = emulator.cloud();
    cloud.ensure_site(&site()).unwrap();
    let host = cloud.create_host(&spec("aws-1", 1)).unwrap();
    assert_eq!((host.phase, host.site.as_str()), (Phase::Running, "aws"));
    let runs = emulator.proxy.calls("RunInstances");
    let [run] = runs.as_slice() else { panic!("{runs:?}") };
    for (name, value) in [
        // The newest of the publisher's own.
        ("ImageId", "ami-0deb120000000002"),
        ("InstanceType", "t3.small"),
        ("MetadataOptions.HttpTokens", "required"),
        ("MetadataOptions.HttpPutResponseHopLimit", "1"),
        ("BlockDeviceMapping.1.DeviceName", "/dev/xvda"),
        ("BlockDeviceMapping.1.Ebs.VolumeType", "gp3"),
        ("BlockDeviceMapping.1.Ebs.VolumeSize", "8"),
        ("BlockDeviceMapping.1.Ebs.Encrypted", "true"),
        ("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "true"),
        ("NetworkInterface.1.AssociatePublicIpAddress", "true"),
        ("MinCount", "1"),
        ("MaxCount", "1"),
        ("UserData", base64(user_data(&spec("aws-1", 1)).unwrap().reveal().as_bytes()).as_str()),
    ] {
        assert_eq!(run.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert!(run["ClientToken"].starts_with("weave-"), "{}", run["ClientToken"]);
    assert!(!run.contains_key("SubnetId") && !run.contains_key("SecurityGroupId.1"));
    let changed = emulator.proxy.calls("ModifyInstanceAttribute");
    assert_eq!(changed[0]["SourceDestCheck.Value"], "false");
    let seen = emulator.instances(&cloud);
    for (key, value) in [("weave", "test"), ("weave-host", "aws-1"), ("weave-site", "aws"), ("Name", "aws-1")]
    {
        assert_eq!(seen[0].tag(key), value);
    }
    // Asked again, nothing is made; what a crash may have left undone is done.
    assert_eq!(cloud.create_host(&spec("aws-1", 1)).unwrap(), host);
    assert_eq!(emulator.proxy.calls("RunInstances").len(), 1);
    let elsewhere = cloud_core::HostSpec { site: "other".to_owned(), ..spec("aws-1", 1) };
    assert!(matches!(cloud.create_host(&elsewhere), Err(ProviderError::Conflict(_))));
}

#[test]
fn image_type_zone_and_market_are_the_operators() {
    let emulator = Emulator::start();
    let config = AwsConfig {
        image: Image::Ubuntu2404,
        instance_type: "t3.micro".to_owned(),
        zone: Some("eu-west-1b".to_owned()),
        spot: true,
        root_gib: 20,
        ..emulator.config()
    };
    let cloud = emulator.cloud_with(config.clone(), tuning());
    cloud.ensure_site(&site()).unwrap();
    cloud.create_host(&spec("aws-1", 1)).unwrap();
    let run = emulator.proxy.calls("RunInstances").remove(0);
    for (name, value) in [
        ("ImageId", "ami-0abc240000000001"),
        ("InstanceType", "t3.micro"),
        ("BlockDeviceMapping.1.DeviceName", "/dev/sda1"),
        ("BlockDeviceMapping.1.Ebs.VolumeSize", "20"),
        ("InstanceMarketOptions.MarketType", "spot"),
        ("InstanceMarketOptions.SpotOptions.SpotInstanceType", "one-time"),
    ] {
        assert_eq!(run.get(name).map(String::as_str), Some(value), "{name}");
    }
    let subnet = run["NetworkInterface.1.SubnetId"].clone();
    let subnets = emulator.runtime.block_on(cloud.api.subnets(&[])).unwrap();
    assert_eq!(subnets.iter().find(|other| other.id == subnet).unwrap().zone, "eu-west-1b");
    for (wrong, words) in [
        (
            AwsConfig { instance_type: "t3.nano.of.the.future".to_owned(), ..config.clone() },
            "no instance type",
        ),
        (AwsConfig { zone: Some("eu-west-1z".to_owned()), ..config.clone() }, "in eu-west-1z"),
        (AwsConfig { image: Image::Ami("ami-0123".to_owned()), ..config }, "ami-0123"),
    ] {
        let error = emulator.cloud_with(wrong, tuning()).create_host(&spec("aws-2", 2)).unwrap_err();
        assert!(!error.is_retryable() && error.to_string().contains(words), "{error:?}");
    }
}

#[test]
fn the_image_is_one_for_the_processor() {
    let emulator = Emulator::start();
    let arm = AwsConfig {
        instance_type: "t4g.small".to_owned(),
        architecture: Architecture::Arm64,
        ..emulator.config()
    };
    let cloud = emulator.cloud_with(arm.clone(), tuning());
    cloud.ensure_site(&site()).unwrap();
    cloud.create_host(&spec("aws-1", 1)).unwrap();
    let run = emulator.proxy.calls("RunInstances").remove(0);
    assert_eq!(
        (run["ImageId"].as_str(), run["InstanceType"].as_str()),
        ("ami-0deb120000000003", "t4g.small")
    );
    // An image named by its id is looked at before an instance is asked for.
    let other = AwsConfig { image: Image::Ami("ami-0deb120000000002".to_owned()), ..arm };
    let error = emulator.cloud_with(other, tuning()).create_host(&spec("aws-2", 2)).unwrap_err();
    assert!(error.to_string().contains("is for x86_64 and the hosts are arm64"), "{error:?}");
    assert_eq!(emulator.proxy.calls("RunInstances").len(), 1);
}

#[test]
fn many_hosts_come_in_pages_and_spread_over_the_zones() {
    let emulator = Emulator::start();
    let cloud = emulator.cloud();
    cloud.ensure_site(&site()).unwrap();
    for index in 1..=7 {
        cloud.create_host(&spec(&format!("aws-{index}"), index)).unwrap();
    }
    let names: Vec<_> = cloud.observe().unwrap().hosts.into_iter().map(|host| host.name).collect();
    assert_eq!(names, ["aws-1", "aws-2", "aws-3", "aws-4", "aws-5", "aws-6", "aws-7"]);
    assert!(emulator.proxy.calls("DescribeInstances").iter().any(|call| call.contains_key("NextToken")));
    let runs = emulator.proxy.calls("RunInstances");
    let tokens: BTreeSet<_> = runs.iter().map(|run| &run["ClientToken"]).collect();
    let subnets: BTreeSet<_> = runs.iter().map(|run| &run["NetworkInterface.1.SubnetId"]).collect();
    assert_eq!((tokens.len(), subnets.len()), (7, 3));
}

#[test]
fn hosts_are_made_and_ended_at_the_same_time() {
    let emulator = Emulator::start_empty();
    let cloud = emulator.cloud();
    // A site of which a crash left nothing but the VPC: every host finishes its network.
    emulator.proxy.fail("CreateSecurityGroup", 1, Fault::Error(403, "UnauthorizedOperation"));
    cloud.ensure_site(&site()).unwrap_err();
    let each = |act: &(dyn Fn(String, u8) + Sync)| {
        std::thread::scope(|scope| {
            (1..=4).for_each(|index| drop(scope.spawn(move || act(format!("aws-{index}"), index))));
        });
    };
    each(&|name, index| drop(cloud.create_host(&spec(&name, index)).unwrap()));
    assert_eq!(cloud.observe().unwrap().hosts.len(), 4);
    for (action, times) in
        [("CreateVpc", 1), ("CreateSubnet", 3), ("CreateSecurityGroup", 2), ("RunInstances", 4)]
    {
        assert_eq!(emulator.proxy.calls(action).len(), times, "{action}");
    }
    each(&|name, _| cloud.destroy_host(&name).unwrap());
    cloud.remove_site("aws").unwrap();
    assert_eq!(cloud.sweep().unwrap(), []);
}

#[test]
fn an_elastic_address_is_the_hosts_until_the_end() {
    let emulator = Emulator::start();
    let config = AwsConfig { elastic_ip: true, ..emulator.config() };
    let cloud = emulator.cloud_with(config, tuning());
    cloud.ensure_site(&site()).unwrap();
    let host = cloud.create_host(&spec("aws-1", 1)).unwrap();
    let public = host.addresses.unwrap().public.unwrap();
    let IpAddr::V4(loopback) = public else { panic!("{public}") };
    assert!(loopback.is_loopback(), "the emulator's elastic addresses are on the loopback: {public}");
    assert_eq!(cloud.create_host(&spec("aws-1", 1)).unwrap(), host);
    assert_eq!(emulator.proxy.calls("AllocateAddress").len(), 1);

    let listener = TcpListener::bind((loopback, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    assert!(cloud.connect("aws-1", port).is_ok());
    drop(listener);
    let refused = cloud.connect("aws-1", port).err().unwrap();
    assert!(
        refused.is_retryable() && refused.to_string().contains("host aws-1 does not answer"),
        "{refused:?}"
    );
    assert!(matches!(cloud.connect("aws-2", port).err().unwrap(), ProviderError::NotFound(_)));

    cloud.destroy_host("aws-1").unwrap();
    assert_eq!(emulator.proxy.calls("ReleaseAddress").len(), 1);
    assert_eq!(emulator.runtime.block_on(cloud.api.addresses(&[])).unwrap(), []);
}

#[test]
fn a_stopped_host_is_started_and_a_pending_one_is_starting() {
    let emulator = Emulator::start();
    let cloud = emulator.cloud();
    cloud.ensure_site(&site()).unwrap();
    cloud.create_host(&spec("aws-1", 1)).unwrap();
    let running = "<name>running</name>";
    emulator.proxy.fail("DescribeInstances", 2, Fault::Alter(running, "<name>stopped</name>"));
    emulator.proxy.fail("DescribeInstances", 3, Fault::Alter(running, "<name>pending</name>"));
    assert_eq!(cloud.create_host(&spec("aws-1", 1)).unwrap().phase, Phase::Running);
    assert_eq!(emulator.proxy.calls("StartInstances").len(), 1);
    for (word, phase) in [("pending", Phase::Starting), ("shutting-down", Phase::Terminating)] {
        let altered: &'static str =
            if word == "pending" { "<name>pending</name>" } else { "<name>shutting-down</name>" };
        emulator.proxy.fail("DescribeInstances", 1, Fault::Alter(running, altered));
        assert_eq!(cloud.observe().unwrap().hosts[0].phase, phase);
    }
    emulator.proxy.fail("DescribeInstances", 1, Fault::Alter(running, "<name>pending</name>"));
    assert!(cloud.connect("aws-1", 22).err().unwrap().is_retryable());
}

#[test]
fn user_data_can_be_hidden() {
    let emulator = Emulator::start();
    let cloud = emulator.cloud();
    cloud.ensure_site(&site()).unwrap();
    assert!(matches!(cloud.hide_user_data("aws-1"), Err(ProviderError::NotFound(_))));
    cloud.create_host(&spec("aws-1", 1)).unwrap();
    assert!(cloud.observe().unwrap().hosts[0].shows_user_data);
    for _ in 0..2 {
        cloud.hide_user_data("aws-1").unwrap();
        assert!(!cloud.observe().unwrap().hosts[0].shows_user_data);
    }
    let changes = emulator.proxy.calls("ModifyInstanceMetadataOptions");
    assert_eq!((changes.len(), changes[0]["HttpEndpoint"].as_str()), (1, "disabled"));
    // Asked for again, the host stays as it is.
    assert!(!cloud.create_host(&spec("aws-1", 1)).unwrap().shows_user_data);
    // What EC2 says nothing of is on.
    let off = "<httpEndpoint>disabled</httpEndpoint>";
    emulator.proxy.fail("DescribeInstances", 1, Fault::Alter(off, ""));
    assert!(cloud.observe().unwrap().hosts[0].shows_user_data);
}

#[test]
fn a_fleet_never_touches_another() {
    let emulator = Emulator::start();
    let (ours, theirs) = (
        emulator.cloud(),
        emulator.cloud_with(AwsConfig { fleet: "other".to_owned(), ..emulator.config() }, tuning()),
    );
    for cloud in [&ours, &theirs] {
        cloud.ensure_site(&site()).unwrap();
        cloud.create_host(&spec("aws-1", 1)).unwrap();
    }
    assert_eq!(ours.observe().unwrap().hosts.len(), 1);
    assert_eq!(ours.sweep().unwrap(), []);
    assert_eq!(ours.observe().unwrap(), cloud_core::Observed::default());
    let observed = theirs.observe().unwrap();
    assert_eq!((observed.hosts.len(), observed.sites), (1, vec![site()]));
}
