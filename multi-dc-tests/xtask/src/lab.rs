//! `cargo xtask lab`: from a clone to a proven three-site switch.

use std::process::Command;

use crate::{packages, step};

/// Builds and runs `weave-provision up --lab`, or `down` when asked.
pub(crate) fn run(args: &[String]) -> anyhow::Result<()> {
    step::need_root("the lab", "sudo -E cargo xtask lab")?;
    packages::ensure(&[packages::LAB])?;
    step::run(
        "build",
        step::cargo().args([
            "build",
            "--locked",
            "--release",
            "-p",
            "weave-gatewayd",
            "-p",
            "weave-provisioner",
        ]),
    )?;
    let mut provision = Command::new(step::target().join("release/weave-provision"));
    match args.split_first() {
        Some((verb, rest)) if verb == "down" => provision.args(["down", "--lab", "--yes"]).args(rest),
        _ => provision.args(["up", "--lab", "--clouds", "aws,gcp,onprem", "--yes"]).args(args),
    };
    step::run("lab", &mut provision)
}
