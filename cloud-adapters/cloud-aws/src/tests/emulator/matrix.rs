//! A fleet's whole life, struck at each of its calls in turn; another run then goes on where the last one ended.
//!
//! The rows of the table of faults, and where each is tested:
//!
//! | fault | shows as | tests |
//! |---|---|---|
//! | 503 RequestLimitExceeded, 500, 502 in HTML, a closed connection | passes | here `…_passes` |
//! | the same for ever, 429 without a code | retryable | `faults::what_does_not_pass_is_told_as_retryable` |
//! | no answer at all | passes; else retryable | `faults::hang` |
//! | 200 in HTML | check the endpoint | `faults::an_answer_that_is_not_ec2s` |
//! | lost answers | nothing twice | here `lost_answers_leave_no_twins`; `lost` |
//! | killed between two calls | the next run goes on | here `a_run_that_is_killed_anywhere_is_gone_on_with` |
//! | descriptions lag behind changes | waited for | here `descriptions_that_lag_are_waited_for`; `faults` |
//! | InvalidInstanceID.NotFound after the run | waited for | `faults::not_known_yet_after_the_run` |
//! | UnauthorizedOperation | the permission, and who prints it | here `every_permission_that_is_missing_is_named` |
//! | AuthFailure, RequestExpired | keys and clock | `faults::keys_that_are_not_accepted`, `faults::an_old_signature` |
//! | VcpuLimitExceeded, …LimitExceeded | the quota's name | here `every_limit_is_named`; `faults::a_host_that_ends_…` |
//! | InsufficientInstanceCapacity | another zone, else one error | `faults::capacity_is_looked_for_in_the_other_zones` |
//! | DependencyViolation, IncorrectInstanceState | tried again | `faults::dependency_violation`, `faults::incorrect_state` |
//! | ….Duplicate, IdempotentParameterMismatch | adopted, or a conflict | `lost`; `faults::a_name_that_is_somebody_elses` |
//! | Invalid….NotFound in removal | gone already | `faults::gone_while_it_is_removed` |
//!
//! The proxy refuses to remove what an instance uses, as EC2 does: the order of removal is tested by every end here.

use std::time::Duration;

use cloud_core::{Cloud as _, ProviderError};
use emulators::Fault;

use super::{Emulator, site, spec, tuning};
use crate::Aws;
use crate::config::{AwsConfig, Tuning};

/// Another run of the program: it remembers nothing.
fn another(emulator: &Emulator) -> Aws {
    emulator.cloud_with(AwsConfig { elastic_ip: true, ..emulator.config() }, tuning())
}

/// A run that tries nothing twice: between its calls nothing happens that a kill could interrupt.
fn mortal(emulator: &Emulator) -> Aws {
    let tuning = Tuning { attempts: 1, visible: Duration::ZERO, ..tuning() };
    emulator.cloud_with(AwsConfig { elastic_ip: true, ..emulator.config() }, tuning)
}

fn make(cloud: &Aws) -> Result<(), ProviderError> {
    cloud.ensure_site(&site())?;
    cloud.create_host(&spec("aws-1", 1))?;
    cloud.hide_user_data("aws-1")
}

fn end(cloud: &Aws) -> Result<(), ProviderError> {
    cloud.destroy_host("aws-1")?;
    cloud.remove_site("aws")
}

/// There is one of each, and it is as wanted.
fn assert_whole(emulator: &Emulator) {
    let cloud = another(emulator);
    let (api, mark) = (&cloud.api, cloud.mark(&[]));
    let count = emulator.runtime.block_on(async {
        [
            api.vpcs(&[]).await.unwrap().len(),
            api.subnets(&[]).await.unwrap().len(),
            api.gateways(&[]).await.unwrap().len(),
            api.groups(&mark).await.unwrap().len(),
            api.addresses(&[]).await.unwrap().len(),
        ]
    });
    assert_eq!((count, emulator.instances(&cloud).len()), ([1, 3, 1, 1, 1], 1));
    let observed = cloud.observe().unwrap();
    assert!(observed.drifts.is_empty() && !observed.hosts[0].shows_user_data, "{observed:?}");
    emulator.assert_all_marked();
}

