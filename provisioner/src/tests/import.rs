//! A lost `fleet.json`: what is rebuilt, what cannot be, and that nothing is left to change afterwards.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use cloud_core::{Cloud, ProviderError};
use weave_model::NetworkName;
use weave_trust::NetworkCa;

use super::engine::Operator;
use super::world::{Flaky, Fuse};
use crate::fleet::{CloudKind, Topology};
use crate::import::{Rebuilt, question, rebuild};
use crate::install::IDENTITY;
use crate::remote::RemoteError;
use crate::rotate::Phase;
use crate::ssh::SshError;
use crate::state::FleetState;
use crate::vault::Vault;

const CLOUDS: [CloudKind; 2] = [CloudKind::Aws, CloudKind::Onprem];
const HOSTS: [&str; 3] = ["aws-1", "onprem-1", "onprem-2"];

type Answers = BTreeMap<String, Result<String, RemoteError>>;

/// A fleet that is up, and what its hosts answer to the question.
struct Standing {
    operator: Operator,
    state: FleetState,
    answers: Answers,
}

impl Standing {
    async fn new() -> Standing {
        let operator = Operator::new();
        operator.up(&CLOUDS, &Fuse::never()).await.unwrap();
        let state = operator.dir.fleet().unwrap().unwrap();
        let vault = Vault::new(operator.dir.clone());
        let identity = |host: &str| vault.identity(&state, host).unwrap().unwrap().reveal().to_owned();
        let answers = HOSTS.map(|host| (host.to_owned(), Ok(answer(&identity(host))))).into();
        Standing { operator, state, answers }
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.operator.dir.path().join(name)
    }

    fn lose(&self, name: &str) {
        std::fs::remove_file(self.file(name)).unwrap();
    }

    fn import(&self, spoil: impl FnOnce(&mut cloud_core::Observed)) -> Rebuilt {
        let cloud = Flaky { world: self.operator.world.clone(), fuse: Fuse::never() };
        let mut observed = cloud.observe().unwrap();
        spoil(&mut observed);
        let empty = FleetState::next("weave", None, CLOUDS.to_vec(), Topology::Partial);
        let vault = Vault::new(self.operator.dir.clone());
        let keys = (&self.operator.dir, &vault);
        rebuild(empty, &observed, &self.answers, &NetworkName::default(), keys).unwrap()
    }

    /// Imports what there is and runs `up`; returns how many changes it made.
    async fn import_and_up(&self) -> usize {
        let rebuilt = self.import(|_| {});
        self.operator.dir.put_fleet(&rebuilt.state).unwrap();
        self.operator.up(&CLOUDS, &Fuse::never()).await.unwrap()
    }
}

/// What a host with this `identity.pem` answers, by a real shell.
fn answer(identity: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identity.pem");
    std::fs::write(&path, identity).unwrap();
    ask(&path)
}

fn ask(path: &Path) -> String {
    let said =
        Command::new("sh").arg("-c").arg(question().replace(IDENTITY, path.to_str().unwrap())).output();
    let said = said.unwrap();
    assert!(said.status.success() && said.stderr.is_empty(), "{said:?}");
    String::from_utf8(said.stdout).unwrap()
}

#[tokio::test]
async fn a_lost_state_is_rebuilt_and_nothing_is_left_to_change() {
    let standing = Standing::new().await;
    standing.lose("fleet.json");
    let rebuilt = standing.import(|_| {});
    assert_eq!((&rebuilt.state, &rebuilt.bare, &rebuilt.lost), (&standing.state, &vec![], &vec![]));
    assert_eq!(standing.import_and_up().await, 0);
}

#[tokio::test]
async fn a_host_does_not_print_its_key() {
    let standing = Standing::new().await;
    let vault = Vault::new(standing.operator.dir.clone());
    let identity = vault.identity(&standing.state, "aws-1").unwrap().unwrap();
    assert!(identity.reveal().contains("PRIVATE KEY") && identity.reveal().contains("PSK"));
    let said = answer(identity.reveal());
    assert_eq!(said.matches("BEGIN CERTIFICATE").count(), 2, "{said}");
    assert!(!said.contains("PRIVATE") && !said.contains("PSK"), "{said}");
}

