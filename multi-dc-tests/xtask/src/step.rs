//! Running one command of a task, announced and timed.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};

/// The top of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("xtask lies two folders deep").to_owned()
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs `command` at the top of the repository; its failure is ours.
pub(crate) fn run(what: &str, command: &mut Command) -> anyhow::Result<()> {
    eprintln!("── {what}");
    let start = Instant::now();
    let status = command
        .current_dir(root())
        .status()
        .with_context(|| format!("while starting {}", command.get_program().to_string_lossy()))?;
    let seconds = start.elapsed().as_secs();
    if !status.success() {
        bail!("{what} failed after {seconds} s ({status})");
    }
    eprintln!("── {what}: {seconds} s");
    Ok(())
}

/// Runs cargo-nextest and returns how many tests passed, from the last line of its summary.
pub(crate) fn run_tests(what: &str, command: &mut Command) -> anyhow::Result<u64> {
    eprintln!("── {what}");
    let mut child = command
        .current_dir(root())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("while starting {}", command.get_program().to_string_lossy()))?;
    let mut passed = 0;
    for line in BufReader::new(child.stderr.take().context("stderr is piped")?).split(b'\n') {
        // What tests print need not be UTF-8.
        let line = String::from_utf8_lossy(&line?).into_owned();
        eprintln!("{line}");
        passed = passed_in(&line).unwrap_or(passed);
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{what} failed ({status})");
    }
    Ok(passed)
}

/// The number in `Summary [ 1.2s] 21 tests run: 21 passed, 0 skipped`.
fn passed_in(line: &str) -> Option<u64> {
    let (_, counts) = line.trim_start().strip_prefix("Summary [")?.split_once("run: ")?;
    counts.split_once(" passed")?.0.trim().parse().ok()
}

/// Fails unless we are root.
pub(crate) fn need_root(what: &str, hint: &str) -> anyhow::Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    bail!("{what} needs root\nhint: {hint}")
}

#[cfg(test)]
mod tests {
    use super::passed_in;

    #[test]
    fn the_summary_is_counted() {
        let check = |line, passed| assert_eq!(passed_in(line), passed, "{line}");
        check("     Summary [   0.610s] 21 tests run: 21 passed, 0 skipped", Some(21));
        check("     Summary [ 196.308s] 4 tests run: 4 passed (1 slow), 0 skipped", Some(4));
        check("     Summary [   5.939s] 100 tests run: 99 passed, 1 failed, 34 skipped", Some(99));
        check("        PASS [   0.019s] (1/4) weave-sim tests::a_seed", None);
    }
}
