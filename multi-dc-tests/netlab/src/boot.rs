//! The boot of a host: a supervisor, and the host's pid 1 up to the moment it becomes systemd.
//!
//! The supervisor is the helper program once more, because only a process of one thread may fork into code that is
//! not `exec`. It prints the host's pid 1 and ends with one of the codes below when that does.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, chdir, dup2_stdin, dup2_stdout, execve, pivot_root, sethostname};

use crate::capabilities;
use crate::error::Error;
use crate::keeper::Inside;

/// The supervisor's code when the host wants to boot again.
pub(crate) const REBOOT: i32 = 64;
/// The supervisor's code when the host powered off.
pub(crate) const POWEROFF: i32 = 65;

/// linux/sched.h, `CLONE_INTO_CGROUP`; the constant of `libc` is too narrow.
const INTO_CGROUP: u64 = 1 << 33;

/// Where programs are looked up in a host.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Boots a host whose root is mounted and waits for its end.
pub(crate) fn supervise(host: &str) -> Result<i32, Error> {
    let network = File::open(Inside::network(host)).map_err(Error::io("opening the host's network"))?;
    setns(&network, CloneFlags::CLONE_NEWNET).map_err(Error::errno("entering the host's network"))?;
    drop(network);
    let own = Path::new(Inside::CGROUP).join(host);
    fs::create_dir_all(&own).map_err(Error::io("creating the host's cgroup"))?;
    let cgroup: OwnedFd = File::open(&own).map_err(Error::io("opening the host's cgroup"))?.into();

    let flags = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC;
    let Some(init) = clone_into(&cgroup, flags)? else {
        drop(cgroup);
        let Err(error) = become_init(host);
        eprintln!("{error}");
        std::process::exit(1);
    };
    println!("{init}");
    std::io::stdout().flush().map_err(Error::io("reporting the host's pid 1"))?;
    loop {
        // reboot(2) in a pid namespace kills its pid 1: by SIGHUP to restart, by SIGINT to power off or halt.
        match waitpid(init, None).map_err(Error::errno("waiting for the host"))? {
            WaitStatus::Signaled(_, Signal::SIGHUP, _) => return Ok(REBOOT),
            WaitStatus::Signaled(_, Signal::SIGINT, _) => return Ok(POWEROFF),
            WaitStatus::Signaled(_, signal, _) => {
                return Err(Error::Failed(format!("systemd was killed by {signal}")));
            }
            WaitStatus::Exited(_, code) => {
                return Err(Error::Failed(format!("systemd ended with code {code}")));
            }
            _ => {}
        }
    }
}

/// Forks into new namespaces and straight into a cgroup: systemd must find nobody else there, not even for an
/// instant. `None` in the child.
fn clone_into(cgroup: &OwnedFd, flags: i32) -> Result<Option<Pid>, Error> {
    // SAFETY: all zeroes is what clone3(2) asks for in unused fields.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags as u64 | INTO_CGROUP;
    args.exit_signal = libc::SIGCHLD as u64;
    args.cgroup = cgroup.as_raw_fd() as u64;
    // SAFETY: without CLONE_VM this is a fork, and this process has one thread.
    match unsafe { libc::syscall(libc::SYS_clone3, &args, size_of::<libc::clone_args>()) } {
        -1 => Err(Error::io("starting pid 1 of a host (needs Linux 5.7)")(std::io::Error::last_os_error())),
        0 => Ok(None),
        pid => Ok(Some(Pid::from_raw(pid as i32))),
    }
}

