//! What all hosts have in common: the machine's root reduced to nine units and sshd.

use std::fs;
use std::path::Path;

use crate::boot;
use crate::error::Error;
use crate::image::{create, link, remove_any, write};

/// Folder of units; also `/lib/systemd/system` where `/lib` is a link.
const UNITS: &str = "usr/lib/systemd/system";

/// Reduces the root mounted at `root`.
pub(crate) fn apply(root: &Path) -> Result<(), Error> {
    empty(root)?;
    allow(root)?;
    mask(root)?;
    sshd(root)?;
    let settings = [
        (
            "etc/systemd/journald.conf",
            "[Journal]\nStorage=volatile\nRuntimeMaxUse=16M\nReadKMsg=no\nAudit=\nRateLimitBurst=0\n\
             ForwardToSyslog=no\n"
                .to_owned(),
        ),
        (
            "etc/systemd/system.conf",
            "[Manager]\nShowStatus=no\nLogLevel=notice\nDefaultTimeoutStopSec=5s\n".to_owned(),
        ),
        ("etc/environment", format!("PATH={}\n", boot::PATH)),
        ("etc/resolv.conf", String::new()),
    ];
    for (path, text) in settings {
        write(&root.join(path), &text, 0o644)?;
    }
    unlock_root(&root.join("etc/shadow"))
}

/// Removes everything that starts something by itself.
fn empty(root: &Path) -> Result<(), Error> {
    for path in [
        "etc/systemd/system",
        "etc/systemd/system-generators",
        "etc/systemd/journald.conf.d",
        "etc/systemd/system.conf.d",
        "etc/init.d",
        "etc/fstab",
        "etc/crypttab",
        "etc/cron.d",
        "etc/motd",
        "etc/update-motd.d",
        "etc/tmpfiles.d",
        "etc/nologin",
        "usr/lib/systemd/system-generators",
        "usr/local/lib/systemd",
        "usr/sbin/policy-rc.d",
        "var/lib/dbus/machine-id",
    ] {
        remove_any(&root.join(path))?;
    }
    remove_matching(&root.join("etc"), |name| name.starts_with("rc") && name.ends_with(".d"))?;
    remove_matching(&root.join(UNITS), |name| name.ends_with(".wants"))
}

fn remove_matching(folder: &Path, matches: impl Fn(&str) -> bool) -> Result<(), Error> {
    let entries = fs::read_dir(folder).map_err(Error::io(format_args!("listing {}", folder.display())))?;
    // Collected first: removing while listing an overlay may skip entries.
    let entries: Vec<_> = entries.flatten().filter(|e| matches(&e.file_name().to_string_lossy())).collect();
    entries.iter().try_for_each(|entry| remove_any(&entry.path()))
}

/// Brings back what a host needs.
fn allow(root: &Path) -> Result<(), Error> {
    let units = root.join(UNITS);
    let wanted: [(&str, &[&str]); 3] = [
        (
            "sysinit.target",
            &[
                "systemd-journald.service",
                "systemd-journal-flush.service",
                "systemd-tmpfiles-setup.service",
                "dev-mqueue.mount",
            ],
        ),
        ("sockets.target", &["dbus.socket", "systemd-journald.socket", "systemd-journald-dev-log.socket"]),
        ("multi-user.target", &["systemd-user-sessions.service"]),
    ];
    for (target, names) in wanted {
        let wants = units.join(format!("{target}.wants"));
        create(&wants)?;
        for name in names.iter().filter(|name| units.join(name).exists()) {
            link(&format!("../{name}"), &wants.join(name))?;
        }
    }
    for folder in ["etc/systemd/system", "usr/lib/systemd/system-generators", "etc/init.d", "etc/weave-lab"] {
        create(&root.join(folder))?;
    }
    link(&format!("/{UNITS}/multi-user.target"), &root.join("etc/systemd/system/default.target"))
}

/// Masks what D-Bus, a socket or another unit's `Wants=` could still start.
fn mask(root: &Path) -> Result<(), Error> {
    for name in [
        "systemd-udevd.service",
        "systemd-udevd-kernel.socket",
        "systemd-udevd-control.socket",
        "systemd-udev-trigger.service",
        "systemd-modules-load.service",
        "systemd-sysctl.service",
        "systemd-networkd.service",
        "systemd-networkd.socket",
        "systemd-resolved.service",
        "systemd-timesyncd.service",
        "getty@.service",
        "console-getty.service",
        "container-getty@.service",
        "ssh.service",
        "ssh.socket",
        "sshd.service",
        "tmp.mount",
    ] {
        link("/dev/null", &root.join("etc/systemd/system").join(name))?;
    }
    Ok(())
}

/// A sshd that takes the lab's keys and nothing of the machine's configuration.
fn sshd(root: &Path) -> Result<(), Error> {
    let wants = root.join("etc/systemd/system/multi-user.target.wants");
    create(&wants)?;
    write(
        &root.join("etc/systemd/system/lab-sshd.service"),
        "[Service]\nRuntimeDirectory=sshd\nRuntimeDirectoryPreserve=yes\n\
         ExecStart=/usr/sbin/sshd -D -e -f /etc/weave-lab/sshd_config\nKillMode=process\nRestart=always\n",
        0o644,
    )?;
    link("../lab-sshd.service", &wants.join("lab-sshd.service"))?;
    let mut config = String::from(
        "HostKey /etc/weave-lab/hostkey\nAuthorizedKeysFile /etc/weave-lab/authorized_keys\n\
         PermitRootLogin prohibit-password\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         UsePAM no\nUseDNS no\nStrictModes no\nPrintMotd no\nMaxStartups 100:30:200\nMaxSessions 64\n",
    );
    let sftp =
        ["/usr/lib/openssh", "/usr/libexec/openssh", "/usr/lib/ssh"].map(|f| format!("{f}/sftp-server"));
    if let Some(sftp) = sftp.iter().find(|path| Path::new(path).exists()) {
        config += &format!("Subsystem sftp {sftp}\n");
    }
    write(&root.join("etc/weave-lab/sshd_config"), &config, 0o600)
}

/// Lets root in by key: without PAM, sshd refuses an account whose password is locked by `!`.
fn unlock_root(shadow: &Path) -> Result<(), Error> {
    let text = match fs::read_to_string(shadow) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("reading the hosts' /etc/shadow")(error)),
    };
    write(shadow, &unlocked(&text), 0o640)
}

/// The text of a shadow file with root's password replaced by one that nothing matches.
pub(crate) fn unlocked(shadow: &str) -> String {
    let line = |line: &str| match line.strip_prefix("root:").and_then(|rest| rest.split_once(':')) {
        Some((_, rest)) => format!("root:*:{rest}\n"),
        None => format!("{line}\n"),
    };
    shadow.lines().map(line).collect()
}
