//! A fleet's whole life, struck at each of its calls in turn; another run then goes on where the last one ended.
//!
//! The rows of the table of faults, and where each is tested:
//!
//! | fault | shows as | tests |
//! |---|---|---|
//! | 403 and 429 rateLimitExceeded, 500, 502 in HTML, 503 | passes | here `…_passes` |
//! | the same for ever | retryable | `faults::what_does_not_pass_is_told_as_retryable` |
//! | no answer, an operation without end | passes; else retryable | `faults::hang`, `faults::an_operation_that_never_ends_…` |
//! | 200 in HTML | check the endpoint | `faults::an_answer_that_is_not_googles` |
//! | lost answers | nothing twice | here `lost_answers_leave_no_twins`; `faults::a_lost_answer_…` |
//! | killed between two calls | the next run goes on | here `a_run_that_is_killed_anywhere_is_gone_on_with` |
//! | lists lag behind changes | waited for | here `lists_that_lag_are_waited_for` |
//! | 403 forbidden | the permission, and who prints it | here `every_permission_that_is_missing_is_named` |
//! | 403 accessNotConfigured, no token | what to run | `faults::an_api_that_is_not_enabled`; `credentials` |
//! | QUOTA_EXCEEDED in the operation, quotaExceeded | the quota in Google's words | here `every_limit_is_named`; `faults` |
//! | ZONE_RESOURCE_POOL_EXHAUSTED… | another zone, else one error | `faults::room_is_looked_for_in_the_other_zones` |
//! | 400 resourceInUseByAnotherResource, resourceNotReady | tried again | `faults::what_is_still_in_use_is_removed_later` |
//! | 409 alreadyExists | adopted, or a conflict | `networks::what_is_anothers_stays`, `hosts::a_name_that_is_anothers_…` |
//! | 412 conditionNotMet | read again | `hosts::the_user_data_is_hidden` |
//! | 404 · other 400 | not found · invalid | `faults::not_found`, `faults::invalid` |

use std::time::Duration;

use cloud_core::{Cloud as _, ProviderError};
use serde_json::{Value, json};

use super::{Emulator, site, spec, tuning};
use crate::config::Tuning;
use crate::{Gcp, GcpConfig};

/// Another run of the program in a project without networks: it remembers nothing.
fn another(emulator: &Emulator) -> Gcp {
    emulator.cloud_with(config(emulator), tuning())
}

/// A run that tries nothing twice: between its calls nothing happens that a kill could interrupt.
fn mortal(emulator: &Emulator) -> Gcp {
    emulator.cloud_with(config(emulator), Tuning { attempts: 1, network: Duration::from_secs(2), ..tuning() })
}

fn config(emulator: &Emulator) -> GcpConfig {
    GcpConfig { project: "bare".to_owned(), static_address: true, ..emulator.config() }
}

fn make(cloud: &Gcp) -> Result<(), ProviderError> {
    cloud.ensure_site(&site())?;
    cloud.create_host(&spec("gcp-1", 1))?;
    cloud.hide_user_data("gcp-1")
}

fn end(cloud: &Gcp) -> Result<(), ProviderError> {
    cloud.destroy_host("gcp-1")?;
    cloud.remove_site("gcp")
}

/// There is one of each, and it is as wanted.
fn assert_whole(emulator: &Emulator) {
    let cloud = another(emulator);
    let count = emulator.runtime.block_on(async {
        [
            cloud.api.networks("").await.unwrap().len(),
            cloud.api.subnets().await.unwrap().len(),
            cloud.api.rules("").await.unwrap().len(),
            cloud.api.addresses(&cloud.mark(&[])).await.unwrap().len(),
            cloud.api.instances(&cloud.mark(&[])).await.unwrap().len(),
        ]
    });
    assert_eq!(count, [1, 1, 3, 1, 1]);
    let observed = cloud.observe().unwrap();
    assert!(observed.drifts.is_empty() && !observed.hosts[0].shows_user_data, "{observed:?}");
    emulator.assert_proper();
}

/// Nothing is left, marked or not.
fn assert_empty(emulator: &Emulator) {
    let cloud = another(emulator);
    assert_eq!(cloud.sweep().unwrap(), []);
    let left = emulator
        .runtime
        .block_on(async { (cloud.api.networks("").await.unwrap(), cloud.api.subnets().await.unwrap()) });
    assert_eq!(left, (vec![], vec![]));
}

