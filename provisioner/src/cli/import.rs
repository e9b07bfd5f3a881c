//! `weave-provision import`: rebuilds a lost `fleet.json` from what clouds and hosts tell.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use cloud_core::{Observed, Phase};
use tokio::task::JoinSet;

use super::context::Context;
use super::ground::Ground;
use super::{Failure, Global, ImportArgs, print};
use crate::fleet::CloudKind;
use crate::import::{Loss, Rebuilt, question, rebuild};
use crate::observe::call;
use crate::progress::Progress;
use crate::remote::{RemoteError, SshRemote};
use crate::state::FleetState;

/// A host answers from a small file.
const LIMIT: Duration = Duration::from_secs(20);

pub(super) async fn run(global: &Global, args: &ImportArgs) -> Result<u8, Failure> {
    let context = Context::open(global)?;
    refuse_known(&context)?;
    if args.topology.is_some() && matches!(context.ground, Ground::File(_)) {
        return Err(Failure::usage("only a lab has a topology to choose", "leave out --topology"));
    }
    let _lock = context.dir.lock("import")?;
    let outcome = import(global, args, &context).await;
    if outcome.is_err() {
        context.forget_if_new();
    }
    outcome
}

async fn import(global: &Global, args: &ImportArgs, context: &Context) -> Result<u8, Failure> {
    if context.dir.fleet()?.is_some() {
        // Another run has written it between the first look and the lock.
        return refuse_known(&Context::open(global)?).map(|()| 0);
    }
    let topology = args.topology.unwrap_or_default();
    let named = context.ground.clouds(None);
    let cloud = context.ground.cloud(&named, topology, None)?;
    let observed = call(&cloud, |cloud| cloud.observe())
        .await
        .with_context(|| format!("cannot observe what fleet {} has in the cloud", context.name))?;
    if observed.sites.is_empty() && observed.hosts.is_empty() {
        let error = anyhow!("nothing that is there bears the mark of fleet {}", context.name);
        return Err(Failure::new(error)
            .with_hint(format!("name another with --name; `{}` makes this one", context.ground.up())));
    }
    let clouds = if named.is_empty() { seen(&observed) } else { named };
    let remote = context.remote(&cloud);
    let answers = ask(&remote, &observed).await;
    remote.close().await;
    let network = context.ground.network();
    let empty = FleetState::next(&context.name, None, clouds, topology);
    let rebuilt = rebuild(empty, &observed, &answers, &network, (&context.dir, &context.vault))?;
    if !rebuilt.lost.is_empty() && !args.partial {
        return Err(incomplete(context, &rebuilt));
    }
    context.dir.put_fleet(&rebuilt.state)?;
    show(global, context, &rebuilt)?;
    Ok(0)
}

fn refuse_known(context: &Context) -> Result<(), Failure> {
    match context.saved {
        None => Ok(()),
        Some(_) => Err(Failure::usage(
            format!("{} exists: the fleet is remembered", context.dir.path().join("fleet.json").display()),
            "`weave-provision status` shows it; a file that is wrong has to be moved away first",
        )),
    }
}

/// The clouds whose sites are there.
fn seen(observed: &Observed) -> Vec<CloudKind> {
    let there = |kind: &CloudKind| observed.sites.iter().any(|site| site.name == kind.as_str());
    CloudKind::ALL.into_iter().filter(there).collect()
}

/// Asks all running hosts for their certificates, at once.
async fn ask(remote: &Arc<SshRemote>, observed: &Observed) -> BTreeMap<String, Result<String, RemoteError>> {
    let mut asked = JoinSet::new();
    for host in observed.hosts.iter().filter(|host| host.phase == Phase::Running) {
        let (remote, name) = (remote.clone(), host.name.clone());
        asked.spawn(async move {
            let answer = ask_one(&remote, &name).await;
            (name, answer)
        });
    }
    asked.join_all().await.into_iter().collect()
}

async fn ask_one(remote: &SshRemote, host: &str) -> Result<String, RemoteError> {
    let session = remote.session(host).await?;
    let output = session.exec_as_root(&question(), b"", LIMIT).await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status != 0 || !text.lines().any(|line| line == "end") {
        let said = String::from_utf8_lossy(&output.stderr);
        let stderr = said.chars().filter(|c| !c.is_control()).take(300).collect();
        let what = "reading its certificate".to_owned();
        return Err(RemoteError::Failed { what, status: output.status, stderr });
    }
    Ok(text)
}

/// Nothing is written: what is lost may come back from a backup first.
fn incomplete(context: &Context, rebuilt: &Rebuilt) -> Failure {
    let lost = rebuilt.lost.iter().map(|Loss { what, remedy }| anyhow!("{remedy}").context(what.clone()));
    let kept = match rebuilt.state.hosts.len() {
        0 => "no host".to_owned(),
        _ => rebuilt.state.hosts.keys().cloned().collect::<Vec<_>>().join(", "),
    };
    Failure::several(lost.collect()).with_hint(format!(
        "put what a backup has back into {} and import again; or keep what can be rebuilt ({kept}) by \
         `weave-provision import --partial`",
        context.dir.path().display()
    ))
}

fn show(global: &Global, context: &Context, rebuilt: &Rebuilt) -> Result<(), Failure> {
    let Rebuilt { state, bare, lost } = rebuilt;
    if global.json() {
        let lost: Vec<&str> = lost.iter().map(|loss| loss.what.as_str()).collect();
        let value = serde_json::json!({ "fleet": state, "without_gateway": bare, "lost": lost });
        return print(&format!("{value}\n"));
    }
    let progress = Progress::new(global.quiet);
    for Loss { what, remedy } in lost {
        progress.line(&format!("{what}\n  {remedy}"));
    }
    for host in bare {
        progress.line(&format!("{host} has no gateway yet; the next `up` installs it"));
    }
    let mut text = String::new();
    for (host, record) in &state.hosts {
        text += &format!("{host}: gateway {}, certificate {}\n", record.peer, record.issue);
    }
    let clouds: Vec<&str> = state.clouds.iter().map(|kind| kind.as_str()).collect();
    text += &format!(
        "imported fleet {} in {}: {} of its hosts; `weave-provision plan` shows what differs\n",
        context.name,
        clouds.join(", "),
        state.hosts.len()
    );
    print(&text)
}
