//! The operator's state directory: files that are replaced whole or not at all, and the lock against a second operator.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::fleet::{CloudKind, Fleet, Topology};
use crate::rotate::Epoch;

/// What is remembered of a fleet besides its keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FleetState {
    /// The format of this file; this program reads and writes 1.
    pub version: u32,
    /// The fleet's name: its keys fit no other.
    pub name: String,
    /// The clouds of the last `up`.
    pub clouds: Vec<CloudKind>,
    /// How the lab's sites reach each other.
    pub topology: Topology,
    /// By host name.
    #[serde(default)]
    pub hosts: BTreeMap<String, HostRecord>,
    /// Which network CA is in force.
    #[serde(default, skip_serializing_if = "Epoch::is_first")]
    pub epoch: Epoch,
}

/// What is remembered of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostRecord {
    /// The name of its gateway in the network.
    pub peer: String,
    /// The issue number of its certificate: unix seconds at which it was made, or one more than the one before.
    pub issue: u64,
}

impl FleetState {
    /// The state at the start of an `up`. What leaves is remembered until it is gone: nobody else knows of a machine that
    /// is switched off and still carries a gateway.
    pub fn next(
        name: &str,
        saved: Option<&FleetState>,
        clouds: Vec<CloudKind>,
        topology: Topology,
    ) -> FleetState {
        let hosts = saved.map(|saved| saved.hosts.clone()).unwrap_or_default();
        let epoch = saved.map(|saved| saved.epoch.clone()).unwrap_or_default();
        FleetState { version: 1, name: name.to_owned(), clouds, topology, hosts, epoch }
    }

    /// Forgets that the fleet stands in a cloud in which it has no host.
    pub fn leave_if_unused(&mut self, kind: CloudKind) {
        if !self.hosts.keys().any(|host| CloudKind::of_host(host) == kind) {
            self.clouds.retain(|cloud| *cloud != kind);
        }
    }

    /// The names of remembered hosts that are not wanted.
    pub fn leaving(&self, fleet: &Fleet) -> Vec<String> {
        let wanted = |name: &&String| fleet.hosts.iter().any(|host| host.name == **name);
        self.hosts.keys().filter(|name| !wanted(name)).cloned().collect()
    }
}

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file or the directory resists.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried, e.g. `read`.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Another run holds the lock.
    #[error("another run works on this fleet: {holder}")]
    Locked {
        /// What the holder wrote into the lock.
        holder: String,
    },
}

/// The directory of one fleet.
#[derive(Debug, Clone)]
pub struct StateDir {
    path: PathBuf,
}

/// Held while a run changes the fleet.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

const FLEET: &str = "fleet.json";
const LOCK: &str = "lock";

impl StateDir {
    /// Names the directory; nothing is touched yet.
    pub fn new(path: impl Into<PathBuf>) -> StateDir {
        StateDir { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the directory, for nobody but its owner.
    pub fn create(&self) -> Result<(), StateError> {
        self.make(&self.path)
    }

    /// Takes the lock for `command`, or tells who has it.
    pub fn lock(&self, command: &str) -> Result<Lock, StateError> {
        self.create()?;
        let path = self.path.join(LOCK);
        // The directory may be removed by the holder between our open and our lock; then the lock means nothing.
        for _ in 0..16 {
            self.create()?;
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .map_err(|e| io_error("open", &path, e))?;
            let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(file) => file,
                Err((mut file, nix::Error::EWOULDBLOCK)) => {
                    let mut holder = String::new();
                    // A holder that is just starting has written nothing; that is no reason to fail differently.
                    let _ = file.read_to_string(&mut holder);
                    let holder = holder.trim();
                    let holder = if holder.is_empty() { "it does not say which" } else { holder }.to_owned();
                    return Err(StateError::Locked { holder });
                }
                Err((_, errno)) => return Err(io_error("lock", &path, errno.into())),
            };
            let ours = file.metadata().map(|m| m.ino()).ok();
            if fs::metadata(&path).map(|m| m.ino()).ok() == ours {
                let write = |file: &mut File| -> io::Result<()> {
                    file.set_len(0)?;
                    file.rewind()?;
                    writeln!(file, "`weave-provision {command}`, process {}", std::process::id())
                };
                write(&mut file).map_err(|e| io_error("write", &path, e))?;
                return Ok(Lock { _file: file });
            }
        }
        Err(StateError::Locked { holder: "the directory keeps disappearing".to_owned() })
    }

    /// Reads the fleet; `None` when there is none.
    pub fn fleet(&self) -> Result<Option<FleetState>, StateError> {
        let Some(text) = self.read(FLEET)? else { return Ok(None) };
        let damaged = |why: String| StateError::Damaged { path: self.path.join(FLEET), why };
        let fleet: FleetState = serde_json::from_str(&text).map_err(|e| damaged(e.to_string()))?;
        if fleet.version != 1 {
            return Err(damaged(format!("version {} is not known to this program", fleet.version)));
        }
        Ok(Some(fleet))
    }

    /// Replaces the fleet.
    pub fn put_fleet(&self, fleet: &FleetState) -> Result<(), StateError> {
        let mut text = serde_json::to_string_pretty(fleet).expect("maps with string keys are JSON");
        text.push('\n');
        self.put(FLEET, &text)
    }

    /// Reads a file by its path inside the directory; `None` when it does not exist.
    pub fn read(&self, name: &str) -> Result<Option<String>, StateError> {
        let path = self.path.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(io_error("read", &path, e)),
        }
    }

    /// Replaces a file, readable by its owner only; after a crash it is the old one or the new one.
    pub fn put(&self, name: &str, text: &str) -> Result<(), StateError> {
        let path = self.path.join(name);
        let parent = path.parent().unwrap_or(&self.path);
        self.make(parent)?;
        let part = path.with_extension("part");
        let write = || -> io::Result<()> {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&part, &path)?;
            File::open(parent)?.sync_all()
        };
        write().map_err(|e| io_error("write", &path, e))
    }

    /// Removes the directory and all that is in it; the lock goes last, so that an interrupted removal can be repeated.
    pub fn remove(&self) -> Result<(), StateError> {
        let gone = |e: io::Error| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) };
        let remove = || -> io::Result<()> {
            for entry in fs::read_dir(&self.path)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    fs::remove_dir_all(entry.path())?;
                } else if entry.file_name() != LOCK {
                    fs::remove_file(entry.path())?;
                }
            }
            fs::remove_file(self.path.join(LOCK)).or_else(gone)?;
            fs::remove_dir(&self.path)
        };
        remove().or_else(gone).map_err(|e| io_error("remove", &self.path, e))
    }

    /// Removes the directory if nothing but the lock is in it.
    pub fn remove_if_unused(&self) -> Result<(), StateError> {
        let unused = || -> io::Result<bool> {
            for entry in fs::read_dir(&self.path)? {
                if entry?.file_name() != LOCK {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        match unused() {
            Ok(true) => self.remove(),
            Ok(false) => Ok(()),
            Err(e) => Err(io_error("read", &self.path, e)),
        }
    }

    fn make(&self, path: &Path) -> Result<(), StateError> {
        let make = || -> io::Result<()> {
            DirBuilder::new().recursive(true).mode(0o700).create(path)?;
            // It may have existed with a wider mode.
            fs::set_permissions(path, fs::Permissions::from_mode(0o700))
        };
        make().map_err(|e| io_error("create", path, e))
    }
}

fn io_error(what: &'static str, path: &Path, source: io::Error) -> StateError {
    StateError::Io { what, path: path.to_owned(), source }
}
