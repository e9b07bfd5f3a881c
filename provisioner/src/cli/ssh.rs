//! `weave-provision ssh`: a command or a shell on a host, as if it were here.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;

use anyhow::anyhow;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::context::Context;
use super::{Failure, Global, SshArgs};
use crate::ssh::{Ending, Local, RawMode, Request, Session, SshError, Streams, quote, window_size};

/// What ssh(1) exits with when it is not the command that failed.
const NO_CONNECTION: u8 = 255;

pub(super) async fn run(global: &Global, args: &SshArgs) -> Result<u8, Failure> {
    run_inner(global, args).await.map_err(|failure| failure.with_code(NO_CONNECTION))
}

async fn run_inner(global: &Global, args: &SshArgs) -> Result<u8, Failure> {
    let context = Context::open(global)?;
    let saved = context.fleet()?;
    let hosts: Vec<String> =
        context.ground.fleet(&saved.clouds).hosts.into_iter().map(|host| host.name).collect();
    if !hosts.contains(&args.host) {
        let error = anyhow!("the fleet has no host {:?}", args.host);
        return Err(Failure::new(error).with_hint(format!("its hosts are {}", hosts.join(", "))));
    }
    let remote = context.remote(&context.ground.cloud(&saved.clouds, saved.topology, None)?);
    let session = remote.session(&args.host).await.map_err(|e| anyhow!(e).context(args.host.clone()))?;
    let ending = if !args.command.is_empty() {
        join(&session, Request::Exec(quote::command(&args.command))).await
    } else if io::stdin().is_terminal() {
        terminal(&session).await
    } else {
        join(&session, Request::Shell).await
    };
    remote.close().await;
    Ok(ending.map_err(|e| anyhow!(e).context(args.host.clone()))?.status())
}

/// A shell on the local terminal, which is as before afterwards, also when this process is told to end.
async fn terminal(session: &Arc<Session>) -> Result<Ending, SshError> {
    let kind = std::env::var("TERM").unwrap_or_else(|_| "dumb".to_owned());
    let ended = async {
        let (Ok(mut terminate), Ok(mut hangup)) =
            (signal(SignalKind::terminate()), signal(SignalKind::hangup()))
        else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => Ending::Signal(15),
            _ = hangup.recv() => Ending::Signal(1),
        }
    };
    let _raw = RawMode::enter().map_err(SshError::Local)?;
    tokio::select! {
        ending = join(session, Request::Terminal(kind)) => ending,
        ending = ended => Ok(ending),
    }
}

/// Joins a request to this process's own streams.
async fn join(session: &Arc<Session>, request: Request) -> Result<Ending, SshError> {
    let (tell, size) = watch::channel(window_size());
    let resized = async {
        let Ok(mut changes) = signal(SignalKind::window_change()) else {
            return std::future::pending().await;
        };
        while changes.recv().await.is_some() {
            // The receiver lives as long as the session.
            let _ = tell.send(window_size());
        }
        std::future::pending().await
    };
    let streams = Streams {
        stdin: Local::new(&io::stdin()).map_err(SshError::Local)?,
        stdout: Local::new(&io::stdout()).map_err(SshError::Local)?,
        stderr: Local::new(&io::stderr()).map_err(SshError::Local)?,
        size,
    };
    tokio::select! {
        ending = session.through(request, streams) => ending,
        ending = resized => ending,
    }
}
