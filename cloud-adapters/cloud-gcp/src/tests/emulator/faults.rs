//! Faults of single calls; the table of all rows is that of `matrix`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use cloud_core::{Cloud as _, Leftover, ProviderError};
use serde_json::{Value, json};

use super::{Emulator, site, spec, text, tuning};
use crate::config::Tuning;

/// A site that stands, and a host that is refused because `method` fails for ever.
fn failing(method: &str, kind: Value) -> (Emulator, ProviderError) {
    let (emulator, cloud) = Emulator::with_site();
    emulator.server.fail(method, 1000, kind);
    let error = cloud.create_host(&spec("gcp-1", 1)).unwrap_err();
    (emulator, error)
}

#[test]
fn what_does_not_pass_is_told_as_retryable() {
    let (emulator, cloud) = Emulator::with_site();
    cloud.create_host(&spec("gcp-1", 1)).unwrap();
    for (kind, words) in [
        (json!({ "status": 429, "reason": "rateLimitExceeded" }), "rateLimitExceeded"),
        (json!({ "status": 403, "reason": "rateLimitExceeded" }), "rateLimitExceeded"),
        (json!({ "status": 503, "reason": "backendError" }), "backendError"),
        (json!({ "status": 500, "reason": "internalError" }), "internalError"),
        (json!({ "status": 502, "raw": "<html>bad gateway</html>" }), "502"),
    ] {
        emulator.server.fail("instances.delete", 1000, kind);
        let before = emulator.server.calls("instances.delete").len();
        let error = cloud.destroy_host("gcp-1").unwrap_err();
        let text = error.to_string();
        assert!(
            error.is_retryable() && text.starts_with("host gcp-1: compute.instances.delete"),
            "{error:?}"
        );
        assert!(text.contains(words) && text.len() < 250, "{text}");
        assert_eq!(emulator.server.calls("instances.delete").len() - before, 3, "{text}");
        emulator.server.heal();
        assert_eq!(cloud.observe().unwrap().hosts.len(), 1);
    }
    cloud.destroy_host("gcp-1").unwrap();
    assert_eq!(cloud.sweep().unwrap(), []);
}

#[test]
fn a_lost_answer_makes_no_twin() {
    let emulator = Emulator::start();
    let cloud = emulator.cloud();
    for method in ["firewalls.insert", "instances.insert", "zoneOperations.get", "instances.aggregatedList"] {
        emulator.server.fail(method, 1, json!({ "lose": true }));
    }
    cloud.ensure_site(&site()).unwrap();
    cloud.create_host(&spec("gcp-1", 1)).unwrap();
    let inserts = emulator.server.calls("instances.insert");
    let ids: BTreeSet<_> = inserts.iter().map(|call| text(&call["query"]["requestId"])).collect();
    assert_eq!((inserts.len(), ids.len()), (2, 1));
    assert_eq!(emulator.server.calls("firewalls.insert").len(), 4);
    assert_eq!(cloud.observe().unwrap().hosts.len(), 1);
    for method in ["instances.delete", "firewalls.delete"] {
        emulator.server.fail(method, 1, json!({ "lose": true }));
    }
    cloud.destroy_host("gcp-1").unwrap();
    cloud.remove_site("gcp").unwrap();
    assert_eq!(cloud.sweep().unwrap(), []);
}

#[test]
fn a_host_whose_answers_were_all_lost_is_adopted() {
    let (emulator, cloud) = Emulator::with_site();
    emulator.server.fail("instances.insert", 3, json!({ "lose": true }));
    assert!(cloud.create_host(&spec("gcp-1", 1)).unwrap_err().is_retryable());
    let host = cloud.create_host(&spec("gcp-1", 1)).unwrap();
    assert_eq!(cloud.observe().unwrap().hosts, [host]);
    assert_eq!(emulator.server.calls("instances.insert").len(), 3);
}

