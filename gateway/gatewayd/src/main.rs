//! `weave-gateway`, also installed as `weave`: the gateway daemon and the commands that talk to it.
#![expect(clippy::disallowed_methods, reason = "program: clock, files, environment and processes")]

mod bridging;
mod cli;
mod config;
mod echo;
mod membership;
mod node;
mod notify;
mod persist;
mod pinging;
mod remembering;
mod renewal;
mod report;

use std::process::ExitCode;

/// The version of this program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

fn main() -> ExitCode {
    // A closed pipe ends the program silently, as it ends other commands.
    // SAFETY: before any thread exists; SIG_DFL is a valid disposition of SIGPIPE.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    cli::run()
}

#[cfg(test)]
mod tests;
