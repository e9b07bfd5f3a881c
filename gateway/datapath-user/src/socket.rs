//! The shared UDP port: one socket for each worker, trains of datagrams in one system call.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::socket::{setsockopt, sockopt};
use quinn_udp::{RecvMeta, UdpSocketState};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::error::DatapathError;

/// Kernel buffers: 8 MB hold 30 ms at 2 Gb/s. The keep-alives of all links share them with bursts of data.
const KERNEL_BUFFER: usize = 8 << 20;

/// Opens the port for that many workers, on IPv4 and IPv6; port 0 lets the kernel choose.
///
/// The first socket is bound alone, so a port that anybody else owns is refused; only then the others join it.
pub fn bind(port: u16, workers: usize) -> Result<Vec<UdpSocket>, DatapathError> {
    let wrap = |port: u16, source: io::Error| match source.raw_os_error() {
        Some(libc::EADDRINUSE) => DatapathError::PortInUse { port },
        _ => DatapathError::Socket { port, source },
    };
    let open = |port: u16, first: bool| match open_on(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), first)
    {
        Err(e) if matches!(e.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)) => {
            open_on(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), first)
        }
        opened => opened,
    };
    let first = open(port, true).map_err(|e| wrap(port, e))?;
    let port = first.local_addr().map_err(|e| wrap(port, e))?.port();
    let mut sockets = vec![first];
    for _ in 1..workers.max(1) {
        sockets.push(open(port, false).map_err(|e| wrap(port, e))?);
    }
    Ok(sockets)
}

fn open_on(address: SocketAddr, first: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    if !first {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    // Without the right to exceed the system's limit, as much as it allows.
    if setsockopt(&socket, sockopt::RcvBufForce, &KERNEL_BUFFER).is_err() {
        let _ = socket.set_recv_buffer_size(KERNEL_BUFFER);
    }
    if setsockopt(&socket, sockopt::SndBufForce, &KERNEL_BUFFER).is_err() {
        let _ = socket.set_send_buffer_size(KERNEL_BUFFER);
    }
    socket.bind(&address.into())?;
    if first {
        socket.set_reuse_port(true)?;
    }
    Ok(socket.into())
}

/// The longest UDP payload of one send: IPv4 counts its own header in 16 bits.
pub(crate) const MAX_TRAIN: usize = 65_507;
/// Segments of one send: UDP_MAX_SEGMENTS of kernels before 6.8.
pub(crate) const MAX_SEGMENTS: usize = 64;

/// One socket of the port.
#[derive(Debug)]
pub(crate) struct Port {
    socket: UdpSocket,
    state: UdpSocketState,
    v6: bool,
    /// Cleared for good when the network interface cannot cut trains.
    cuts: AtomicBool,
}

/// What became of a train.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Datagrams the kernel took.
    pub(crate) sent: usize,
    /// Datagrams larger than the interface or the route carries.
    pub(crate) too_big: usize,
    /// Datagrams lost for other reasons: a full buffer, no route, a filter.
    pub(crate) failed: usize,
}

impl Port {
    /// Prepares a bound socket: no fragments on the underlay, joined trains on receipt.
    pub(crate) fn new(socket: UdpSocket) -> io::Result<Port> {
        let state = UdpSocketState::new((&socket).into())?;
        let v6 = socket.local_addr()?.is_ipv6();
        Ok(Port { socket, state, v6, cuts: AtomicBool::new(true) })
    }

    /// Another handle on the same socket, for a thread that only sends.
    pub(crate) fn try_clone(&self) -> io::Result<Port> {
        Port::new(self.socket.try_clone()?)
    }

    /// Receives up to `buffers.len()` trains; `None` when there is nothing.
    pub(crate) fn receive(&self, buffers: &mut [IoSliceMut<'_>], trains: &mut [RecvMeta]) -> Option<usize> {
        // An error is what an earlier send met (ICMP unreachable); it is gone once read.
        self.state.recv((&self.socket).into(), buffers, trains).ok().filter(|n| *n > 0)
    }

    /// Sends datagrams of `stride` bytes each, the last may be shorter.
    pub(crate) fn send(&self, to: SocketAddr, bytes: &[u8], stride: usize) -> Sent {
        let stride = stride.max(1);
        let count = bytes.len().div_ceil(stride);
        if count == 0 {
            return Sent::default();
        }
        let to = self.destination(to);
        let mut refused = None;
        if count > 1 && self.cuts.load(Ordering::Relaxed) {
            match self.send_one(&to, bytes, Some(stride as u16)) {
                Ok(()) => return Sent { sent: count, ..Sent::default() },
                Err(e) => match e.raw_os_error() {
                    Some(error @ (libc::EIO | libc::EMSGSIZE | libc::EINVAL)) => refused = Some(error),
                    _ => return Sent { failed: count, ..Sent::default() },
                },
            }
        }
        let mut sent = Sent::default();
        for datagram in bytes.chunks(stride) {
            match self.send_one(&to, datagram, None) {
                Ok(()) => sent.sent += 1,
                Err(e) if e.raw_os_error() == Some(libc::EMSGSIZE) => sent.too_big += 1,
                Err(_) => sent.failed += 1,
            }
        }
        // EIO: the interface has no checksum offload (udp(7)). EINVAL: the kernel does not know trains, unless the
        // datagrams were too big, which older kernels say by EINVAL as well.
        if refused == Some(libc::EIO) || refused == Some(libc::EINVAL) && sent.sent == count {
            self.cuts.store(false, Ordering::Relaxed);
        }
        sent
    }

    /// Whether trains leave in one piece.
    pub(crate) fn cuts(&self) -> bool {
        self.cuts.load(Ordering::Relaxed)
    }

    fn destination(&self, to: SocketAddr) -> SockAddr {
        match to {
            SocketAddr::V4(v4) if self.v6 => {
                SocketAddr::V6(SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0)).into()
            }
            other => other.into(),
        }
    }

    fn send_one(&self, to: &SockAddr, bytes: &[u8], stride: Option<u16>) -> io::Result<()> {
        let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        // SAFETY: all zeroes are a valid `msghdr`.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_name = to.as_ptr().cast_mut().cast();
        message.msg_namelen = to.len();
        message.msg_iov = &mut part;
        message.msg_iovlen = 1;
        let mut control = Control([0; 64]);
        if let Some(stride) = stride {
            message.msg_control = control.0.as_mut_ptr().cast();
            // SAFETY: the control buffer is aligned and larger than one header with two bytes, so the first header
            // exists and its two bytes of content lie inside.
            unsafe {
                message.msg_controllen = libc::CMSG_SPACE(2) as _;
                let header = libc::CMSG_FIRSTHDR(&message);
                (*header).cmsg_level = libc::SOL_UDP;
                (*header).cmsg_type = libc::UDP_SEGMENT;
                (*header).cmsg_len = libc::CMSG_LEN(2) as _;
                libc::CMSG_DATA(header).cast::<u16>().write_unaligned(stride);
            }
        }
        // SAFETY: name, part and control outlive the call, which does not write to them.
        let sent = unsafe { libc::sendmsg(self.socket.as_raw_fd(), &message, libc::MSG_DONTWAIT) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Room for one control message, aligned as the kernel wants.
#[repr(C, align(8))]
struct Control([u8; 64]);
