//! The Debian packages the tasks need, each known by a program it brings.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::step;

/// A program, or a Python `import`, and the package it comes in.
pub(crate) type Need = (&'static str, &'static str);

/// What the lab runs.
pub(crate) const LAB: &[Need] = &[
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("ping", "iputils-ping"),
    ("sshd", "openssh-server"),
    ("systemctl", "systemd"),
];

/// What the tests run beside it.
pub(crate) const TESTS: &[Need] = &[
    ("ssh-keygen", "openssh-client"),
    ("tcpdump", "tcpdump"),
    ("socat", "socat"),
    ("python3", "python3"),
    // What the emulators of clouds are installed with.
    ("import ensurepip", "python3-venv"),
    ("setpriv", "util-linux"),
    ("sudo", "sudo"),
    ("ssh-agent", "openssh-client"),
    // What hosts of the lab run that play instances of clouds.
    ("cloud-init", CLOUD_INIT),
];

/// The package that would prepare this machine, too, at its next boot.
const CLOUD_INIT: &str = "cloud-init";

/// The file that keeps cloud-init from that; hosts of the lab do not have it.
const CLOUD_INIT_DISABLED: &str = "/etc/cloud/cloud-init.disabled";

/// What the benchmark runs beside its peers.
pub(crate) const BENCH: &[Need] =
    &[("ip", "iproute2"), ("iperf3", "iperf3"), ("ping", "iputils-ping"), ("ethtool", "ethtool")];

/// The peers the benchmark compares with.
pub(crate) const PEERS: &[Need] = &[
    ("wireguard-go", "wireguard-go"),
    ("wg", "wireguard-tools"),
    ("tincd", "tinc"),
    ("nebula", "nebula"),
    ("fastd", "fastd"),
];

/// Installs the packages whose programs are absent.
pub(crate) fn ensure(needs: &[&[Need]]) -> anyhow::Result<()> {
    let missing: Vec<&str> =
        needs.iter().copied().flatten().filter(|(program, _)| !installed(program)).map(|(_, p)| *p).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !installed("apt-get") {
        bail!(
            "missing: {}\nhint: install these packages with your system's package manager",
            missing.join(" ")
        );
    }
    let list = missing.join(" ");
    step::need_root(&format!("installing {list}"), &format!("sudo apt-get install {list}"))?;
    if missing.contains(&CLOUD_INIT) {
        disable_cloud_init().with_context(|| format!("while writing {CLOUD_INIT_DISABLED}"))?;
    }
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").arg("-q");
        command
    };
    step::run("apt-get update", apt().arg("update"))?;
    step::run(
        &format!("apt-get install {list}"),
        apt().args(["install", "--yes", "--no-install-recommends"]).args(&missing),
    )
}

/// Before cloud-init is there: a machine that came without shall boot as it did.
fn disable_cloud_init() -> std::io::Result<()> {
    let path = Path::new(CLOUD_INIT_DISABLED);
    path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
    std::fs::write(path, "")
}

/// Whether a program is on the path or in the folders for root's programs; whether Python has a module.
pub(crate) fn installed(program: &str) -> bool {
    if program.starts_with("import ") {
        let output = Command::new("python3").args(["-c", program]).output();
        return output.is_ok_and(|output| output.status.success());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(Into::into);
    std::env::split_paths(&path).chain(system).any(|folder| Path::new(&folder).join(program).exists())
}
