//! A member whose key is genuine and whose packets are not: what comes out of a session is judged all the same.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519::{PublicKey, StaticSecret};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use weave_model::Egress;
use weave_wire::Inner;

use super::node::{Node, unicast};
use super::topology::{Topology, private_key, public_key};
use super::{id, name, wait_until};
use crate::DropReason;

/// Peer 2, by hand: linked with the datapath of peer 1, which is linked with 3 as well.
struct Member {
    node: Node,
    tunn: Tunn,
    socket: UdpSocket,
    /// Where peer 3 would be, silent.
    _third: UdpSocket,
}

impl Member {
    fn new() -> Member {
        let node = Node::start(1, 0);
        let socket = || {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            socket
        };
        let (socket, third) = (socket(), socket());
        socket.connect((Ipv4Addr::LOCALHOST, node.port)).unwrap();
        let remotes = BTreeMap::from([(2, socket.local_addr().unwrap()), (3, third.local_addr().unwrap())]);
        let topology = Topology::new(&[(1, 2), (1, 3)]);
        node.datapath.as_ref().unwrap().publish(topology.forwarding(1, &remotes));
        let (secret, peer) = (StaticSecret::from(private_key(2)), PublicKey::from(public_key(1)));
        let mut member = Member {
            node,
            tunn: Tunn::new(secret, peer, Some([9; 32]), None, 5, None),
            socket,
            _third: third,
        };
        member.shake_hands();
        member
    }

    /// Answers the datapath's initiation; both ends have keys then.
    fn shake_hands(&mut self) {
        let (mut datagram, mut out) = ([0; 2048], [0; 2048]);
        wait_until("session", || {
            let length = self.socket.recv(&mut datagram).unwrap();
            if let TunnResult::WriteToNetwork(reply) =
                self.tunn.decapsulate(None, &datagram[..length], &mut out)
            {
                self.socket.send(reply).unwrap();
            }
            self.node.established(2) && self.tunn.time_since_last_handshake().is_some()
        });
    }

    fn seal(&mut self, packet: &[u8]) {
        let mut out = vec![0; packet.len() + 200];
        match self.tunn.encapsulate(packet, &mut out) {
            TunnResult::WriteToNetwork(message) => self.socket.send(message).unwrap(),
            other => panic!("{other:?}"),
        };
    }

    fn send(&mut self, inner: Inner, frame: &[u8]) {
        let mut packet = [&[0; Inner::LENGTH][..], frame].concat();
        assert!(inner.write(&mut packet, 0, 0));
        self.seal(&packet);
    }
}

const HONEST: Inner = Inner {
    sender: match weave_model::ShortId::new(2) {
        Some(id) => id,
        None => panic!(),
    },
    receiver: match weave_model::ShortId::new(1) {
        Some(id) => id,
        None => panic!(),
    },
    ingress: match weave_model::ShortId::new(2) {
        Some(id) => id,
        None => panic!(),
    },
    egress: Egress::Everybody,
    ttl: 64,
};

#[test]
fn nobody_speaks_for_others() {
    let mut member = Member::new();
    let frame = unicast(2, 1, b"believe me");
    let lies = [
        Inner { ingress: id(3), egress: Egress::Peer(id(1)), ..HONEST },
        Inner { egress: Egress::Peer(id(3)), ..HONEST },
        Inner { sender: id(3), ..HONEST },
        Inner { receiver: id(3), ..HONEST },
        // Not our parent in the tree of 3; a tree of our own; a tree of nobody.
        Inner { ingress: id(3), ..HONEST },
        Inner { ingress: id(1), ..HONEST },
        Inner { ingress: id(9), ..HONEST },
    ];
    for (count, lie) in lies.into_iter().enumerate() {
        member.send(lie, &frame);
        wait_until("refusal", || member.node.dropped(DropReason::Refused) == count as u64 + 1);
    }
    let truth = unicast(2, 1, b"the truth");
    member.send(Inner { egress: Egress::Peer(id(1)), ..HONEST }, &truth);
    assert_eq!(member.node.receive(), truth);
}

#[test]
fn a_tired_tree_frame_is_delivered_and_goes_no_further() {
    let mut member = Member::new();
    let frame = unicast(2, 1, b"tired");
    member.send(Inner { ttl: 1, ..HONEST }, &frame);
    assert_eq!(member.node.receive(), frame);
    wait_until("count", || member.node.dropped(DropReason::TreeTtl) == 1);
    assert_eq!(member.node.peer(3).sent.frames, 0);
    member.send(Inner { ttl: 2, ..HONEST }, &frame);
    assert_eq!(member.node.receive(), frame);
    wait_until("copy for the child", || member.node.peer(3).sent.frames == 1);
}

