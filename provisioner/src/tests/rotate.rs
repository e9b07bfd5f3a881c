//! Changes of the network CA: whatever fails or dies, no two gateways ever stop recognising each other, and the next run
//! finishes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cloud_core::Cloud;
use weave_model::NetworkName;

use super::engine::{Operator, quick, run};
use super::world::{Blow, Flaky, Fuse};
use crate::apply::{Engine, Owner};
use crate::cli::rotation_plan as plan;
use crate::fleet::{CloudKind, Fleet};
use crate::install::{Checksum, Content, Facts, GatewayConfig, IDENTITY, generation, wanted_files};
use crate::journal::Journal;
use crate::progress::Progress;
use crate::remote::RemoteError;
use crate::rotate::{
    Adoption, Epoch, Phase, Renew, STAGED, Versions, adopt_command, generation_with, parse_versions,
};
use crate::vault::Vault;
use crate::verify::Patience;

const CLOUDS: [CloudKind; 2] = [CloudKind::Aws, CloudKind::Onprem];

/// How often two running gateways were found not to recognise each other.
static STRANGE: AtomicUsize = AtomicUsize::new(0);

impl Renew for Flaky {
    async fn adopt(&self, host: &str, adoption: &Adoption) -> Result<(), RemoteError> {
        self.on_host(host, |facts| {
            if self.world.refuses.lock().unwrap().as_deref() == Some(host) {
                let (what, stderr) = ("it".to_owned(), "for another key".to_owned());
                return Err(RemoteError::Failed { what, status: 1, stderr });
            }
            let staged = self.world.aside.lock().unwrap().remove(&(host.to_owned(), STAGED));
            if adoption.staged {
                // A second time it is in place already.
                if let Some(staged) = staged {
                    facts.files.insert(IDENTITY.to_owned(), staged);
                }
            }
            let identity = facts.files[IDENTITY].clone();
            let mark = self.world.memberships.lock().unwrap()[&identity.0].mark();
            assert_eq!(mark, adoption.mark, "{host} reads what it was given");
            self.world.running.lock().unwrap().get_mut(host).unwrap().insert(IDENTITY.to_owned(), identity);
            if facts.applied.is_some() && facts.applied == adoption.before {
                facts.applied = adoption.after.clone();
            }
            Ok(())
        })
        .await?;
        let names: Vec<String> = self.world.running.lock().unwrap().keys().cloned().collect();
        for one in &names {
            let strangers = names.iter().filter(|other| !self.world.recognise(one, other));
            STRANGE.fetch_add(strangers.count(), Ordering::SeqCst);
        }
        Ok(())
    }

    async fn versions(&self, host: &str) -> Result<Versions, RemoteError> {
        self.on_host(host, |_| Ok(())).await?;
        let names: Vec<String> = self.world.running.lock().unwrap().keys().cloned().collect();
        let peers = names.iter().filter_map(|name| self.world.membership(name));
        Ok(peers.map(|membership| (membership.identity.name().to_string(), 1)).collect())
    }
}

pub(super) fn patience() -> Patience {
    Patience { limit: Duration::from_secs(5), pause: Duration::from_millis(1), rest: Duration::ZERO }
}

pub(super) fn engine(operator: &Operator, fuse: &Arc<Fuse>, command: &str) -> Engine<Flaky> {
    let flaky = || Flaky { world: operator.world.clone(), fuse: fuse.clone() };
    let cloud: Arc<dyn Cloud> = Arc::new(flaky());
    let (journal, _) = Journal::open(&operator.dir.path().join("journal.jsonl"), command).unwrap();
    Engine { cloud, remote: Arc::new(flaky()), journal, progress: Progress::silent(), pace: quick() }
}

