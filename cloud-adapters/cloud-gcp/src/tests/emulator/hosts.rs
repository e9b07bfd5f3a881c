//! Hosts as they come out of the emulator.

use std::collections::BTreeSet;
use std::net::TcpListener;

use cloud_core::{Architecture, Cloud as _, HostSpec, Phase, ProviderError};
use serde_json::{Value, json};

use super::networks::insert;
use super::{Emulator, site, spec, text, tuning};
use crate::GcpConfig;
use crate::cloud_init::user_data;

fn metadata<'a>(instance: &'a Value, key: &str) -> &'a str {
    let items = instance["metadata"]["items"].as_array().unwrap();
    text(&items.iter().find(|item| item["key"] == key).unwrap_or_else(|| panic!("no {key}"))["value"])
}

#[test]
fn a_host_is_made_as_it_should_be() {
    let (emulator, cloud) = Emulator::with_site();
    let host = cloud.create_host(&spec("gcp-1", 1)).unwrap();
    assert_eq!((host.name.as_str(), host.site.as_str(), host.phase), ("gcp-1", "gcp", Phase::Running));
    let public = host.addresses.unwrap().public.unwrap();
    assert!(public.to_string().starts_with("127.78."), "{public}");
    let inserts = emulator.server.calls("instances.insert");
    let [insert] = inserts.as_slice() else { panic!("{inserts:?}") };
    let body = &insert["body"];
    let image = "/projects/ubuntu-os-cloud/global/images/ubuntu-2404-noble-amd64-v20261020";
    assert!(text(&body["disks"][0]["initializeParams"]["sourceImage"]).ends_with(image));
    for (path, value) in [
        ("/name", json!("weave-demo-gcp-1")),
        ("/machineType", json!("zones/europe-west1-b/machineTypes/e2-small")),
        ("/canIpForward", json!(true)),
        (
            "/labels",
            json!({ "weave": "test", "weave-fleet": "demo", "weave-host": "gcp-1", "weave-site": "gcp" }),
        ),
        ("/tags/items", json!(["weave-demo-gcp"])),
        ("/disks/0/boot", json!(true)),
        ("/disks/0/autoDelete", json!(true)),
        ("/disks/0/initializeParams/labels/weave-fleet", json!("demo")),
        ("/shieldedInstanceConfig/enableSecureBoot", json!(true)),
        ("/shieldedInstanceConfig/enableVtpm", json!(true)),
        ("/shieldedInstanceConfig/enableIntegrityMonitoring", json!(true)),
        ("/networkInterfaces/0/accessConfigs/0/type", json!("ONE_TO_ONE_NAT")),
    ] {
        assert_eq!(body.pointer(path), Some(&value), "{path}");
    }
    assert!(body["disks"][0]["initializeParams"]["diskSizeGb"].to_string().contains("10"));
    assert_eq!(metadata(body, "user-data"), user_data(&spec("gcp-1", 1)).unwrap().reveal());
    assert_eq!(
        (metadata(body, "block-project-ssh-keys"), metadata(body, "enable-oslogin")),
        ("TRUE", "FALSE")
    );
    // Asked again, nothing is made.
    assert_eq!(cloud.create_host(&spec("gcp-1", 1)).unwrap(), host);
    assert_eq!(emulator.server.calls("instances.insert").len(), 1);
    let elsewhere = HostSpec { site: "other".to_owned(), ..spec("gcp-1", 1) };
    assert!(matches!(cloud.create_host(&elsewhere), Err(ProviderError::Conflict(_))));
}

#[test]
fn machine_disk_zone_and_image_are_the_operators() {
    let emulator = Emulator::start();
    let config = GcpConfig {
        machine_type: "e2-medium".to_owned(),
        zones: vec!["europe-west1-c".to_owned()],
        disk_gib: 20,
        ..emulator.config()
    };
    let cloud = emulator.cloud_with(config.clone(), tuning());
    cloud.ensure_site(&site()).unwrap();
    cloud.create_host(&spec("gcp-1", 1)).unwrap();
    let body = emulator.server.calls("instances.insert").remove(0)["body"].take();
    assert_eq!(body["machineType"], "zones/europe-west1-c/machineTypes/e2-medium");
    assert!(body["disks"][0]["initializeParams"]["diskSizeGb"].to_string().contains("20"));
    for (wrong, words) in [
        (GcpConfig { machine_type: "e9-huge".to_owned(), ..config.clone() }, "e9-huge"),
        (GcpConfig { zones: vec!["europe-west1-z".to_owned()], ..config.clone() }, "none that is up"),
        (GcpConfig { image_family: "debian-99".to_owned(), ..config }, "image family debian-99"),
    ] {
        let error = emulator.cloud_with(wrong, tuning()).create_host(&spec("gcp-2", 2)).unwrap_err();
        assert!(!error.is_retryable() && error.to_string().contains(words), "{error:?}");
    }
}

