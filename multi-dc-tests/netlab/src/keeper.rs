//! The processes that hold a lab while no command runs.
//!
//! ```text
//!   command ─► launcher           the helper program with `--netlab-keeper`; ends when the keeper is registered
//!                └─► keeper       in a session and a cgroup of its own; dies with pid 1 and pid 1 with it
//!                      └─► pid 1  of the lab's pid namespace; reaps; ends with the controller
//!                            └─► controller       answers the socket, starts everything else
//!                                  └─► supervisor one per host and boot, see `boot`
//!                                        └─► systemd
//! ```
//!
//! Killing any of the first three ends everything in the namespace, hosts included: the kernel kills what is left in a
//! pid namespace when its pid 1 goes. No step here needs cleaning up by the step itself.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, chdir, fork, getpid, pipe, setsid};

use crate::boot;
use crate::cgroup::Cgroup;
use crate::control;
use crate::error::Error;
use crate::folder::{Folder, Process};
use crate::values::Topology;

/// The first argument that makes the helper program a keeper.
pub(crate) const KEEPER: &str = "--netlab-keeper";

/// The first argument that makes the helper program the supervisor of a host.
pub(crate) const HOST: &str = "--netlab-host";

/// Becomes a keeper or a host if that is what the arguments (the program's name first) ask for, and then never
/// returns. Programs that use labs call this first thing in `main`, before any thread exists.
pub fn dispatch_hidden(args: impl IntoIterator<Item = OsString>) {
    let args: Vec<String> = args.into_iter().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    let outcome = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [KEEPER, name, topology, lock] => launch(name, topology, lock),
        [HOST, host] => boot::supervise(host).map(|code| process::exit(code)),
        _ => return,
    };
    if let Err(error) = outcome {
        eprintln!("{error}");
    }
    process::exit(1);
}

/// Makes a test binary, whose `main` is not ours, call [`dispatch_hidden`] before it. For crates of tests only; one call
/// per binary, at the level of items.
#[macro_export]
macro_rules! intercept_main {
    () => {
        // SAFETY: the loader calls what is in this section when the C library is ready, with one thread, and std's own
        // entry there, which makes `args_os` work, comes first by its priority.
        #[used]
        #[unsafe(link_section = ".init_array")]
        static BECOME_KEEPER: extern "C" fn() = {
            extern "C" fn become_keeper() {
                $crate::dispatch_hidden(::std::env::args_os());
            }
            become_keeper
        };
    };
}

/// The mount points that only the lab sees, in the keeper's mount namespace.
pub(crate) struct Inside;

impl Inside {
    /// Holds a folder per host.
    pub(crate) const HOSTS: &str = "/run/hosts";
    /// The lab's cgroup.
    pub(crate) const CGROUP: &str = "/sys/fs/cgroup";

    /// The folder of one host.
    pub(crate) fn host(name: &str) -> PathBuf {
        Path::new(Inside::HOSTS).join(name)
    }

    /// A named network namespace.
    pub(crate) fn network(name: &str) -> PathBuf {
        Path::new("/run/netns").join(name)
    }
}

/// Forks the keeper and waits until it is registered, so that the command never has a keeper for a child.
fn launch(name: &str, topology: &str, lock: &str) -> Result<(), Error> {
    let folder = Folder::of(name)?;
    let topology: Topology = topology.parse()?;
    let lock: i32 = lock.parse().map_err(|_| Error::Invalid(format!("`{lock}` is no file descriptor")))?;
    let lock = keep_only(lock);
    let (read, write) = pipe().map_err(Error::errno("making a pipe"))?;
    // SAFETY: this process has one thread.
    match unsafe { fork() }.map_err(Error::errno("forking the keeper"))? {
        ForkResult::Parent { .. } => {
            drop((write, lock));
            let mut answer = Vec::new();
            File::from(read).read_to_end(&mut answer).map_err(Error::io("waiting for the keeper"))?;
            process::exit(if answer == b"registered" { 0 } else { 1 });
        }
        ForkResult::Child => {
            drop(read);
            keep(&folder, topology, write, lock)
        }
    }
}

/// Closes what the command left open, other than the standard streams and the lock.
fn keep_only(lock: i32) -> OwnedFd {
    for (first, last) in [(3, lock - 1), (lock + 1, i32::MAX)] {
        if first <= last {
            // SAFETY: nothing in this process owns a descriptor yet but the one that is left out.
            unsafe { libc::close_range(first as u32, last as u32, 0) };
        }
    }
    // SAFETY: the command passed this descriptor on for us to own.
    unsafe { OwnedFd::from_raw_fd(lock) }
}