/// One process of `rotate-keys`.
async fn rotate(operator: &Operator, fuse: &Arc<Fuse>) -> Result<(), String> {
    let killed = async {
        fuse.killed.notified().await;
        Err("killed".to_owned())
    };
    let alive = async {
        let engine = engine(operator, fuse, "rotate-keys");
        let vault = Vault::new(operator.dir.clone());
        let owner = Owner { name: "weave".to_owned(), dir: operator.dir.clone(), vault };
        let mut state = operator.dir.fleet().unwrap().unwrap();
        let fleet = Fleet::lab(&CLOUDS);
        let done = engine.rotate(&fleet, &owner, &mut state, patience()).await;
        done.map(drop).map_err(|errors| format!("{errors:?}"))
    };
    tokio::select! { biased; end = killed => end, end = alive => end }
}

fn epoch(operator: &Operator) -> Epoch {
    operator.dir.fleet().unwrap().unwrap().epoch
}

fn file(operator: &Operator, name: &str) -> Option<String> {
    operator.dir.read(name).unwrap()
}

async fn standing() -> Operator {
    let operator = Operator::new();
    operator.up(&CLOUDS, &Fuse::never()).await.unwrap();
    operator
}

#[test]
fn a_change_ends_with_another_ca_and_the_same_names() {
    run(async {
        let operator = standing().await;
        let before = operator.world.membership("aws-1").unwrap();
        let old_ca = file(&operator, "network-ca.pem");
        rotate(&operator, &Fuse::never()).await.unwrap();
        assert_eq!(epoch(&operator), Epoch { number: 2, change: None });
        let after = operator.world.membership("aws-1").unwrap();
        assert_eq!(after.identity.name(), before.identity.name());
        assert_eq!(after.psk, before.psk);
        assert_eq!(after.trust.ca_certificates().count(), 1);
        assert!(after.trust.verify(before.identity.certificate()).is_err(), "the old certificate is refused");
        assert!(
            file(&operator, "network-ca.pem") != old_ca && file(&operator, "network-ca.next.pem").is_none()
        );
        assert_eq!(operator.up(&CLOUDS, &Fuse::never()).await, Ok(0), "nothing is left to restart");
        rotate(&operator, &Fuse::never()).await.unwrap();
        assert_eq!(epoch(&operator).number, 3);
        assert_eq!(operator.up(&CLOUDS, &Fuse::never()).await, Ok(0));
        let twice = operator.world.membership("aws-1").unwrap();
        assert!(twice.trust.verify(after.identity.certificate()).is_err() && twice.psk == before.psk);
    });
}

#[test]
fn whatever_fails_or_dies_the_next_run_finishes_the_change() {
    run(async {
        for blow in Blow::ALL {
            for at in 0.. {
                let operator = standing().await;
                let fuse = Fuse::new(at, blow);
                let first = rotate(&operator, &fuse).await;
                if fuse.asked() <= at {
                    assert!(at > 25, "a run of {at} calls is no run");
                    break;
                }
                if at % 3 == 0 {
                    let phase = epoch(&operator);
                    let up = operator.up(&CLOUDS, &Fuse::never()).await;
                    assert!(up.is_ok(), "up after {blow:?} at call {at}: {up:?}");
                    assert_eq!(epoch(&operator), phase, "`up` keeps the phase");
                }
                if epoch(&operator) != (Epoch { number: 2, change: None }) {
                    let second = rotate(&operator, &Fuse::never()).await;
                    assert!(second.is_ok(), "{blow:?} at call {at}: {first:?}, then {second:?}");
                }
                assert_eq!(epoch(&operator), Epoch { number: 2, change: None }, "{blow:?} at call {at}");
                operator.assert_whole(&CLOUDS);
                assert_eq!(operator.up(&CLOUDS, &Fuse::never()).await, Ok(0), "{blow:?} at call {at}");
            }
        }
    });
    assert_eq!(STRANGE.load(Ordering::SeqCst), 0, "gateways that did not recognise each other");
}