#[test]
fn hang() {
    let emulator = Emulator::start();
    let impatient = Tuning { attempt: Duration::from_secs(1), ..tuning() };
    let cloud = emulator.cloud_with(emulator.config(), impatient);
    for method in ["firewalls.list", "firewalls.insert", "globalOperations.get"] {
        emulator.server.fail(method, 1, json!({ "hang": 3 }));
    }
    cloud.ensure_site(&site()).unwrap();
    emulator.server.fail("instances.aggregatedList", 1000, json!({ "hang": 60 }));
    let began = Instant::now();
    let error = cloud.observe().unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("got no answer"), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn an_operation_that_never_ends_is_given_up_and_found_again() {
    let (emulator, _) = Emulator::with_site();
    let impatient = Tuning { instance: Duration::from_millis(300), ..tuning() };
    let cloud = emulator.cloud_with(emulator.config(), impatient);
    emulator.server.fail("instances.insert", 1, json!({ "slow": 1.5 }));
    let error = cloud.create_host(&spec("gcp-1", 1)).unwrap_err();
    assert!(
        error.is_retryable() && error.to_string().contains("compute.instances.insert is not done"),
        "{error:?}"
    );
    let host = emulator.cloud().create_host(&spec("gcp-1", 1)).unwrap();
    assert_eq!(emulator.cloud().observe().unwrap().hosts, [host]);
    assert_eq!(emulator.server.calls("instances.insert").len(), 1);
}

#[test]
fn an_answer_that_is_not_googles() {
    let (_emulator, error) =
        failing("instances.insert", json!({ "status": 200, "raw": "<html>log in to the hotel</html>" }));
    assert!(matches!(&error, ProviderError::Other(text) if text.contains("check the endpoint")), "{error:?}");
}

#[test]
fn permission() {
    let (emulator, error) = failing("instances.insert", json!({ "status": 403, "reason": "forbidden" }));
    let ProviderError::Permission(text) = error else { panic!("{error:?}") };
    assert!(text.contains("host gcp-1") && text.contains("needs compute.instances.create"), "{text}");
    assert_eq!(emulator.server.calls("instances.insert").len(), 1);
}

#[test]
fn an_api_that_is_not_enabled() {
    let (_emulator, error) =
        failing("instances.insert", json!({ "status": 403, "reason": "accessNotConfigured" }));
    assert!(
        matches!(&error, ProviderError::Permission(text) if text.contains("services enable")),
        "{error:?}"
    );
}

#[test]
fn not_found() {
    let (_emulator, error) = failing("images.getFromFamily", json!({ "status": 404, "reason": "notFound" }));
    assert!(matches!(&error, ProviderError::NotFound(text) if text.contains("image family")), "{error:?}");
}

#[test]
fn invalid() {
    let (emulator, error) = failing("instances.insert", json!({ "status": 400, "reason": "invalid" }));
    assert!(matches!(&error, ProviderError::Invalid(text) if text.contains("host gcp-1")), "{error:?}");
    assert_eq!(emulator.server.calls("instances.insert").len(), 1);
}

#[test]
fn a_quota_in_the_operation_is_no_success_and_is_asked_about_anew() {
    let (emulator, cloud) = Emulator::with_site();
    let quota = json!({ "fail": {
        "code": "QUOTA_EXCEEDED",
        "message": "Quota 'CPUS' exceeded. Limit: 24.0 in region europe-west1.",
        "status": 403,
    } });
    emulator.server.fail("instances.insert", 1, quota);
    let error = cloud.create_host(&spec("gcp-1", 1)).unwrap_err();
    let ProviderError::Quota(text) = error else { panic!("{error:?}") };
    for words in ["host gcp-1", "QUOTA_EXCEEDED", "Quota 'CPUS' exceeded", "under Quotas"] {
        assert!(text.contains(words), "{text} lacks {words}");
    }
    assert_eq!(cloud.observe().unwrap().hosts, []);
    // The operator got more: the failed operation of the same id must not be the answer for an hour.
    cloud.create_host(&spec("gcp-1", 1)).unwrap();
    assert_eq!(emulator.server.calls("instances.insert").len(), 3);
}

#[test]
fn a_quota_in_the_answer() {
    let (emulator, error) = failing("instances.insert", json!({ "status": 403, "reason": "quotaExceeded" }));
    assert!(matches!(&error, ProviderError::Quota(text) if text.contains("host gcp-1")), "{error:?}");
    assert_eq!(emulator.server.calls("instances.insert").len(), 1);
}

#[test]
fn room_is_looked_for_in_the_other_zones() {
    let (emulator, cloud) = Emulator::with_site();
    let full = |code: &str| json!({ "fail": { "code": code, "status": 503 } });
    emulator.server.fail("instances.insert", 1, full("ZONE_RESOURCE_POOL_EXHAUSTED"));
    emulator.server.fail("instances.insert", 1, full("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS"));
    cloud.create_host(&spec("gcp-2", 2)).unwrap();
    let inserts = emulator.server.calls("instances.insert");
    let zones: Vec<_> = inserts.iter().map(|call| text(&call["at"]["zone"])).collect();
    assert_eq!(zones, ["europe-west1-c", "europe-west1-d", "europe-west1-b"]);
    emulator.server.fail("instances.insert", 1000, full("ZONE_RESOURCE_POOL_EXHAUSTED"));
    let error = cloud.create_host(&spec("gcp-1", 1)).unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("choose other zones"), "{error:?}");
    assert_eq!(cloud.observe().unwrap().hosts.len(), 1);
}

