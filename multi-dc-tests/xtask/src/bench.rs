//! `cargo xtask bench`: the data path beside its peers, in one run.

use std::process::Command;

use crate::{packages, step};

/// Installs the peers, builds everything optimised and runs the benchmark.
pub(crate) fn run(args: &[String]) -> anyhow::Result<()> {
    step::need_root("the benchmark", "sudo -E cargo xtask bench")?;
    packages::ensure(&[packages::BENCH, packages::PEERS])?;
    step::run("build", step::cargo().args(["build", "--locked", "--release", "-p", "weave-bench"]))?;
    step::run("benchmark", Command::new(step::target().join("release/weave-bench")).args(args))
}