#[test]
fn invented_content_is_dropped_and_counted() {
    let mut member = Member::new();
    let mut honest = [&[0; Inner::LENGTH][..], &unicast(2, 1, &[3; 60])].concat();
    assert!(HONEST.write(&mut honest, 0, 0));
    // Random packets, and honest ones with a few bytes changed and a right checksum.
    let random = prop::collection::vec(any::<u8>(), 20..120);
    let changed = prop::collection::vec((0..96usize, any::<u8>()), 0..4);
    let strategy = prop_oneof![
        random.prop_map(|bytes| (bytes, false)),
        changed.prop_map(move |changes| {
            let mut packet = honest.clone();
            for (at, value) in changes {
                packet[at] = value;
            }
            (packet, true)
        })
    ];
    let mut runner = TestRunner::deterministic();
    let mut sent = 0;
    for _ in 0..3_000 {
        let (mut packet, whole) = strategy.new_tree(&mut runner).unwrap().current();
        packet[0] = 0x45;
        if !whole {
            let length = packet.len() as u16;
            packet[2..4].copy_from_slice(&length.to_be_bytes());
        }
        packet[10..12].fill(0);
        let sum = weave_wire::checksum::of(&packet[..20]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        member.seal(&packet);
        sent += 1;
        // Not faster than the datapath reads, and no more than the fake TAP holds.
        if sent % 100 == 0 {
            wait_until("reading", || member.node.status().totals.datagrams_received >= sent);
            while member.node.receive_within(Duration::ZERO).is_some() {}
        }
    }
    // All kinds of refusal are met.
    for (reason, at_least) in
        [(DropReason::BadInner, 100), (DropReason::BadFragment, 100), (DropReason::Refused, 10)]
    {
        let dropped = member.node.dropped(reason);
        assert!(dropped >= at_least, "{dropped} of {reason:?}, of {:?}", member.node.status().drops);
    }
    assert_eq!(member.node.status().panics, 0);
    let last = unicast(2, 1, b"still here");
    member.send(HONEST, &last);
    member.node.receive_until(&last);
}

#[test]
fn link_control_of_strangers_is_told_from_that_of_neighbours() {
    let member = Member::new();
    let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    stranger.send_to(&[0x40; 900], (Ipv4Addr::LOCALHOST, member.node.port)).unwrap();
    wait_until("the stranger's", || *member.node.known.lock().unwrap() == [false]);
    member.socket.send(&[0x40; 900]).unwrap();
    wait_until("the neighbour's", || *member.node.known.lock().unwrap() == [false, true]);
}

#[test]
fn who_names_the_key_of_another_does_not_get_its_handshakes() {
    let node = Node::start(4, 0);
    let socket = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (thief, owner) = (socket(), socket());
    owner.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    owner.connect((Ipv4Addr::LOCALHOST, node.port)).unwrap();
    let remotes = BTreeMap::from([(2, thief.local_addr().unwrap()), (3, owner.local_addr().unwrap())]);
    let forwarding = Topology::new(&[(4, 2), (4, 3)]).forwarding(4, &remotes);
    let mut forwarding = Arc::into_inner(forwarding).unwrap();
    let mut routes = Arc::into_inner(forwarding.routes).unwrap();
    routes.peers.get_mut(&name(2)).unwrap().wireguard_key = public_key(3);
    forwarding.routes = Arc::new(routes);
    node.datapath.as_ref().unwrap().publish(Arc::new(forwarding));
    let (secret, peer) = (StaticSecret::from(private_key(3)), PublicKey::from(public_key(4)));
    let mut tunn = Tunn::new(secret, peer, Some([9; 32]), None, 5, None);
    let (mut datagram, mut out) = ([0; 2048], [0; 2048]);
    let TunnResult::WriteToNetwork(initiation) = tunn.format_handshake_initiation(&mut out, false) else {
        panic!("the first initiation is never refused");
    };
    owner.send(initiation).unwrap();
    // Initiations of the datapath's own are left without an answer.
    let response = std::iter::repeat_with(|| owner.recv(&mut datagram).map(|length| (datagram[0], length)));
    let response =
        response.take(20).map(|received| received.expect("a response")).find(|(kind, _)| *kind == 2);
    assert!(response.is_some(), "the owner of the key gets the response");
}
