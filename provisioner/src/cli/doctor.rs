//! `weave-provision doctor`: everything that is wrong, or may become so. And what of it every plan asks first.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow};
use clap::Args;
use cloud_core::{Cloud, IpNet, Phase};

use super::context::Context;
use super::ground::Ground;
use super::{Failure, Global, Wanted, print};
use crate::desired::Desired;
use crate::doctor::{Evidence, Finding, Id, Severity, examine, gather, has_errors, of_ground, render};
use crate::fleet::Host;
use crate::footprint;
use crate::observe::{call, observe};
use crate::plan::Observed;
use crate::progress::Progress;
use crate::verify;

/// The exit status when there is an error among the findings.
const NOT_OK: u8 = 3;

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    wanted: Wanted,
    /// Look only at what the fleet is about to stand on; nothing has to be up
    #[arg(long)]
    pre: bool,
}

pub(super) async fn run(global: &Global, args: &DoctorArgs) -> Result<u8, Failure> {
    let context = Context::open(global)?;
    if !args.pre {
        context.fleet().map_err(|failure| {
            failure.with_hint("`weave-provision doctor --pre` looks at what a fleet would stand on")
        })?;
    }
    let mut findings = look(&context, args).await?;
    for finding in &mut findings {
        finding.hint = context.hints.complete(&finding.hint);
    }
    if global.json() {
        let text = serde_json::to_string(&findings).context("while rendering the findings")?;
        print(&format!("{text}\n"))?;
    } else {
        print(&render(&findings))?;
    }
    Ok(if has_errors(&findings) { NOT_OK } else { 0 })
}

async fn look(context: &Context, args: &DoctorArgs) -> Result<Vec<Finding>, Failure> {
    let (clouds, topology) = context.choice(&args.wanted)?;
    let desired = match context.desired(&args.wanted, &clouds) {
        Ok(desired) => Some(desired),
        // A fleet that is up runs without the program that it was installed from.
        Err(_) if !args.pre && args.wanted.gateway.is_none() => None,
        Err(failure) => return Err(failure),
    };
    let gateway = desired.as_ref().map(|desired| &desired.gateway);
    let cloud = context.ground.cloud(&clouds, topology, gateway)?;
    let remote = context.remote(&cloud);
    let mut evidence = Evidence {
        fleet: context.ground.fleet(&clouds),
        range: range(&context.ground),
        architecture: gateway.and_then(|program| footprint::architecture(program.bytes())),
        needs_glibc: gateway.and_then(|program| footprint::needs_glibc(program.bytes())),
        saved: context.saved.clone(),
        routes: gather::own_routes(),
        ..Evidence::default()
    };
    evidence.obstacles =
        call(&cloud, |cloud| Ok(cloud.obstacles())).await.context("cannot look at the hosts")?;
    match observe(&cloud, &remote).await {
        Ok((Observed { cloud: seen, facts }, silent)) => {
            (evidence.cloud, evidence.facts) = (seen, facts);
            let silent = silent.into_iter().map(|(host, error)| gather::host_silent(&host, &error.into()));
            evidence.silent.extend(silent);
            ask_unclaimed(&context.ground, &mut evidence).await;
            if !args.pre {
                let runs = |host: &Host| {
                    let mut hosts = evidence.cloud.hosts.iter();
                    hosts.any(|seen| seen.name == host.name && seen.phase == Phase::Running)
                };
                // Who does not answer has not answered before either, and the reason is among the evidence.
                evidence.report = Some(verify::report(&remote, &evidence.fleet, runs).await.0);
            }
        }
        Err(error) => evidence.clouds_silent.push(gather::cloud_silent(cloud.name(), &error)),
    }
    evidence.now = now();
    let (networks, silent) = gather::networks(&cloud, &evidence.fleet.sites).await;
    evidence.networks = networks;
    evidence.clouds_silent.extend(silent);
    remote.close().await;
    Ok(examine(&evidence))
}

/// What every plan asks first: errors refuse it, warnings are told.
pub(super) async fn preflight(
    context: &Context,
    desired: &Desired,
    cloud: &Arc<dyn Cloud>,
    observed: &Observed,
    progress: &Progress,
) -> Result<(), Failure> {
    let mut evidence = Evidence {
        fleet: desired.fleet.clone(),
        range: range(&context.ground),
        architecture: footprint::architecture(desired.gateway.bytes()),
        needs_glibc: footprint::needs_glibc(desired.gateway.bytes()),
        saved: context.saved.clone(),
        cloud: observed.cloud.clone(),
        facts: observed.facts.clone(),
        now: now(),
        ..Evidence::default()
    };
    // A settled fleet is not asked twice: what its sites are in, its hosts' routes tell.
    let is_new = |site: &&cloud_core::Site| !observed.cloud.sites.iter().any(|seen| seen.name == site.name);
    let new: Vec<_> = desired.fleet.sites.iter().filter(is_new).cloned().collect();
    if !new.is_empty() {
        // A cloud that cannot tell says so again, with a reason, when it is asked to make the site.
        evidence.networks = gather::networks(cloud, &new).await.0;
    }
    ask_unclaimed(&context.ground, &mut evidence).await;
    let findings = of_ground(examine(&evidence));
    let (errors, rest): (Vec<_>, Vec<_>) =
        findings.into_iter().partition(|finding| finding.severity == Severity::Error);
    for finding in rest.iter().filter(|finding| finding.severity == Severity::Warning) {
        progress.line(&format!("{finding}\n  fix: {}", context.hints.complete(&finding.hint)));
    }
    refuse(errors)
}

/// Refuses a program that does not start on some host.
pub(super) fn suits(desired: &Desired, observed: &Observed) -> Result<(), Failure> {
    let evidence = Evidence {
        fleet: desired.fleet.clone(),
        architecture: footprint::architecture(desired.gateway.bytes()),
        needs_glibc: footprint::needs_glibc(desired.gateway.bytes()),
        facts: observed.facts.clone(),
        ..Evidence::default()
    };
    let mut findings = examine(&evidence);
    findings.retain(|finding| matches!(finding.id, Id::Architecture | Id::CLibrary));
    refuse(findings)
}

/// Nothing is changed on top of errors.
fn refuse(errors: Vec<Finding>) -> Result<(), Failure> {
    if errors.is_empty() {
        return Ok(());
    }
    let refusal = |finding: Finding| {
        let Finding { subject, id, text, hint, .. } = finding;
        anyhow!("fix: {hint}").context(format!("{subject}: {text} [{}]", id.as_str()))
    };
    Err(Failure::several(errors.into_iter().map(refusal).collect())
        .or_hint("nothing was changed; `weave-provision doctor --pre` looks again"))
}

/// Asks machines of the file that are not the fleet's yet and have nothing in their way.
async fn ask_unclaimed(ground: &Ground, evidence: &mut Evidence) {
    let Ground::File(config) = ground else { return };
    let known = |name: &str| {
        evidence.cloud.hosts.iter().any(|host| host.name == name)
            || evidence.obstacles.iter().any(|obstacle| obstacle.host == name)
    };
    let names: Vec<&str> =
        evidence.fleet.hosts.iter().map(|host| host.name.as_str()).filter(|name| !known(name)).collect();
    if names.is_empty() {
        return;
    }
    let (facts, silent) = gather::unclaimed(&config.onprem, &names).await;
    evidence.facts.extend(facts);
    evidence.silent.extend(silent);
}

/// The addresses that the overlay hands out.
fn range(ground: &Ground) -> Option<IpNet> {
    match ground {
        Ground::Lab { .. } => "10.32.0.0/12".parse().ok(),
        Ground::File(config) => Some(config.range.into()),
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
