//! `weave-provision logs`: what the gateways log, all hosts in one order.
//!
//! Following asks every second for what is new instead of leaving a command running there: sshd would let it run on
//! after us, and a host that restarts is followed on.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::AsyncWriteExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::context::Context;
use super::{Failure, Global, LogsArgs};
use crate::logs::{Answer, Entry, From, command, merge, parse};
use crate::progress::Progress;
use crate::remote::{RemoteError, SshRemote};
use crate::ssh::Local;

/// Longer than the host gives itself.
const LIMIT: Duration = Duration::from_secs(20);
/// Between two questions to a host.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two questions to a host that does not answer.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Answers that wait to be printed; a reader that pauses makes the questions pause.
const WAITING: usize = 4;

pub(super) async fn run(global: &Global, args: &LogsArgs) -> Result<u8, Failure> {
    let context = Context::open(global)?;
    let saved = context.fleet()?;
    let all: Vec<String> =
        context.ground.fleet(&saved.clouds).hosts.into_iter().map(|host| host.name).collect();
    if let Some(unknown) = args.hosts.iter().find(|host| !all.contains(host)) {
        return Err(Failure::usage(
            format!("the fleet has no host {unknown:?}"),
            format!("its hosts are {}", all.join(", ")),
        ));
    }
    let mut hosts = all;
    hosts.retain(|host| args.hosts.is_empty() || args.hosts.contains(host));
    let remote = context.remote(&context.ground.cloud(&saved.clouds, saved.topology, None)?);
    let width = hosts.iter().map(String::len).max().unwrap_or(0);
    let out = Local::new(&io::stdout()).context("cannot write to standard output")?;
    let mut printer = Printer { out, json: global.json(), width };
    let outcome = show(global, args, &remote, &hosts, &mut printer).await;
    remote.close().await;
    outcome
}

async fn show(
    global: &Global,
    args: &LogsArgs,
    remote: &Arc<SshRemote>,
    hosts: &[String],
    printer: &mut Printer,
) -> Result<u8, Failure> {
    let from = From::Last { lines: args.lines, since: args.since };
    let work = async {
        let (answers, errors) = ask_all(remote, hosts, &from).await;
        let places = answers.iter().map(|(host, answer)| (host.clone(), answer.cursor.clone())).collect();
        let entries = merge(answers.into_values().map(|answer| answer.entries).collect());
        if !printer.print(&entries).await? {
            return Ok(0);
        }
        if args.follow && errors.len() < hosts.len() {
            let progress = Progress::new(global.quiet);
            for (host, error) in errors {
                progress.line(&format!("{host} does not answer; asking again: {error:#}"));
            }
            return follow(remote, hosts, &from, places, printer, &progress).await;
        }
        if errors.is_empty() {
            if entries.is_empty() {
                Progress::new(global.quiet).line("the gateways have logged nothing in that time");
            }
            return Ok(0);
        }
        Err(Failure::several(errors.into_iter().map(|(host, error)| error.context(host)).collect()))
    };
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)) = signals else { return work.await };
    tokio::select! {
        outcome = work => outcome,
        // It is how following ends.
        _ = interrupt.recv() => Ok(if args.follow { 0 } else { 130 }),
        _ = terminate.recv() => Ok(143),
    }
}

/// Asks all hosts at once.
async fn ask_all(
    remote: &Arc<SshRemote>,
    hosts: &[String],
    from: &From,
) -> (BTreeMap<String, Answer>, BTreeMap<String, anyhow::Error>) {
    let mut asked = JoinSet::new();
    for host in hosts {
        let (remote, host, from) = (remote.clone(), host.clone(), from.clone());
        asked.spawn(async move { (host.clone(), ask(&remote, &host, &from).await) });
    }
    let (mut answers, mut errors) = (BTreeMap::new(), BTreeMap::new());
    for (host, answer) in asked.join_all().await {
        match answer {
            Ok(answer) => drop(answers.insert(host, answer)),
            Err(error) => drop(errors.insert(host, anyhow!(error))),
        }
    }
    (answers, errors)
}

