//! Whole runs against a cloud in memory: whatever fails or dies at whatever moment, the next run finishes the work.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cloud_core::{Cloud, Observed, Phase};
use weave_api::{PathKind, PingReport};
use weave_model::NetworkName;

use super::world::{Blow, Flaky, Fuse, World};
use crate::apply::{Engine, Owner};
use crate::desired::{Desired, address_book};
use crate::fleet::{CloudKind, Fleet, Topology};
use crate::install::{Checksum, Content, Facts, UNIT, WantedFile};
use crate::journal::Journal;
use crate::observe::{call, observe};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::remote::{Remote, RemoteError};
use crate::retry::Pace;
use crate::rotate::generation_with;
use crate::state::{FleetState, StateDir};
use crate::vault::Vault;
use crate::verify::{Gateway, Patience, report, verify};

const TWO: [CloudKind; 2] = [CloudKind::Aws, CloudKind::Onprem];

/// Everything a process of `weave-provision` starts from.
pub(super) struct Operator {
    pub(super) world: Arc<World>,
    pub(super) dir: StateDir,
    pub(super) program: &'static [u8],
    _parent: tempfile::TempDir,
}

pub(super) fn quick() -> Pace {
    let step = Duration::from_millis(1);
    Pace { first: step, most: step, limit: Duration::from_secs(5) }
}

impl Operator {
    pub(super) fn new() -> Operator {
        // In memory: some ten thousand fsyncs are not what is tested.
        let parent = tempfile::tempdir_in("/dev/shm").unwrap();
        let dir = StateDir::new(parent.path().join("weave"));
        Operator { world: Arc::default(), dir, program: b"program", _parent: parent }
    }

    /// One process: reads the state from disk, observes, plans, applies and verifies. Returns how many changes it saw.
    pub(super) async fn up(&self, clouds: &[CloudKind], fuse: &Arc<Fuse>) -> Result<usize, String> {
        let killed = async {
            fuse.killed.notified().await;
            Err("killed".to_owned())
        };
        tokio::select! {
            biased;
            outcome = killed => outcome,
            outcome = self.up_alive(clouds, fuse) => outcome,
        }
    }

    async fn up_alive(&self, clouds: &[CloudKind], fuse: &Arc<Fuse>) -> Result<usize, String> {
        let flaky = || Flaky { world: self.world.clone(), fuse: fuse.clone() };
        let cloud: Arc<dyn Cloud> = Arc::new(flaky());
        let remote = Arc::new(flaky());
        let vault = Vault::new(self.dir.clone());
        let desired = Desired {
            fleet: Fleet::lab(clouds),
            gateway: Content::new(self.program),
            network: NetworkName::default(),
        };
        self.dir.create().unwrap();
        let saved = self.dir.fleet().unwrap();
        let (observed, _) = observe(&cloud, &remote).await.map_err(|e| e.to_string())?;
        let files = desired.files(&vault, saved.as_ref(), &address_book(&observed.cloud)).unwrap();
        let plan = Plan::new(&desired.fleet, &files, &observed);
        let mut state = FleetState::next("weave", saved.as_ref(), clouds.to_vec(), Topology::Partial);
        self.dir.put_fleet(&state).unwrap();
        let (journal, _) = Journal::open(&self.dir.path().join("journal.jsonl"), "up").unwrap();
        let owner = Owner { name: "weave".to_owned(), dir: self.dir.clone(), vault };
        let engine = Arc::new(Engine { cloud, remote, journal, progress: Progress::silent(), pace: quick() });
        engine.up(&plan, &desired, &owner, &mut state).await.map_err(|errors| format!("{errors:?}"))?;
        engine.journal.end("up").unwrap();
        let gone = state.leaving(&desired.fleet);
        owner.vault.forget(&mut state, &gone).unwrap();
        self.dir.put_fleet(&state).unwrap();
        let patience =
            Patience { limit: Duration::from_secs(5), pause: Duration::from_millis(1), rest: Duration::ZERO };
        verify(&engine.remote, &desired.fleet, patience).await.map_err(|(error, _)| error.to_string())?;
        Ok(plan.steps.len())
    }

    async fn down(&self, fuse: &Arc<Fuse>) -> Result<(), String> {
        let flaky = || Flaky { world: self.world.clone(), fuse: fuse.clone() };
        let cloud: Arc<dyn Cloud> = Arc::new(flaky());
        self.dir.create().unwrap();
        let observed = call(&cloud, |cloud| cloud.observe()).await.map_err(|e| e.to_string())?;
        let (journal, _) = Journal::open(&self.dir.path().join("journal.jsonl"), "down").unwrap();
        let progress = Progress::silent();
        let engine = Arc::new(Engine { cloud, remote: Arc::new(flaky()), journal, progress, pace: quick() });
        let left = engine
            .down(&Plan::down(&Fleet::default(), &observed))
            .await
            .map_err(|errors| format!("{errors:?}"))?;
        assert_eq!(left, []);
        self.dir.remove().map_err(|e| e.to_string())
    }

