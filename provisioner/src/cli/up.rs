//! `weave-provision up`: plan, ask, apply, verify.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::sync::Arc;

use anyhow::Context as _;
use cloud_core::Cloud;

use super::context::Context;
use super::{Failure, Global, UpArgs, Wanted, plan, print};
use crate::apply::{Engine, Owner};
use crate::desired::Desired;
use crate::fleet::{CloudKind, Fleet, Topology};
use crate::journal::Journal;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::remote::SshRemote;
use crate::render;
use crate::retry::Pace;
use crate::state::FleetState;
use crate::verify::{Pair, Patience, verify};

pub(super) async fn run(global: &Global, args: &UpArgs) -> Result<u8, Failure> {
    let context = Context::open(global)?;
    let _lock = context.dir.lock("up")?;
    let agreed = agree(global, &args.wanted, args.yes, context).await?;
    carry_out(global, agreed, "up").await
}

/// A plan that the operator wants to be done.
pub(super) struct Agreed {
    context: Context,
    clouds: Vec<CloudKind>,
    topology: Topology,
    desired: Desired,
    cloud: Arc<dyn Cloud>,
    remote: Arc<SshRemote>,
    plan: Plan,
    progress: Progress,
}

/// Plans, shows the plan and asks, under the lock; changes nothing.
pub(super) async fn agree(
    global: &Global,
    wanted: &Wanted,
    yes: bool,
    mut context: Context,
) -> Result<Agreed, Failure> {
    // Another run may have ended between the first look and the lock.
    context.reload()?;
    let look = async {
        let (clouds, topology) = context.choice(wanted)?;
        let desired = context.desired(wanted, &clouds)?;
        let progress = Progress::new(global.quiet);
        let (cloud, remote, plan) = prepare(&context, &clouds, topology, &desired, &progress).await?;
        plan::show_before_asking(global, &plan, yes)?;
        if !plan.steps.is_empty() && !yes {
            confirm("apply")?;
        }
        Ok((clouds, topology, desired, cloud, remote, plan, progress))
    };
    match look.await {
        Ok((clouds, topology, desired, cloud, remote, plan, progress)) => {
            Ok(Agreed { context, clouds, topology, desired, cloud, remote, plan, progress })
        }
        Err(failure) => {
            context.forget_if_new();
            Err(failure)
        }
    }
}

/// Does what was agreed and proves it.
pub(super) async fn carry_out(global: &Global, agreed: Agreed, command: &str) -> Result<u8, Failure> {
    let Agreed { context, clouds, topology, desired, cloud, remote, plan, progress } = agreed;
    let reach = context.reach(&clouds);
    let mut state = FleetState::next(&context.name, context.saved.as_ref(), reach, topology);
    if context.saved.as_ref() != Some(&state) {
        context.dir.put_fleet(&state)?;
    }
    // Gateways may be left to be told of a host that an earlier run has destroyed.
    if !plan.steps.is_empty() || !state.leaving(&desired.fleet).is_empty() {
        let journal = open_journal(&context, command, &progress)?;
        let engine =
            Arc::new(Engine { cloud, remote: remote.clone(), journal, progress, pace: Pace::default() });
        let owner =
            Owner { name: context.name.clone(), dir: context.dir.clone(), vault: context.vault.clone() };
        let outcome = engine.up(&plan, &desired, &owner, &mut state).await;
        engine.progress.end();
        engine.journal.end(command).context("cannot write the journal")?;
        outcome.map_err(|errors| {
            Failure::several(errors)
                .or_hint("what was done stays done; `weave-provision up` again goes on from there")
        })?;
    }
    let gone = state.leaving(&desired.fleet);
    if state.clouds != clouds || !gone.is_empty() {
        context.vault.forget(&mut state, &gone)?;
        state.clouds = clouds;
        context.dir.put_fleet(&state)?;
    }
    let patience = if plan.steps.is_empty() { Patience::settled() } else { Patience::default() };
    let pairs = prove(&remote, &desired.fleet, patience).await;
    remote.close().await;
    finish(global, &plan, &pairs?)
}

/// All that changes nothing: reaches the cloud and the hosts, and computes the plan.
async fn prepare(
    context: &Context,
    clouds: &[CloudKind],
    topology: Topology,
    desired: &Desired,
    progress: &Progress,
) -> Result<(Arc<dyn Cloud>, Arc<SshRemote>, Plan), Failure> {
    let cloud = context.cloud(clouds, topology, Some(&desired.gateway))?;
    let remote = context.remote(&cloud);
    let plan = plan::compute(context, desired, &cloud, &remote, progress).await?;
    Ok((cloud, remote, plan))
}

/// Opens the journal and says so when the run before did not reach its end.
pub(super) fn open_journal(
    context: &Context,
    command: &str,
    progress: &Progress,
) -> Result<Journal, Failure> {
    let path = context.dir.path().join("journal.jsonl");
    let (journal, recovery) = Journal::open(&path, command)
        .with_context(|| format!("cannot open the journal {}", path.display()))?;
    if let Some(before) = recovery.interrupted {
        progress.line(&format!("the last run, `{before}`, did not end; going on from what is there"));
        for step in recovery.open_steps {
            progress.line(&format!("  it had begun: {step}"));
        }
    }
    Ok(journal)
}

async fn prove(remote: &Arc<SshRemote>, fleet: &Fleet, patience: Patience) -> Result<Vec<Pair>, Failure> {
    verify(remote, fleet, patience).await.map_err(|(error, reasons)| {
        let mut errors = vec![anyhow::Error::new(error)];
        errors.extend(reasons.into_iter().map(|(host, reason)| anyhow::Error::new(reason).context(host)));
        Failure::several(errors).or_hint(
            "`weave-provision status` shows every pair; `weave-provision logs HOST` what a gateway says",
        )
    })
}

fn finish(global: &Global, plan: &Plan, pairs: &[Pair]) -> Result<u8, Failure> {
    if global.json() {
        let value = serde_json::json!({
            "changes": plan.steps.len(), "steps": plan.entries(), "verified": true, "pairs": pairs,
        });
        print(&format!("{value}\n"))?;
    } else {
        print(&format!("{}verified: all {} pairs of gateways talk\n", render::pairs(pairs), pairs.len()))?;
    }
    Ok(0)
}

/// Asks on the terminal; without one nobody can have agreed.
pub(super) fn confirm(verb: &str) -> Result<(), Failure> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::usage(
            "nothing was changed: standard input is no terminal to confirm on",
            format!("look at the plan, then add --yes to {verb} it without being asked"),
        ));
    }
    let mut err = io::stderr();
    let mut answer = String::new();
    write!(err, "{verb} this plan? [y/N] ")
        .and_then(|()| err.flush())
        .and_then(|()| stdin.lock().read_line(&mut answer))
        .context("while asking for confirmation")?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::new(anyhow::anyhow!("nothing was changed: the plan was not confirmed"))),
    }
}