/// Runs as the keeper.
fn keep(folder: &Folder, topology: Topology, registered: OwnedFd, lock: OwnedFd) -> Result<(), Error> {
    setsid().map_err(Error::errno("starting a session"))?;
    chdir("/").map_err(Error::errno("entering /"))?;
    umask(Mode::from_bits_truncate(0o022));
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
        .map_err(Error::errno("unblocking signals"))?;
    // Before `main`, where test binaries become keepers, std has not done so yet; a visitor that hangs up is no reason
    // to die.
    // SAFETY: no handler runs, the signal is ignored.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) }.map_err(Error::errno("ignoring SIGPIPE"))?;

    let cgroup = Cgroup::create(folder.name())?;
    cgroup.enter_as_keeper(|| {
        unshare(CloneFlags::CLONE_NEWCGROUP).map_err(|errno| unsupported("cgroup", errno))
    })?;
    let listener =
        UnixListener::bind(folder.file("control")).map_err(Error::io("binding the lab's socket"))?;
    let own = Process::running(getpid().as_raw()).ok_or_else(|| {
        Error::Unsupported("/proc does not show this process; hint: mount /proc".to_owned())
    })?;
    folder.replace("keeper", &own.render())?;
    drop(lock);
    File::from(registered).write_all(b"registered").map_err(Error::io("telling the launcher"))?;

    for (kind, flag) in [
        ("mount", CloneFlags::CLONE_NEWNS),
        ("network", CloneFlags::CLONE_NEWNET),
        ("uts", CloneFlags::CLONE_NEWUTS),
        ("ipc", CloneFlags::CLONE_NEWIPC),
        ("pid", CloneFlags::CLONE_NEWPID),
    ] {
        unshare(flag).map_err(|errno| unsupported(kind, errno))?;
    }
    let (alive, _held) = pipe().map_err(Error::errno("making a pipe"))?;
    // SAFETY: this process has one thread.
    match unsafe { fork() }.map_err(Error::errno("forking pid 1"))? {
        ForkResult::Parent { child } => {
            drop((listener, alive));
            let status = wait_for(child)?;
            eprintln!("pid 1 of the lab ended: {status:?}");
            process::exit(1);
        }
        ForkResult::Child => {
            drop(_held);
            die_with_parent(&alive)?;
            first_process(folder, topology, listener)
        }
    }
}

/// Ties this process to its parent, which holds the other end of `alive`: it may have died before the tie.
fn die_with_parent(alive: &OwnedFd) -> Result<(), Error> {
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(Error::errno("tying pid 1 to the keeper"))?;
    let mut poll = libc::pollfd { fd: alive.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid pollfd, not waiting.
    if unsafe { libc::poll(&mut poll, 1, 0) } != 0 {
        process::exit(1);
    }
    Ok(())
}

/// Runs as pid 1 of the lab: makes its own view of the machine, then reaps until the controller ends.
fn first_process(folder: &Folder, topology: Topology, listener: UnixListener) -> Result<(), Error> {
    mounts(folder)?;
    nix::unistd::sethostname(format!("lab-{}", folder.name())).map_err(Error::errno("naming the lab"))?;
    // SAFETY: this process has one thread.
    match unsafe { fork() }.map_err(Error::errno("forking the controller"))? {
        ForkResult::Parent { child } => {
            drop(listener);
            let status = wait_for(child)?;
            eprintln!("the controller ended: {status:?}");
            process::exit(1);
        }
        ForkResult::Child => control::run(folder, topology, &listener),
    }
}

/// Reaps whatever ends until `child` has.
fn wait_for(child: Pid) -> Result<WaitStatus, Error> {
    loop {
        match waitpid(None, None) {
            Ok(status) if status.pid() == Some(child) => return Ok(status),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::errno("waiting for a process of the lab")(errno)),
        }
    }
}

/// Hides the machine's sockets and cgroups, keeps the lab's folder in sight.
fn mounts(folder: &Folder) -> Result<(), Error> {
    let none = None::<&str>;
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let failed = |what| Error::errno(format_args!("mounting {what} for the lab").to_string());
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(failed("nothing shared"))?;
    mount(Some("proc"), "/proc", Some("proc"), quiet, none).map_err(failed("/proc"))?;
    let kept = File::open(folder.path()).map_err(Error::io("opening the lab's folder"))?;
    mount(Some("lab"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=755")).map_err(failed("/run"))?;
    for path in [Path::new("/run/netns"), Path::new(Inside::HOSTS), folder.path()] {
        std::fs::create_dir_all(path).map_err(Error::io(format_args!("creating {}", path.display())))?;
    }
    let source = format!("/proc/self/fd/{}", kept.as_raw_fd());
    mount(Some(source.as_str()), folder.path(), none, MsFlags::MS_BIND, none)
        .map_err(failed("its folder"))?;
    // The same superblock twice on one mount point is EBUSY, whatever its root: the tmpfs comes between.
    mount(Some("lab"), Inside::CGROUP, Some("tmpfs"), MsFlags::empty(), none).map_err(failed("a tmpfs"))?;
    mount(Some("cgroup2"), Inside::CGROUP, Some("cgroup2"), quiet, none).map_err(failed("cgroup2"))
}

fn unsupported(kind: &str, errno: Errno) -> Error {
    Error::Unsupported(format!(
        "this machine lets nobody make a {kind} namespace ({}); hint: in a container, allow CAP_SYS_ADMIN and \
         unshare(2)",
        errno.desc()
    ))
}