#[test]
fn the_processor_is_the_programs() {
    let emulator = Emulator::start();
    let config = GcpConfig {
        machine_type: "t2a-standard-1".to_owned(),
        architecture: Architecture::Arm64,
        image_family: "ubuntu-2404-lts-arm64".to_owned(),
        ..emulator.config()
    };
    let cloud = emulator.cloud_with(config.clone(), tuning());
    cloud.ensure_site(&site()).unwrap();
    cloud.create_host(&spec("gcp-1", 1)).unwrap();
    let body = emulator.server.calls("instances.insert").remove(0)["body"].take();
    assert_eq!(body["machineType"], "zones/europe-west1-b/machineTypes/t2a-standard-1");
    let image = text(&body["disks"][0]["initializeParams"]["sourceImage"]);
    assert!(image.ends_with("/ubuntu-2404-noble-arm64-v20261020"), "{image}");
    assert_eq!(
        body["disks"][0]["initializeParams"]["diskType"],
        "zones/europe-west1-b/diskTypes/pd-balanced"
    );
    // A series that takes nothing but Hyperdisk.
    let newer = GcpConfig { machine_type: "c4a-standard-1".to_owned(), ..config };
    emulator.cloud_with(newer, tuning()).create_host(&spec("gcp-2", 2)).unwrap();
    let body = emulator.server.calls("instances.insert").remove(1)["body"].take();
    let disk = "zones/europe-west1-c/diskTypes/hyperdisk-balanced";
    assert_eq!(body["disks"][0]["initializeParams"]["diskType"], disk);
}

#[test]
fn spot_machines_are_stopped_when_they_are_wanted_back_and_start_again() {
    let (emulator, always) = Emulator::with_site();
    always.create_host(&spec("gcp-1", 1)).unwrap();
    let cloud = emulator.cloud_with(GcpConfig { spot: true, ..emulator.config() }, tuning());
    cloud.create_host(&spec("gcp-2", 2)).unwrap();
    let inserts = emulator.server.calls("instances.insert");
    assert_eq!(inserts[0]["body"]["scheduling"], Value::Null);
    let scheduling = json!({
        "provisioningModel": "SPOT",
        "instanceTerminationAction": "STOP",
        "onHostMaintenance": "TERMINATE",
        "automaticRestart": false,
    });
    assert_eq!(inserts[1]["body"]["scheduling"], scheduling);
    emulator.server.set_status("proj", "zones/europe-west1-c/instances/weave-demo-gcp-2", "TERMINATED");
    assert_eq!(cloud.observe().unwrap().hosts[1].phase, Phase::Stopped);
    assert_eq!(cloud.create_host(&spec("gcp-2", 2)).unwrap().phase, Phase::Running);
}

#[test]
fn addresses_of_another_region_are_swept_and_not_taken() {
    let emulator = Emulator::start();
    let at = |region: &str| {
        let config = GcpConfig { region: region.to_owned(), static_address: true, ..emulator.config() };
        emulator.cloud_with(config, tuning())
    };
    let (here, there) = (at("europe-west1"), at("us-central1"));
    // What is left of a host when a sweep was cut short and the fleet moved.
    there.ensure_site(&site()).unwrap();
    there.create_host(&spec("gcp-1", 1)).unwrap();
    emulator.server.fail("addresses.delete", 1, json!({ "status": 403, "reason": "forbidden" }));
    there.destroy_host("gcp-1").unwrap_err();
    here.create_host(&spec("gcp-1", 1)).unwrap();
    let region = |call: &Value| text(&call["at"]["region"]).to_owned();
    let reserved: Vec<_> = emulator.server.calls("addresses.insert").iter().map(region).collect();
    assert_eq!(reserved, ["us-central1", "europe-west1"]);
    // Somebody else's stays.
    let theirs = json!({ "name": "theirs", "labels": { "weave-fleet": "other" } });
    insert(&emulator, "proj/regions/us-central1/addresses", theirs);
    emulator.server.fail("addresses.delete", 1, json!({ "status": 403, "reason": "forbidden" }));
    let left: Vec<String> = here.sweep().unwrap().iter().map(ToString::to_string).collect();
    assert!(left.len() == 1 && left[0].starts_with("address weave-demo-gcp-1 ("), "{left:?}");
    assert_eq!(here.sweep().unwrap(), []);
    let deleted: BTreeSet<_> = emulator.server.calls("addresses.delete").iter().map(region).collect();
    assert_eq!(deleted, BTreeSet::from(["europe-west1".to_owned(), "us-central1".to_owned()]));
    assert!(emulator.server.calls("addresses.delete").iter().all(|call| call["at"]["address"] != "theirs"));
}