#[tokio::test]
async fn a_host_without_a_gateway_is_left_to_the_next_up() {
    let mut standing = Standing::new().await;
    let folder = tempfile::tempdir().unwrap();
    standing.answers.insert("aws-1".to_owned(), Ok(ask(&folder.path().join("none"))));
    let rebuilt = standing.import(|_| {});
    assert_eq!((rebuilt.bare, rebuilt.lost), (vec!["aws-1".to_owned()], vec![]));
}

#[tokio::test]
async fn a_change_of_the_ca_goes_on_from_where_the_hosts_are() {
    let mut standing = Standing::new().await;
    let vault = Vault::new(standing.operator.dir.clone());
    vault.make_next_ca(&standing.state.epoch).unwrap();
    assert_eq!(standing.import(|_| {}).state.epoch.change, None);
    for (ahead, behind) in [
        (Some(Phase::Trust), None),
        (Some(Phase::Issue), Some(Phase::Trust)),
        (Some(Phase::Drop), Some(Phase::Issue)),
    ] {
        for (host, phase) in HOSTS.into_iter().zip([behind, ahead, behind]) {
            let mut state = standing.state.clone();
            state.epoch.change = phase;
            let identity = vault.identity(&state, host).unwrap().unwrap();
            standing.answers.insert(host.to_owned(), Ok(answer(identity.reveal())));
        }
        let rebuilt = standing.import(|_| {});
        assert_eq!((rebuilt.state.epoch.change, &rebuilt.lost), (ahead, &vec![]));
        assert_eq!(rebuilt.state.hosts, standing.state.hosts);
    }
    // The pre-shared key is part of an identity, and not to be seen in its certificates.
    let key = NetworkCa::from_seed(NetworkName::default(), [7; 32]).network_psk();
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    standing.operator.dir.put("network-psk", &hex).unwrap();
    let texts = HOSTS.map(|host| format!("the identity of {host} was not made with the keys in"));
    check_lost(&standing.import(|_| {}), &texts.each_ref().map(String::as_str), &[]);
}

/// Expects these losses, in this order, and the hosts that are kept.
#[track_caller]
fn check_lost(rebuilt: &Rebuilt, texts: &[&str], kept: &[&str]) {
    let lost: Vec<&str> = rebuilt.lost.iter().map(|loss| loss.what.as_str()).collect();
    assert_eq!(lost.len(), texts.len(), "{lost:?}");
    for (lost, text) in lost.iter().zip(texts) {
        assert!(lost.contains(text), "{text:?} is not in {lost:?}");
    }
    assert_eq!(rebuilt.state.hosts.keys().map(String::as_str).collect::<Vec<_>>(), kept);
}

#[tokio::test]
async fn lost_keys_are_named_and_the_next_up_makes_others() {
    let standing = Standing::new().await;
    standing.lose("fleet.json");
    standing.lose("hosts/aws-1/gateway-key.pem");
    let was = format!("aws-1 was {}", standing.state.hosts["aws-1"].peer);
    check_lost(&standing.import(|_| {}), &[&was], &["onprem-1", "onprem-2"]);
    // Its identity and a restart, and nothing on the others.
    assert_eq!(standing.import_and_up().await, 2);
    assert_ne!(
        standing.operator.dir.fleet().unwrap().unwrap().hosts["aws-1"].peer,
        standing.state.hosts["aws-1"].peer
    );

    let standing = Standing::new().await;
    standing.lose("fleet.json");
    standing.lose("network-ca.pem");
    check_lost(&standing.import(|_| {}), &["network-ca.pem is lost"], &[]);
    assert_eq!(standing.import_and_up().await, 2 * HOSTS.len());
    standing.operator.assert_whole(&CLOUDS);
}