#[test]
fn an_up_in_the_middle_goes_on_without_a_restart() {
    run(async {
        // The calls behind which a phase has begun and no host was given anything of it yet, or some were.
        for at in (4..60).step_by(3) {
            let operator = standing().await;
            let began = operator.world.starts.load(Ordering::SeqCst);
            // What was begun on a host with a call that fails before it happens is not half done there.
            rotate(&operator, &Fuse::new(at, Blow::Fail)).await.ok();
            let phase = epoch(&operator);
            operator.up(&CLOUDS, &Fuse::never()).await.unwrap();
            operator.assert_whole(&CLOUDS);
            assert_eq!(operator.up(&CLOUDS, &Fuse::never()).await, Ok(0), "call {at}, {phase:?}");
            assert_eq!(operator.world.starts.load(Ordering::SeqCst), began, "call {at}, {phase:?}");
            let left = operator.world.aside.lock().unwrap().keys().any(|(_, path)| *path == STAGED);
            assert!(!left, "call {at}, {phase:?}: a copy of an identity is left");
        }
    });
    assert_eq!(STRANGE.load(Ordering::SeqCst), 0, "gateways that did not recognise each other");
}

#[test]
fn a_gateway_that_does_not_take_its_identity_is_restarted() {
    run(async {
        let operator = standing().await;
        rotate(&operator, &Fuse::new(6, Blow::Fail)).await.unwrap_err();
        assert!(epoch(&operator).change.is_some());
        let began = operator.world.starts.load(Ordering::SeqCst);
        *operator.world.refuses.lock().unwrap() = Some("onprem-2".to_owned());
        operator.up(&CLOUDS, &Fuse::never()).await.unwrap();
        assert_eq!(operator.world.starts.load(Ordering::SeqCst), began + 1);
        operator.assert_whole(&CLOUDS);
    });
}

#[test]
fn a_fleet_in_which_not_all_talk_is_not_touched() {
    run(async {
        let operator = standing().await;
        operator.world.forget_service("onprem-2");
        let engine = engine(&operator, &Fuse::never(), "rotate-keys");
        let owner = Owner {
            name: "weave".to_owned(),
            dir: operator.dir.clone(),
            vault: Vault::new(operator.dir.clone()),
        };
        let mut state = operator.dir.fleet().unwrap().unwrap();
        let short = Patience { limit: Duration::from_millis(20), ..patience() };
        let errors = engine.rotate(&Fleet::lab(&CLOUDS), &owner, &mut state, short).await.unwrap_err();
        assert!(format!("{:#}", errors[0]).contains("onprem-2"), "{errors:?}");
        let more = Fleet::lab(&CloudKind::ALL);
        let errors = engine.rotate(&more, &owner, &mut state, short).await.unwrap_err();
        assert_eq!(
            errors[0].to_string(),
            "these hosts have no gateway yet; `weave-provision up` installs it: gcp-1"
        );
        assert_eq!(epoch(&operator), Epoch::default());
        assert!(file(&operator, "network-ca.next.pem").is_none());
    });
}

#[test]
fn the_vault_gives_what_the_phase_says_wherever_the_end_was_interrupted() {
    run(async {
        let operator = standing().await;
        let vault = Vault::new(operator.dir.clone());
        let mut state = operator.dir.fleet().unwrap().unwrap();
        let of = |state: &_| vault.membership(state, "aws-1").unwrap().unwrap();
        let first = of(&state);
        vault.make_next_ca(&state.epoch).unwrap();
        let mut seen = vec![first.clone()];
        for phase in [Phase::Trust, Phase::Issue, Phase::Drop, Phase::Forget] {
            state.epoch.change = Some(phase);
            if phase == Phase::Issue {
                vault.issue(&mut state, "aws-1").unwrap();
            }
            let next = of(&state);
            assert_eq!(seen.last().unwrap().check_renewal(&next), Ok(()), "{phase:?}");
            seen.push(next);
        }
        let cas: Vec<usize> = seen.iter().map(|m| m.trust.ca_certificates().count()).collect();
        assert_eq!(cas, [1, 2, 2, 1, 1]);
        assert_eq!(seen[3].mark(), seen[4].mark());
        // Killed between the zeros and the rename, then behind it.
        let ca = operator.dir.path().join("network-ca.pem");
        std::fs::write(&ca, [0; 100]).unwrap();
        assert_eq!(of(&state).mark(), seen[4].mark());
        vault.forget_old_ca().unwrap();
        vault.forget_old_ca().unwrap();
        assert_eq!(of(&state).mark(), seen[4].mark());
        state.epoch = Epoch { number: 2, change: None };
        assert_eq!(of(&state).mark(), seen[4].mark());
        assert_eq!(of(&state).psk, first.psk);
        std::fs::remove_file(operator.dir.path().join("network-psk")).unwrap();
        let error = vault.membership(&state, "aws-1").unwrap_err().to_string();
        assert!(error.contains("network-psk") && error.contains("missing"), "{error}");
        std::fs::remove_file(&ca).unwrap();
        vault.issue(&mut state, "aws-1").unwrap();
        assert!(!ca.exists(), "a CA that was lost is not replaced unnoticed");
    });
}

