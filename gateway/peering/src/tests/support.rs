//! What the tests share: members of networks, a socket with its reader, and waiting for a condition.

use std::io::IoSliceMut;
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use quinn::udp::{RecvMeta, UdpSocketState};
use tokio::io::Interest;
use tokio::sync::{oneshot, watch};
use weave_mesh::Remembered;
use weave_model::{Adjacency, Forwarding, NetworkName, PeerName, Target, Train};
use weave_trust::{IdentityKey, Membership, NetworkCa};

use crate::tls::Credentials;
use crate::{Config, Event, Peering, Port, Status};

pub(super) const DEADLINE: Duration = Duration::from_secs(20);

/// The membership of the peer whose key is `seed`, in the network whose CA key is `ca`.
pub(super) fn member(ca: u8, seed: u8) -> Membership {
    let network: NetworkName = "weave".parse().unwrap();
    let ca = NetworkCa::from_seed(network, [ca; 32]);
    let key = IdentityKey::from_seed([seed; 32]);
    ca.membership(ca.issue(key.peer_name(), &key, 1))
}

/// What handshakes of a member are made with.
pub(super) fn credentials(member: &Membership) -> Arc<Credentials> {
    Credentials::new(&member.identity, &member.trust).unwrap()
}

/// A UDP socket with a port for QUIC and a thread that reads it, until dropped.
pub(super) struct Wire {
    pub(super) port: Arc<Port>,
    pub(super) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    reader: Option<std::thread::JoinHandle<()>>,
    deaf: Arc<AtomicBool>,
}

impl Wire {
    pub(super) fn open() -> Wire {
        Wire::on(UdpSocket::bind("127.0.0.1:0").unwrap())
    }

    pub(super) fn open_dual_stack() -> Wire {
        Wire::on(UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap())
    }

    pub(super) fn on(socket: UdpSocket) -> Wire {
        let port = Port::new(socket.try_clone().unwrap()).unwrap();
        let mut address = socket.local_addr().unwrap();
        if address.ip().is_unspecified() {
            address = SocketAddr::from(([127, 0, 0, 1], address.port()));
        }
        let (stop, stopped) = oneshot::channel();
        let deaf = Arc::new(AtomicBool::new(false));
        let (to, not) = (port.clone(), deaf.clone());
        let reader = std::thread::spawn(move || read(socket, &to, &not, stopped));
        Wire { port, address, stop: Some(stop), reader: Some(reader), deaf }
    }

    /// From here on nothing that arrives is heard, as if the others had lost their power.
    pub(super) fn deafen(&self) {
        self.deaf.store(true, Relaxed);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(reader) = self.reader.take() {
            let ended = reader.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the reader panicked");
        }
    }
}

fn read(socket: UdpSocket, port: &Port, deaf: &AtomicBool, stopped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let state = UdpSocketState::new((&socket).into()).unwrap();
        let socket = tokio::net::UdpSocket::from_std(socket).unwrap();
        let reading = async {
            let mut buffer = vec![0; 1 << 16];
            loop {
                socket.readable().await.unwrap();
                let received = socket.try_io(Interest::READABLE, || {
                    let mut meta = [RecvMeta::default()];
                    state.recv((&socket).into(), &mut [IoSliceMut::new(&mut buffer)], &mut meta)?;
                    Ok(meta[0])
                });
                let Ok(meta) = received else { continue };
                if deaf.load(Relaxed) {
                    continue;
                }
                let ecn = meta.ecn.map_or(0, |ecn| ecn as u8);
                let bytes = &buffer[..meta.len];
                let stride = meta.stride.max(1);
                port.deliver(Train { from: meta.addr, to: meta.dst_ip, ecn, stride, known: true, bytes });
            }
        };
        tokio::select! {
            () = reading => {}
            _ = stopped => {}
        }
    });
}

/// Waits until `condition` holds; fails with `what` after the deadline.
pub(super) async fn wait_until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < deadline, "within {DEADLINE:?} not: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A peer on a socket of its own.
pub(super) struct Node {
    pub(super) wire: Wire,
    pub(super) name: PeerName,
    pub(super) peering: Peering,
    forwarding: watch::Receiver<Option<Arc<Forwarding>>>,
    remembered: watch::Receiver<Remembered>,
}

impl Node {
    /// Starts the peer of key `seed` in the network of CA `ca`.
    pub(super) fn start(ca: u8, seed: u8, targets: &[SocketAddr]) -> Node {
        Node::start_on(Wire::open(), ca, seed, targets)
    }

    pub(super) fn start_on(wire: Wire, ca: u8, seed: u8, targets: &[SocketAddr]) -> Node {
        Node::start_with(wire, ca, seed, targets, false)
    }

    /// Starts a peer that also dials whom it hears of.
    pub(super) fn start_discovering(seed: u8, targets: &[SocketAddr]) -> Node {
        Node::start_with(Wire::open(), 1, seed, targets, true)
    }

    fn start_with(wire: Wire, ca: u8, seed: u8, targets: &[SocketAddr], discovery: bool) -> Node {
        static STARTS: AtomicU64 = AtomicU64::new(1);
        let start = STARTS.fetch_add(1, Relaxed);
        let membership = member(ca, seed);
        let name = membership.identity.name();
        let mesh = weave_mesh::Config {
            nickname: format!("peer-{seed}"),
            site: String::new(),
            version: "test".to_owned(),
            wireguard_key: [seed; 32],
            uid: start,
            port: 6783,
            short_id: None,
            sequence: start << 20,
            endpoints: vec![wire.address],
            targets: targets.iter().copied().map(Target::from).collect(),
            discovery,
            connection_limit: 100,
        };
        let config = Config { mesh, membership, seed: [seed; 32] };
        let (peering, mut events) = Peering::start(config, wire.port.clone()).unwrap();
        let (pictures, forwarding) = watch::channel(None);
        let (remember, remembered) = watch::channel(Remembered::default());
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                match event {
                    Event::Forwarding(picture) => drop(pictures.send(Some(picture))),
                    Event::Persist(what) => drop(remember.send(what)),
                    Event::ShortIdFreed(_) => {}
                    Event::Clone(name) => panic!("{name} is no clone"),
                }
            }
        });
        Node { wire, name, peering, forwarding, remembered }
    }

    pub(super) async fn status(&self) -> Status {
        self.peering.status().await.unwrap()
    }

    pub(super) fn remembered(&self) -> Remembered {
        self.remembered.borrow().clone()
    }

    /// The newest picture, once there is one.
    pub(super) fn forwarding(&self) -> Option<Arc<Forwarding>> {
        self.forwarding.borrow().clone()
    }

    pub(super) fn adjacency(&self, peer: &Node) -> Option<Adjacency> {
        self.forwarding()?.adjacencies.get(&peer.name).cloned()
    }

    /// Whether this peer can send to the other, and over how many relays.
    pub(super) fn relays_to(&self, peer: &Node) -> Option<usize> {
        Some(self.forwarding()?.routes.peers.get(&peer.name)?.via.len())
    }
}

/// Waits until the two see each other as neighbours over one link; returns both ends of it.
pub(super) async fn linked(a: &Node, b: &Node) -> (Adjacency, Adjacency) {
    wait_until("linked", async || {
        let (to_b, to_a) = (a.adjacency(b)?, b.adjacency(a)?);
        let one_link =
            a.status().await.counters.links >= 1 && to_b.relay_keys.send == to_a.relay_keys.receive;
        (one_link && a.relays_to(b) == Some(0) && b.relays_to(a) == Some(0)).then_some((to_b, to_a))
    })
    .await
}
