//! `weave-provision down`: destroys everything, proves it by a sweep, and forgets the keys.

use std::sync::Arc;

use anyhow::{Context as _, anyhow};

use super::context::Context;
use super::up::{confirm, open_journal};
use super::{DownArgs, Failure, Global, plan, print};
use crate::apply::Engine;
use crate::observe::call;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::retry::Pace;

pub(super) async fn run(global: &Global, args: &DownArgs) -> Result<u8, Failure> {
    let mut context = Context::open(global)?;
    let _lock = context.dir.lock("down")?;
    context.reload()?;
    context.ground.check_complete(context.saved.as_ref())?;
    let (clouds, topology) = context.standing();
    let cloud = context.cloud(&clouds, topology, None)?;
    let observed = call(&cloud, |cloud| cloud.observe())
        .await
        .with_context(|| format!("cannot observe what fleet {} has in the cloud", context.name))?;
    let plan = Plan::down(&context.ground.fleet(&clouds), &observed);
    plan::show_before_asking(global, &plan, args.yes)?;
    let something = !plan.steps.is_empty() || context.saved.is_some();
    if something
        && !args.yes
        && let Err(refused) = confirm("apply")
    {
        context.forget_if_new();
        return Err(refused);
    }
    let progress = Progress::new(global.quiet);
    let journal = open_journal(&context, "down", &progress)?;
    let remote = context.remote(&cloud);
    let engine = Arc::new(Engine { cloud, remote, journal, progress, pace: Pace::default() });
    let leftovers = engine.down(&plan).await;
    engine.progress.end();
    engine.journal.end("down").context("cannot write the journal")?;
    let leftovers = leftovers.map_err(Failure::several)?;
    if !leftovers.is_empty() {
        let found: Vec<String> = leftovers.iter().map(ToString::to_string).collect();
        let error = anyhow!("something of the fleet is still there: {}", found.join(", "));
        return Err(
            Failure::new(error).with_hint("run `weave-provision down` again; its keys are kept until then")
        );
    }
    context.dir.remove()?;
    if global.json() {
        let value =
            serde_json::json!({ "changes": plan.steps.len(), "steps": plan.entries(), "leftovers": [] });
        print(&format!("{value}\n"))?;
    } else {
        print("nothing is left\n")?;
    }
    Ok(0)
}