#[test]
fn a_plan_shows_what_is_left_of_a_change() {
    let fleet = Fleet::lab(&[CloudKind::Aws, CloudKind::Gcp]);
    let all = plan(&Epoch::default(), &fleet);
    let expected = "  + make the next network CA\n  \
                    ~ aws-1, gcp-1: trust the next CA beside the old one\n  \
                    ~ aws-1, gcp-1: take a certificate of the next CA\n  \
                    ~ aws-1, gcp-1: stop trusting the old CA\n  \
                    - destroy the old CA's key\n\
                    plan: change from network CA 1 to 2; links and sessions stay up\n";
    assert_eq!(all, expected);
    let rest = plan(&Epoch { number: 4, change: Some(Phase::Drop) }, &fleet);
    let expected = "  ~ aws-1, gcp-1: stop trusting the old CA\n  - destroy the old CA's key\n\
                    plan: go on from network CA 4 to 5; links and sessions stay up\n";
    assert_eq!(rest, expected);
}

#[test]
fn a_report_tells_the_versions_and_nothing_else_does() {
    let report =
        r#"{"Version":"1","Router":{"Name":"a","Peers":[{"Name":"02:00:00:00:00:01","UID":7,"Version":9}]}}"#;
    let versions = parse_versions(report).unwrap();
    assert_eq!(versions.into_iter().collect::<Vec<_>>(), [("02:00:00:00:00:01".to_owned(), 9)]);
    for bad in ["", "{}", "no gateway answers", r#"{"Router":{"Peers":[{"Name":"a"}]}}"#] {
        assert!(parse_versions(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_host_adopts_by_one_command_that_its_shell_can_read() {
    let sum = Checksum::of(b"");
    for (staged, sums) in [(true, Some(sum.clone())), (false, None)] {
        let (before, after) = (sums.clone(), sums);
        let command = adopt_command(&Adoption { staged, mark: "0f'$(x)".to_owned(), before, after });
        let read = std::process::Command::new("sh").args(["-n", "-c", &command]).status().unwrap();
        assert!(read.success(), "{command}");
        assert_eq!(command.contains("mv -f '/etc/weave/identity.pem.next'"), staged, "{command}");
        assert_eq!(command.contains("/etc/weave/applied"), staged, "{command}");
    }
}

#[test]
fn the_generation_of_a_host_is_that_of_its_wanted_files() {
    let program = Content::new(*b"program");
    let identity = cloud_core::Secret::new("identity");
    let config = GatewayConfig::new("a", "b", NetworkName::default().as_str(), &[], &[]);
    let files = wanted_files(&program, Some(&identity), Some(&config));
    let mut facts = Facts::default();
    for file in &files {
        facts.files.insert(file.path.to_owned(), (file.checksum().unwrap().clone(), file.mode));
    }
    assert_eq!(generation_with(&facts, None), generation(&files));
    let other = Checksum::of(b"another identity");
    assert_ne!(generation_with(&facts, Some(&other)), generation(&files));
    let identity = facts.files.remove(IDENTITY).unwrap().0;
    assert_eq!(generation_with(&facts, None), None);
    assert_eq!(generation_with(&facts, Some(&identity)), generation(&files));
}