#[test]
fn what_is_still_in_use_is_removed_later() {
    let (emulator, cloud) = Emulator::with_site();
    let busy = json!({ "status": 400, "reason": "resourceInUseByAnotherResource" });
    let not_ready = json!({ "fail": { "code": "RESOURCE_NOT_READY", "status": 400 } });
    emulator.server.fail("firewalls.delete", 2, busy.clone());
    emulator.server.fail("firewalls.delete", 1, not_ready);
    cloud.remove_site("gcp").unwrap();
    cloud.ensure_site(&site()).unwrap();
    let impatient = Tuning { network: Duration::from_millis(100), ..tuning() };
    let cloud = emulator.cloud_with(emulator.config(), impatient);
    emulator.server.fail("firewalls.delete", 1000, busy);
    let error = cloud.remove_site("gcp").unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("firewall rule weave-demo-gcp-"), "{error:?}");
    let left = cloud.sweep().unwrap();
    let rule = |end: &str| Leftover { kind: "firewall rule".to_owned(), id: format!("weave-demo-gcp-{end}") };
    assert_eq!(left, ["mesh", "shut", "ssh"].map(rule));
}

#[test]
fn nobody_listens_at_the_endpoint() {
    let emulator = Emulator::start();
    // Port 1 is below what is handed out, and nothing here runs there.
    let config = crate::GcpConfig { endpoint: Some("http://127.0.0.1:1".to_owned()), ..emulator.config() };
    let error = emulator.cloud_with(config, tuning()).observe().unwrap_err();
    assert!(
        error.is_retryable() && error.to_string().contains("check the network and the endpoint"),
        "{error:?}"
    );
}

#[test]
fn nothing_that_is_said_shows_the_hosts_key() {
    for kind in [
        json!({ "status": 400, "reason": "invalid" }),
        json!({ "status": 200, "raw": "<html>" }),
        json!({ "hang": 0 }),
        json!({ "fail": { "code": "QUOTA_EXCEEDED", "status": 403 } }),
    ] {
        let (_emulator, error) = failing("instances.insert", kind);
        let said = format!("{error} {error:?}");
        assert!(!said.contains("OPENSSH") && !said.contains("b3BlbnNzaC1rZXkt"), "{said}");
    }
}
