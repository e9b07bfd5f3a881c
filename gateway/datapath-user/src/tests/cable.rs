//! A cable between two ports on loopback: it records what passes and can be cut, made narrow, or used by a stranger.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// One cable; its thread ends when it is dropped.
pub(super) struct Cable {
    inside: Arc<Inside>,
    thread: Option<JoinHandle<()>>,
}

struct Inside {
    /// `sockets[0]` is what the first end sends to and hears from.
    sockets: [UdpSocket; 2],
    ends: [SocketAddr; 2],
    cut: AtomicBool,
    widest: AtomicUsize,
    recorded: Mutex<Vec<Vec<u8>>>,
    stop: AtomicBool,
}

impl Cable {
    /// Lays a cable between two ports of 127.0.0.1.
    pub(super) fn new(one: u16, other: u16) -> Cable {
        let socket = || {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        };
        let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let inside = Arc::new(Inside {
            sockets: [socket(), socket()],
            ends: [at(one), at(other)],
            cut: AtomicBool::new(false),
            widest: AtomicUsize::new(usize::MAX),
            recorded: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let thread = std::thread::spawn({
            let inside = inside.clone();
            move || inside.drive()
        });
        Cable { inside, thread: Some(thread) }
    }

    /// Where the end (0 or 1) finds the other one.
    pub(super) fn address(&self, end: usize) -> SocketAddr {
        self.inside.sockets[end].local_addr().unwrap()
    }

    pub(super) fn cut(&self, cut: bool) {
        self.inside.cut.store(cut, Ordering::Relaxed);
    }

    /// Lets only datagrams of at most `bytes` pass.
    pub(super) fn narrow(&self, bytes: usize) {
        self.inside.widest.store(bytes, Ordering::Relaxed);
    }

    /// Sends to the end (0 or 1) as if the other one had.
    pub(super) fn inject(&self, end: usize, datagram: &[u8]) {
        self.inside.sockets[end].send_to(datagram, self.inside.ends[end]).unwrap();
    }

    /// All datagrams that have passed so far.
    pub(super) fn recorded(&self) -> Vec<Vec<u8>> {
        self.inside.recorded.lock().unwrap().clone()
    }
}

impl Inside {
    fn drive(&self) {
        let mut buffer = vec![0; 65_536];
        while !self.stop.load(Ordering::Relaxed) {
            let mut fds = [0, 1].map(|end| PollFd::new(self.sockets[end].as_fd(), PollFlags::POLLIN));
            poll(&mut fds, PollTimeout::from(50u16)).unwrap();
            for end in [0, 1] {
                // An error is a port whose owner has stopped.
                while let Ok((length, from)) = self.sockets[end].recv_from(&mut buffer) {
                    let passes = !self.cut.load(Ordering::Relaxed)
                        && length <= self.widest.load(Ordering::Relaxed)
                        && from == self.ends[end];
                    if passes {
                        self.recorded.lock().unwrap().push(buffer[..length].to_vec());
                        let _ = self.sockets[1 - end].send_to(&buffer[..length], self.ends[1 - end]);
                    }
                }
            }
        }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.inside.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}