    pub(super) fn assert_whole(&self, clouds: &[CloudKind]) {
        let fleet = Fleet::lab(clouds);
        let observed = self.world.cloud.observe().unwrap();
        let names: Vec<String> = observed.hosts.into_iter().map(|host| host.name).collect();
        let wanted: Vec<String> = fleet.hosts.into_iter().map(|host| host.name).collect();
        assert_eq!((observed.sites, names), (fleet.sites, wanted));
        self.world.assert_running_what_is_there();
    }
}

pub(super) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

#[test]
fn up_twice_changes_nothing_the_second_time() {
    run(async {
        let operator = Operator::new();
        assert_eq!(operator.up(&TWO, &Fuse::never()).await, Ok(23));
        operator.assert_whole(&TWO);
        let calls = operator.world.cloud.calls();
        assert_eq!(operator.up(&TWO, &Fuse::never()).await, Ok(0));
        assert_eq!(operator.world.cloud.calls(), calls);
    });
}

#[test]
fn another_program_or_cloud_changes_what_it_must() {
    run(async {
        let mut operator = Operator::new();
        operator.up(&TWO, &Fuse::never()).await.unwrap();
        operator.program = b"newer program";
        assert_eq!(operator.up(&TWO, &Fuse::never()).await, Ok(6), "three hosts: program and restart");
        operator.assert_whole(&TWO);
        operator.up(&[CloudKind::Gcp, CloudKind::Aws], &Fuse::never()).await.unwrap();
        operator.assert_whole(&[CloudKind::Aws, CloudKind::Gcp]);
        operator.world.forget_service("gcp-1");
        assert_eq!(operator.up(&[CloudKind::Aws, CloudKind::Gcp], &Fuse::never()).await, Ok(1));
    });
}

#[test]
fn another_unit_restarts_nothing() {
    run(async {
        for blow in Blow::ALL {
            for at in 0.. {
                let operator = Operator::new();
                operator.up(&TWO, &Fuse::never()).await.unwrap();
                let began = operator.world.starts.load(Ordering::SeqCst);
                for facts in operator.world.hosts.lock().unwrap().values_mut() {
                    facts.files.get_mut(UNIT).unwrap().0 = Checksum::of(b"an earlier unit");
                    facts.applied = generation_with(facts, None);
                }
                let fuse = Fuse::new(at, blow);
                let first = operator.up(&TWO, &fuse).await;
                if fuse.asked() <= at {
                    assert_eq!(first, Ok(6), "three hosts: the unit, and to read it");
                    assert_eq!(operator.world.starts.load(Ordering::SeqCst), began);
                    operator.assert_whole(&TWO);
                    break;
                }
                let second = operator.up(&TWO, &Fuse::never()).await;
                assert!(second.is_ok(), "{blow:?} at call {at}: {first:?}, then {second:?}");
                operator.assert_whole(&TWO);
                assert_eq!(operator.up(&TWO, &Fuse::never()).await, Ok(0));
            }
        }
    });
}

#[test]
fn a_host_is_remembered_until_it_is_gone_and_its_keys_no_longer() {
    run(async {
        for at in 0..30 {
            let operator = Operator::new();
            operator.up(&TWO, &Fuse::never()).await.unwrap();
            let name = operator.world.membership("aws-1").unwrap().identity.name();
            let ended = operator.up(&[CloudKind::Onprem], &Fuse::new(at, Blow::Fail)).await;
            let there = operator.world.cloud.observe().unwrap().hosts.iter().any(|host| host.name == "aws-1");
            let known = operator.dir.fleet().unwrap().unwrap().hosts.contains_key("aws-1");
            let keys = operator.dir.path().join("hosts/aws-1");
            assert!(known || !there, "call {at}: {ended:?}");
            assert_eq!(keys.exists(), known, "call {at}: {ended:?}");
            operator.up(&[CloudKind::Onprem], &Fuse::never()).await.unwrap();
            assert!(!keys.exists(), "call {at}");
            operator.up(&TWO, &Fuse::never()).await.unwrap();
            assert_ne!(operator.world.membership("aws-1").unwrap().identity.name(), name, "another key");
        }
    });
}