async fn ask(remote: &SshRemote, host: &str, from: &From) -> Result<Answer, RemoteError> {
    let output = remote.session(host).await?.exec_as_root(&command(from), b"", LIMIT).await?;
    if output.status != 0 {
        let said = String::from_utf8_lossy(&output.stderr);
        let stderr = said.chars().filter(|c| !c.is_control()).take(300).collect();
        return Err(RemoteError::Failed {
            what: "reading its journal".to_owned(),
            status: output.status,
            stderr,
        });
    }
    Ok(parse(host, &output.stdout))
}

/// Prints what comes until nobody reads any more or no host can be asked.
async fn follow(
    remote: &Arc<SshRemote>,
    hosts: &[String],
    first: &From,
    mut places: BTreeMap<String, Option<String>>,
    printer: &mut Printer,
    progress: &Progress,
) -> Result<u8, Failure> {
    let (tell, mut news) = mpsc::channel(WAITING);
    let mut followers = JoinSet::new();
    for host in hosts {
        let from = places.remove(host).flatten().map_or_else(|| first.clone(), From::Cursor);
        followers.spawn(follow_host(remote.clone(), host.clone(), from, tell.clone()));
    }
    drop(tell);
    let mut look = tokio::time::interval(PAUSE);
    loop {
        let said = tokio::select! {
            said = news.recv() => said,
            // A reader that has gone away would otherwise be noticed by the next line only, which may never come.
            _ = look.tick() => {
                if is_unread() {
                    return Ok(0);
                }
                continue;
            }
        };
        let Some(said) = said else { break };
        match said {
            Said::Entries(entries) => {
                if !printer.print(&entries).await? {
                    return Ok(0);
                }
            }
            Said::Note(note) => progress.line(&note),
        }
    }
    Err(Failure::new(anyhow!("no host can be followed any longer")))
}

/// Whether nobody reads standard output any more (poll(2), `POLLERR` of a pipe).
fn is_unread() -> bool {
    let stdout = io::stdout();
    let mut ends = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    poll(&mut ends, PollTimeout::ZERO).is_ok()
        && ends[0].revents().is_some_and(|events| events.contains(PollFlags::POLLERR))
}

/// What a follower tells.
enum Said {
    Entries(Vec<Entry>),
    Note(String),
}

async fn follow_host(remote: Arc<SshRemote>, host: String, mut from: From, tell: mpsc::Sender<Said>) {
    let mut pause = PAUSE;
    loop {
        let said = match ask(&remote, &host, &from).await {
            Ok(answer) => {
                let back = pause > PAUSE;
                pause = PAUSE;
                if let Some(cursor) = answer.cursor {
                    from = From::Cursor(cursor);
                }
                if back && tell.send(Said::Note(format!("{host} answers again"))).await.is_err() {
                    return;
                }
                (!answer.entries.is_empty()).then_some(Said::Entries(answer.entries))
            }
            Err(error) if error.is_retryable() => {
                let first = pause == PAUSE;
                pause = (pause * 2).min(LONGEST_PAUSE);
                let error = anyhow!(error);
                first.then(|| Said::Note(format!("{host} does not answer; asking again: {error:#}")))
            }
            Err(error) => {
                // Nobody listens any more, or is told why this host falls silent.
                let _ = tell
                    .send(Said::Note(format!("{host} is followed no longer: {:#}", anyhow!(error))))
                    .await;
                return;
            }
        };
        if let Some(said) = said
            && tell.send(said).await.is_err()
        {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}

/// Writes lines to standard output, on a thread that may block: a reader that pauses must not hold up Ctrl-C.
struct Printer {
    out: Local,
    json: bool,
    width: usize,
}

impl Printer {
    /// Whether somebody still reads.
    async fn print(&mut self, entries: &[Entry]) -> Result<bool, Failure> {
        let mut text = String::new();
        for entry in entries {
            if self.json {
                text += &serde_json::to_string(entry).context("while rendering a line")?;
                text.push('\n');
            } else {
                text += &entry.render(self.width);
            }
        }
        let written = match self.out.write_all(text.as_bytes()).await {
            Ok(()) => self.out.flush().await,
            Err(error) => Err(error),
        };
        match written {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(anyhow::Error::new(error).context("while writing the result").into()),
        }
    }
}
