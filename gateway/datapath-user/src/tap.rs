//! The TAP device: one file descriptor a queue, each frame behind a virtio header that says what is left to do.
//!
//! The kernel hands over TCP and UDP super-frames uncut and takes them joined; a device without these offloads is four
//! to eight times slower. The device persists: a restarted daemon finds it in its bridge, with carrier back at once.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use weave_wire::Offload;

use crate::error::DatapathError;

/// linux/if_tun.h.
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const TUNGETIFF: libc::c_ulong = 0x8004_54d2;
const TUNSETPERSIST: libc::c_ulong = 0x4004_54cb;
const TUNSETOFFLOAD: libc::c_ulong = 0x4004_54d0;
const TUNSETVNETHDRSZ: libc::c_ulong = 0x4004_54d8;
const TUNSETVNETLE: libc::c_ulong = 0x4004_54dc;
/// TUN_F_CSUM, TSO4, TSO6, TSO_ECN.
const TCP_OFFLOADS: libc::c_ulong = 0x01 | 0x02 | 0x04 | 0x08;
/// TUN_F_USO4 and USO6, known since Linux 6.2; both or neither.
const UDP_OFFLOADS: libc::c_ulong = 0x20 | 0x40;

/// A TAP device with one queue for each worker.
#[derive(Debug)]
pub struct Tap {
    queues: Vec<TapQueue>,
}

impl Tap {
    /// Attaches to the device `name`, made when it does not exist, with that many queues.
    ///
    /// The device stays when the process ends. Bringing it up, its MTU and its bridge are the caller's.
    pub fn open(name: &str, queues: usize) -> Result<Tap, DatapathError> {
        if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.contains(['/', '\0', ' ']) {
            return Err(DatapathError::TapName { name: name.to_owned() });
        }
        let queues = (0..queues.max(1)).map(|_| TapQueue::open(name)).collect::<Result<_, _>>()?;
        Ok(Tap { queues })
    }

    /// Takes descriptors that behave like a TAP's queues: one frame with its virtio header a read and a write.
    ///
    /// For descriptors that another process kept, and for tests (a pair of SOCK_SEQPACKET sockets).
    pub fn from_fds(fds: impl IntoIterator<Item = OwnedFd>) -> io::Result<Tap> {
        let queues = fds.into_iter().map(TapQueue::from_fd).collect::<io::Result<_>>()?;
        Ok(Tap { queues })
    }

    /// How many queues there are.
    pub fn queues(&self) -> usize {
        self.queues.len()
    }

    pub(crate) fn into_queues(self) -> Vec<TapQueue> {
        self.queues
    }
}

/// One queue of a TAP device, read and written by one worker.
#[derive(Debug)]
pub(crate) struct TapQueue {
    file: File,
}

impl TapQueue {
    fn open(name: &str) -> Result<TapQueue, DatapathError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open("/dev/net/tun")
            .map_err(|source| DatapathError::NoTun { source })?;
        attach(&file, name).map_err(|source| DatapathError::Tap { name: name.to_owned(), source })?;
        Ok(TapQueue { file })
    }

    fn from_fd(fd: OwnedFd) -> io::Result<TapQueue> {
        let flags = nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_GETFL)?;
        let flags = nix::fcntl::OFlag::from_bits_truncate(flags) | nix::fcntl::OFlag::O_NONBLOCK;
        nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_SETFL(flags))?;
        Ok(TapQueue { file: File::from(fd) })
    }

    /// Reads one frame behind its virtio header; `None` when there is none.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> Option<usize> {
        // Errors other than "nothing there" happen while the interface is down; poll tells when that is over.
        (&self.file).read(buffer).ok().filter(|n| *n > Offload::LENGTH)
    }

    /// Whether somebody has deleted the device: this queue will never carry a frame again.
    pub(crate) fn gone(&self) -> bool {
        // SAFETY: all zeroes are a valid `ifreq`.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        // SAFETY: TUNGETIFF writes one `ifreq`, which outlives the call.
        let told = check(unsafe { libc::ioctl(self.file.as_raw_fd(), TUNGETIFF as _, &mut request) });
        // Other errors are those of descriptors that are no TAP's.
        told.is_err_and(|error| error.raw_os_error() == Some(libc::EBADFD))
    }

    /// Writes one frame; `false` when the kernel did not take it.
    pub(crate) fn write(&self, offload: Offload, frame: &[u8]) -> bool {
        let header = offload.to_bytes();
        (&self.file).write_vectored(&[IoSlice::new(&header), IoSlice::new(frame)]).is_ok()
    }
}

impl AsFd for TapQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn attach(file: &File, name: &str) -> io::Result<()> {
    // SAFETY: all zeroes are a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_MULTI_QUEUE;
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which outlives the call.
    check(unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF as _, &mut request) })?;
    let header = Offload::LENGTH as libc::c_int;
    let little_endian: libc::c_int = 1;
    // SAFETY: both read one int, which outlives the call.
    check(unsafe { libc::ioctl(file.as_raw_fd(), TUNSETVNETHDRSZ as _, &header) })?;
    // SAFETY: as above.
    check(unsafe { libc::ioctl(file.as_raw_fd(), TUNSETVNETLE as _, &little_endian) })?;
    // SAFETY: TUNSETOFFLOAD and TUNSETPERSIST take a number, not a pointer.
    if check(unsafe { libc::ioctl(file.as_raw_fd(), TUNSETOFFLOAD as _, TCP_OFFLOADS | UDP_OFFLOADS) })
        .is_err()
    {
        // SAFETY: as above.
        check(unsafe { libc::ioctl(file.as_raw_fd(), TUNSETOFFLOAD as _, TCP_OFFLOADS) })?;
    }
    let persist: libc::c_ulong = 1;
    // SAFETY: as above.
    check(unsafe { libc::ioctl(file.as_raw_fd(), TUNSETPERSIST as _, persist) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
