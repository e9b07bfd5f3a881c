//! Whole datapaths on loopback with a socket pair as TAP, and the cables between them.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use weave_model::{PathReport, Train};
use weave_switch::Switch;
use weave_wire::Offload;

use super::cable::Cable;
use super::topology::{Topology, private_key};
use super::{DEADLINE, name};
use crate::{Config, Datapath, DropReason, Parts, PeerStatus, SessionStatus, Status, Tap, bind};

pub(super) const MTU: u16 = 1376;

/// Who sent a train of link control, its stride and bytes.
pub(super) type Control = (SocketAddr, usize, Vec<u8>);

/// One datapath.
pub(super) struct Node {
    pub(super) number: u16,
    pub(super) port: u16,
    pub(super) datapath: Option<Datapath>,
    tap: std::fs::File,
    pub(super) reports: Arc<Mutex<Vec<PathReport>>>,
    /// Stride and bytes of what the control plane was given.
    pub(super) control: Arc<Mutex<Vec<Control>>>,
    /// Whether each of these was said to come from a neighbour.
    pub(super) known: Arc<Mutex<Vec<bool>>>,
}

impl Node {
    pub(super) fn start(number: u16, port: u16) -> Node {
        let pair =
            || socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        let (ours, theirs): (OwnedFd, OwnedFd) = pair();
        let (reports, control) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<Vec<_>>>::default());
        let known = Arc::<Mutex<Vec<_>>>::default();
        let sockets = bind(port, 1).unwrap();
        let port = sockets[0].local_addr().unwrap().port();
        let parts = Parts {
            tap: Tap::from_fds([theirs]).unwrap(),
            sockets,
            switch: Arc::new(Switch::new(weave_switch::Config::default())),
            control: Box::new({
                let (control, known) = (control.clone(), known.clone());
                move |train: Train<'_>| {
                    known.lock().unwrap().push(train.known);
                    control.lock().unwrap().push((train.from, train.stride, train.bytes.to_vec()));
                }
            }),
            report: Box::new({
                let reports = reports.clone();
                move |report| reports.lock().unwrap().push(report)
            }),
            ended: Box::new(|error| panic!("a thread has ended: {error}")),
        };
        let config = Config {
            local: name(number),
            wireguard_key: private_key(number),
            psk: [9; 32],
            mtu: MTU,
            tap: "test".to_owned(),
        };
        let datapath = Some(Datapath::start(config, parts).unwrap());
        Node { number, port, datapath, tap: ours.into(), reports, control, known }
    }

    pub(super) fn status(&self) -> Status {
        self.datapath.as_ref().unwrap().status()
    }

    pub(super) fn peer(&self, peer: u16) -> PeerStatus {
        let status = self.status();
        status.peers.into_iter().find(|p| p.peer == name(peer)).expect("the peer is known")
    }

    pub(super) fn established(&self, peer: u16) -> bool {
        matches!(self.peer(peer).session, SessionStatus::Established { .. })
    }

    pub(super) fn dropped(&self, reason: DropReason) -> u64 {
        self.status().drops.iter().find(|(r, _)| *r == reason).map_or(0, |(_, count)| *count)
    }

    /// Gives a frame to the datapath as the kernel would.
    pub(super) fn send(&self, frame: &[u8]) {
        self.send_offload(Offload::default(), frame);
    }

    pub(super) fn send_offload(&self, offload: Offload, frame: &[u8]) {
        let bytes = [&offload.to_bytes()[..], frame].concat();
        (&self.tap).write_all(&bytes).unwrap();
    }

    /// The next frame that the datapath gave to the kernel, within `patience`.
    pub(super) fn receive_within(&self, patience: Duration) -> Option<Vec<u8>> {
        let mut fds = [PollFd::new(self.tap.as_fd(), PollFlags::POLLIN)];
        let milliseconds = u16::try_from(patience.as_millis()).unwrap();
        if poll(&mut fds, PollTimeout::from(milliseconds)).unwrap() == 0 {
            return None;
        }
        let mut buffer = vec![0; 70_000];
        let length = (&self.tap).read(&mut buffer).unwrap();
        Some(buffer[Offload::LENGTH..length].to_vec())
    }

    pub(super) fn receive(&self) -> Vec<u8> {
        self.receive_within(DEADLINE).expect("a frame arrives")
    }

    /// Reads until `frame` arrives; returns what came before it.
    pub(super) fn receive_until(&self, frame: &[u8]) -> Vec<Vec<u8>> {
        let (deadline, mut before) = (Instant::now() + DEADLINE, Vec::new());
        while Instant::now() < deadline {
            match self.receive_within(Duration::from_millis(100)) {
                Some(found) if found == frame => return before,
                Some(other) => before.push(other),
                None => {}
            }
        }
        panic!("peer {} did not get the frame; before it came {} others", self.number, before.len());
    }
}

/// Datapaths and the cables between them.
pub(super) struct Network {
    pub(super) nodes: BTreeMap<u16, Node>,
    pub(super) cables: BTreeMap<(u16, u16), Cable>,
    pub(super) topology: Topology,
}

impl Network {
    /// Starts all peers of a graph and publishes their pictures.
    pub(super) fn start(peers: u16, links: &[(u16, u16)]) -> Network {
        let nodes: BTreeMap<u16, Node> = (1..=peers).map(|number| (number, Node::start(number, 0))).collect();
        let cable = |(a, b): &(u16, u16)| ((*a, *b), Cable::new(nodes[a].port, nodes[b].port));
        let cables = links.iter().map(cable).collect();
        let network = Network { nodes, cables, topology: Topology::new(links) };
        network.publish();
        network
    }

    /// Gives every datapath its picture of the graph.
    pub(super) fn publish(&self) {
        for node in self.nodes.values() {
            self.publish_to(node);
        }
    }

    pub(super) fn publish_to(&self, node: &Node) {
        let mut remotes = BTreeMap::new();
        for ((a, b), cable) in &self.cables {
            if *a == node.number {
                remotes.insert(*b, cable.address(0));
            } else if *b == node.number {
                remotes.insert(*a, cable.address(1));
            }
        }
        node.datapath.as_ref().unwrap().publish(self.topology.forwarding(node.number, &remotes));
    }

    /// Sends a frame from a host behind each peer and waits until everybody has learned it.
    pub(super) fn introduce(&self) {
        for (number, node) in &self.nodes {
            let hello = broadcast(*number, b"hello");
            node.send(&hello);
            for other in self.nodes.values().filter(|other| other.number != *number) {
                other.receive_until(&hello);
            }
        }
    }
}

impl std::ops::Index<u16> for Network {
    type Output = Node;

    fn index(&self, number: u16) -> &Node {
        &self.nodes[&number]
    }
}

/// The Ethernet address of the host behind a peer.
pub(super) fn host(number: u16) -> [u8; 6] {
    [0x0a, 0, 0, 0, (number >> 8) as u8, number as u8]
}

/// A frame of the local experimental type (IEEE 802 §9.2.3) from the host behind one peer to that behind another.
pub(super) fn unicast(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    [&host(to)[..], &host(from), &[0x88, 0xb5], payload].concat()
}

/// The same for everybody.
pub(super) fn broadcast(from: u16, payload: &[u8]) -> Vec<u8> {
    [&[0xff; 6][..], &host(from), &[0x88, 0xb5], payload].concat()
}

impl Drop for Network {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for node in self.nodes.values().filter(|node| node.datapath.is_some()) {
            let status = node.status();
            eprintln!("peer {}: {:?} {:?}", node.number, status.drops, status.totals);
            for peer in status.peers {
                eprintln!("    {peer:?}");
            }
        }
    }
}
