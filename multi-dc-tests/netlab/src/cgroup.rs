//! The cgroup of a lab: everything that runs in the lab is below it, so that killing it leaves nothing.
//!
//! ```text
//!   weave-lab-NAME/             root of the keeper's cgroup namespace
//!     keeper/                   the keeper and what it runs itself
//!     HOST/                     root of the host's cgroup namespace, which must hold nothing but its systemd
//!       lab-exec/               what was brought in from outside
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

use crate::error::Error;
use crate::folder::ROOT;

/// The cgroup of one lab, as the machine sees it.
#[derive(Debug, Clone)]
pub(crate) struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// The cgroup of the lab called so, which may not exist; `None` on a machine without a writable cgroup2.
    pub(crate) fn of(lab: &str) -> Option<Cgroup> {
        [Path::new("/sys/fs/cgroup"), Path::new("/sys/fs/cgroup/unified"), &own_mount(lab)]
            .into_iter()
            .find(|mounted| usable(mounted))
            .map(|mounted| Cgroup { path: mounted.join(format!("weave-lab-{lab}")) })
    }

    /// Makes the cgroup of the lab exist, mounting cgroup2 where the machine has none.
    pub(crate) fn create(lab: &str) -> Result<Cgroup, Error> {
        let cgroup = match Cgroup::of(lab) {
            Some(cgroup) => cgroup,
            None => {
                let own = own_mount(lab);
                fs::create_dir_all(&own).map_err(Error::io("creating a mount point for cgroup2"))?;
                mount(Some("cgroup2"), &own, Some("cgroup2"), MsFlags::empty(), None::<&str>).map_err(|errno| {
                    Error::Unsupported(format!(
                        "this machine lets nobody mount cgroup2 ({errno}), which systemd needs; hint: a kernel \
                         with CONFIG_CGROUPS and, in a container, `--privileged` or a writable /sys/fs/cgroup"
                    ))
                })?;
                Cgroup { path: own.join(format!("weave-lab-{lab}")) }
            }
        };
        cgroup.make("keeper")?;
        Ok(cgroup)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Moves the calling process to this cgroup itself, which becomes the root of its cgroup namespace if it unshares
    /// one there, and then on to the leaf of the keeper, because a cgroup with controllers may not hold processes.
    pub(crate) fn enter_as_keeper(&self, unshare: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
        let failed = |path: &Path| Error::io(format!("entering {}", path.display()));
        fs::write(self.path.join("cgroup.procs"), "0").map_err(failed(&self.path))?;
        unshare()?;
        let leaf = self.path.join("keeper");
        fs::write(leaf.join("cgroup.procs"), "0").map_err(failed(&leaf))?;
        // Limits inside hosts are nice to have; many machines cannot give them.
        let offered = fs::read_to_string(self.path.join("cgroup.controllers")).unwrap_or_default();
        for controller in offered.split_ascii_whitespace().filter(|c| matches!(*c, "memory" | "pids" | "cpu"))
        {
            let _ = fs::write(self.path.join("cgroup.subtree_control"), format!("+{controller}"));
        }
        Ok(())
    }

    /// Opens the file that takes processes into `leaf`, which is made if need be.
    pub(crate) fn door(&self, leaf: &str) -> Result<File, Error> {
        self.make(leaf)?;
        let path = self.path.join(leaf).join("cgroup.procs");
        OpenOptions::new()
            .write(true)
            .open(&path)
            .map_err(Error::io(format_args!("opening {}", path.display())))
    }

    /// Kills everything that runs here. Asynchronous: [`Cgroup::remove`] tells when it is done.
    pub(crate) fn kill(&self) {
        // Absent before Linux 5.14 and once the cgroup is gone; the keeper's own death kills the rest.
        let _ = OpenOptions::new()
            .write(true)
            .open(self.path.join("cgroup.kill"))
            .and_then(|mut file| file.write_all(b"1"));
    }

    /// Removes the cgroup and those below it; `false` while something still runs in them.
    pub(crate) fn remove(&self) -> bool {
        remove_tree(&self.path);
        !self.path.exists()
    }

    fn make(&self, leaf: &str) -> Result<(), Error> {
        let path = self.path.join(leaf);
        fs::create_dir_all(&path).map_err(Error::io(format_args!("creating the cgroup {}", path.display())))
    }
}

/// Unmounts the cgroup2 that [`Cgroup::create`] may have mounted, lest its files be taken for the lab's.
pub(crate) fn release_own_mount(lab: &str) -> Result<(), Error> {
    let own = own_mount(lab);
    if is_cgroup2(&own) {
        umount2(&own, MntFlags::MNT_DETACH)
            .map_err(Error::errno(format_args!("unmounting {}", own.display())))?;
    }
    Ok(())
}

/// Where cgroup2 is mounted for one lab on a machine that has none to write to.
fn own_mount(lab: &str) -> PathBuf {
    Path::new(ROOT).join(lab).join("cgroup")
}

fn is_cgroup2(mounted: &Path) -> bool {
    statfs(mounted).is_ok_and(|found| found.filesystem_type() == CGROUP2_SUPER_MAGIC)
}

/// Removes a cgroup of this mount namespace and those below it, as far as they are empty.
pub(crate) fn remove_tree(path: &Path) {
    if let Ok(entries) = fs::read_dir(path) {
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            remove_tree(&entry.path());
        }
    }
    let _ = fs::remove_dir(path);
}

fn usable(mounted: &Path) -> bool {
    let writable = |error: std::io::Error| error.kind() != ErrorKind::ReadOnlyFilesystem;
    is_cgroup2(mounted)
        && OpenOptions::new().write(true).open(mounted.join("cgroup.procs")).err().is_none_or(writable)
}
