//! The folder of one lab on the machine's disk, its lock and who its keeper is.
//!
//! ```text
//!   /run/weave-lab/.NAME.lock      held while a lab is made or removed, by the command and by the keeper until it is
//!                                  registered: whoever gets it sees either a registered keeper or none
//!   /run/weave-lab/NAME/keeper     pid and start time of the keeper
//!   /run/weave-lab/NAME/control    its socket
//!   /run/weave-lab/NAME/lab.json   what there is, for people
//!   /run/weave-lab/NAME/log        what the keeper complained about
//!   /run/weave-lab/NAME/cgroup     cgroup2, where the machine has none to write to
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::plan;

/// Where all labs of the machine have their folders.
pub(crate) const ROOT: &str = "/run/weave-lab";

/// Making or removing a lab takes a second; a queue of commands on a busy machine takes several.
const LOCK_DEADLINE: Duration = Duration::from_secs(60);

/// The folder of one lab, whether or not it exists.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    name: String,
    path: PathBuf,
}

impl Folder {
    /// The folder of the lab called so, if a lab can be called so.
    pub(crate) fn of(name: &str) -> Result<Folder, Error> {
        plan::check_name("lab", name, 32)?;
        Ok(Folder { name: name.to_owned(), path: Path::new(ROOT).join(name) })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes the folder, readable by its owner alone.
    pub(crate) fn create(&self) -> Result<(), Error> {
        let created = DirBuilder::new().mode(0o700).recursive(true).create(&self.path);
        created.map_err(Error::io(format_args!("creating {}", self.path.display())))
    }

    /// Waits for the right to make or remove the lab.
    pub(crate) fn lock(&self) -> Result<File, Error> {
        let path = self.lock_path();
        let failed = |error| Error::io(format_args!("locking {}", path.display()))(error);
        let deadline = Instant::now() + LOCK_DEADLINE;
        loop {
            DirBuilder::new().mode(0o700).recursive(true).create(ROOT).map_err(failed)?;
            let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
            let file = match opened {
                Ok(file) => file,
                // A `down` removed the root between the two calls.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(error)),
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(10));
                    continue;
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::Timeout(format!(
                        "another command has been making or removing lab {} for {} s",
                        self.name,
                        LOCK_DEADLINE.as_secs()
                    )));
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            // `down` unlinks the file while it holds the lock; what was waited for may be no longer there.
            let (held, named) = (file.metadata().map_err(failed)?, fs::metadata(&path));
            if named.is_ok_and(|named| named.ino() == held.ino() && named.dev() == held.dev()) {
                return Ok(file);
            }
        }
    }

    /// Removes the folder.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Error::io(format_args!("removing {}", self.path.display()))(error))
            }
            _ => Ok(()),
        }
    }

    /// Removes the lock and, when this was the last lab, the root. The last thing a holder does: who comes next locks
    /// another file.
    pub(crate) fn remove_lock(&self, held: File) {
        // Absence is what is wanted; and the root may hold other labs.
        let _ = fs::remove_file(self.lock_path());
        let _ = fs::remove_dir(ROOT);
        drop(held);
    }

    /// Replaces a file of the folder at once and whole.
    pub(crate) fn replace(&self, name: &str, text: &str) -> Result<(), Error> {
        let (new, path) = (self.file(&format!("{name}.new")), self.file(name));
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &path))
            .map_err(Error::io(format_args!("writing {}", path.display())))
    }

    /// The keeper that is registered, dead or alive.
    pub(crate) fn keeper(&self) -> Option<Process> {
        Process::parse(&fs::read_to_string(self.file("keeper")).ok()?)
    }

    /// The end of the keeper's log, for error messages.
    pub(crate) fn log_tail(&self) -> String {
        let text = fs::read_to_string(self.file("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("; ")
    }

    /// Where the lock lies.
    pub(crate) fn lock_path(&self) -> PathBuf {
        Path::new(ROOT).join(format!(".{}.lock", self.name))
    }
}

/// A process that cannot be mistaken for a later one of the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    start: u64,
}

impl Process {
    /// The process that runs under this number.
    pub(crate) fn running(pid: i32) -> Option<Process> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(Process { pid, start: start_time(&stat)? })
    }

    /// Whether it still runs. A zombie does not, even if nobody ever reaps it.
    pub(crate) fn is_alive(&self) -> bool {
        Process::running(self.pid).as_ref() == Some(self)
    }

    pub(crate) fn render(&self) -> String {
        format!("{} {}\n", self.pid, self.start)
    }

    pub(crate) fn parse(text: &str) -> Option<Process> {
        let (pid, start) = text.trim().split_once(' ')?;
        Some(Process { pid: pid.parse().ok()?, start: start.parse().ok()? })
    }
}

/// The start time in `/proc/PID/stat`, unless the process is dead. The command's name may hold spaces and brackets.
pub(crate) fn start_time(stat: &str) -> Option<u64> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?;
    // proc(5): the state is field 3, the start time field 22.
    if matches!(state, "Z" | "X") { None } else { fields.nth(18)?.parse().ok() }
}
