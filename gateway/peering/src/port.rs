//! The shared UDP port as QUIC sees it.
//!
//! Data threads own the socket's receive side and hand QUIC's datagrams over with [`Port::deliver`]; QUIC sends on a
//! clone of the same socket. The socket is never registered with the reactor: every datagram that a data thread sends
//! would wake it as "writable" when its buffer is freed.
//!
//! ```text
//!   data thread ── deliver(train) ─┬─► of neighbours ─┬─ poll_recv ──► quinn ── try_send ──► socket
//!                                  └─► of strangers ──┘ (only when no neighbour waits)
//! ```
//!
//! Two bounded queues, so that a flood of strangers' datagrams does not cost a link its keep-alives.
//!
//! Addresses: on a dual-stack socket quinn speaks of `::ffff:a.b.c.d` throughout, since the socket does; [`Port`] maps
//! what it is given accordingly, and links report canonical addresses.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future as _;
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV6, UdpSocket};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use quinn::udp::{EcnCodepoint, RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::time::Sleep;
use weave_model::{Train, canonical};

/// The largest QUIC datagram that is taken: what fits an Ethernet frame over IPv4. Path MTU discovery stops below.
pub(crate) const MAX_DATAGRAM: usize = 1472;

/// Datagrams of full length that fit one of quinn's receive buffers; it has 32 of them, 377 KB together.
const MAX_SEGMENTS: usize = 8;

/// Bytes of one run of datagrams.
const MAX_RUN: usize = MAX_SEGMENTS * MAX_DATAGRAM;

/// Neighbours' bytes waiting for QUIC. A gateway with a hundred links hears about a hundred datagrams a second; a burst
/// of records from all of them fits.
const MAX_KNOWN_BYTES: usize = 1 << 20;

/// Strangers' bytes waiting for QUIC: the first datagrams, 1,200 bytes each, of two hundred dials at once.
const MAX_STRANGE_BYTES: usize = 256 << 10;

/// Runs waiting for QUIC in either queue: small datagrams must not fill it with bookkeeping.
const MAX_QUEUED_RUNS: usize = 2048;

/// How long a full send buffer is left alone; there is no reactor to say when it has room.
const BLOCKED_FOR: Duration = Duration::from_millis(1);

/// The shared UDP port as QUIC sees it: data threads [deliver](Port::deliver) what they read, QUIC sends.
pub struct Port {
    socket: UdpSocket,
    state: UdpSocketState,
    /// Whether the socket is IPv6, so that IPv4 addresses are written as mapped ones.
    ipv6: bool,
    queues: Mutex<Queues>,
    counts: Counts,
}

/// What is on its way to QUIC.
#[derive(Default)]
struct Queues {
    /// From the addresses of neighbours; taken first.
    known: Queue,
    /// From everybody else.
    strange: Queue,
    /// The endpoint's task, while it waits for the queues to fill. Under their lock, so no wake-up is lost. There
    /// are two for a moment when one endpoint ends and the next begins.
    wakers: Vec<Waker>,
}

/// Runs of datagrams.
#[derive(Default)]
struct Queue {
    runs: VecDeque<RecvMeta>,
    /// The runs' bytes, back to back.
    bytes: VecDeque<u8>,
}

#[derive(Default)]
struct Counts {
    delivered: AtomicU64,
    dropped_full: AtomicU64,
    dropped_oversized: AtomicU64,
    blocked: AtomicU64,
}

/// What happened on the port so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// Datagrams handed to QUIC.
    pub delivered: u64,
    /// Datagrams dropped because QUIC did not keep up.
    pub dropped_full: u64,
    /// Datagrams dropped because none of ours is that long.
    pub dropped_oversized: u64,
    /// Sends that found the socket's buffer full and were tried again.
    pub blocked: u64,
}

impl Port {
    /// Takes a clone of a socket that the data threads read.
    ///
    /// Makes the socket non-blocking, for all its clones, and sets what QUIC needs: receive offload, no fragmentation,
    /// and the destination address and ECN bits of what is received.
    pub fn new(socket: UdpSocket) -> io::Result<Arc<Port>> {
        let state = UdpSocketState::new((&socket).into())?;
        let ipv6 = socket.local_addr()?.is_ipv6();
        Ok(Arc::new(Port { socket, state, ipv6, queues: Mutex::default(), counts: Counts::default() }))
    }

