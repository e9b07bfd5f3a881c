//! One lab per test, named after the process so that no test meets a user's lab.
#![expect(clippy::disallowed_methods, reason = "tests: make keys and read the lab's description")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use cloud_core::{Cloud as _, HostSpec, Phase, ProviderError, Secret, Site, check_contract};
use netlab::Topology;
use tokio::io::AsyncReadExt as _;

use crate::{LabCloud, down};

/// A cloud whose lab ends with the test.
struct Fleet {
    name: String,
    cloud: LabCloud,
}

impl Fleet {
    fn new(test: &str) -> Fleet {
        let name = format!("t{}-{test}", std::process::id());
        Fleet { cloud: LabCloud::new(&name, Topology::Partial), name }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        down(&self.name).unwrap();
    }
}

/// The private and the public half of a new key.
fn key() -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&path).status();
    assert!(made.unwrap().success());
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    (read(&path), read(&path.with_extension("pub")))
}

fn spec(site: &str, index: u8) -> HostSpec {
    HostSpec {
        name: format!("{site}-{index}"),
        site: site.to_owned(),
        index,
        operator_public_key: key().1,
        host_private_key: Secret::new(key().0),
        labels: BTreeMap::from([("weave-network".to_owned(), "test".to_owned())]),
    }
}

fn site(name: &str, index: u8) -> Site {
    Site { name: name.to_owned(), index }
}

#[test]
fn keeps_the_contract() {
    let fleet = Fleet::new("contract");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    check_contract(&fleet.cloud, &key().1, Secret::new(key().0)).unwrap();
}

#[test]
fn hosts_answer_at_their_ssh_port_alone() {
    let fleet = Fleet::new("ssh");
    let cloud = &fleet.cloud;
    cloud.ensure_site(&site("aws", 1)).unwrap();
    cloud.ensure_site(&site("onprem", 3)).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    for (name, public) in [("aws", true), ("onprem", false)] {
        let host = cloud.create_host(&spec(name, 1)).unwrap();
        assert_eq!(host.phase, Phase::Running);
        assert_eq!(host.addresses.unwrap().public.is_some(), public);
        let mut stream = cloud.connect(&host.name, 22).unwrap();
        let mut banner = [0; 8];
        runtime.block_on(stream.read_exact(&mut banner)).unwrap();
        assert_eq!(&banner, b"SSH-2.0-");
    }
    // Nobody listens there yet, which passes; nobody could, which does not.
    assert!(cloud.connect("aws-1", 6783).err().unwrap().is_retryable());
    assert!(matches!(cloud.connect("onprem-1", 6783).err().unwrap(), ProviderError::Invalid(_)));
}

#[test]
fn labels_stay_in_the_description() {
    let fleet = Fleet::new("labels");
    fleet.cloud.ensure_site(&site("gcp", 2)).unwrap();
    fleet.cloud.create_host(&spec("gcp", 1)).unwrap();
    let text = std::fs::read_to_string(format!("/run/weave-lab/{}/lab.json", fleet.name)).unwrap();
    assert!(text.contains("weave-network"), "{text}");
    assert!(!text.contains("PRIVATE KEY"), "{text}");
}

#[test]
fn a_sweep_removes_a_whole_fleet() {
    let fleet = Fleet::new("sweep");
    fleet.cloud.ensure_site(&site("aws", 1)).unwrap();
    fleet.cloud.create_host(&spec("aws", 1)).unwrap();
    assert_eq!(fleet.cloud.sweep().unwrap(), []);
    assert!(fleet.cloud.observe().unwrap().hosts.is_empty());
    assert!(fleet.cloud.destroy_host("aws-1").is_ok());
    assert!(fleet.cloud.remove_site("aws").is_ok());
}