#[test]
fn a_stopped_host_is_started_and_a_drifted_site_is_mended() {
    run(async {
        let operator = Operator::new();
        operator.up(&TWO, &Fuse::never()).await.unwrap();
        assert!(operator.world.cloud.calls().contains(&"hide_user_data aws-1".to_owned()), "EC2 shows it");
        let before = operator.dir.fleet().unwrap();
        operator.world.cloud.alter("aws-1", |host| host.phase = Phase::Stopped);
        operator.world.cloud.drift("aws", "no rule for UDP 6783");
        operator.world.forget_service("aws-1");
        assert!(operator.up(&TWO, &Fuse::never()).await.unwrap() >= 3);
        operator.assert_whole(&TWO);
        assert_eq!(operator.dir.fleet().unwrap(), before, "a host that is started keeps its certificate");
        assert_eq!(operator.up(&TWO, &Fuse::never()).await, Ok(0));
    });
}

#[test]
fn whatever_fails_or_dies_the_next_up_finishes() {
    let small = [CloudKind::Aws, CloudKind::Gcp];
    run(async {
        for blow in Blow::ALL {
            let mut at = 0;
            loop {
                let operator = Operator::new();
                let fuse = Fuse::new(at, blow);
                let first = operator.up(&small, &fuse).await;
                if fuse.asked() <= at {
                    assert!(at > 20, "a run of {at} calls is no run");
                    break;
                }
                let second = operator.up(&small, &Fuse::never()).await;
                assert!(second.is_ok(), "{blow:?} at call {at}: {first:?}, then {second:?}");
                operator.assert_whole(&small);
                if at % 5 == 0 {
                    assert_eq!(operator.up(&small, &Fuse::never()).await, Ok(0), "{blow:?} at call {at}");
                }
                at += 1;
            }
        }
    });
}

#[test]
fn whatever_fails_or_dies_gone_gateways_are_forgotten_by_all_that_stay() {
    let (before, after) = ([CloudKind::Aws, CloudKind::Onprem], [CloudKind::Onprem]);
    run(async {
        for blow in Blow::ALL {
            for at in 0.. {
                let operator = Operator::new();
                operator.up(&before, &Fuse::never()).await.unwrap();
                assert!(operator.world.forgotten.lock().unwrap().is_empty());
                let gone = operator.dir.fleet().unwrap().unwrap().hosts["aws-1"].peer.clone();
                let fuse = Fuse::new(at, blow);
                let first = operator.up(&after, &fuse).await;
                if fuse.asked() <= at {
                    assert!(at > 10, "a run of {at} calls is no run");
                    break;
                }
                let second = operator.up(&after, &Fuse::never()).await;
                assert!(second.is_ok(), "{blow:?} at call {at}: {first:?}, then {second:?}");
                let told = |host: &str| (host.to_owned(), gone.clone());
                let expected = BTreeSet::from(["onprem-1", "onprem-2"].map(told));
                assert_eq!(*operator.world.forgotten.lock().unwrap(), expected, "{blow:?} at call {at}");
                assert!(!operator.dir.fleet().unwrap().unwrap().hosts.contains_key("aws-1"));
                let fuse = Fuse::new(usize::MAX, Blow::Fail);
                assert_eq!(operator.up(&after, &fuse).await, Ok(0));
                assert!(fuse.asked() < 10, "{} calls where nothing is left to tell", fuse.asked());
            }
        }
    });
}

#[test]
fn a_gateway_that_is_not_missed_yet_is_forgotten_a_moment_later() {
    run(async {
        let operator = Operator::new();
        operator.up(&TWO, &Fuse::never()).await.unwrap();
        operator.world.missed_after.store(5, Ordering::SeqCst);
        operator.up(&[CloudKind::Onprem], &Fuse::never()).await.unwrap();
        assert_eq!(operator.world.forgotten.lock().unwrap().len(), 2);
        let journal = operator.dir.read("journal.jsonl").unwrap().unwrap();
        assert!(journal.contains("onprem-2: forget the gateway of aws-1"), "{journal}");
    });
}

#[test]
fn whatever_fails_or_dies_in_an_upgrade_the_next_up_finishes() {
    run(async {
        let one = [CloudKind::Gcp];
        for blow in Blow::ALL {
            for at in 0.. {
                let mut operator = Operator::new();
                operator.up(&one, &Fuse::never()).await.unwrap();
                operator.program = b"newer program";
                let fuse = Fuse::new(at, blow);
                let first = operator.up(&one, &fuse).await;
                if fuse.asked() <= at {
                    assert!(at > 5, "a run of {at} calls is no run");
                    break;
                }
                let second = operator.up(&one, &Fuse::never()).await;
                assert!(second.is_ok(), "{blow:?} at call {at}: {first:?}, then {second:?}");
                operator.assert_whole(&one);
            }
        }
    });
}