/// Nothing is left, marked or not.
fn assert_empty(emulator: &Emulator) {
    let cloud = another(emulator);
    assert_eq!(cloud.sweep().unwrap(), []);
    let api = &cloud.api;
    let left = emulator.runtime.block_on(async {
        (api.vpcs(&[]).await.unwrap(), api.gateways(&[]).await.unwrap(), api.addresses(&[]).await.unwrap())
    });
    assert_eq!(left, (vec![], vec![], vec![]));
}

const MAKING: [&str; 12] = [
    "CreateVpc",
    "CreateSubnet",
    "CreateInternetGateway",
    "AttachInternetGateway",
    "CreateRoute",
    "CreateSecurityGroup",
    "AuthorizeSecurityGroupIngress",
    "RunInstances",
    "ModifyInstanceAttribute",
    "AllocateAddress",
    "AssociateAddress",
    "ModifyInstanceMetadataOptions",
];

const ENDING: [&str; 7] = [
    "TerminateInstances",
    "ReleaseAddress",
    "DeleteSecurityGroup",
    "DeleteSubnet",
    "DetachInternetGateway",
    // The VPC of a gateway that was detached goes first.
    "DeleteVpc",
    "DeleteInternetGateway",
];

#[test]
fn a_run_that_is_killed_anywhere_is_gone_on_with() {
    let emulator = Emulator::start_empty();
    let killed_at = |act: fn(&Aws) -> Result<(), ProviderError>, action: &'static str| {
        let before = emulator.proxy.calls(action).len();
        emulator.proxy.fail(action, 1, Fault::Die);
        let error = act(&mortal(&emulator)).expect_err(action);
        emulator.proxy.heal();
        assert!(error.is_retryable(), "{action}: {error:?}");
        assert_eq!(emulator.proxy.calls(action).len(), before + 1, "{action}");
    };
    MAKING.iter().for_each(|action| killed_at(make, action));
    make(&another(&emulator)).unwrap();
    assert_whole(&emulator);
    ENDING.iter().for_each(|action| killed_at(end, action));
    end(&another(&emulator)).unwrap();
    assert_empty(&emulator);
}

#[test]
fn every_permission_that_is_missing_is_named() {
    let emulator = Emulator::start_empty();
    let denied = |act: fn(&Aws) -> Result<(), ProviderError>, action: &'static str, what: &str| {
        let before = emulator.proxy.calls(action).len();
        emulator.proxy.fail(action, 1000, Fault::Error(403, "UnauthorizedOperation"));
        let error = act(&another(&emulator)).unwrap_err();
        emulator.proxy.heal();
        let ProviderError::Permission(text) = &error else { panic!("{action}: {error:?}") };
        let way_out = format!("need ec2:{action}, see `weave-provision iam aws`");
        assert!(text.starts_with(what) && text.ends_with(&way_out), "{action}: {text}");
        // Asking again would not help.
        assert_eq!(emulator.proxy.calls(action).len(), before + 1, "{action}");
    };
    for (action, what) in [
        ("DescribeVpcs", "the networks of fleet demo"),
        ("DescribeSecurityGroups", "the networks of fleet demo"),
        ("CreateVpc", "VPC of site aws"),
        ("DescribeInstanceTypeOfferings", "instance type t3.small"),
        ("DescribeSubnets", "subnet of site aws"),
        ("CreateSubnet", "subnet of site aws"),
        ("DescribeInternetGateways", "internet gateway of site aws"),
        ("CreateInternetGateway", "internet gateway of site aws"),
        ("AttachInternetGateway", "internet gateway of site aws"),
        ("DescribeRouteTables", "the route tables of VPC vpc-"),
        ("CreateRoute", "route of site aws to the internet"),
        ("CreateSecurityGroup", "security group weave-demo-aws"),
        ("AuthorizeSecurityGroupIngress", "security group weave-demo-aws"),
        ("DescribeInstances", "host aws-1"),
        ("DescribeImages", "image debian"),
        ("RunInstances", "host aws-1"),
        ("ModifyInstanceAttribute", "host aws-1"),
        ("DescribeAddresses", "elastic address of host aws-1"),
        ("AllocateAddress", "elastic address of host aws-1"),
        ("AssociateAddress", "elastic address of host aws-1"),
        ("ModifyInstanceMetadataOptions", "host aws-1"),
    ] {
        denied(make, action, what);
    }
    make(&another(&emulator)).unwrap();
    assert_whole(&emulator);
    for (action, what) in [
        ("TerminateInstances", "host aws-1"),
        ("ReleaseAddress", "elastic address eipalloc-"),
        ("DeleteSecurityGroup", "security group sg-"),
        ("DeleteSubnet", "subnet subnet-"),
        ("DetachInternetGateway", "internet gateway igw-"),
        ("DeleteInternetGateway", "internet gateway igw-"),
        ("DeleteVpc", "VPC vpc-"),
    ] {
        denied(end, action, what);
    }
    end(&another(&emulator)).unwrap();
    assert_empty(&emulator);
}

