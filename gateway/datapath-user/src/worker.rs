//! One worker: a thread with its own TAP queue, socket, buffers and counters.

use std::io::{self, IoSliceMut};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use quinn_udp::RecvMeta;
use weave_model::{Train, canonical};

use crate::clock::Now;
use crate::counters::Total;
use crate::inbound::{Inbound, Scene};
use crate::outbound::Outbound;
use crate::outgoing::Outgoing;
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::tap::TapQueue;

/// Reads a side in one turn: enough to fill trains, short enough that the other side does not wait.
const BUDGET: usize = 8;
/// The longest train the kernel joins.
const TRAIN: usize = 65_536;
/// How long a TAP that reports an error is left alone: it is down or being replaced.
const PAUSE: Duration = Duration::from_secs(1);

/// The state of one worker.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    queue: TapQueue,
    out: Outgoing,
    outbound: Outbound,
    inbound: Inbound,
    buffers: Vec<Vec<u8>>,
    paused_until: Option<Instant>,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, queue: TapQueue, out: Outgoing) -> Worker {
        let outbound = Outbound::new(shared.keys.mtu);
        let buffers = vec![vec![0; TRAIN]; BUDGET];
        Worker { shared, queue, out, outbound, inbound: Inbound::new(), buffers, paused_until: None }
    }

    /// Runs until the datapath stops.
    pub(crate) fn drive(&mut self) -> io::Result<()> {
        while !self.shared.stopping() {
            let (tap, udp) = self.wait()?;
            let now = self.shared.clock.now();
            self.out.counters.add(Total::WakeUps, 1);
            let shared = self.shared.clone();
            let snapshot = shared.snapshot.load();
            if tap {
                self.drive_tap(&snapshot, &now);
            }
            if udp {
                self.drive_udp(&snapshot, now);
            }
            self.out.flush();
            self.inbound.flush(&self.queue, &self.out);
            if let Some(to) = self.out.take_too_big() {
                suspect(&shared, &snapshot, to, &now);
            }
        }
        Ok(())
    }

    /// Waits for either side; returns which has something.
    fn wait(&mut self) -> io::Result<(bool, bool)> {
        let paused = self.paused_until.filter(|until| *until > self.shared.clock.now().instant);
        self.paused_until = paused;
        let mut fds = [
            PollFd::new(self.shared.stop.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.out.port.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.queue.as_fd(), PollFlags::POLLIN),
        ];
        let watched = if paused.is_some() { &mut fds[..2] } else { &mut fds[..] };
        let timeout =
            if paused.is_some() { PollTimeout::from(PAUSE.as_millis() as u16) } else { PollTimeout::NONE };
        match poll(watched, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
        let events = |at: usize| fds[at].revents().unwrap_or(PollFlags::empty());
        let (tap, udp) = (events(2), events(1));
        if tap.intersects(PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL) {
            if self.queue.gone() {
                return Err(io::Error::other("somebody has deleted the TAP device"));
            }
            self.paused_until = Some(self.shared.clock.now().instant + PAUSE);
        }
        Ok((tap.contains(PollFlags::POLLIN), !udp.is_empty()))
    }

    fn drive_tap(&mut self, snapshot: &Snapshot, now: &Now) {
        for _ in 0..BUDGET {
            if !self.outbound.drive(&self.queue, snapshot, &self.shared.switch, &mut self.out, now) {
                break;
            }
        }
    }

    fn drive_udp(&mut self, snapshot: &Snapshot, now: Now) {
        let mut trains = [RecvMeta::default(); BUDGET];
        let received = {
            let mut buffers = self.buffers.iter_mut();
            let mut slices: [IoSliceMut<'_>; BUDGET] = std::array::from_fn(|_| {
                IoSliceMut::new(buffers.next().map_or(&mut [], |buffer| &mut buffer[..]))
            });
            self.out.port.receive(&mut slices, &mut trains)
        };
        let scene = Scene { snapshot, shared: &self.shared, queue: &self.queue, now };
        for (meta, buffer) in trains.iter().zip(&mut self.buffers).take(received.unwrap_or_default()) {
            let Some(bytes) = buffer.get_mut(..meta.len) else { continue };
            let stride = meta.stride.max(1);
            self.out.counters.add(Total::TrainsReceived, 1);
            self.out.counters.add(Total::DatagramsReceived, meta.len.div_ceil(stride));
            let (from, ecn) = (canonical(meta.addr), meta.ecn.map_or(0, |ecn| ecn as u8));
            let template = Train { from, to: meta.dst_ip, ecn, stride, known: false, bytes: &[] };
            self.inbound.train(&scene, template, bytes, &mut self.out);
        }
    }
}

/// Datagrams to an address were too large: all sessions that go there look for what passes.
fn suspect(shared: &Shared, snapshot: &Snapshot, to: std::net::SocketAddr, now: &Now) {
    for peer in &snapshot.peers {
        if snapshot.way(peer).is_none_or(|way| way.to != to) {
            continue;
        }
        if let Some(prober) = &mut peer.session.lock().prober {
            prober.handle_suspicion();
            peer.session.wake_at(now.milliseconds());
        }
    }
    shared.poke();
}
