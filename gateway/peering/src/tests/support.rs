//! What the tests share: members of networks, a socket with its reader, and waiting for a condition.

use std::io::IoSliceMut;
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::udp::{RecvMeta, UdpSocketState};
use tokio::io::Interest;
use weave_model::{NetworkName, Train};
use weave_trust::{IdentityKey, Membership, NetworkCa};

use crate::Port;

pub(super) const DEADLINE: Duration = Duration::from_secs(20);

/// The membership of the peer whose key is `seed`, in the network whose CA key is `ca`.
pub(super) fn member(ca: u8, seed: u8) -> Membership {
    let network: NetworkName = "weave".parse().unwrap();
    let ca = NetworkCa::from_seed(network, [ca; 32]);
    let key = IdentityKey::from_seed([seed; 32]);
    ca.membership(ca.issue(key.peer_name(), &key, 1))
}

/// A UDP socket with a port for QUIC and a thread that reads it, until dropped.
pub(super) struct Wire {
    pub(super) port: Arc<Port>,
    pub(super) address: SocketAddr,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    reader: Option<std::thread::JoinHandle<()>>,
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
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let to = port.clone();
        let reader = std::thread::spawn(move || read(socket, &to, stopped));
        Wire { port, address, stop: Some(stop), reader: Some(reader) }
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

fn read(socket: UdpSocket, port: &Port, stopped: tokio::sync::oneshot::Receiver<()>) {
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
                let ecn = meta.ecn.map_or(0, |ecn| ecn as u8);
                let bytes = &buffer[..meta.len];
                let stride = meta.stride.max(1);
                port.deliver(Train { from: meta.addr, to: meta.dst_ip, ecn, stride, bytes });
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