#[test]
fn every_limit_is_named() {
    let emulator = Emulator::start_empty();
    for (action, code, limit) in [
        ("CreateVpc", "VpcLimitExceeded", "VPCs per Region"),
        ("CreateSubnet", "SubnetLimitExceeded", "Subnets per VPC"),
        ("CreateInternetGateway", "InternetGatewayLimitExceeded", "Internet gateways per Region"),
        ("CreateRoute", "RouteLimitExceeded", "Routes per route table"),
        ("CreateSecurityGroup", "SecurityGroupLimitExceeded", "VPC security groups per Region"),
        ("AuthorizeSecurityGroupIngress", "RulesPerSecurityGroupLimitExceeded", "rules per security group"),
        ("RunInstances", "VcpuLimitExceeded", "Running On-Demand Standard"),
        ("AllocateAddress", "AddressLimitExceeded", "EC2-VPC Elastic IPs"),
    ] {
        emulator.proxy.fail(action, 1000, Fault::Error(400, code));
        let error = make(&another(&emulator)).unwrap_err();
        let tries = emulator.proxy.calls(action).len();
        emulator.proxy.heal();
        let ProviderError::Quota(text) = &error else { panic!("{action}: {error:?}") };
        for words in [code, limit, "aws", "free some, or ask for more in the AWS console"] {
            assert!(text.contains(words), "{action}: {text} lacks {words}");
        }
        assert_eq!(tries, 1, "{action}");
    }
    make(&another(&emulator)).unwrap();
    assert_whole(&emulator);
    end(&another(&emulator)).unwrap();
    assert_empty(&emulator);
}

#[test]
fn descriptions_that_lag_are_waited_for() {
    let emulator = Emulator::start_empty();
    emulator.proxy.lag(3);
    make(&another(&emulator)).unwrap();
    emulator.proxy.heal();
    assert_whole(&emulator);
    for action in ["CreateVpc", "CreateSecurityGroup", "RunInstances", "AllocateAddress"] {
        assert_eq!(emulator.proxy.calls(action).len(), 1, "{action}");
    }
    emulator.proxy.lag(3);
    end(&another(&emulator)).unwrap();
    emulator.proxy.heal();
    assert_empty(&emulator);
}

/// A whole life in which every call is hit once before it passes.
fn passes(fault: Fault) -> Emulator {
    let emulator = Emulator::start_empty();
    let live = |act: fn(&Aws) -> Result<(), ProviderError>| {
        emulator.proxy.plague(2, fault.clone());
        act(&another(&emulator)).unwrap();
        emulator.proxy.heal();
    };
    live(make);
    assert_whole(&emulator);
    live(end);
    assert_empty(&emulator);
    emulator
}

#[test]
fn throttling_of_every_call_passes() {
    passes(Fault::Error(503, "RequestLimitExceeded"));
}

#[test]
fn an_internal_error_of_every_call_passes() {
    passes(Fault::Error(500, "InternalError"));
}

#[test]
fn a_bad_gateway_before_every_call_passes() {
    passes(Fault::Raw(502, "<html>bad gateway</html>"));
}

#[test]
fn a_connection_closed_at_every_call_passes() {
    passes(Fault::Close);
}

#[test]
fn lost_answers_leave_no_twins() {
    let emulator = passes(Fault::Lose);
    // Each was done twice.
    assert_eq!(emulator.proxy.calls("CreateVpc").len(), 2);
    assert_eq!(emulator.proxy.calls("AllocateAddress").len(), 2);
}
