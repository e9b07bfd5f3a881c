//! The disk of a host: an overlay of the machine's own root, stripped to a boot that starts systemd, a journal, D-Bus
//! and sshd, whatever the machine itself runs.
//!
//! ```text
//!   /run/hosts/HOST/root       the overlay: HOST's own layer over the strip over the machine's /
//!   /run/hosts/.strip          what all hosts have in common, written once through an overlay of its own
//! ```
//!
//! An allow-list, not a list of what to mask: all `*.wants` go, nine units come back. Secrets of the machine (`/root`,
//! `/home`, `/srv`, …) are covered by empty folders.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::error::Error;
use crate::first_boot;
use crate::keeper::Inside;
use crate::order::{FirstBoot, Order};
use crate::strip;

/// Top folders that may be file systems of their own, which an overlay of `/` does not include.
const LAYERS: [&str; 5] = ["", "usr", "var", "opt", "etc"];

/// What the hosts must not see of the machine, and what would only confuse them.
const HIDDEN: [&str; 20] = [
    "root",
    "home",
    "srv",
    "mnt",
    "media",
    "var/log",
    "var/cache",
    "var/tmp",
    "var/mail",
    "var/spool",
    "var/lib/cloud",
    "var/lib/docker",
    "var/lib/containerd",
    "var/lib/containers",
    "var/lib/snapd",
    "var/lib/kubelet",
    "var/lib/libvirt",
    "var/lib/postgresql",
    "var/lib/private",
    "etc/ssh",
];

/// Writes the layer all hosts share, unless it is there.
pub(crate) fn make_strip() -> Result<(), Error> {
    let (folder, done) = (strip_folder(), strip_folder().join("done"));
    if done.exists() {
        return Ok(());
    }
    let root = folder.join("root");
    create(&root)?;
    overlay(&root, &folder, None)?;
    let stripped = strip::apply(&root);
    unmount(&root)?;
    stripped?;
    write(&done, "", 0o600)
}

/// Mounts a host's root and writes what is its own. The strip must exist.
pub(crate) fn make(host: &Order) -> Result<(), Error> {
    let folder = Inside::host(&host.name);
    let root = folder.join("root");
    create(&root)?;
    overlay(&root, &folder, Some(&strip_folder()))?;
    for hidden in HIDDEN {
        let path = root.join(hidden);
        let Ok(found) = fs::symlink_metadata(&path) else { continue };
        if found.is_dir() {
            let options = format!("mode={:o},size=1g", found.permissions().mode() & 0o7777);
            mount(Some("lab"), &path, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))
                .map_err(Error::errno(format_args!("hiding /{hidden} from a host")))?;
        }
    }
    let uuid =
        fs::read_to_string("/proc/sys/kernel/random/uuid").map_err(Error::io("drawing a machine id"))?;
    write(&root.join("etc/machine-id"), &uuid.replace('-', ""), 0o444)?;
    let (authorized_key, host_key) = match &host.first_boot {
        FirstBoot::CloudInit { instance_id, user_data } => {
            return first_boot::prepare(&root, instance_id, user_data);
        }
        FirstBoot::Prepared { authorized_key, host_key_pem } => (authorized_key, host_key_pem),
    };
    let name = &host.name;
    write(&root.join("etc/hostname"), &format!("{name}\n"), 0o644)?;
    write(
        &root.join("etc/hosts"),
        &format!("127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost ip6-localhost\n"),
        0o644,
    )?;
    let own = root.join("etc/weave-lab");
    write(&own.join("authorized_keys"), &format!("{}\n", authorized_key.trim_end()), 0o600)?;
    write(&own.join("hostkey"), &format!("{}\n", host_key.trim_end()), 0o600)
}

/// Removes what [`make`] made, as far as it is there.
pub(crate) fn remove(host: &str) -> Result<(), Error> {
    let folder = Inside::host(host);
    match umount2(&folder.join("root"), MntFlags::MNT_DETACH) {
        Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
        Err(errno) => return Err(Error::errno(format_args!("unmounting the root of {host}"))(errno)),
    }
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::io(format_args!("removing the disk of {host}"))(error))
        }
        _ => Ok(()),
    }
}

fn strip_folder() -> PathBuf {
    Path::new(Inside::HOSTS).join(".strip")
}

/// Mounts an overlay of the machine's root on `root`, its layers in `folder`, over those of `below` if given.
fn overlay(root: &Path, folder: &Path, below: Option<&Path>) -> Result<(), Error> {
    for layer in LAYERS {
        if !layer.is_empty() && !is_mount_point(&Path::new("/").join(layer)) {
            continue;
        }
        let (upper, work) = (folder.join(format!("up-{layer}")), folder.join(format!("work-{layer}")));
        create(&upper)?;
        create(&work)?;
        let below = below.map(|below| format!("{}:", below.join(format!("up-{layer}")).display()));
        let options = format!(
            "lowerdir={}/{layer},upperdir={},workdir={}",
            below.unwrap_or_default(),
            upper.display(),
            work.display()
        );
        mount(Some("lab"), &root.join(layer), Some("overlay"), MsFlags::empty(), Some(options.as_str()))
            .map_err(|errno| {
                Error::Unsupported(format!(
                    "this machine cannot overlay /{layer} ({}); hint: modprobe overlay, and let / be a file \
                     system that overlayfs takes as a lower layer",
                    errno.desc()
                ))
            })?;
    }
    Ok(())
}

fn unmount(root: &Path) -> Result<(), Error> {
    umount2(root, MntFlags::MNT_DETACH).map_err(Error::errno("unmounting the common layer of the hosts"))
}

fn is_mount_point(path: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.lines().any(|line| line.split(' ').nth(1).map(Path::new) == Some(path))
}

/// Creates a folder and those above it.
pub(crate) fn create(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(Error::io(format_args!("creating {}", path.display())))
}

/// Writes a file of a host, replacing what the machine has there, be it a link.
pub(crate) fn write(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    let doing = || format!("writing {}", path.display());
    remove_any(path)?;
    fs::write(path, text).map_err(Error::io(doing()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(Error::io(doing()))
}

/// Links `path` to `target`, replacing what is there.
pub(crate) fn link(target: &str, path: &Path) -> Result<(), Error> {
    remove_any(path)?;
    symlink(target, path).map_err(Error::io(format_args!("linking {}", path.display())))
}

/// Removes a file, link or folder, if there is one.
pub(crate) fn remove_any(path: &Path) -> Result<(), Error> {
    let removed = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => Err(error),
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    };
    removed.map_err(Error::io(format_args!("removing {}", path.display())))
}
