//! `weave-provision plan`: what `up` would do.

use std::io::{self, Write as _};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use cloud_core::Cloud;

use super::context::Context;
use super::{Failure, Global, Wanted, doctor, print};
use crate::desired::{Desired, address_book};
use crate::observe::{call, observe};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::remote::{RemoteError, SshRemote};
use crate::ssh::SshError;

pub(super) async fn run(global: &Global, wanted: &Wanted) -> Result<u8, Failure> {
    let context = Context::open(global)?;
    let (clouds, topology) = context.choice(wanted)?;
    let desired = context.desired(wanted, &clouds)?;
    let cloud = context.cloud(&clouds, topology, Some(&desired.gateway))?;
    let remote = context.remote(&cloud);
    let progress = Progress::new(global.quiet);
    let plan = compute(&context, &desired, &cloud, &remote, &progress).await?;
    remote.close().await;
    show(global, &plan)?;
    Ok(0)
}

/// Observes and plans; says which hosts did not answer.
pub(super) async fn compute(
    context: &Context,
    desired: &Desired,
    cloud: &Arc<dyn Cloud>,
    remote: &Arc<SshRemote>,
    progress: &Progress,
) -> Result<Plan, Failure> {
    let obstacles = call(cloud, |cloud| Ok(cloud.obstacles())).await.context("cannot look at the hosts")?;
    if let Some(first) = obstacles.first() {
        let errors = obstacles.iter().map(|obstacle| anyhow!("{obstacle}")).collect();
        return Err(Failure::several(errors).with_hint(first.hint.clone()));
    }
    let (observed, silent) = observe(cloud, remote)
        .await
        .with_context(|| format!("cannot observe what fleet {} has in the cloud", context.name))?;
    // A host that shows a key that is not ours, or that we have no key of, belongs to another state directory: nothing
    // may be planned against it, least of all its end.
    let (foreign, silent): (Vec<_>, Vec<_>) = silent.into_iter().partition(|(_, error)| {
        matches!(error, RemoteError::Ssh(SshError::HostKey { .. } | SshError::UnknownHost(_)))
    });
    if !foreign.is_empty() {
        return Err(Failure::several(
            foreign.into_iter().map(|(host, error)| anyhow::Error::new(error).context(host)).collect(),
        ));
    }
    for (host, error) in silent {
        progress.line(&format!("{host} did not tell its state: {:#}", anyhow::Error::new(error)));
    }
    doctor::preflight(context, desired, cloud, &observed, progress).await?;
    let files = desired.files(&context.vault, context.saved.as_ref(), &address_book(&observed.cloud))?;
    Ok(Plan::new(&desired.fleet, &files, &observed))
}

/// Prints a plan as a result.
pub(super) fn show(global: &Global, plan: &Plan) -> Result<(), Failure> {
    if global.json() {
        let value = serde_json::json!({ "changes": plan.steps.len(), "steps": plan.entries() });
        print(&format!("{value}\n"))
    } else {
        print(&plan.render())
    }
}

/// Prints a plan before it is confirmed. With `--output json`, stdout is kept for the one result at the end.
pub(super) fn show_before_asking(global: &Global, plan: &Plan, yes: bool) -> Result<(), Failure> {
    match (global.json(), yes) {
        (false, _) => show(global, plan),
        (true, true) => Ok(()),
        (true, false) => {
            io::stderr().write_all(plan.render().as_bytes()).context("while showing the plan")?;
            Ok(())
        }
    }
}
