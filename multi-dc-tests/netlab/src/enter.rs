//! Running programs at a place of a lab, from a process outside.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::boot;
use crate::capabilities;
use crate::cgroup::Cgroup;
use crate::error::Error;
use crate::protocol::NAMESPACES;

/// What it takes to get to a place.
#[derive(Debug)]
pub(crate) struct Door {
    /// In the order of [`NAMESPACES`].
    namespaces: Vec<File>,
    /// The place's network alone.
    pub(crate) network: File,
    /// Takes the visitor into the lab's cgroup.
    cgroup: Option<File>,
}

impl Door {
    /// A door of the lab `lab`, to the leaf `cgroup` below its cgroup.
    pub(crate) fn new(lab: &str, cgroup: &str, namespaces: Vec<File>) -> Result<Door, Error> {
        let at = NAMESPACES.iter().position(|kind| *kind == "net").unwrap_or_default();
        let network = match namespaces.get(at).filter(|_| namespaces.len() == NAMESPACES.len()) {
            Some(network) => network.try_clone().map_err(Error::io("duplicating a descriptor"))?,
            None => return Err(Error::Failed("the keeper sent no namespaces".to_owned())),
        };
        let cgroup = Cgroup::of(lab).map(|found| found.door(cgroup)).transpose()?;
        Ok(Door { namespaces, network, cgroup })
    }
}

/// A command that walks through the door before it executes; into a host without the machine's environment and without
/// the capabilities that hosts do not have.
pub(crate) fn command(door: Door, to_host: bool, program: &str) -> Result<Command, Error> {
    let mut command = Command::new(program);
    if to_host {
        command.env_clear().env("HOME", "/root").env("LANG", "C.UTF-8");
    }
    command.env("PATH", boot::PATH);
    let fds: Vec<OwnedFd> = door.namespaces.into_iter().map(OwnedFd::from).collect();
    let cgroup = door.cgroup.map(OwnedFd::from);
    let walk = move || {
        if let Some(cgroup) = &cgroup {
            write_zero(cgroup.as_raw_fd())?;
        }
        for fd in &fds {
            // SAFETY: the descriptor is open; 0 takes whatever kind of namespace it is.
            check(unsafe { libc::setns(fd.as_raw_fd(), 0) })?;
        }
        if to_host {
            capabilities::drop_machine()?;
        }
        continue_in_child()
    };
    // SAFETY: between fork and exec this makes system calls only; it allocates nothing and takes no lock.
    unsafe { command.pre_exec(walk) };
    Ok(command)
}

/// Forks once more, because a process enters a pid namespace only as a new one. The child goes on to `exec`; the
/// process the caller knows stays as a proxy that ends as the child ends, and whose death kills it.
fn continue_in_child() -> io::Result<()> {
    // SAFETY: this is the child of a fork; it has one thread.
    let child = unsafe { libc::fork() };
    check(child)?;
    if child == 0 {
        // SAFETY: takes numbers only.
        return check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) });
    }
    // Everything, or a reader of the command's output would wait for the proxy, and so would `spawn` itself.
    // SAFETY: nothing here uses a descriptor again.
    unsafe { libc::close_range(0, u32::MAX, 0) };
    let mut status = 0;
    loop {
        // SAFETY: waits for our own child.
        let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
        if waited == child {
            break;
        }
        // SAFETY: reads the thread's errno.
        if waited == -1 && unsafe { *libc::__errno_location() } != libc::EINTR {
            // SAFETY: ends the process without running what belongs to the program it was forked from.
            unsafe { libc::_exit(127) };
        }
    }
    let code = if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) };
    // SAFETY: as above.
    unsafe { libc::_exit(code) }
}

/// Moves this process, whose number is 0 to itself, into a cgroup.
fn write_zero(cgroup: RawFd) -> io::Result<()> {
    // SAFETY: one byte from a literal.
    match unsafe { libc::write(cgroup, c"0".as_ptr().cast(), 1) } {
        1 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn check(result: i32) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
