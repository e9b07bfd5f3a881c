//! The table of error classes.

use cloud_core::ProviderError;

use crate::failure::{Class, Failure, Stage};

fn answered(status: u16, reason: &str) -> Failure {
    Failure {
        method: "instances.insert",
        reason: (!reason.is_empty()).then(|| reason.to_owned()),
        message: "said Google.".to_owned(),
        status: Some(status),
        stage: Stage::Answered,
    }
}

#[test]
fn reasons_have_classes() {
    let table = [
        (Class::Retryable, 403, "rateLimitExceeded userRateLimitExceeded"),
        (Class::Retryable, 429, "rateLimitExceeded SomethingOfTheFuture"),
        (Class::Retryable, 503, "backendError SomethingOfTheFuture"),
        (Class::Busy, 412, "conditionNotMet SomethingOfTheFuture"),
        (Class::Busy, 400, "resourceInUseByAnotherResource resourceNotReady RESOURCE_NOT_READY"),
        (Class::Capacity, 503, "ZONE_RESOURCE_POOL_EXHAUSTED ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS"),
        (Class::Permission, 403, "forbidden PERMISSION_DENIED SomethingOfTheFuture"),
        (Class::Permission, 401, "authError"),
        (Class::Disabled, 403, "accessNotConfigured SERVICE_DISABLED"),
        (Class::Quota, 403, "quotaExceeded QUOTA_EXCEEDED"),
        (Class::NotFound, 404, "notFound SomethingOfTheFuture"),
        (Class::Exists, 409, "alreadyExists RESOURCE_ALREADY_EXISTS SomethingOfTheFuture"),
        (Class::Invalid, 400, "invalid badRequest required SomethingOfTheFuture"),
        (Class::Other, 418, "SomethingOfTheFuture"),
    ];
    for (class, status, reasons) in table {
        for reason in reasons.split(' ') {
            assert_eq!(answered(status, reason).class(), class, "{status} {reason}");
            let operated = Failure { stage: Stage::Operated, ..answered(status, reason) };
            assert_eq!(operated.class(), class, "{status} {reason} of an operation");
        }
    }
}

#[test]
fn without_a_reason_the_status_and_the_stage_decide() {
    let check = |status: Option<u16>, stage, class| {
        let failure = Failure { status, stage, ..Failure::default() };
        assert_eq!(failure.class(), class, "{status:?} {stage:?}");
    };
    for (status, class) in [
        (429, Class::Retryable),
        (500, Class::Retryable),
        (502, Class::Retryable),
        (403, Class::Permission),
        (404, Class::NotFound),
        (409, Class::Exists),
        (400, Class::Invalid),
    ] {
        check(Some(status), Stage::Answered, class);
    }
    check(Some(502), Stage::Garbled, Class::Retryable);
    check(Some(200), Stage::Garbled, Class::Other);
    check(None, Stage::Garbled, Class::Other);
    check(None, Stage::Unreachable, Class::Retryable);
    check(None, Stage::Unfinished, Class::Retryable);
    check(None, Stage::Unauthenticated, Class::Permission);
    check(None, Stage::Unsent, Class::Invalid);
}

#[test]
fn errors_name_the_thing_the_method_and_the_way_out() {
    let check = |failure: Failure, want: fn(&ProviderError) -> bool, words: &[&str]| {
        let error = failure.about("host gcp-1");
        assert!(want(&error), "{error:?}");
        let text = error.to_string();
        for word in words.iter().chain(&["host gcp-1"]) {
            assert!(text.contains(word), "{text:?} lacks {word:?}");
        }
        assert!(!text.contains('\n') && !text.ends_with('.'), "{text:?}");
    };
    let retryable = ProviderError::is_retryable;
    let permission = |error: &ProviderError| matches!(error, ProviderError::Permission(_));
    let invalid = |error: &ProviderError| matches!(error, ProviderError::Invalid(_));
    check(answered(429, "rateLimitExceeded"), retryable, &["compute.instances.insert", "said Google"]);
    check(answered(400, "resourceNotReady"), retryable, &["resourceNotReady"]);
    check(answered(503, "ZONE_RESOURCE_POOL_EXHAUSTED"), retryable, &["choose other zones"]);
    check(
        answered(403, "forbidden"),
        permission,
        &["needs compute.instances.create", "`weave-provision iam gcp`"],
    );
    check(answered(403, "accessNotConfigured"), permission, &["gcloud services enable"]);
    check(answered(403, "QUOTA_EXCEEDED"), |e| matches!(e, ProviderError::Quota(_)), &["Quotas"]);
    check(answered(404, "notFound"), |e| matches!(e, ProviderError::NotFound(_)), &["does not exist"]);
    check(answered(409, "alreadyExists"), |e| matches!(e, ProviderError::Conflict(_)), &["not ours"]);
    check(answered(400, "invalid"), invalid, &["said Google"]);
    check(answered(418, ""), |e| matches!(e, ProviderError::Other(_)), &["418"]);
    let staged = |stage| Failure { stage, reason: None, status: None, ..answered(0, "") };
    check(staged(Stage::Unreachable), retryable, &["got no answer", "check the network"]);
    check(staged(Stage::Unfinished), retryable, &["is not done"]);
    check(staged(Stage::Unauthenticated), permission, &["gcloud auth application-default login"]);
    check(staged(Stage::Garbled), |e| matches!(e, ProviderError::Other(_)), &["check the endpoint"]);
    check(staged(Stage::Unsent), invalid, &["no reason"]);
}

#[test]
fn the_permission_that_google_names_is_the_one_that_is_missing() {
    let check = |message: &str, wanted: &str| {
        let failure = Failure { message: message.to_owned(), ..answered(403, "forbidden") };
        let text = failure.about("host gcp-1").to_string();
        assert!(text.contains(&format!("needs {wanted}, see")), "{text}");
    };
    let used = "Required 'compute.subnetworks.use' permission for 'projects/p/regions/r/subnetworks/default'";
    check(used, "compute.subnetworks.use");
    let own = "compute.instances.create or a permission that goes with it";
    check("Required '§' permission", own);
    check("Required 'compute.", own);
    check("said Google.", own);
}

#[test]
fn text_from_outside_is_cut() {
    let message = "much\n ".repeat(1000);
    let text = Failure { message, ..answered(400, "Strange") }.about("x").to_string();
    assert!(text.len() < 400 && !text.contains('\n'), "{}", text.len());
}
