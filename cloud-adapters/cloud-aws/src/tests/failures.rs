//! The table of error classes.

use cloud_core::ProviderError;

use crate::failure::{Class, Failure, Stage};

fn answered(code: &str) -> Failure {
    Failure {
        action: "RunInstances",
        code: Some(code.to_owned()),
        message: "said EC2.".to_owned(),
        status: Some(400),
        stage: Stage::Answered,
    }
}

#[test]
fn codes_have_classes() {
    let table = [
        (Class::Retryable, "RequestLimitExceeded Throttling InternalError Unavailable ServiceUnavailable"),
        (Class::Retryable, "DependencyViolation IncorrectInstanceState InvalidInstanceID"),
        (Class::Retryable, "InvalidIPAddress.InUse InvalidNetworkInterface.InUse VolumeInUse"),
        (Class::Capacity, "InsufficientInstanceCapacity InsufficientFreeAddressesInSubnet"),
        (Class::Permission, "UnauthorizedOperation OptInRequired AccessDenied"),
        (Class::Credentials, "AuthFailure SignatureDoesNotMatch InvalidClientTokenId"),
        (Class::Clock, "RequestExpired ExpiredToken"),
        (Class::Quota, "VcpuLimitExceeded InstanceLimitExceeded AddressLimitExceeded VpcLimitExceeded"),
        (Class::Quota, "MaxSpotInstanceCountExceeded"),
        (Class::NotFound, "InvalidInstanceID.NotFound InvalidAMIID.NotFound InvalidGroup.NotFound"),
        (Class::NotFound, "InvalidVpcID.NotFound Gateway.NotAttached InvalidAllocationID.NotFound"),
        (Class::Exists, "InvalidGroup.Duplicate InvalidPermission.Duplicate IdempotentParameterMismatch"),
        (Class::Exists, "Resource.AlreadyAssociated RouteAlreadyExists InvalidSubnet.Conflict"),
        (Class::Invalid, "InvalidAMIID.Malformed InvalidParameterValue MissingParameter Unsupported"),
        (Class::Other, "SomethingOfTheFuture"),
    ];
    for (class, codes) in table {
        for code in codes.split(' ') {
            assert_eq!(answered(code).class(), class, "{code}");
        }
    }
}

#[test]
fn without_a_code_the_status_and_the_stage_decide() {
    let check = |status: Option<u16>, stage, class| {
        let failure = Failure { status, stage, ..Failure::default() };
        assert_eq!(failure.class(), class, "{status:?} {stage:?}");
    };
    check(Some(429), Stage::Answered, Class::Retryable);
    check(Some(500), Stage::Answered, Class::Retryable);
    check(Some(502), Stage::Garbled, Class::Retryable);
    check(Some(403), Stage::Answered, Class::Permission);
    check(Some(401), Stage::Answered, Class::Credentials);
    check(Some(200), Stage::Answered, Class::Other);
    check(Some(200), Stage::Garbled, Class::Other);
    check(None, Stage::Unreachable, Class::Retryable);
    check(None, Stage::Unsent, Class::Invalid);
}

#[test]
fn errors_name_the_thing_the_action_and_the_way_out() {
    let check = |code: &str, want: fn(&ProviderError) -> bool, words: &[&str]| {
        let error = answered(code).about("host aws-1");
        assert!(want(&error), "{code}: {error:?}");
        let text = error.to_string();
        for word in words.iter().chain(&["host aws-1", code]) {
            assert!(text.contains(word), "{code}: {text:?} lacks {word:?}");
        }
        assert!(!text.contains('\n') && !text.ends_with('.'), "{text:?}");
    };
    check("RequestLimitExceeded", ProviderError::is_retryable, &["ec2:RunInstances"]);
    check("InsufficientInstanceCapacity", ProviderError::is_retryable, &["choose another zone"]);
    let permission = |error: &ProviderError| matches!(error, ProviderError::Permission(_));
    check("UnauthorizedOperation", permission, &["need ec2:RunInstances", "`weave-provision iam aws`"]);
    check("AuthFailure", permission, &["AWS_PROFILE", "clock"]);
    check("RequestExpired", permission, &["clock"]);
    check(
        "VcpuLimitExceeded",
        |e| matches!(e, ProviderError::Quota(_)),
        &["Service Quotas: \"Running On-Demand"],
    );
    check("FutureLimitExceeded", |e| matches!(e, ProviderError::Quota(_)), &["under Service Quotas"]);
    check("InvalidAMIID.NotFound", |e| matches!(e, ProviderError::NotFound(_)), &["does not exist"]);
    check("InvalidGroup.Duplicate", |e| matches!(e, ProviderError::Conflict(_)), &["not ours"]);
    check("InvalidParameterValue", |e| matches!(e, ProviderError::Invalid(_)), &["said EC2"]);
    check("SomethingOfTheFuture", |e| matches!(e, ProviderError::Other(_)), &["said EC2"]);
}

#[test]
fn the_permission_that_ec2_names_is_the_one_that_is_missing() {
    let check = |message: &str, wanted: &str| {
        let failure = Failure { message: message.to_owned(), ..answered("UnauthorizedOperation") };
        let text = failure.about("host aws-1").to_string();
        assert!(text.contains(&format!("need {wanted}, see")), "{text}");
    };
    let named = "You are not authorized to perform this operation. User: arn:aws:iam::1:user/x is not authorized to \
                 perform: ec2:CreateTags on resource: arn:aws:ec2:eu-west-1:1:instance/* because no identity-based \
                 policy allows the ec2:CreateTags action. Encoded authorization failure message: 4GIOHlTkIaWH";
    check(named, "ec2:CreateTags");
    check("is not authorized to perform: iam:PassRole", "iam:PassRole");
    check("is not authorized to perform: ", "ec2:RunInstances");
    check("is not authorized to perform: §", "ec2:RunInstances");
    check("said EC2.", "ec2:RunInstances");
}

#[test]
fn text_from_outside_is_cut() {
    let message = "much\n ".repeat(1000);
    let text = Failure { message, ..answered("Strange") }.about("x").to_string();
    assert!(text.len() < 400 && !text.contains('\n'), "{}", text.len());
}
