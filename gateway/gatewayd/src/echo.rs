//! Ethernet echo: proof that frames cross the switch, from bridge to bridge, without any address of anybody's.
//!
//! A request is a frame of the local experimental EtherType (IEEE 802-2014 §9.2.4, 0x88b5) to the MAC of a peer's bridge,
//! which is the peer's name; the peer sends it back as it is. Nothing is answered but a whole request to our own MAC, and
//! an answer is as long as its request, so this amplifies nothing.
//!
//! ```text
//!   0            6          12      14      18      19   20     28         32
//!   destination | source   | 88 b5 | "WEVE" | kind | 0  | id   | sequence | zeros up to the size
//! ```

use std::collections::HashMap;
use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use socket2::{Domain, Socket, Type};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use weave_model::Mac;

const ETHERTYPE: u16 = 0x88b5;
const MAGIC: [u8; 4] = *b"WEVE";
const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const HEADER: usize = 32;
/// The shortest Ethernet frame without its check sequence (IEEE 802.3 §3.2.8).
const MIN_FRAME: usize = 60;
/// Pings that may wait at one time.
const MAX_WAITING: usize = 1024;
/// How long one echo may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// What came of a few frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) sent: u32,
    pub(crate) received: u32,
    pub(crate) shortest: Option<Duration>,
}

type Waiting = Mutex<HashMap<u64, mpsc::Sender<(u32, Instant)>>>;

/// The sender and answerer of echoes on one bridge.
#[derive(Clone)]
pub(crate) struct Echo {
    socket: Arc<AsyncFd<Socket>>,
    own: Mac,
    waiting: Arc<Waiting>,
}

impl Echo {
    /// Opens the bridge and answers requests until every clone is dropped and the task is aborted.
    pub(crate) fn start(bridge: &str, own: Mac) -> anyhow::Result<(Echo, tokio::task::JoinHandle<()>)> {
        let socket = open(bridge).with_context(|| format!("while opening bridge '{bridge}' for echoes"))?;
        // SAFETY: the value owns the socket, keeps it open as long as it lives, and hands out no way to replace it.
        let socket = unsafe { AsyncFd::register(socket) }?;
        let echo = Echo { socket: Arc::new(socket), own, waiting: Arc::default() };
        let task = tokio::spawn(echo.clone().answer());
        Ok((echo, task))
    }

    /// Follows a bridge that was made anew: the socket is bound to the number of the one that is gone.
    pub(crate) fn rebind(&self, bridge: &str) -> io::Result<()> {
        bind(self.socket.get_ref(), bridge)?;
        // What became of the old one is no news any more.
        self.socket.get_ref().take_error().map(drop)
    }

    /// Sends `count` frames to `to`, one after another, short ones and ones of `mtu` in turn.
    pub(crate) async fn ping(&self, to: Mac, count: u32, mtu: u16) -> Outcome {
        let id: u64 = rand::random();
        let (answers, mut inbox) = mpsc::channel(8);
        if !self.register(id, answers) {
            return Outcome::default();
        }
        let mut outcome = Outcome::default();
        for sequence in 0..count {
            let size = if sequence % 2 == 0 { MIN_FRAME } else { 14 + usize::from(mtu) };
            let frame = Frame { to, from: self.own, kind: REQUEST, id, sequence }.encode(size);
            let sent_at = Instant::now();
            outcome.sent += 1;
            if self.send(&frame).await.is_err() {
                continue;
            }
            let answer = async {
                while let Some((answered, at)) = inbox.recv().await {
                    if answered == sequence {
                        return Some(at);
                    }
                }
                None
            };
            if let Ok(Some(at)) = tokio::time::timeout(PATIENCE, answer).await {
                outcome.received += 1;
                let trip = at.saturating_duration_since(sent_at);
                outcome.shortest = Some(outcome.shortest.map_or(trip, |old| old.min(trip)));
            }
        }
        self.table().remove(&id);
        outcome
    }

