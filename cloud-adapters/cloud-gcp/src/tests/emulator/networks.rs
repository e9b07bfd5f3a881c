//! Networks and rules as they come out of the emulator.

use cloud_core::{Cloud as _, Observed, ProviderError, Site};
use serde_json::json;

use super::{Emulator, site, spec, text, tuning};
use crate::GcpConfig;
use crate::plan::Rule;

/// Inserts something that is not ours, past the adapter, and waits until it is there.
pub(super) fn insert(emulator: &Emulator, path: &str, body: serde_json::Value) {
    let path = format!("/compute/v1/projects/{path}");
    let answer = emulator.server.ask("POST", &path, &body.to_string());
    assert!(answer.contains("operation-"), "{answer}");
}

fn rules(emulator: &Emulator, cloud: &crate::Gcp) -> Vec<Rule> {
    emulator.runtime.block_on(cloud.pieces(None)).unwrap().rules
}

#[test]
fn a_site_in_the_default_network_is_its_rules() {
    let (emulator, cloud) = Emulator::with_site();
    let inserts = emulator.server.calls("firewalls.insert");
    let names: Vec<_> = inserts.iter().map(|call| text(&call["body"]["name"])).collect();
    assert_eq!(names, ["weave-demo-gcp-mesh", "weave-demo-gcp-shut", "weave-demo-gcp-ssh"]);
    for call in &inserts {
        let body = &call["body"];
        assert_eq!(body["network"], "projects/proj/global/networks/default");
        assert_eq!(body["targetTags"], json!(["weave-demo-gcp"]));
        assert_eq!(body["description"], r#"{"weave-fleet":"demo","weave-site":"gcp","weave-index":1}"#);
    }
    assert_eq!(inserts[2]["body"]["sourceRanges"], json!(["198.51.100.7/32"]));
    assert_eq!(inserts[1]["body"]["denied"], json!([{ "IPProtocol": "tcp", "ports": ["22"] }]));
    cloud.ensure_site(&site()).unwrap();
    assert_eq!(emulator.server.calls("firewalls.insert").len(), 3);
    assert_eq!(emulator.server.calls("firewalls.patch").len(), 0);
    // More rules than one page has.
    let other = Site { name: "other".to_owned(), index: 2 };
    cloud.ensure_site(&other).unwrap();
    assert_eq!(
        cloud.observe().unwrap(),
        Observed { sites: vec![site(), other], hosts: Vec::new(), drifts: Vec::new() }
    );
    assert!(
        emulator.server.calls("firewalls.list").iter().any(|call| call["query"]["pageToken"].is_string())
    );
    cloud.remove_site("gcp").unwrap();
    assert_eq!(rules(&emulator, &cloud).len(), 3);
    assert_eq!(cloud.sweep().unwrap(), []);
    assert_eq!(cloud.observe().unwrap(), Observed::default());
}

fn drifts(cloud: &crate::Gcp) -> Vec<String> {
    let drifts = cloud.observe().unwrap().drifts;
    assert!(drifts.iter().all(|drift| drift.site == "gcp"), "{drifts:?}");
    drifts.into_iter().map(|drift| drift.what).collect()
}

#[test]
fn rules_that_are_not_as_wanted_drift() {
    let (emulator, cloud) = Emulator::with_site();
    assert_eq!(drifts(&cloud), [""; 0]);
    let moved = GcpConfig { operator_address: Some("203.0.113.0/24".to_owned()), ..emulator.config() };
    let moved = emulator.cloud_with(moved, tuning());
    let other = "firewall rule weave-demo-gcp-ssh is about 198.51.100.7/32 instead of 203.0.113.0/24";
    assert_eq!(drifts(&moved), [other]);
    moved.ensure_site(&site()).unwrap();
    assert_eq!((drifts(&moved), drifts(&cloud).len()), (vec![], 1));
    let nobody = GcpConfig { operator_address: None, ..emulator.config() };
    let nobody = emulator.cloud_with(nobody, tuning());
    assert_eq!(drifts(&nobody), ["firewall rule weave-demo-gcp-ssh is one too many"]);
    emulator.runtime.block_on(cloud.api.delete_rule("weave-demo-gcp-mesh")).unwrap();
    assert_eq!(drifts(&moved), ["firewall rule weave-demo-gcp-mesh does not exist"]);
    let shut = rules(&emulator, &cloud).into_iter().find(|rule| !rule.allow).unwrap();
    let weakened = Rule { enabled: false, priority: 2000, ..shut };
    emulator.runtime.block_on(cloud.api.patch_rule(&weakened)).unwrap();
    let weakened = "firewall rule weave-demo-gcp-shut is disabled, has priority 2000 instead of 1000";
    assert_eq!(drifts(&moved), ["firewall rule weave-demo-gcp-mesh does not exist", weakened]);
    moved.ensure_site(&site()).unwrap();
    assert_eq!(drifts(&moved), [""; 0]);
}

#[test]
fn an_own_network_that_lacks_something_drifts() {
    let emulator = Emulator::start();
    let cloud = emulator.cloud_with(GcpConfig { project: "bare".to_owned(), ..emulator.config() }, tuning());
    emulator.server.fail("subnetworks.insert", 1, json!({ "status": 403, "reason": "forbidden" }));
    cloud.ensure_site(&site()).unwrap_err();
    let there = drifts(&cloud);
    assert_eq!(there[0], "network weave-demo-gcp has no subnetwork weave-demo-gcp");
    assert_eq!(there.len(), 4, "{there:?}");
    cloud.ensure_site(&site()).unwrap();
    assert_eq!(drifts(&cloud), [""; 0]);
}

#[test]
fn a_second_time_changes_nothing() {
    for project in ["proj", "bare"] {
        let emulator = Emulator::start();
        let config = GcpConfig { project: project.to_owned(), ..emulator.config() };
        let cloud = emulator.cloud_with(config, tuning());
        cloud.ensure_site(&site()).unwrap();
        let before = emulator.server.all().len();
        cloud.ensure_site(&site()).unwrap();
        let again = emulator.server.all().split_off(before);
        let looks = |method: &str| method.ends_with(".list") || method.ends_with(".get");
        assert!(!again.is_empty() && again.iter().all(|call| looks(text(&call["method"]))), "{again:?}");
    }
}

#[test]
fn rules_follow_the_operator() {
    let (emulator, _) = Emulator::with_site();
    let moved = GcpConfig { operator_address: Some("203.0.113.0/24".to_owned()), ..emulator.config() };
    let cloud = emulator.cloud_with(moved, tuning());
    cloud.ensure_site(&site()).unwrap();
    let patches = emulator.server.calls("firewalls.patch");
    assert_eq!((patches.len(), &patches[0]["body"]["sourceRanges"]), (1, &json!(["203.0.113.0/24"])));
    let gone = GcpConfig { operator_address: None, ..emulator.config() };
    let cloud = emulator.cloud_with(gone, tuning());
    cloud.ensure_site(&site()).unwrap();
    let names: Vec<_> = rules(&emulator, &cloud).into_iter().map(|rule| rule.name).collect();
    assert_eq!(names, ["weave-demo-gcp-mesh", "weave-demo-gcp-shut"]);
}

#[test]
fn an_own_network_has_a_block_by_the_sites_number() {
    let emulator = Emulator::start();
    let config = GcpConfig { project: "bare".to_owned(), ..emulator.config() };
    let cloud = emulator.cloud_with(config, tuning());
    cloud.ensure_site(&site()).unwrap();
    let host = cloud.create_host(&spec("gcp-1", 1)).unwrap();
    assert!(host.addresses.unwrap().private.to_string().starts_with("10.1.0."), "{host:?}");
    assert_eq!(emulator.server.calls("networks.insert")[0]["body"]["autoCreateSubnetworks"], false);
    assert_eq!(emulator.server.calls("subnetworks.insert")[0]["body"]["ipCidrRange"], "10.1.0.0/16");
    assert_eq!(cloud.sweep().unwrap(), []);
    assert_eq!(emulator.server.calls("networks.delete").len(), 1);
}

#[test]
fn a_network_that_is_named_is_used_and_stays() {
    let emulator = Emulator::start();
    let named = |name: &str| GcpConfig { network: Some(name.to_owned()), ..emulator.config() };
    let error = emulator.cloud_with(named("lab"), tuning()).ensure_site(&site()).unwrap_err();
    assert!(
        matches!(&error, ProviderError::NotFound(text) if text.contains("network lab in project proj")),
        "{error:?}"
    );
    insert(&emulator, "proj/global/networks", json!({ "name": "lab", "autoCreateSubnetworks": false }));
    let cloud = emulator.cloud_with(named("lab"), tuning());
    let error = cloud.ensure_site(&site()).unwrap_err();
    assert!(error.to_string().contains("no subnetwork in region europe-west1"), "{error:?}");
    let subnet = json!({ "name": "lab-1", "network": "projects/proj/global/networks/lab", "ipCidrRange": "10.9.0.0/24" });
    insert(&emulator, "proj/regions/europe-west1/subnetworks", subnet);
    cloud.ensure_site(&site()).unwrap();
    assert!(rules(&emulator, &cloud).iter().all(|rule| rule.network == "lab"));
    let error = emulator.cloud_with(named("default"), tuning()).ensure_site(&site()).unwrap_err();
    assert!(
        matches!(&error, ProviderError::Invalid(text) if text.contains("remove the site first")),
        "{error:?}"
    );
    cloud.remove_site("gcp").unwrap();
    assert!(emulator.server.calls("networks.delete").is_empty());
    assert!(emulator.server.calls("subnetworks.delete").is_empty());
}

#[test]
fn the_networks_of_a_site_are_the_blocks_of_its_subnetworks() {
    let emulator = Emulator::start();
    let networks = |cloud: &crate::Gcp| -> Vec<String> {
        cloud.networks(&site()).unwrap().iter().map(ToString::to_string).collect()
    };
    // The same before the site is made and after; nothing is made for the answer.
    let bare = emulator.cloud_with(GcpConfig { project: "bare".to_owned(), ..emulator.config() }, tuning());
    assert_eq!(networks(&bare), ["10.1.0.0/16"]);
    assert!(emulator.server.calls("networks.insert").is_empty());
    emulator.server.fail("subnetworks.insert", 1, json!({ "status": 403, "reason": "forbidden" }));
    bare.ensure_site(&site()).unwrap_err();
    assert_eq!(networks(&bare), ["10.1.0.0/16"]);
    bare.ensure_site(&site()).unwrap();
    assert_eq!(networks(&bare), ["10.1.0.0/16"]);
    let cloud = emulator.cloud();
    assert_eq!(networks(&cloud), ["10.128.0.0/20"]);
    insert(&emulator, "proj/global/networks", json!({ "name": "lab", "autoCreateSubnetworks": false }));
    for (name, block) in [("lab-1", "10.9.0.0/24"), ("lab-2", "10.8.0.0/24")] {
        let subnet =
            json!({ "name": name, "network": "projects/proj/global/networks/lab", "ipCidrRange": block });
        insert(&emulator, "proj/regions/europe-west1/subnetworks", subnet);
    }
    let named = GcpConfig { network: Some("lab".to_owned()), ..emulator.config() };
    let named = emulator.cloud_with(named, tuning());
    for _ in 0..2 {
        assert_eq!(networks(&named), ["10.8.0.0/24", "10.9.0.0/24"]);
        named.ensure_site(&site()).unwrap();
    }
    // A site goes on to stand where it stands.
    assert_eq!(networks(&cloud), ["10.8.0.0/24", "10.9.0.0/24"]);
    let unknown = GcpConfig { network: Some("none".to_owned()), ..emulator.config() };
    let other = Site { name: "other".to_owned(), index: 2 };
    let error = emulator.cloud_with(unknown, tuning()).networks(&other).unwrap_err();
    assert!(matches!(error, ProviderError::NotFound(_)), "{error:?}");
}

#[test]
fn what_is_anothers_stays() {
    let emulator = Emulator::start();
    let cloud = emulator.cloud();
    let theirs = json!({
        "name": "weave-demo-gcp-mesh",
        "network": "projects/proj/global/networks/default",
        "description": "made by hand",
        "allowed": [{ "IPProtocol": "icmp" }],
    });
    insert(&emulator, "proj/global/firewalls", theirs);
    let error = cloud.ensure_site(&site()).unwrap_err();
    assert!(
        matches!(&error, ProviderError::Conflict(text) if text == "firewall rule weave-demo-gcp-mesh"),
        "{error:?}"
    );
    assert_eq!(cloud.sweep().unwrap(), []);
    assert!(emulator.server.calls("firewalls.delete").is_empty());
    // A fleet whose name goes on with a dash.
    let longer = GcpConfig { fleet: "demo-two".to_owned(), ..emulator.config() };
    let longer = emulator.cloud_with(longer, tuning());
    longer.ensure_site(&site()).unwrap();
    assert_eq!(cloud.observe().unwrap(), Observed::default());
    assert_eq!(cloud.sweep().unwrap(), []);
    assert_eq!(longer.observe().unwrap().sites, [site()]);
}

#[test]
fn a_site_is_made_again_within_the_hour() {
    let emulator = Emulator::start();
    let config = GcpConfig { project: "bare".to_owned(), ..emulator.config() };
    let cloud = emulator.cloud_with(config, tuning());
    for _ in 0..3 {
        cloud.ensure_site(&site()).unwrap();
        cloud.remove_site("gcp").unwrap();
    }
    // The first id is that of something gone; each time one more has to be passed.
    assert_eq!(emulator.server.calls("networks.insert").len(), 1 + 2 + 3);
}
