//! Rolling upgrades: one host at a time, back on the first that does not come back, gone on with after a kill.

use std::sync::Arc;
use std::time::Duration;

use super::engine::{Operator, run};
use super::rotate::{engine, patience};
use super::world::{Blow, Flaky, Fuse};
use crate::fleet::{CloudKind, Fleet};
use crate::install::{Checksum, Content, GATEWAY};
use crate::remote::RemoteError;
use crate::upgrade::{OLD_GATEWAY, Outcome, Swap, UpgradeError};
use crate::verify::Patience;

const CLOUDS: [CloudKind; 2] = [CloudKind::Aws, CloudKind::Onprem];

impl Swap for Flaky {
    async fn keep(&self, host: &str, new: &Checksum) -> Result<(), RemoteError> {
        self.on_host(host, |facts| {
            let program = facts.files[GATEWAY].clone();
            if program.0 != *new {
                self.world.aside.lock().unwrap().insert((host.to_owned(), OLD_GATEWAY), program);
            }
            Ok(())
        })
        .await
    }

    async fn put_back(&self, host: &str) -> Result<(), RemoteError> {
        self.on_host(host, |facts| {
            if let Some(old) = self.world.aside.lock().unwrap().remove(&(host.to_owned(), OLD_GATEWAY)) {
                facts.files.insert(GATEWAY.to_owned(), old);
            }
            Ok(())
        })
        .await
    }
}

async fn upgrade(
    operator: &Operator,
    program: &[u8],
    patience: Patience,
    fuse: &Arc<Fuse>,
) -> Result<Vec<Outcome>, UpgradeError> {
    let engine = engine(operator, fuse, "upgrade");
    let done = engine.upgrade(&Fleet::lab(&CLOUDS), &Content::new(program), patience).await;
    done.map(|(outcomes, _)| outcomes.into_values().collect())
}

/// The programs that the gateways run from.
fn programs(operator: &Operator) -> Vec<Checksum> {
    operator.world.running.lock().unwrap().values().map(|files| files[GATEWAY].0.clone()).collect()
}

async fn standing() -> Operator {
    let operator = Operator::new();
    operator.up(&CLOUDS, &Fuse::never()).await.unwrap();
    operator
}

#[test]
fn hosts_are_upgraded_in_turn_and_once() {
    run(async {
        let mut operator = standing().await;
        let done = upgrade(&operator, b"newer program", patience(), &Fuse::never()).await.unwrap();
        assert_eq!(done, [Outcome::Upgraded; 3]);
        assert_eq!(programs(&operator), vec![Checksum::of(b"newer program"); 3]);
        let old = operator.world.aside.lock().unwrap()[&("aws-1".to_owned(), OLD_GATEWAY)].0.clone();
        assert_eq!(old, Checksum::of(b"program"));
        let again = upgrade(&operator, b"newer program", patience(), &Fuse::never()).await.unwrap();
        assert_eq!(again, [Outcome::Current; 3]);
        operator.program = b"newer program";
        assert_eq!(operator.up(&CLOUDS, &Fuse::never()).await, Ok(0), "`up` finds nothing to do");
    });
}

#[test]
fn the_first_host_that_does_not_come_back_is_taken_back() {
    run(async {
        let operator = standing().await;
        operator.world.bad_on(Checksum::of(b"bad program"), "onprem-1");
        let short = Patience { limit: Duration::from_millis(20), ..patience() };
        let error = upgrade(&operator, b"bad program", short, &Fuse::never()).await.unwrap_err();
        assert!(matches!(&error, UpgradeError::RolledBack { host, .. } if host == "onprem-1"), "{error:?}");
        let (bad, old) = (Checksum::of(b"bad program"), Checksum::of(b"program"));
        assert_eq!(programs(&operator), [bad, old.clone(), old]);
        operator.world.assert_running_what_is_there();
        let mended = upgrade(&operator, b"good program", patience(), &Fuse::never()).await.unwrap();
        assert_eq!(mended, [Outcome::Upgraded; 3]);
    });
}

#[test]
fn nothing_goes_back_further_than_it_came() {
    run(async {
        for at in 0.. {
            let mut operator = standing().await;
            upgrade(&operator, b"newer program", patience(), &Fuse::never()).await.unwrap();
            let fuse = Fuse::new(at, Blow::Fail);
            let ended = upgrade(&operator, b"newest program", patience(), &fuse).await;
            if fuse.asked() <= at {
                break;
            }
            let first = Checksum::of(b"program");
            assert!(!programs(&operator).contains(&first), "call {at}: {ended:?}");
            operator.program = b"newest program";
            operator.up(&CLOUDS, &Fuse::never()).await.unwrap();
            operator.assert_whole(&CLOUDS);
        }
    });
}

#[test]
fn a_fleet_in_which_not_all_talk_is_not_touched() {
    run(async {
        let operator = standing().await;
        operator.world.forget_service("onprem-2");
        let short = Patience { limit: Duration::from_millis(20), ..patience() };
        let error = upgrade(&operator, b"newer program", short, &Fuse::never()).await.unwrap_err();
        assert!(matches!(&error, UpgradeError::Unchanged { host, .. } if host == "aws-1"), "{error:?}");
        assert_eq!(programs(&operator), vec![Checksum::of(b"program"); 3]);
    });
}

#[test]
fn whatever_fails_or_dies_the_next_upgrade_finishes() {
    run(async {
        for blow in Blow::ALL {
            for at in 0.. {
                let operator = standing().await;
                let fuse = Fuse::new(at, blow);
                let killed = fuse.killed.notified();
                let first = tokio::select! {
                    biased;
                    () = killed => None,
                    end = upgrade(&operator, b"newer program", patience(), &fuse) => Some(end),
                };
                if fuse.asked() <= at {
                    assert!(at > 20, "a run of {at} calls is no run");
                    break;
                }
                let second = upgrade(&operator, b"newer program", patience(), &Fuse::never()).await;
                assert!(second.is_ok(), "{blow:?} at call {at}: {first:?}, then {second:?}");
                assert_eq!(programs(&operator), vec![Checksum::of(b"newer program"); 3]);
                operator.assert_whole(&CLOUDS);
            }
        }
    });
}
