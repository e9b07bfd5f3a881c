//! Faults of single calls; the table of all rows is that of `matrix`.

use std::collections::BTreeSet;
use std::time::Duration;

use cloud_core::{Cloud as _, ProviderError};

use super::{Emulator, brief, site, spec, tuning};
use crate::config::Tuning;
use emulators::Fault;

/// A site that stands, and whose next `action` fails for ever.
fn failing(action: &'static str, fault: Fault) -> (Emulator, ProviderError) {
    let emulator = Emulator::start();
    let cloud = emulator.cloud();
    cloud.ensure_site(&site()).unwrap();
    emulator.proxy.fail(action, 1000, fault);
    let error = cloud.create_host(&spec("aws-1", 1)).unwrap_err();
    (emulator, error)
}

#[test]
fn what_does_not_pass_is_told_as_retryable() {
    let emulator = Emulator::start();
    let cloud = emulator.cloud();
    for (fault, attempts, words) in [
        (Fault::Error(503, "RequestLimitExceeded"), 3, "RequestLimitExceeded"),
        (Fault::Error(500, "InternalError"), 3, "InternalError"),
        (Fault::Raw(502, "<html>bad gateway</html>"), 3, "status 502"),
        (Fault::Raw(429, ""), 1, "status 429"),
        (Fault::Close, 3, "connection closed"),
    ] {
        emulator.proxy.fail("DescribeInstances", 1000, fault);
        let before = emulator.proxy.calls("DescribeInstances").len();
        let error = cloud.observe().unwrap_err();
        let text = error.to_string();
        assert!(error.is_retryable() && text.contains("ec2:DescribeInstances"), "{error:?}");
        // In the words of people, without those of programmers.
        assert!(text.contains(words) && !text.contains('{') && text.len() < 250, "{text}");
        assert_eq!(emulator.proxy.calls("DescribeInstances").len() - before, attempts, "{text}");
        emulator.proxy.heal();
        cloud.observe().unwrap();
    }
}

#[test]
fn hang() {
    let emulator = Emulator::start();
    let impatient = Tuning { attempt: Duration::from_secs(3), ..tuning() };
    let cloud = emulator.cloud_with(emulator.config(), impatient);
    emulator.proxy.fail("DescribeInstances", 1, Fault::Hang);
    cloud.observe().unwrap();
    let impatient = Tuning { attempt: Duration::from_millis(200), ..tuning() };
    let cloud = emulator.cloud_with(emulator.config(), impatient);
    emulator.proxy.fail("DescribeVpcs", 1000, Fault::Hang);
    let error = cloud.ensure_site(&site()).unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("got no answer"), "{error:?}");
}

#[test]
fn an_answer_that_is_not_ec2s() {
    let (_emulator, error) = failing("RunInstances", Fault::Raw(200, "<html>log in to the hotel</html>"));
    assert!(matches!(&error, ProviderError::Other(text) if text.contains("check the endpoint")), "{error:?}");
}

#[test]
fn keys_that_are_not_accepted() {
    let (emulator, error) = failing("RunInstances", Fault::Error(403, "AuthFailure"));
    let ProviderError::Permission(text) = error else { panic!("{error:?}") };
    assert!(text.contains("host aws-1") && text.contains("AWS_PROFILE") && text.contains("clock"), "{text}");
    assert_eq!(emulator.proxy.calls("RunInstances").len(), 1);
}

#[test]
fn an_old_signature() {
    let (_emulator, error) = failing("RunInstances", Fault::Error(400, "RequestExpired"));
    assert!(matches!(&error, ProviderError::Permission(text) if text.contains("clock")), "{error:?}");
}

#[test]
fn a_host_that_ends_while_it_starts_says_why() {
    const ENDED: &str = "<name>terminated</name></instanceState><stateReason><code>Client.VolumeLimitExceeded</code>\
                         <message>Volume limit exceeded</message></stateReason><instanceState><code>48</code>\
                         <name>terminated</name>";
    const GONE: &str = "<name>shutting-down</name>";
    let emulator = Emulator::start();
    let cloud = emulator.cloud();
    cloud.ensure_site(&site()).unwrap();
    emulator.proxy.fail_after("DescribeInstances", 1, 1, Fault::Alter("<name>running</name>", ENDED));
    let error = cloud.create_host(&spec("aws-1", 1)).unwrap_err();
    let ProviderError::Quota(text) = error else { panic!("{error:?}") };
    assert!(text.contains("host aws-1") && text.contains("Client.VolumeLimitExceeded"), "{text}");
    // Whatever the reason, what has ended is not waited for.
    emulator.proxy.fail_after("DescribeInstances", 1, 1, Fault::Alter("<name>running</name>", GONE));
    let before = emulator.proxy.calls("DescribeInstances").len();
    assert!(cloud.create_host(&spec("aws-1", 1)).unwrap_err().is_retryable());
    assert_eq!(emulator.proxy.calls("DescribeInstances").len() - before, 2);
}