#[test]
fn a_run_that_is_killed_anywhere_is_gone_on_with() {
    let emulator = Emulator::start();
    let killed_at = |act: fn(&Gcp) -> Result<(), ProviderError>, method: &str| {
        let before = emulator.server.calls(method).len();
        emulator.server.fail(method, 1, json!({ "die": true }));
        let error = act(&mortal(&emulator)).expect_err(method);
        emulator.server.heal();
        assert!(error.is_retryable(), "{method}: {error:?}");
        assert_eq!(emulator.server.calls(method).len(), before + 1, "{method}");
    };
    for method in [
        "networks.insert",
        "subnetworks.insert",
        // Of the first rule, while that is being made.
        "globalOperations.get",
        "firewalls.insert",
        "firewalls.insert",
        "addresses.insert",
        "instances.insert",
        "instances.setMetadata",
    ] {
        killed_at(make, method);
    }
    make(&another(&emulator)).unwrap();
    assert_whole(&emulator);
    for method in [
        "instances.delete",
        "addresses.delete",
        "firewalls.delete",
        "firewalls.delete",
        "firewalls.delete",
        "subnetworks.delete",
        "networks.delete",
    ] {
        killed_at(end, method);
    }
    end(&another(&emulator)).unwrap();
    assert_empty(&emulator);
}

#[test]
fn every_permission_that_is_missing_is_named() {
    let emulator = Emulator::start();
    let denied = |act: fn(&Gcp) -> Result<(), ProviderError>, method: &str, what: &str, permission: &str| {
        let before = emulator.server.calls(method).len();
        let message = format!("Required 'compute.{permission}' permission for 'projects/bare/x'");
        let kind = json!({ "status": 403, "reason": "forbidden", "message": message });
        emulator.server.fail(method, 1000, kind);
        let error = act(&another(&emulator)).expect_err(method);
        emulator.server.heal();
        let ProviderError::Permission(text) = &error else { panic!("{method}: {error:?}") };
        let way_out = format!("needs compute.{permission}, see `weave-provision iam gcp`");
        assert!(text.starts_with(what) && text.contains(&way_out), "{method}: {text}");
        // Asking again would not help. Of rules, all are tried.
        let asked = if method == "firewalls.delete" { 3 } else { 1 };
        assert_eq!(emulator.server.calls(method).len(), before + asked, "{method}");
    };
    for (method, what, permission) in [
        ("networks.list", "the networks of fleet demo", "networks.list"),
        ("firewalls.list", "the networks of fleet demo", "firewalls.list"),
        ("networks.get", "network default in project bare", "networks.get"),
        ("networks.insert", "network weave-demo-gcp", "networks.create"),
        ("globalOperations.get", "network weave-demo-gcp", "globalOperations.get"),
        ("subnetworks.list", "subnetwork weave-demo-gcp", "subnetworks.list"),
        ("subnetworks.insert", "subnetwork weave-demo-gcp", "networks.updatePolicy"),
        ("regionOperations.get", "subnetwork weave-demo-gcp", "regionOperations.get"),
        ("firewalls.insert", "firewall rule weave-demo-gcp-", "networks.updatePolicy"),
        ("instances.aggregatedList", "host gcp-1", "instances.list"),
        ("images.getFromFamily", "image family ubuntu-2404-lts-amd64", "images.getFromFamily"),
        ("zones.list", "the zones of region europe-west1", "zones.list"),
        ("addresses.aggregatedList", "address of host gcp-1", "addresses.list"),
        ("addresses.insert", "address of host gcp-1", "addresses.setLabels"),
        ("instances.insert", "host gcp-1", "subnetworks.useExternalIp"),
        ("zoneOperations.get", "host gcp-1", "zoneOperations.get"),
        ("instances.get", "host gcp-1", "instances.get"),
        ("instances.setMetadata", "host gcp-1", "instances.setMetadata"),
    ] {
        denied(make, method, what, permission);
    }
    make(&another(&emulator)).unwrap();
    assert_whole(&emulator);
    for (method, what, permission) in [
        ("instances.delete", "host gcp-1", "instances.delete"),
        ("addresses.delete", "address weave-demo-gcp-1 in europe-west1", "addresses.delete"),
        ("firewalls.delete", "firewall rule weave-demo-gcp-", "firewalls.delete"),
        ("subnetworks.delete", "subnetwork weave-demo-gcp", "subnetworks.delete"),
        ("networks.delete", "network weave-demo-gcp", "networks.delete"),
    ] {
        // What one denial does not keep is gone before the next.
        make(&another(&emulator)).unwrap();
        denied(end, method, what, permission);
    }
    end(&another(&emulator)).unwrap();
    assert_empty(&emulator);
}