#[tokio::test]
async fn certificates_of_other_keys_are_not_taken_over() {
    let standing = Standing::new().await;
    std::fs::copy(Standing::new().await.file("network-ca.pem"), standing.file("network-ca.pem")).unwrap();
    let texts = HOSTS.map(|host| format!("the identity of {host} was not made with the keys in"));
    check_lost(&standing.import(|_| {}), &texts.each_ref().map(String::as_str), &[]);

    let standing = Standing::new().await;
    let key = "hosts/aws-1/gateway-key.pem";
    std::fs::copy(standing.file("hosts/onprem-1/gateway-key.pem"), standing.file(key)).unwrap();
    check_lost(&standing.import(|_| {}), &["the identity of aws-1"], &["onprem-1", "onprem-2"]);
}

#[tokio::test]
async fn hosts_that_do_not_tell_are_named() {
    let mut standing = Standing::new().await;
    standing.lose("hosts/aws-1/ssh_host_ed25519_key");
    let unknown = SshError::UnknownHost("aws-1".to_owned());
    standing.answers.insert("aws-1".to_owned(), Err(unknown.into()));
    let refused = ProviderError::Retryable("connection refused".to_owned());
    standing.answers.insert("onprem-1".to_owned(), Err(SshError::Connect(refused).into()));
    standing.answers.remove("onprem-2");
    let rebuilt = standing.import(|observed| observed.hosts[2].phase = cloud_core::Phase::Stopped);
    let texts = [
        "hosts/aws-1/ssh_host_ed25519_key is lost",
        "onprem-1 does not tell its certificate: cannot connect: connection refused",
        "onprem-2 is stopped",
    ];
    check_lost(&rebuilt, &texts, &[]);
}

#[tokio::test]
async fn whatever_a_host_answers_is_a_loss_and_no_panic() {
    let mut standing = Standing::new().await;
    let good = standing.answers["aws-1"].as_ref().unwrap().clone();
    let blocks: Vec<&str> = good.split_inclusive("-----END CERTIFICATE-----").collect();
    let foreign = answer(&certificate_of_another_network());
    let odd = [
        "identity\nend\n".to_owned(),
        "identity\n-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\nend\n".to_owned(),
        format!("{}\nend\n", blocks[0]),
        format!("identity{}{}\nend\n", blocks[1], blocks[1]),
        good.replacen("MII", "MIJ", 1),
        "identity\n".to_owned() + &"x".repeat(1 << 20),
        foreign,
    ];
    for odd in odd {
        standing.answers.insert("aws-1".to_owned(), Ok(odd.clone()));
        let rebuilt = standing.import(|_| {});
        check_lost(
            &rebuilt,
            &["what aws-1 has in /etc/weave/identity.pem is no identity"],
            &["onprem-1", "onprem-2"],
        );
    }
}

fn certificate_of_another_network() -> String {
    let operator = Operator::new();
    let vault = Vault::new(operator.dir.clone()).of_network("blue".parse().unwrap());
    let mut state = FleetState::next("weave", None, Vec::new(), Topology::Partial);
    vault.issue(&mut state, "aws-1").unwrap();
    vault.identity(&state, "aws-1").unwrap().unwrap().reveal().to_owned()
}

#[tokio::test]
async fn import_is_refused_where_a_fleet_is_remembered() {
    let standing = Standing::new().await;
    let before = std::fs::read(standing.file("fleet.json")).unwrap();
    let state = standing.operator.dir.path().to_str().unwrap().to_owned();
    let arguments = ["weave-provision", "import", "--lab", "--state", &state].map(Into::into);
    let code = tokio::task::spawn_blocking(|| crate::cli::run(arguments)).await.unwrap();
    assert_eq!(format!("{code:?}"), format!("{:?}", std::process::ExitCode::from(2)));
    assert_eq!(std::fs::read(standing.file("fleet.json")).unwrap(), before);
}