#[test]
fn capacity_is_looked_for_in_the_other_zones() {
    let emulator = Emulator::start();
    let cloud = emulator.cloud();
    cloud.ensure_site(&site()).unwrap();
    // All attempts of the SDK in the first zone.
    emulator.proxy.fail("RunInstances", 3, Fault::Error(500, "InsufficientInstanceCapacity"));
    cloud.create_host(&spec("aws-1", 1)).unwrap();
    let runs = emulator.proxy.calls("RunInstances");
    let subnets: BTreeSet<_> = runs.iter().map(|run| &run["NetworkInterface.1.SubnetId"]).collect();
    let tokens: BTreeSet<_> = runs.iter().map(|run| &run["ClientToken"]).collect();
    assert_eq!((runs.len(), subnets.len(), tokens.len()), (4, 2, 2));
    emulator.proxy.fail("RunInstances", 1000, Fault::Error(500, "InsufficientInstanceCapacity"));
    let error = cloud.create_host(&spec("aws-2", 2)).unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("choose another zone"), "{error:?}");
    assert_eq!(emulator.instances(&cloud).len(), 1);
}

#[test]
fn not_known_yet_after_the_run() {
    const NONE: &str =
        "<DescribeInstancesResponse><requestId>r</requestId><reservationSet/></DescribeInstancesResponse>";
    let emulator = Emulator::start();
    let cloud = emulator.cloud();
    cloud.ensure_site(&site()).unwrap();
    emulator.proxy.fail_after("DescribeInstances", 1, 4, Fault::Raw(200, NONE));
    emulator.proxy.fail("ModifyInstanceAttribute", 4, Fault::Error(400, "InvalidInstanceID.NotFound"));
    cloud.create_host(&spec("aws-1", 1)).unwrap();
    assert_eq!(emulator.proxy.calls("ModifyInstanceAttribute").len(), 5);
    emulator.proxy.fail("ModifyInstanceAttribute", 1000, Fault::Error(400, "InvalidInstanceID.NotFound"));
    let cloud = emulator.cloud_with(emulator.config(), brief());
    let error = cloud.create_host(&spec("aws-1", 1)).unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("host aws-1"), "{error:?}");
}

#[test]
fn what_was_just_made_is_not_known_everywhere() {
    let emulator = Emulator::start_empty();
    let cloud = emulator.cloud();
    for (action, code) in [
        ("CreateSubnet", "InvalidVpcID.NotFound"),
        ("AttachInternetGateway", "InvalidInternetGatewayID.NotFound"),
        ("CreateRoute", "InvalidInternetGatewayID.NotFound"),
        ("CreateSecurityGroup", "InvalidVpcID.NotFound"),
        ("AuthorizeSecurityGroupIngress", "InvalidGroup.NotFound"),
        ("RunInstances", "InvalidGroup.NotFound"),
    ] {
        emulator.proxy.fail(action, 3, Fault::Error(400, code));
    }
    cloud.ensure_site(&site()).unwrap();
    cloud.create_host(&spec("aws-1", 1)).unwrap();
    assert_eq!(emulator.proxy.calls("RunInstances").len(), 4);
    assert_eq!(emulator.instances(&cloud).len(), 1);
}

#[test]
fn dependency_violation() {
    let emulator = Emulator::start();
    let cloud = emulator.cloud();
    cloud.ensure_site(&site()).unwrap();
    emulator.proxy.fail("DeleteSecurityGroup", 1000, Fault::Error(400, "DependencyViolation"));
    let error = emulator.cloud_with(emulator.config(), brief()).remove_site("aws").unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("security group sg-"), "{error:?}");
    emulator.proxy.heal();
    emulator.proxy.fail("DeleteSecurityGroup", 3, Fault::Error(400, "DependencyViolation"));
    cloud.remove_site("aws").unwrap();
    assert_eq!(cloud.sweep().unwrap(), []);
}

#[test]
fn incorrect_state() {
    let emulator = Emulator::start();
    let cloud = emulator.cloud();
    cloud.ensure_site(&site()).unwrap();
    cloud.create_host(&spec("aws-1", 1)).unwrap();
    emulator.proxy.fail("TerminateInstances", 3, Fault::Error(400, "IncorrectInstanceState"));
    cloud.destroy_host("aws-1").unwrap();
    assert_eq!(emulator.proxy.calls("TerminateInstances").len(), 4);
}

#[test]
fn gone_while_it_is_removed() {
    let emulator = Emulator::start();
    let cloud = emulator.cloud();
    cloud.ensure_site(&site()).unwrap();
    emulator.proxy.fail("DeleteSecurityGroup", 1, Fault::Lose);
    cloud.remove_site("aws").unwrap();
    assert!(emulator.proxy.calls("DeleteSecurityGroup").len() > 1);
}

#[test]
fn a_name_that_is_somebody_elses() {
    let emulator = Emulator::start();
    emulator.proxy.fail("CreateSecurityGroup", 1000, Fault::Error(400, "InvalidGroup.Duplicate"));
    let error = emulator.cloud().ensure_site(&site()).unwrap_err();
    let ProviderError::Conflict(text) = error else { panic!("{error:?}") };
    assert!(text.contains("security group weave-demo-aws"), "{text}");
}
