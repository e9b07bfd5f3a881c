//! `weave-provision completions`: a script that completes this command line in a shell.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, CompletionsArgs, Failure, ShellKind, print};

pub(super) fn run(args: &CompletionsArgs) -> Result<u8, Failure> {
    print(&script(match args.shell {
        ShellKind::Bash => Shell::Bash,
        ShellKind::Zsh => Shell::Zsh,
        ShellKind::Fish => Shell::Fish,
    }))?;
    Ok(0)
}

/// The script for a shell, in memory: the generator panics when its writer fails, e.g. behind `| head`.
pub(crate) fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "weave-provision", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}
