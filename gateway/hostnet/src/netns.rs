//! Network namespaces: how they are written, opened and entered.
//!
//! Nothing here moves a thread that somebody else uses: work inside another namespace runs on a thread of its own,
//! which ends with that work. Pool threads are reused and would stay behind in the wrong namespace.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use nix::sched::{CloneFlags, setns};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};
use tokio::sync::oneshot;

use crate::HostError;

/// A network namespace as operators name it: `netns:NAME`, `netns:/PATH` or `pid:N`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Netns {
    /// A namespace of `ip netns`, kept at `/run/netns/NAME`.
    Named(String),
    /// A namespace file anywhere.
    Path(PathBuf),
    /// The namespace a process stands in.
    Pid(u32),
}

impl Netns {
    /// Where the namespace's file is.
    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Netns::Named(name) => Path::new("/run/netns").join(name),
            Netns::Path(path) => path.clone(),
            Netns::Pid(pid) => PathBuf::from(format!("/proc/{pid}/ns/net")),
        }
    }

    /// Opens the namespace, which keeps it alive for as long as the value lives.
    pub(crate) fn open(&self) -> Result<OpenNetns, HostError> {
        let action = || format!("open network namespace '{self}'");
        let gone = || HostError::NoSuchNetns { netns: self.clone() };
        let open = match OpenNetns::at(&self.path()) {
            Ok(open) => open,
            Err(e) => {
                return Err(match e.raw_os_error() {
                    Some(libc::ENOENT | libc::ESRCH | libc::ENOTDIR) => gone(),
                    Some(libc::EACCES) => HostError::PermissionDenied { action: action() },
                    _ => HostError::from_io(action(), e),
                });
            }
        };
        // `ip netns del` leaves a plain file behind when it cannot unlink the mount point.
        let kind = fstatfs(&open.file).map_err(|e| HostError::from_io(action(), e.into()))?;
        if kind.filesystem_type() != NSFS_MAGIC {
            return Err(gone());
        }
        Ok(open)
    }
}

impl fmt::Display for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Netns::Named(name) => write!(f, "netns:{name}"),
            Netns::Path(path) => write!(f, "netns:{}", path.display()),
            Netns::Pid(pid) => write!(f, "pid:{pid}"),
        }
    }
}

/// Why a text names no network namespace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' names no network namespace; write netns:NAME, netns:/PATH or pid:N")]
pub struct NetnsParseError {
    text: String,
}

impl FromStr for Netns {
    type Err = NetnsParseError;

    fn from_str(text: &str) -> Result<Netns, NetnsParseError> {
        let parsed = match text.split_once(':') {
            Some(("netns", path)) if path.starts_with('/') => Some(Netns::Path(PathBuf::from(path))),
            Some(("netns", name)) => {
                let plain = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']);
                plain.then(|| Netns::Named(name.to_owned()))
            }
            Some(("pid", pid)) => pid
                .parse()
                .ok()
                .filter(|&n: &u32| n != 0 && pid.bytes().all(|b| b.is_ascii_digit()))
                .map(Netns::Pid),
            _ => None,
        };
        parsed.ok_or_else(|| NetnsParseError { text: text.to_owned() })
    }
}

/// What tells two namespaces apart, whatever they are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// Seven hexadecimal digits, the same for every name of the namespace: as much as an interface name has room
    /// for behind `vethwepl`.
    pub(crate) fn tag(self) -> String {
        // FNV-1a, 64 bits: names only have to differ by chance, nobody gains by a collision.
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        for byte in self.device.to_be_bytes().into_iter().chain(self.inode.to_be_bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        format!("{:07x}", (hash ^ (hash >> 28)) & 0x0fff_ffff)
    }
}

/// An open namespace.
#[derive(Debug)]
pub(crate) struct OpenNetns {
    pub(crate) file: File,
    pub(crate) identity: Identity,
}

impl OpenNetns {
    /// The namespace the calling thread stands in.
    pub(crate) fn current() -> io::Result<OpenNetns> {
        OpenNetns::at(Path::new("/proc/thread-self/ns/net"))
    }

    fn at(path: &Path) -> io::Result<OpenNetns> {
        // Without waiting: what an operator names may be a pipe that nobody writes.
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        let meta = file.metadata()?;
        Ok(OpenNetns { identity: Identity { device: meta.dev(), inode: meta.ino() }, file })
    }

    /// Runs `work` on a thread of its own that stands in the namespace.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let file = self.file.try_clone()?;
        let (done, result) = oneshot::channel();
        std::thread::Builder::new().name("netns".to_owned()).spawn(move || {
            let outcome =
                setns(file.as_fd(), CloneFlags::CLONE_NEWNET).map_err(io::Error::from).and_then(|()| work());
            // The caller may have stopped waiting.
            let _ = done.send(outcome);
        })?;
        result.await.unwrap_or_else(|_| Err(io::Error::other("the thread inside the namespace died")))
    }
}
