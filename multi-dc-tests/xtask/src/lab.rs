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
    step::run("lab", &mut provision)?;
    if args.first().is_none_or(|verb| verb != "down") {
        eprint!("{NEXT}");
    }
    Ok(())
}

/// Printed when the lab is up.
const NEXT: &str = "\
── four hosts of three sites are one switch; aws and gcp reach each other only through onprem

Try next (each as root; W stands for target/release/weave-provision):
  W status --lab                                       who is there, and how frames travel
  W ssh --lab aws-1 -- weave status paths              the same, seen from one gateway
  W ssh --lab aws-1 -- ip netns add web                a namespace that stands for a container
  W ssh --lab aws-1 -- weave attach 10.32.1.1/24 netns:web
  W ssh --lab gcp-1 -- weave expose 10.32.1.2/24       the other end: the host itself
  W ssh --lab gcp-1 -- ping -c 3 10.32.1.1             across two NATs, sealed from end to end
  W ssh --lab onprem-1 -- systemctl stop weave-gateway the relay goes; the other takes over
  cargo xtask lab                                      puts everything back as it should be
  cargo xtask lab down                                 leaves nothing
";