#[test]
fn every_limit_is_named() {
    let emulator = Emulator::start();
    for (method, what, quota) in [
        ("networks.insert", "network weave-demo-gcp", "NETWORKS"),
        ("subnetworks.insert", "subnetwork weave-demo-gcp", "SUBNETWORKS"),
        ("firewalls.insert", "firewall rule weave-demo-gcp-", "FIREWALLS"),
        ("addresses.insert", "address of host gcp-1", "STATIC_ADDRESSES"),
        ("instances.insert", "host gcp-1", "CPUS"),
    ] {
        let message = format!("Quota '{quota}' exceeded.  Limit: 5.0 in region europe-west1.");
        let operated = json!({ "fail": { "code": "QUOTA_EXCEEDED", "message": message, "status": 403 } });
        let answered = json!({ "status": 403, "reason": "quotaExceeded", "message": message });
        for kind in [operated, answered] {
            emulator.server.fail(method, 1, kind);
            let error = make(&another(&emulator)).expect_err(method);
            emulator.server.heal();
            let ProviderError::Quota(text) = &error else { panic!("{method}: {error:?}") };
            let limit = format!("Quota '{quota}' exceeded. Limit: 5.0");
            for words in [&limit, "free some, or ask for more in the Google Cloud console under Quotas"] {
                assert!(text.starts_with(what) && text.contains(words), "{method}: {text} lacks {words}");
            }
        }
    }
    make(&another(&emulator)).unwrap();
    assert_whole(&emulator);
    end(&another(&emulator)).unwrap();
    assert_empty(&emulator);
}

#[test]
fn lists_that_lag_are_waited_for() {
    let emulator = Emulator::start();
    emulator.server.lag(3);
    make(&another(&emulator)).unwrap();
    emulator.server.heal();
    assert_whole(&emulator);
    emulator.server.lag(3);
    end(&another(&emulator)).unwrap();
    emulator.server.heal();
    assert_empty(&emulator);
}

/// A whole life in which every call is hit once before it passes.
fn passes(kind: &Value) -> Emulator {
    let emulator = Emulator::start();
    let live = |act: fn(&Gcp) -> Result<(), ProviderError>| {
        emulator.server.plague(2, kind);
        act(&another(&emulator)).unwrap();
        emulator.server.heal();
    };
    live(make);
    assert_whole(&emulator);
    live(end);
    assert_empty(&emulator);
    emulator
}

#[test]
fn throttling_of_every_call_passes() {
    passes(&json!({ "status": 429, "reason": "rateLimitExceeded" }));
}

#[test]
fn throttling_of_every_call_as_403_passes() {
    passes(&json!({ "status": 403, "reason": "rateLimitExceeded" }));
}

#[test]
fn a_backend_error_of_every_call_passes() {
    passes(&json!({ "status": 503, "reason": "backendError" }));
}

#[test]
fn an_internal_error_of_every_call_passes() {
    passes(&json!({ "status": 500, "reason": "internalError" }));
}

#[test]
fn a_bad_gateway_before_every_call_passes() {
    passes(&json!({ "status": 502, "raw": "<html>bad gateway</html>" }));
}

#[test]
fn lost_answers_leave_no_twins() {
    let emulator = passes(&json!({ "lose": true }));
    // Each was asked twice, under one id.
    for method in ["networks.insert", "subnetworks.insert", "addresses.insert", "instances.insert"] {
        let asked = emulator.server.calls(method);
        let ids: Vec<&Value> = asked.iter().map(|call| &call["query"]["requestId"]).collect();
        assert!(ids.len() == 2 && ids[0] == ids[1], "{method}: {ids:?}");
    }
}