#[test]
fn a_call_that_asks_for_patience_gets_it_within_the_run() {
    run(async {
        // The first calls are the observation, which is not repeated: nothing depends on it yet.
        for at in 1..25 {
            let operator = Operator::new();
            let fuse = Fuse::new(at, Blow::RetryAfter);
            assert_eq!(operator.up(&TWO, &fuse).await, Ok(23), "call {at}");
            operator.assert_whole(&TWO);
        }
    });
}

#[test]
fn whatever_fails_or_dies_the_next_down_finishes() {
    run(async {
        for blow in Blow::ALL {
            for at in 0.. {
                let operator = Operator::new();
                operator.up(&[CloudKind::Onprem], &Fuse::never()).await.unwrap();
                let fuse = Fuse::new(at, blow);
                let killed = async {
                    fuse.killed.notified().await;
                    Err("killed".to_owned())
                };
                let first = tokio::select! { biased; end = killed => end, end = operator.down(&fuse) => end };
                if fuse.asked() <= at {
                    assert!(at > 3, "a run of {at} calls is no run");
                    break;
                }
                let second = operator.down(&Fuse::never()).await;
                assert_eq!(second, Ok(()), "{blow:?} at call {at}: {first:?}");
                assert_eq!(operator.world.cloud.observe().unwrap(), Observed::default());
                assert!(!operator.dir.path().exists());
            }
        }
    });
}

#[test]
fn a_failing_host_does_not_stop_the_others_and_is_named() {
    run(async {
        let operator = Operator::new();
        operator.up(&TWO, &Fuse::never()).await.unwrap();
        operator.world.forget_service("aws-1");
        let fleet = Fleet::lab(&TWO);
        let remote = Arc::new(Flaky { world: operator.world.clone(), fuse: Fuse::never() });
        let patience = Patience {
            limit: Duration::from_millis(20),
            pause: Duration::from_millis(1),
            rest: Duration::ZERO,
        };
        let (error, _) = verify(&remote, &fleet, patience).await.unwrap_err();
        let expected = "aws-1 → onprem-1, aws-1 → onprem-2, onprem-1 → aws-1, onprem-2 → aws-1";
        assert_eq!(error.missing.join(", "), expected);
        let (report, _) = report(&remote, &fleet, |host| host.name != "onprem-2").await;
        let states: Vec<&str> = report.gateways.iter().map(|row| row.state.as_str()).collect();
        assert_eq!(states, ["inactive", "active", "missing"]);
        assert!(!report.ok());
    });
}

/// A remote whose gateways find the direct paths only after some rounds.
struct Unsettled {
    inner: Flaky,
    rounds: std::sync::atomic::AtomicU32,
}

impl Remote for Unsettled {
    async fn facts(&self, host: &str) -> Result<Facts, RemoteError> {
        self.inner.facts(host).await
    }

    async fn put(&self, host: &str, file: &WantedFile, content: &Content) -> Result<(), RemoteError> {
        self.inner.put(host, file, content).await
    }

    async fn link(&self, host: &str) -> Result<(), RemoteError> {
        self.inner.link(host).await
    }

    async fn service(&self, host: &str, restart: bool, generation: &Checksum) -> Result<(), RemoteError> {
        self.inner.service(host, restart, generation).await
    }

    async fn stop(&self, host: &str) -> Result<(), RemoteError> {
        self.inner.stop(host).await
    }

    async fn disable_cloud_init(&self, _: &str) -> Result<(), RemoteError> {
        Ok(())
    }

    async fn forget_peer(&self, host: &str, peer: &str) -> Result<(), RemoteError> {
        self.inner.forget_peer(host, peer).await
    }

    async fn ping(&self, host: &str) -> Result<Vec<PingReport>, RemoteError> {
        let mut pings = self.inner.ping(host).await?;
        if self.rounds.fetch_add(1, Ordering::Relaxed) < 12 {
            for ping in &mut pings {
                (ping.path, ping.via, ping.mtu) = (PathKind::Relay, vec!["onprem-2".to_owned()], None);
            }
        }
        Ok(pings)
    }

    async fn gateway(&self, host: &str) -> Result<Gateway, RemoteError> {
        self.inner.gateway(host).await
    }
}

#[test]
fn paths_are_shown_when_they_have_come_to_rest() {
    run(async {
        let operator = Operator::new();
        operator.up(&TWO, &Fuse::never()).await.unwrap();
        let inner = Flaky { world: operator.world.clone(), fuse: Fuse::never() };
        let remote = Arc::new(Unsettled { inner, rounds: 0.into() });
        let patience = Patience {
            limit: Duration::from_secs(5),
            pause: Duration::from_millis(1),
            rest: Duration::from_millis(20),
        };
        let pairs = verify(&remote, &Fleet::lab(&TWO), patience).await.unwrap();
        assert!(pairs.iter().all(|pair| pair.path.as_deref() == Some("direct") && pair.mtu == Some(1376)));
    });
}
