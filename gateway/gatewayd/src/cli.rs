//! Commands: what each prints, and how failures look.

mod args;
mod host;
mod launch;
mod query;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use weave_api::{Client, ClientError};

use args::{Cli, Command};

pub(crate) use args::Output;
#[cfg(test)]
pub(crate) use launch::daemon_words;

/// Runs the command of the process's arguments.
pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse();
    let output = cli.output;
    let result = match cli.command {
        Command::Launch(launch) => launch::launch(&launch),
        Command::Daemon(launch) => launch::daemon(&launch),
        Command::Stop => launch::stop(),
        Command::Reset(reset) => launch::reset(&reset),
        Command::Status { section } => query::status(section.as_deref(), output),
        Command::Report { format } => query::report(format.as_deref()),
        Command::Connect { replace, peers } => query::connect(&peers, replace),
        Command::Forget { peers } => query::forget(&peers),
        Command::Rmpeer { peers } => query::rmpeer(&peers, output),
        Command::Attach(place) => host::attach(&place.parse().unwrap_or_else(|e| e.exit())),
        Command::Detach(place) => host::detach(&place.parse().unwrap_or_else(|e| e.exit())),
        Command::Expose { addresses } => host::expose(&addresses),
        Command::Hide { addresses } => host::hide(&addresses),
        Command::Ping { peer, count } => query::ping(&peer, count, output),
        Command::Version => query::version(output),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprint!("{}", render(&error));
            ExitCode::FAILURE
        }
    }
}

/// The gateway of this host.
fn client(limit: Duration) -> Client {
    let address = std::env::var("WEAVE_HTTP_ADDR").unwrap_or_default();
    Client::new(if address.is_empty() { Client::DEFAULT_ADDRESS } else { &address }, limit)
}

/// Long enough for a gateway that is busy, short enough for people.
const PATIENCE: Duration = Duration::from_secs(10);

/// An error as people read it: what, why (indented), what to do.
pub(crate) fn render(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for (depth, cause) in error.chain().enumerate() {
        let message = cause.to_string();
        let (first, rest) = message.split_once('\n').unwrap_or((&message, ""));
        text += &if depth == 0 { format!("error: {first}\n") } else { format!("  {first}\n") };
        text.extend(rest.lines().map(|line| format!("  {line}\n")));
    }
    if let Some(hint) = hint(error) {
        text += &format!("hint: {hint}\n");
    }
    text
}

/// What to do about it, where that is known.
fn hint(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        if let Some(error) = cause.downcast_ref::<weave_hostnet::HostError>() {
            return error.hint();
        }
        if let Some(error) = cause.downcast_ref::<weave_datapath_user::DatapathError>() {
            return datapath_hint(error);
        }
        if let Some(ClientError::NotRunning { .. }) = cause.downcast_ref::<ClientError>() {
            return Some("start it with `weave launch`, or `systemctl start weave-gateway`".to_owned());
        }
        cause.downcast_ref::<Hint>().map(|hint| hint.hint.clone())
    })
}

fn datapath_hint(error: &weave_datapath_user::DatapathError) -> Option<String> {
    use weave_datapath_user::DatapathError;
    match error {
        DatapathError::PortInUse { port } => {
            Some(format!("see `ss -ulpn sport = :{port}`, or choose another port with --port"))
        }
        DatapathError::NoTun { .. } => Some(
            "load the kernel module with `modprobe tun`; in a container, pass --device /dev/net/tun"
                .to_owned(),
        ),
        DatapathError::Tap { name, .. } => {
            Some(format!("if nothing uses it, remove it with `ip link delete {name}`"))
        }
        _ => None,
    }
}

/// An error that knows what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub(crate) struct Hint {
    pub(crate) problem: String,
    pub(crate) hint: String,
}

impl Hint {
    pub(crate) fn error(problem: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
        Hint { problem: problem.into(), hint: hint.into() }.into()
    }
}
