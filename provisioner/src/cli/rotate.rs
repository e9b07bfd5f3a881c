//! `weave-provision rotate-keys`: a new network CA and new certificates, without a lost frame.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::Context as _;

use super::context::Context;
use super::up::{confirm, open_journal};
use super::{Failure, Global, print};
use crate::apply::{Engine, Owner};
use crate::fleet::Fleet;
use crate::progress::Progress;
use crate::render;
use crate::retry::Pace;
use crate::rotate::{Epoch, Phase};
use crate::verify::Patience;

#[derive(Debug, clap::Args)]
pub(super) struct RotateArgs {
    /// Do not ask before changing anything
    #[arg(long, short)]
    yes: bool,
}

pub(super) async fn run(global: &Global, args: &RotateArgs) -> Result<u8, Failure> {
    let mut context = Context::open(global)?;
    context.fleet()?;
    let _lock = context.dir.lock("rotate-keys")?;
    context.reload()?;
    let mut state = context.fleet()?.clone();
    context.ground.check_complete(Some(&state))?;
    let fleet = context.ground.fleet(&state.clouds);
    let plan = plan(&state.epoch, &fleet);
    if !global.json() {
        print(&plan)?;
    } else if !args.yes {
        std::io::stderr().write_all(plan.as_bytes()).context("while showing the plan")?;
    }
    if !args.yes {
        confirm("apply")?;
    }
    let progress = Progress::new(global.quiet);
    let cloud = context.cloud(&state.clouds, state.topology, None)?;
    let remote = context.remote(&cloud);
    let journal = open_journal(&context, "rotate-keys", &progress)?;
    let engine = Engine { cloud, remote: remote.clone(), journal, progress, pace: Pace::default() };
    let owner = Owner { name: context.name.clone(), dir: context.dir.clone(), vault: context.vault.clone() };
    let outcome = engine.rotate(&fleet, &owner, &mut state, Patience::settled()).await;
    engine.progress.end();
    engine.journal.end("rotate-keys").context("cannot write the journal")?;
    remote.close().await;
    let pairs = outcome.map_err(|errors| {
        Failure::several(errors).or_hint(match state.epoch.change {
            None => "nothing was changed; `weave-provision up` mends a fleet in which not all talk",
            Some(_) => "all gateways still recognise each other; `weave-provision rotate-keys` again goes on from there",
        })
    })?;
    let number = state.epoch.number;
    if global.json() {
        let value = serde_json::json!({
            "epoch": number, "hosts": state.hosts.keys().collect::<Vec<_>>(), "verified": true, "pairs": pairs,
        });
        print(&format!("{value}\n"))?;
    } else {
        print(&format!(
            "{}rotated: network CA {number} is in force, the one before is destroyed\n\
             verified: all {} pairs of gateways talk\n",
            render::pairs(&pairs),
            pairs.len(),
        ))?;
    }
    Ok(0)
}

/// What is ahead, from the phase that a run before has reached.
pub(crate) fn plan(epoch: &Epoch, fleet: &Fleet) -> String {
    let mut text = String::new();
    let hosts: Vec<&str> = fleet.hosts.iter().map(|host| host.name.as_str()).collect();
    let hosts = hosts.join(", ");
    if epoch.change.is_none() {
        text.push_str("  + make the next network CA\n");
    }
    for phase in [Phase::Trust, Phase::Issue, Phase::Drop, Phase::Forget] {
        // Writing to a string cannot fail.
        let _ = match phase {
            _ if epoch.change > Some(phase) => Ok(()),
            Phase::Forget => writeln!(text, "  - {}", phase.words()),
            _ => writeln!(text, "  ~ {hosts}: {}", phase.words()),
        };
    }
    let (from, to) = (epoch.number, epoch.number.saturating_add(1));
    let word = if epoch.change.is_some() { "plan: go on from" } else { "plan: change from" };
    let _ = writeln!(text, "{word} network CA {from} to {to}; links and sessions stay up");
    text
}