    /// Hands over QUIC datagrams; called by data threads. Never waits for QUIC: what does not fit is dropped and
    /// counted.
    pub fn deliver(&self, train: Train<'_>) {
        let stride = train.stride.max(1);
        if train.bytes.is_empty() {
            return;
        }
        if stride.min(train.bytes.len()) > MAX_DATAGRAM {
            self.counts.dropped_oversized.fetch_add(count(train.bytes, stride), Relaxed);
            return;
        }
        let meta = |len: usize| RecvMeta {
            addr: self.to_socket_family(train.from),
            len,
            stride: stride.min(len),
            ecn: EcnCodepoint::from_bits(train.ecn),
            dst_ip: train.to.map(|ip| self.to_socket_family(SocketAddr::new(ip, 0)).ip()),
        };
        let (mut taken, mut dropped) = (0, 0);
        let mut queues = self.lock();
        let (queue, most) = if train.known {
            (&mut queues.known, MAX_KNOWN_BYTES)
        } else {
            (&mut queues.strange, MAX_STRANGE_BYTES)
        };
        for run in train.bytes.chunks((MAX_RUN / stride).max(1) * stride) {
            if queue.runs.len() >= MAX_QUEUED_RUNS || queue.bytes.len() + run.len() > most {
                dropped += count(run, stride);
                continue;
            }
            queue.push(meta(run.len()), run);
            taken += count(run, stride);
        }
        let wakers = std::mem::take(&mut queues.wakers);
        drop(queues);
        wakers.into_iter().for_each(Waker::wake);
        self.counts.delivered.fetch_add(taken, Relaxed);
        self.counts.dropped_full.fetch_add(dropped, Relaxed);
    }

    /// What happened so far.
    pub fn counters(&self) -> PortCounters {
        PortCounters {
            delivered: self.counts.delivered.load(Relaxed),
            dropped_full: self.counts.dropped_full.load(Relaxed),
            dropped_oversized: self.counts.dropped_oversized.load(Relaxed),
            blocked: self.counts.blocked.load(Relaxed),
        }
    }

    /// Whether the socket can send to an address of this family.
    pub(crate) fn reaches(&self, address: SocketAddr) -> bool {
        self.ipv6 || address.is_ipv4()
    }

    /// The address as the socket and quinn write it.
    fn to_socket_family(&self, address: SocketAddr) -> SocketAddr {
        match canonical(address) {
            SocketAddr::V4(v4) if self.ipv6 => {
                SocketAddr::V6(SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0))
            }
            other => other,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        // Nothing under the lock leaves a queue half changed in a way that matters more than a lost datagram.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn push(&mut self, meta: RecvMeta, run: &[u8]) {
        self.bytes.extend(run);
        self.runs.push_back(meta);
    }

    /// Copies the oldest run into one of quinn's buffers.
    fn pop(&mut self, buffer: &mut [u8]) -> Option<RecvMeta> {
        let mut run = self.runs.pop_front()?;
        // The lengths agree: `push` adds both under the lock, and quinn's buffers hold MAX_RUN bytes.
        debug_assert!(run.len <= buffer.len() && run.len <= self.bytes.len());
        let len = run.len.min(buffer.len());
        let (head, tail) = self.bytes.as_slices();
        let split = len.min(head.len());
        buffer[..split].copy_from_slice(&head[..split]);
        buffer[split..len].copy_from_slice(&tail[..len - split]);
        self.bytes.drain(..run.len);
        run.len = len;
        Some(run)
    }
}

fn count(bytes: &[u8], stride: usize) -> u64 {
    bytes.len().div_ceil(stride) as u64
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Port({:?})", self.socket.local_addr())
    }
}

impl AsyncUdpSocket for Port {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        let seen = self.counts.blocked.load(Relaxed);
        Box::pin(Poller { port: self, seen, sleep: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        // `send` swallows all errors but "would block": EMSGSIZE is normal while the path's MTU is probed.
        self.state.send((&self.socket).into(), transmit).inspect_err(|error| {
            if error.kind() == ErrorKind::WouldBlock {
                self.counts.blocked.fetch_add(1, Relaxed);
            }
        })
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut queues = self.lock();
        let Queues { known, strange, wakers } = &mut *queues;
        let mut filled = 0;
        for (buffer, meta) in buffers.iter_mut().zip(metas) {
            let Some(run) = known.pop(buffer).or_else(|| strange.pop(buffer)) else { break };
            *meta = run;
            filled += 1;
        }
        if filled > 0 {
            return Poll::Ready(Ok(filled));
        }
        if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        MAX_SEGMENTS
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

/// Waits a moment after a send found the buffer full.
#[derive(Debug)]
struct Poller {
    port: Arc<Port>,
    /// The port's count of full buffers when this poller last looked.
    seen: u64,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl UdpPoller for Poller {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let blocked = self.port.counts.blocked.load(Relaxed);
        if blocked != self.seen {
            self.seen = blocked;
            self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(BLOCKED_FOR)));
        }
        if let Some(sleep) = &mut self.sleep {
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.sleep = None;
        }
        Poll::Ready(Ok(()))
    }
}
