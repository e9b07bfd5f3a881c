//! The Debian packages the tasks need, each known by a program it brings.

use std::path::Path;
use std::process::Command;

use anyhow::bail;

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
];

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