/// Runs as pid 1 of the host.
fn become_init(host: &str) -> Result<std::convert::Infallible, Error> {
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(Error::errno("tying the host to its supervisor"))?;
    // Only here: the namespace's root is the cgroup of the caller.
    unshare(CloneFlags::CLONE_NEWCGROUP).map_err(Error::errno("unsharing the host's cgroups"))?;
    // The supervisor's output is a report; complaints go on to the keeper's log until systemd takes over.
    let null = OpenOptions::new().read(true).write(true).open("/dev/null");
    let null = null.map_err(Error::io("opening /dev/null"))?;
    dup2_stdin(&null).and_then(|()| dup2_stdout(&null)).map_err(Error::errno("silencing pid 1"))?;
    let own = Inside::host(host).join("root");
    let name = fs::read_to_string(own.join("etc/hostname")).map_err(Error::io("reading the host's name"))?;
    sethostname(name.trim()).map_err(Error::errno("naming the host"))?;
    root(&own)?;
    capabilities::drop_machine().map_err(Error::io("dropping capabilities"))?;
    let init = ["/lib/systemd/systemd", "/usr/lib/systemd/systemd", "/sbin/init"];
    let Some(init) = init.into_iter().find(|path| Path::new(path).exists()) else {
        return Err(Error::Unsupported(
            "this machine has no systemd, which hosts of the lab run; hint: apt-get install systemd"
                .to_owned(),
        ));
    };
    let text = |text: &str| std::ffi::CString::new(text).expect("the text is a literal without a zero byte");
    let args = [text(init), text("--log-target=journal-or-kmsg"), text("--show-status=0")];
    let environment = [text("container=weave-lab"), text(&format!("PATH={PATH}")), text("TERM=dumb")];
    execve(&args[0], &args, &environment).map_err(Error::errno(format_args!("starting {init}")))
}

/// Makes `root` the root of this mount namespace and fills in what a machine's kernel would have.
fn root(root: &Path) -> Result<(), Error> {
    let none = None::<&str>;
    let failed = |what: &str| Error::errno(format!("mounting {what} in a host"));
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(failed("nothing shared"))?;
    // Recursive: what is mounted below the root is part of the image.
    mount(Some(root), root, none, MsFlags::MS_BIND | MsFlags::MS_REC, none).map_err(failed("its root"))?;
    chdir(root).map_err(Error::errno("entering the host's root"))?;
    for folder in ["proc", "sys", "dev", "run", "tmp"] {
        fs::create_dir_all(folder).map_err(Error::io(format_args!("creating /{folder} in a host")))?;
    }
    let (nosuid, nodev, noexec) = (MsFlags::MS_NOSUID, MsFlags::MS_NODEV, MsFlags::MS_NOEXEC);
    let quiet = nosuid | nodev | noexec;
    for (kind, target, flags, options) in [
        ("proc", "proc", quiet, none),
        ("sysfs", "sys", quiet, none),
        ("cgroup2", "sys/fs/cgroup", quiet, none),
        ("tmpfs", "dev", nosuid, Some("mode=755,size=1m")),
        ("tmpfs", "run", nosuid | nodev, Some("mode=755")),
        ("tmpfs", "tmp", nosuid | nodev, Some("mode=1777")),
    ] {
        mount(Some(kind), target, Some(kind), flags, options).map_err(failed(target))?;
    }
    // Absent in kernels without BPF; the data path says so itself.
    let _ = mount(Some("bpf"), "sys/fs/bpf", Some("bpf"), MsFlags::empty(), none);
    for folder in ["dev/pts", "dev/shm", "dev/net", "dev/mqueue", "run/lock"] {
        fs::create_dir(folder).map_err(Error::io(format_args!("creating /{folder} in a host")))?;
    }
    let terminals = Some("newinstance,ptmxmode=0666,mode=620,gid=5");
    mount(Some("devpts"), "dev/pts", Some("devpts"), nosuid | noexec, terminals)
        .map_err(failed("dev/pts"))?;
    mount(Some("shm"), "dev/shm", Some("tmpfs"), nosuid | nodev, Some("mode=1777"))
        .map_err(failed("dev/shm"))?;
    devices()?;
    pivot_root(".", ".").map_err(Error::errno("changing the host's root"))?;
    // The old root lies on top of the new one; what is left of the machine goes with it.
    umount2(".", MntFlags::MNT_DETACH).map_err(Error::errno("leaving the machine's root"))?;
    chdir("/").map_err(Error::errno("entering /"))
}

fn devices() -> Result<(), Error> {
    for (name, major, minor) in [
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
        ("console", 1, 3),
        ("fuse", 10, 229),
        ("net/tun", 10, 200),
    ] {
        let path = Path::new("dev").join(name);
        mknod(&path, SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(major, minor)).map_err(
            Error::errno(format_args!("creating /dev/{name} in a host (in a container, allow CAP_MKNOD)")),
        )?;
        // mknod(2) is subject to the umask.
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666))
            .map_err(Error::io(format_args!("opening /dev/{name} to all")))?;
    }
    for (name, target) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlink(target, Path::new("dev").join(name))
            .map_err(Error::io(format_args!("linking /dev/{name}")))?;
    }
    Ok(())
}