#[test]
fn many_hosts_come_in_pages_and_spread_over_the_zones() {
    let (emulator, cloud) = Emulator::with_site();
    // Somebody else's machines are not hosts.
    let theirs = json!({
        "name": "theirs",
        "machineType": "zones/europe-west1-b/machineTypes/e2-small",
        "disks": [{ "initializeParams": { "sourceImage": "ubuntu-2404-noble-amd64-v20261020" } }],
        "networkInterfaces": [{
            "network": "global/networks/default",
            "subnetwork": "regions/europe-west1/subnetworks/default",
        }],
        "metadata": {},
        "labels": { "weave-fleet": "other", "weave-host": "theirs" },
    });
    insert(&emulator, "proj/zones/europe-west1-b/instances", theirs);
    std::thread::scope(|threads| {
        for index in 1..=7 {
            let cloud = &cloud;
            threads.spawn(move || cloud.create_host(&spec(&format!("gcp-{index}"), index)).unwrap());
        }
    });
    let hosts = cloud.observe().unwrap().hosts;
    let names: Vec<_> = hosts.iter().map(|host| host.name.as_str()).collect();
    assert_eq!(names, ["gcp-1", "gcp-2", "gcp-3", "gcp-4", "gcp-5", "gcp-6", "gcp-7"]);
    let pages = emulator.server.calls("instances.aggregatedList");
    assert!(pages.iter().any(|call| call["query"]["pageToken"].is_string()));
    let mut inserts = emulator.server.calls("instances.insert");
    inserts.retain(|call| call["body"]["name"] != "theirs");
    let zones: BTreeSet<_> = inserts.iter().map(|call| text(&call["at"]["zone"])).collect();
    let ids: BTreeSet<_> = inserts.iter().map(|call| text(&call["query"]["requestId"])).collect();
    assert!(zones.len() == 3 && ids.len() == inserts.len() && !zones.contains("europe-west1-z"), "{zones:?}");
    assert_eq!(cloud.sweep().unwrap(), []);
    let deletes = emulator.server.calls("instances.delete");
    assert!(deletes.len() == 7 && deletes.iter().all(|call| call["at"]["instance"] != "theirs"));
}

#[test]
fn a_host_that_is_off_is_started() {
    let (emulator, cloud) = Emulator::with_site();
    cloud.create_host(&spec("gcp-1", 1)).unwrap();
    emulator.server.set_status("proj", "zones/europe-west1-b/instances/weave-demo-gcp-1", "TERMINATED");
    assert_eq!(cloud.observe().unwrap().hosts[0].phase, Phase::Stopped);
    let closed = cloud.connect("gcp-1", 22).err().unwrap();
    assert!(closed.is_retryable() && closed.to_string().contains("it is TERMINATED"), "{closed:?}");
    assert_eq!(cloud.create_host(&spec("gcp-1", 1)).unwrap().phase, Phase::Running);
    assert_eq!(emulator.server.calls("instances.insert").len(), 1);
}

#[test]
fn a_host_is_made_again_within_the_hour_and_while_its_predecessor_goes() {
    let (emulator, cloud) = Emulator::with_site();
    for _ in 0..3 {
        cloud.create_host(&spec("gcp-1", 1)).unwrap();
        cloud.destroy_host("gcp-1").unwrap();
    }
    cloud.create_host(&spec("gcp-1", 1)).unwrap();
    emulator.server.fail("instances.delete", 1, json!({ "slow": 0.6 }));
    std::thread::scope(|threads| {
        threads.spawn(|| cloud.destroy_host("gcp-1").unwrap());
        emulator.server.until(|server| server.calls("instances.delete").len() == 4);
        assert_eq!(cloud.observe().unwrap().hosts[0].phase, Phase::Terminating);
        assert!(cloud.remove_site("gcp").unwrap_err().is_retryable());
        assert_eq!(cloud.create_host(&spec("gcp-1", 1)).unwrap().phase, Phase::Running);
    });
    assert_eq!(cloud.observe().unwrap().hosts.len(), 1);
}

