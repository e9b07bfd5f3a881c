//! `weave-provision upgrade`: another gateway program, one host at a time.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};

use super::context::Context;
use super::up::{confirm, open_journal};
use super::{Failure, Global, Wanted, doctor, print};
use crate::apply::Engine;
use crate::fleet::Fleet;
use crate::install::{Checksum, GATEWAY};
use crate::observe::observe;
use crate::plan::Observed;
use crate::progress::Progress;
use crate::render;
use crate::retry::Pace;
use crate::upgrade::{Outcome, UpgradeError, is_current};
use crate::verify::Patience;

#[derive(Debug, clap::Args)]
pub(super) struct UpgradeArgs {
    /// The gateway's program to install [default: weave-gateway beside this program]
    #[arg(long, value_name = "PATH")]
    gateway: Option<PathBuf>,
    /// Do not ask before changing anything
    #[arg(long, short)]
    yes: bool,
}

pub(super) async fn run(global: &Global, args: &UpgradeArgs) -> Result<u8, Failure> {
    let mut context = Context::open(global)?;
    context.fleet()?;
    let _lock = context.dir.lock("upgrade")?;
    context.reload()?;
    let state = context.fleet()?.clone();
    context.ground.check_complete(Some(&state))?;
    let wanted = Wanted { clouds: state.clouds.clone(), topology: None, gateway: args.gateway.clone() };
    let desired = context.desired(&wanted, &state.clouds)?;
    let program = &desired.gateway;
    let progress = Progress::new(global.quiet);
    let cloud = context.cloud(&state.clouds, state.topology, Some(program))?;
    let remote = context.remote(&cloud);
    let (observed, silent) = observe(&cloud, &remote)
        .await
        .with_context(|| format!("cannot observe what fleet {} has in the cloud", context.name))?;
    if !silent.is_empty() {
        let errors = silent.into_iter().map(|(host, error)| anyhow::Error::new(error).context(host));
        return Err(
            Failure::several(errors.collect()).or_hint("nothing was changed; all hosts have to answer")
        );
    }
    doctor::suits(&desired, &observed)?;
    let (text, steps) = plan(&desired.fleet, &observed, program.checksum());
    if !global.json() {
        print(&text)?;
    } else if !args.yes {
        std::io::stderr().write_all(text.as_bytes()).context("while showing the plan")?;
    }
    if steps > 0 && !args.yes {
        confirm("apply")?;
    }
    let journal = open_journal(&context, "upgrade", &progress)?;
    let engine = Engine { cloud, remote: remote.clone(), journal, progress, pace: Pace::default() };
    let outcome = engine.upgrade(&desired.fleet, program, Patience::settled()).await;
    engine.progress.end();
    engine.journal.end("upgrade").context("cannot write the journal")?;
    remote.close().await;
    let (outcomes, pairs) = outcome.map_err(|error| {
        let hint = match &error {
            UpgradeError::Unchanged { .. } => "`weave-provision status` shows which pairs do not talk",
            UpgradeError::RolledBack { .. } => {
                "`weave-provision upgrade` with another program goes on; `weave-provision status` shows who runs what"
            }
            UpgradeError::Stuck { .. } => "`weave-provision up` with a program that works mends it",
        };
        Failure::new(anyhow!(error)).or_hint(hint)
    })?;
    let upgraded = outcomes.values().filter(|outcome| **outcome == Outcome::Upgraded).count();
    if global.json() {
        let value = serde_json::json!({
            "program": program.checksum(), "hosts": outcomes, "upgraded": upgraded, "verified": true, "pairs": pairs,
        });
        print(&format!("{value}\n"))?;
    } else {
        print(&format!(
            "{}upgraded: {upgraded} of {} hosts\nverified: all {} pairs of gateways talk\n",
            render::pairs(&pairs),
            outcomes.len(),
            pairs.len(),
        ))?;
    }
    Ok(0)
}

/// The hosts that will be touched, in their order, and how many they are.
fn plan(fleet: &Fleet, observed: &Observed, program: &Checksum) -> (String, usize) {
    let current = |name: &str| observed.facts.get(name).is_some_and(|facts| is_current(facts, program));
    let due: Vec<&str> =
        fleet.hosts.iter().map(|host| host.name.as_str()).filter(|name| !current(name)).collect();
    let mut text: String =
        due.iter().map(|host| format!("  ~ {host}: replace {GATEWAY} and restart weave-gateway\n")).collect();
    let summary = match due.len() {
        0 => "plan: 0 to change\n".to_owned(),
        1 => format!("plan: upgrade 1 host to {}\n", program.short()),
        n => format!("plan: upgrade {n} hosts to {}, one at a time\n", program.short()),
    };
    text.push_str(&summary);
    (text, due.len())
}
