//! What a machine must have for a lab, told at once and before anything is made.

use std::io::ErrorKind;
use std::path::Path;

use nix::unistd::geteuid;

use crate::boot;
use crate::error::Error;
use crate::folder::Folder;

/// A program and the package it comes in on Debian and Ubuntu.
const PROGRAMS: [(&str, &str); 3] = [("ip", "iproute2"), ("nft", "nftables"), ("sshd", "openssh-server")];

/// Checks privileges and programs of this machine. What only the kernel knows shows when it is used.
pub fn check() -> Result<(), Error> {
    if !geteuid().is_root() {
        return Err(not_root());
    }
    let missing: Vec<&str> =
        PROGRAMS.iter().filter(|(program, _)| !installed(program)).map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        let list = missing.join(" ");
        return Err(Error::Unsupported(format!("a lab needs {list}; hint: apt-get install {list}")));
    }
    let systemd = ["/lib/systemd/systemd", "/usr/lib/systemd/systemd"];
    if !systemd.iter().any(|path| Path::new(path).exists()) {
        return Err(Error::Unsupported(
            "the hosts of a lab run this machine's systemd; hint: apt-get install systemd".to_owned(),
        ));
    }
    Ok(())
}

/// Tells whoever may not look into a lab's folder, who would otherwise take the lab for absent.
pub(crate) fn check_folder(folder: &Folder) -> Result<(), Error> {
    match std::fs::symlink_metadata(folder.file("keeper")) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(not_root()),
        _ => Ok(()),
    }
}

fn not_root() -> Error {
    Error::Unsupported("a lab needs root for its namespaces; hint: use sudo".to_owned())
}

fn installed(program: &str) -> bool {
    boot::PATH.split(':').any(|folder| Path::new(folder).join(program).exists())
}
