//! The state directory: private, whole, locked.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use weave_model::NetworkName;
use weave_trust::Membership;

use crate::fleet::{CloudKind, Topology};
use crate::state::{FleetState, HostRecord, StateDir, StateError};
use crate::vault::Vault;

fn fleet() -> FleetState {
    FleetState {
        version: 1,
        name: "weave".to_owned(),
        clouds: vec![CloudKind::Aws],
        topology: Topology::Partial,
        hosts: BTreeMap::new(),
        epoch: Default::default(),
    }
}

fn mode(path: &std::path::Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn only_a_cloud_without_hosts_is_left() {
    let mut state = fleet();
    state.clouds.push(CloudKind::Onprem);
    let record = HostRecord { peer: "02:00:00:00:00:01".to_owned(), issue: 1 };
    state.hosts.insert("db".to_owned(), record);
    let before = state.clone();
    state.leave_if_unused(CloudKind::Onprem);
    assert_eq!(state, before);
    state.hosts.clear();
    state.leave_if_unused(CloudKind::Onprem);
    assert_eq!(state.clouds, [CloudKind::Aws]);
}

#[test]
fn the_lock_keeps_a_second_run_out_and_names_the_first() {
    let parent = tempfile::tempdir().unwrap();
    let dir = StateDir::new(parent.path().join("weave"));
    let lock = dir.lock("up").unwrap();
    let error = dir.lock("down").unwrap_err();
    let expected =
        format!("another run works on this fleet: `weave-provision up`, process {}", std::process::id());
    assert_eq!(error.to_string(), expected);
    drop(lock);
    dir.lock("down").unwrap();
}

#[test]
fn a_lock_taken_after_removal_is_a_lock_on_what_exists() {
    let parent = tempfile::tempdir().unwrap();
    let dir = StateDir::new(parent.path().join("weave"));
    let removed = dir.lock("down").unwrap();
    dir.remove().unwrap();
    assert!(!dir.path().exists());
    let _lock = dir.lock("up").unwrap();
    drop(removed);
    assert!(matches!(dir.lock("up"), Err(StateError::Locked { .. })));
    dir.remove().unwrap();
    dir.remove().unwrap();
}

#[test]
fn files_are_private_and_replaced_whole() {
    let parent = tempfile::tempdir().unwrap();
    let dir = StateDir::new(parent.path().join("weave"));
    std::fs::create_dir(dir.path()).unwrap();
    dir.create().unwrap();
    assert_eq!(mode(dir.path()), 0o700);
    assert_eq!(dir.fleet().unwrap(), None);
    dir.put_fleet(&fleet()).unwrap();
    // A crash left half a replacement behind.
    std::fs::write(dir.path().join("fleet.part"), "{").unwrap();
    assert_eq!(dir.fleet().unwrap(), Some(fleet()));
    dir.put_fleet(&fleet()).unwrap();
    assert_eq!(mode(&dir.path().join("fleet.json")), 0o600);
    for damage in ["{", "{\"version\":2,\"name\":\"weave\",\"clouds\":[],\"topology\":\"full\"}", "[]"] {
        dir.put("fleet.json", damage).unwrap();
        let error = dir.fleet().unwrap_err();
        assert!(matches!(error, StateError::Damaged { .. }), "{error}");
    }
}

#[test]
fn keys_are_made_once_and_a_gateway_keeps_its_name_under_growing_issue_numbers() {
    let parent = tempfile::tempdir().unwrap();
    let dir = StateDir::new(parent.path().join("weave"));
    let vault = Vault::new(dir.clone());
    let mut state = fleet();
    assert!(vault.login("aws-1").unwrap().is_none());
    assert!(vault.identity(&state, "aws-1").unwrap().is_none());
    let line = vault.operator_line().unwrap();
    assert!(line.starts_with("ssh-ed25519 "), "{line}");
    assert_eq!(vault.operator_line().unwrap(), line);
    let key = vault.host_key("aws-1").unwrap();
    assert_eq!(vault.host_key("aws-1").unwrap(), key);
    assert!(vault.login("aws-1").unwrap().is_some());

    vault.issue(&mut state, "aws-1").unwrap();
    let first = state.hosts["aws-1"].clone();
    let pem = vault.identity(&state, "aws-1").unwrap().unwrap();
    assert_eq!(vault.identity(&state, "aws-1").unwrap().unwrap(), pem);
    let membership = Membership::from_pem(NetworkName::default(), pem.reveal()).unwrap();
    assert_eq!(membership.identity.name().to_string(), first.peer);
    vault.issue(&mut state, "aws-1").unwrap();
    assert_eq!(state.hosts["aws-1"].peer, first.peer);
    assert!(state.hosts["aws-1"].issue > first.issue);
    assert_ne!(vault.identity(&state, "aws-1").unwrap().unwrap(), pem);

    for name in [
        "network-ca.pem",
        "operator_ed25519",
        "hosts/aws-1/ssh_host_ed25519_key",
        "hosts/aws-1/gateway-key.pem",
    ] {
        assert_eq!(mode(&dir.path().join(name)), 0o600, "{name}");
    }
    assert_eq!(mode(&dir.path().join("hosts/aws-1")), 0o700);
}
