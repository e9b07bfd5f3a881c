//! A NAT of one inside host, that changes the port it shows outside when told to.

use std::net::SocketAddr;
use std::sync::{Arc, RwLock};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// Forwards between whoever sent to `inside` last and one server.
pub(super) struct Nat {
    pub(super) inside: SocketAddr,
    state: Arc<State>,
    outward: JoinHandle<()>,
    inward: std::sync::Mutex<JoinHandle<()>>,
}

struct State {
    server: SocketAddr,
    lan: UdpSocket,
    wan: RwLock<Arc<UdpSocket>>,
    host: RwLock<Option<SocketAddr>>,
}

impl Nat {
    pub(super) async fn start(server: SocketAddr) -> Nat {
        let lan = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let inside = lan.local_addr().unwrap();
        let wan = RwLock::new(Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap()));
        let state = Arc::new(State { server, lan, wan, host: RwLock::new(None) });
        let outward = tokio::spawn(outward(state.clone()));
        let inward = std::sync::Mutex::new(tokio::spawn(inward(state.clone())));
        Nat { inside, state, outward, inward }
    }

    /// The address that the server sees.
    pub(super) fn outside(&self) -> SocketAddr {
        self.state.wan.read().unwrap().local_addr().unwrap()
    }

    /// Forgets the mapping and makes another.
    pub(super) async fn rebind(&self) {
        let other = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        *self.state.wan.write().unwrap() = other;
        let mut task = self.inward.lock().unwrap();
        task.abort();
        *task = tokio::spawn(inward(self.state.clone()));
    }
}

impl Drop for Nat {
    fn drop(&mut self) {
        self.outward.abort();
        self.inward.lock().unwrap().abort();
    }
}

async fn outward(state: Arc<State>) {
    let mut buffer = [0; 2048];
    loop {
        // Refused answers of a closed port arrive as errors of either call, and are nobody's concern.
        let Ok((length, host)) = state.lan.recv_from(&mut buffer).await else { continue };
        *state.host.write().unwrap() = Some(host);
        let wan = state.wan.read().unwrap().clone();
        let _ = wan.send_to(&buffer[..length], state.server).await;
    }
}

async fn inward(state: Arc<State>) {
    let mut buffer = [0; 2048];
    let wan = state.wan.read().unwrap().clone();
    loop {
        let Ok((length, from)) = wan.recv_from(&mut buffer).await else { continue };
        let host = *state.host.read().unwrap();
        if let (true, Some(host)) = (from == state.server, host) {
            let _ = state.lan.send_to(&buffer[..length], host).await;
        }
    }
}