    fn register(&self, id: u64, answers: mpsc::Sender<(u32, Instant)>) -> bool {
        let mut table = self.table();
        table.retain(|_, answers| !answers.is_closed());
        table.len() < MAX_WAITING && table.insert(id, answers).is_none()
    }

    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<u64, mpsc::Sender<(u32, Instant)>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, frame: &[u8]) -> io::Result<()> {
        loop {
            let mut ready = self.socket.writable().await?;
            if let Ok(result) = ready.try_io(|socket| socket.get_ref().send(frame)) {
                return result.map(drop);
            }
        }
    }

    async fn answer(self) {
        let mut buffer = vec![0u8; 9_100];
        loop {
            let Ok(mut ready) = self.socket.readable().await else { return };
            let received =
                ready.try_io(|socket| nix::unistd::read(socket.get_ref(), &mut buffer).map_err(Into::into));
            let length = match received {
                Ok(Ok(length)) => length,
                // The bridge went down for a moment, or the readiness was stale.
                Ok(Err(error)) => {
                    tracing::debug!(%error, "reading echoes");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
                Err(_) => continue,
            };
            let Some(frame) = Frame::decode(&buffer[..length]) else { continue };
            if frame.to != self.own {
                continue;
            }
            match frame.kind {
                REQUEST => {
                    let reply = Frame { to: frame.from, from: self.own, kind: REPLY, ..frame };
                    if let Err(error) = self.send(&reply.encode(length)).await {
                        tracing::debug!(%error, to = %frame.from, "answering an echo");
                    }
                }
                _ => {
                    if let Some(answers) = self.table().get(&frame.id) {
                        // Full only when somebody answers one request many times.
                        let _ = answers.try_send((frame.sequence, Instant::now()));
                    }
                }
            }
        }
    }
}

/// A raw packet socket for our EtherType, bound to the bridge.
fn open(bridge: &str) -> io::Result<Socket> {
    let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), None)?;
    bind(&socket, bridge)?;
    Ok(socket)
}

fn bind(socket: &Socket, bridge: &str) -> io::Result<()> {
    let index = nix::net::if_::if_nametoindex(bridge)?;
    // SAFETY: an all-zero sockaddr_ll is a valid value of this plain C struct.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = ETHERTYPE.to_be();
    address.sll_ifindex = index as i32;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the pointer is to a live sockaddr_ll of the length given, and the descriptor is the socket's own.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if bound == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A request or reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame {
    to: Mac,
    from: Mac,
    kind: u8,
    id: u64,
    sequence: u32,
}

impl Frame {
    fn encode(&self, size: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(size.max(HEADER));
        bytes.extend(self.to.0);
        bytes.extend(self.from.0);
        bytes.extend(ETHERTYPE.to_be_bytes());
        bytes.extend(MAGIC);
        bytes.extend([self.kind, 0]);
        bytes.extend(self.id.to_be_bytes());
        bytes.extend(self.sequence.to_be_bytes());
        bytes.resize(size.max(HEADER), 0);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Frame> {
        let header = bytes.first_chunk::<HEADER>()?;
        let mac = |at: usize| header[at..].first_chunk().copied().map(Mac);
        let (to, from) = (mac(0)?, mac(6)?);
        let ours = header[12..14] == ETHERTYPE.to_be_bytes() && header[14..18] == MAGIC && header[19] == 0;
        let kind = header[18];
        let plausible = ours && !from.is_multicast() && matches!(kind, REQUEST | REPLY);
        plausible.then_some(Frame {
            to,
            from,
            kind,
            id: u64::from_be_bytes(header[20..28].try_into().ok()?),
            sequence: u32::from_be_bytes(header[28..32].try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_and_others_are_left_alone() {
        let frame = Frame { to: Mac([2; 6]), from: Mac([4; 6]), kind: REQUEST, id: 77, sequence: 9 };
        let bytes = frame.encode(MIN_FRAME);
        assert_eq!((bytes.len(), Frame::decode(&bytes)), (60, Some(frame)));
        for at in [12, 13, 14, 17, 18, 19] {
            let mut other = bytes.clone();
            other[at] ^= 0x80;
            assert_eq!(Frame::decode(&other), None, "byte {at}");
        }
        for length in 0..HEADER {
            assert_eq!(Frame::decode(&bytes[..length]), None);
        }
    }
}
