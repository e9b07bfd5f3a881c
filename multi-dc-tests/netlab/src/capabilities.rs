//! The capabilities that reach past a host to the machine: its clock, its modules, its ports.

use std::io::{Error, Result};

/// linux/capability.h.
const MODULE: u32 = 16;
const RAWIO: u32 = 17;
const TIME: u32 = 25;

/// linux/capability.h, `_LINUX_CAPABILITY_VERSION_3`.
const VERSION: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Makes sure that what this process executes next cannot set the machine's clock or load modules: a host's systemd
/// would. Makes system calls only, so it may run between fork and exec.
pub(crate) fn drop_machine() -> Result<()> {
    for capability in [MODULE, RAWIO, TIME] {
        // SAFETY: takes numbers only.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability as libc::c_ulong, 0, 0, 0) } == -1 {
            return Err(Error::last_os_error());
        }
    }
    // The bounding set does not limit what is inherited, and some container engines fill the inheritable set.
    let mut header = Header { version: VERSION, pid: 0 };
    let mut sets = [Sets::default(); 2];
    // SAFETY: capget(2) and capset(2) take a header and, in this version, two sets.
    if unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) } == -1 {
        return Err(Error::last_os_error());
    }
    for set in &mut sets {
        set.inheritable = 0;
    }
    // SAFETY: as above.
    if unsafe { libc::syscall(libc::SYS_capset, &raw mut header, sets.as_ptr()) } == -1 {
        return Err(Error::last_os_error());
    }
    Ok(())
}