#[test]
fn a_name_that_is_anothers_is_a_conflict() {
    let (emulator, cloud) = Emulator::with_site();
    let theirs = json!({
        "name": "weave-demo-gcp-1",
        "machineType": "zones/europe-west1-b/machineTypes/e2-small",
        "disks": [{ "initializeParams": { "sourceImage": "ubuntu-2404-noble-amd64-v20261020" } }],
        "networkInterfaces": [{
            "network": "global/networks/default",
            "subnetwork": "regions/europe-west1/subnetworks/default",
        }],
        "metadata": {},
    });
    insert(&emulator, "proj/zones/europe-west1-b/instances", theirs);
    let error = cloud.create_host(&spec("gcp-1", 1)).unwrap_err();
    let ProviderError::Conflict(text) = error else { panic!("{error:?}") };
    assert_eq!(text, "instance weave-demo-gcp-1 in zone europe-west1-b");
    assert_eq!(cloud.sweep().unwrap(), []);
    assert!(emulator.server.calls("instances.delete").is_empty());
}

#[test]
fn a_static_address_is_kept_and_given_back() {
    let emulator = Emulator::start();
    let config = GcpConfig { static_address: true, ..emulator.config() };
    let cloud = emulator.cloud_with(config, tuning());
    cloud.ensure_site(&site()).unwrap();
    let host = cloud.create_host(&spec("gcp-1", 1)).unwrap();
    let public = host.addresses.unwrap().public.unwrap();
    assert!(public.to_string().starts_with("127.79."), "{public}");
    let reserved = emulator.server.calls("addresses.insert").remove(0);
    assert_eq!(reserved["body"]["labels"]["weave-host"], "gcp-1");
    assert_eq!(cloud.sweep().unwrap(), []);
    assert_eq!(emulator.server.calls("addresses.delete").len(), 1);
}

#[test]
fn the_stream_leads_to_the_public_address() {
    let (_emulator, cloud) = Emulator::with_site();
    let host = cloud.create_host(&spec("gcp-1", 1)).unwrap();
    let public = host.addresses.unwrap().public.unwrap();
    let listener = TcpListener::bind((public, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let _stream = cloud.connect("gcp-1", port).unwrap();
    let (_accepted, peer) = listener.accept().unwrap();
    assert!(peer.ip().is_loopback());
    drop(listener);
    let error = cloud.connect("gcp-1", port).err().unwrap();
    assert!(error.is_retryable() && error.to_string().contains("firewall rule"), "{error:?}");
    assert!(matches!(cloud.connect("gcp 1 OR x", 22), Err(ProviderError::NotFound(_))));
}

#[test]
fn the_user_data_is_hidden() {
    let (emulator, cloud) = Emulator::with_site();
    assert!(cloud.create_host(&spec("gcp-1", 1)).unwrap().shows_user_data);
    assert!(cloud.observe().unwrap().hosts[0].shows_user_data);
    // Somebody else changes the metadata between the look and the change.
    emulator.server.fail("instances.setMetadata", 1, json!({ "status": 412, "reason": "conditionNotMet" }));
    cloud.hide_user_data("gcp-1").unwrap();
    let calls = emulator.server.calls("instances.setMetadata");
    assert_eq!(calls.len(), 2);
    let left = &calls[1]["body"]["items"];
    assert!(left.as_array().unwrap().iter().all(|item| item["key"] != "user-data"), "{left}");
    assert_eq!(left.as_array().unwrap().len(), 3);
    for _ in 0..2 {
        assert!(!cloud.observe().unwrap().hosts[0].shows_user_data);
        cloud.hide_user_data("gcp-1").unwrap();
    }
    assert_eq!(emulator.server.calls("instances.setMetadata").len(), 2);
    // Asked for again, the host stays as it is.
    assert!(!cloud.create_host(&spec("gcp-1", 1)).unwrap().shows_user_data);
}
