//! `weave-provision status`: the gateways, and how every pair of them talks.

use anyhow::Context as _;
use cloud_core::Phase;

use super::context::Context;
use super::{Failure, Global, print};
use crate::observe::call;
use crate::progress::Progress;
use crate::verify::Report;
use crate::{render, verify};

/// The exit status when some pair does not work.
const NOT_OK: u8 = 3;

pub(super) async fn run(global: &Global) -> Result<u8, Failure> {
    let report = ask(global).await?;
    if global.json() {
        let text = serde_json::to_string(&report).context("while rendering the report")?;
        print(&format!("{text}\n"))?;
    } else {
        print(&render::report(&report))?;
    }
    Ok(if report.ok() { 0 } else { NOT_OK })
}

/// Asks all gateways of the fleet; says which hosts did not answer.
pub(super) async fn ask(global: &Global) -> Result<Report, Failure> {
    let context = Context::open(global)?;
    let saved = context.fleet()?;
    let cloud = context.ground.cloud(&saved.clouds, saved.topology, None)?;
    let fleet = context.ground.fleet(&saved.clouds);
    let observed = call(&cloud, |cloud| cloud.observe())
        .await
        .with_context(|| format!("cannot observe what fleet {} has in the cloud", context.name))?;
    let remote = context.remote(&cloud);
    let exists = |host: &crate::fleet::Host| {
        observed.hosts.iter().any(|seen| seen.name == host.name && seen.phase == Phase::Running)
    };
    let (report, silent) = verify::report(&remote, &fleet, exists).await;
    let progress = Progress::new(global.quiet);
    for (host, error) in silent {
        progress.line(&format!("{host} does not answer: {:#}", anyhow::Error::new(error)));
    }
    remote.close().await;
    Ok(report)
}
