//! Frames between whole datapaths: directly, by relays, along trees, and against those who interfere.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519::{PublicKey, StaticSecret};
use weave_wire::{Cut, Envelope, Kind, Offload, classify};

use super::node::{Control, MTU, Network, Node, broadcast, host, unicast};
use super::topology::{public_key, relay_keys};
use super::{id, name, wait_until};
use crate::socket::Port;
use crate::{DropReason, PathStatus, bind};

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn the_first_frame_arrives_and_is_sealed() {
    let net = Network::start(2, &[(1, 2)]);
    // Sent at once, before the session can be up.
    let frame = broadcast(1, b"a canary in the clear");
    net[1].send(&frame);
    assert_eq!(net[2].receive(), frame);
    let answer = unicast(2, 1, b"another canary");
    net[2].send(&answer);
    assert_eq!(net[1].receive(), answer);
    for datagram in net.cables[&(1, 2)].recorded() {
        assert!(!contains(&datagram, b"canary"));
    }
    wait_until("round trip and MTU", || net[1].peer(2).rtt.is_some() && net[1].peer(2).alive == Some(true));
    wait_until("a padded probe", || net[1].peer(2).mtu == Some(MTU));
    assert!(matches!(net[1].peer(2).path, PathStatus::Direct { .. }));
    assert_eq!(net[1].peer(2).sent.frames, 1);
    assert_eq!(net[2].peer(1).received.frames, 1);
}

#[test]
fn a_relay_forwards_what_it_cannot_read() {
    let net = Network::start(3, &[(1, 2), (2, 3)]);
    net.introduce();
    let frame = unicast(1, 3, b"a canary for three alone");
    net[1].send(&frame);
    assert_eq!(net[3].receive(), frame);
    assert!(net[2].status().totals.relayed >= 3, "handshake and frame went by the relay");
    assert!(
        matches!(net[1].peer(3).path, PathStatus::Via { neighbour, alternate: false, .. } if neighbour == name(2))
    );
    // Neither on the wire, nor delivered to the relay's own hosts.
    for cable in net.cables.values() {
        assert!(cable.recorded().iter().all(|datagram| !contains(datagram, b"canary")));
    }
    assert_eq!(net[2].receive_within(Duration::from_millis(50)), None);
}

#[test]
fn a_broadcast_reaches_everybody_once() {
    let net = Network::start(6, &[(1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (2, 5), (4, 6)]);
    net.introduce();
    for sender in [1, 4] {
        for round in 0..20u8 {
            net[sender].send(&broadcast(sender, &[round; 64]));
        }
        let last = broadcast(sender, b"last");
        net[sender].send(&last);
        for node in net.nodes.values().filter(|node| node.number != sender) {
            let mut before = node.receive_until(&last);
            assert_eq!(before.len(), 20, "peer {}", node.number);
            before.dedup();
            assert_eq!(before.len(), 20, "peer {} in order, each once", node.number);
        }
    }
}

#[test]
fn a_dead_next_hop_is_replaced_by_the_alternate() {
    let net = Network::start(4, &[(1, 2), (2, 4), (1, 3), (3, 4), (2, 3)]);
    net.introduce();
    let frame = unicast(1, 4, b"before");
    net[1].send(&frame);
    net[4].receive_until(&frame);
    wait_until("probes of all links", || (2..=3).all(|peer| net[1].peer(peer).alive == Some(true)));
    assert!(matches!(net[1].peer(4).path, PathStatus::Via { neighbour, .. } if neighbour == name(2)));
    net.cables[&(1, 2)].cut(true);
    let cut = Instant::now();
    wait_until(
        "switch to the alternate",
        || matches!(net[1].peer(4).path, PathStatus::Via { neighbour, alternate: true, .. } if neighbour == name(3)),
    );
    eprintln!("switched to the alternate after {:?}", cut.elapsed());
    let after = unicast(1, 4, b"after");
    net[1].send(&after);
    net[4].receive_until(&after);
    let reports = net[1].reports.lock().unwrap().clone();
    assert!(reports.iter().any(|r| r.peer == name(2) && !r.alive), "{reports:?}");
    // The neighbour itself is reached by the others meanwhile, and directly once its link is back.
    let around = unicast(1, 2, b"around");
    net[1].send(&around);
    net[2].receive_until(&around);
    net.cables[&(1, 2)].cut(false);
    wait_until("return", || net[1].peer(2).alive == Some(true));
    assert!(
        matches!(net[1].peer(4).path, PathStatus::Via { neighbour, alternate: false, .. } if neighbour == name(2))
    );
}

#[test]
fn replayed_and_invented_datagrams_go_nowhere() {
    let net = Network::start(2, &[(1, 2)]);
    net.introduce();
    let frame = unicast(1, 2, &[5; 700]);
    net[1].send(&frame);
    assert_eq!(net[2].receive(), frame);
    let is_data = |datagram: &Vec<u8>| datagram.len() > 700 && datagram.len() < 900 && datagram[0] == 4;
    let stolen = net.cables[&(1, 2)].recorded().into_iter().find(is_data).unwrap();
    let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let to = (Ipv4Addr::LOCALHOST, net[2].port);
    stranger.send_to(&stolen, to).unwrap();
    wait_until("refusal of a replay", || net[2].dropped(DropReason::Replay) == 1);
    let mut broken = stolen.clone();
    broken[8] = 0xee;
    *broken.last_mut().unwrap() ^= 1;
    stranger.send_to(&broken, to).unwrap();
    wait_until("refusal of a broken seal", || net[2].dropped(DropReason::BadSeal) == 1);
    broken[8..16].fill(0xff);
    stranger.send_to(&broken, to).unwrap();
    wait_until("refusal of the last counters", || net[2].dropped(DropReason::BadSeal) == 2);
    broken[4..8].copy_from_slice(&[1, 2, 3, 4]);
    broken[8..16].fill(0);
    stranger.send_to(&broken, to).unwrap();
    wait_until("refusal of an unknown session", || net[2].dropped(DropReason::UnknownSession) == 1);
    for length in 1..200 {
        stranger.send_to(&vec![0x88; length], to).unwrap();
        for kind in 1..=4 {
            let mut message = vec![kind, 0, 0, 0];
            message.resize(length.max(4), 0x5a);
            stranger.send_to(&message, to).unwrap();
        }
    }
    wait_until("refusal of noise", || net[2].dropped(DropReason::NotOurs) >= 199);
    wait_until("refusal of handshakes", || net[2].dropped(DropReason::Handshake) >= 100);
    let last = unicast(1, 2, b"last");
    net[1].send(&last);
    assert_eq!(net[2].receive_until(&last), Vec::<Vec<u8>>::new());
}

#[test]
fn envelopes_are_taken_from_neighbours_with_the_key_of_the_link() {
    let net = Network::start(3, &[(1, 2), (2, 3)]);
    net.introduce();
    let cable = &net.cables[&(1, 2)];
    let frame = unicast(1, 3, &[5; 700]);
    net[1].send(&frame);
    assert_eq!(net[3].receive(), frame);
    let is_envelope = |datagram: &&Vec<u8>| classify(datagram) == Kind::Envelope && datagram.len() > 700;
    let genuine = cable.recorded().iter().find(is_envelope).unwrap().clone();
    // A stranger's address, then the neighbour's with a wrong MAC, then exhausted.
    let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    stranger.send_to(&genuine, (Ipv4Addr::LOCALHOST, net[2].port)).unwrap();
    wait_until("refusal of a stranger", || net[2].dropped(DropReason::EnvelopeSender) == 1);
    let mut forged = genuine.clone();
    forged[11] ^= 1;
    cable.inject(1, &forged);
    wait_until("refusal of a wrong MAC", || net[2].dropped(DropReason::EnvelopeMac) == 1);
    let keys = relay_keys(1, 2, 1);
    let seal = |envelope: Envelope| {
        let mut datagram = genuine.clone();
        assert!(envelope.seal(&mut datagram, &keys.send));
        datagram
    };
    let tired = Envelope { epoch: keys.epoch(), ttl: 0, to: id(3), from: id(1), lane: 0 };
    cable.inject(1, &seal(tired));
    wait_until("refusal of exhausted envelopes", || net[2].dropped(DropReason::EnvelopeTtl) == 1);
    cable.inject(1, &seal(Envelope { ttl: 9, to: id(77), ..tired }));
    wait_until("refusal of unknown destinations", || net[2].dropped(DropReason::EnvelopeRoute) == 1);
    // Back to where it came from is no way.
    cable.inject(1, &seal(Envelope { ttl: 9, to: id(1), from: id(3), ..tired }));
    wait_until("refusal of a loop", || net[2].dropped(DropReason::EnvelopeRoute) == 2);
    cable.inject(1, &genuine);
    wait_until("refusal of a replay at the end", || net[3].dropped(DropReason::Replay) == 1);
}

#[test]
fn link_control_is_handed_over_in_runs() {
    let net = Network::start(2, &[(1, 2)]);
    let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let datagram = [0x40; 900];
    stranger.send_to(&datagram, (Ipv4Addr::LOCALHOST, net[2].port)).unwrap();
    wait_until("link control", || !net[2].control.lock().unwrap().is_empty());
    let control = net[2].control.lock().unwrap().clone();
    assert_eq!(control, [(stranger.local_addr().unwrap(), 900, datagram.to_vec())]);
}

#[test]
fn a_restarted_peer_is_met_again_at_once() {
    let mut net = Network::start(2, &[(1, 2)]);
    net.introduce();
    let port = net[2].port;
    net.nodes.get_mut(&2).unwrap().datapath.take().unwrap().stop();
    net.nodes.insert(2, Node::start(2, port));
    net.topology.generation = 2;
    net.publish();
    let began = Instant::now();
    let frame = broadcast(2, b"I am back");
    net[2].send(&frame);
    net[1].receive_until(&frame);
    let answer = unicast(1, 2, b"welcome");
    net[1].send(&answer);
    net[2].receive_until(&answer);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

/// A TCP segment over IPv4 from the host of peer 1 to that of peer 2, with right checksums but for TCP's, which the
/// kernel leaves to be completed.
pub(super) fn super_frame(payload: &[u8]) -> (Offload, Vec<u8>) {
    let mut frame = [&host(2)[..], &host(1), &[8, 0]].concat();
    let length = (40 + payload.len()) as u16;
    let mut ip = vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    ip[2..4].copy_from_slice(&length.to_be_bytes());
    let sum = weave_wire::checksum::of(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut tcp = vec![0x10, 0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 1, 0, 0, 0, 0, 0];
    let pseudo = weave_wire::checksum::pseudo_header(&ip[12..20], 6, 20 + payload.len());
    tcp[16..18].copy_from_slice(&(!weave_wire::checksum::finish(pseudo)).to_be_bytes());
    frame.extend([ip, tcp, payload.to_vec()].concat());
    let cut = Some((Cut::Tcp4, 54, MTU - 40));
    (Offload { checksum: Some((34, 16)), valid: false, cut }, frame)
}

/// The TCP payloads of frames, in order of their sequence numbers.
pub(super) fn collect_tcp(node: &Node, length: usize) -> Vec<u8> {
    let mut parts = Vec::new();
    while parts.iter().map(|(_, part): &(u32, Vec<u8>)| part.len()).sum::<usize>() < length {
        let frame = node.receive();
        parts.push((u32::from_be_bytes(frame[38..42].try_into().unwrap()), frame[54..].to_vec()));
    }
    parts.sort_by_key(|(sequence, _)| *sequence);
    parts.into_iter().flat_map(|(_, part)| part).collect()
}

#[test]
pub(super) fn super_frames_are_cut_and_joined_again() {
    let net = Network::start(3, &[(1, 3), (3, 2)]);
    net.introduce();
    let payload: Vec<u8> = (0..60_000u32).map(|at| (at / 3) as u8).collect();
    let (offload, frame) = super_frame(&payload);
    net[1].send_offload(offload, &frame);
    // The first sixteen packets wait for the session; the rest of the first train is lost, as TCP expects.
    wait_until("session by the relay", || net[1].established(2));
    while net[2].receive_within(Duration::from_millis(100)).is_some() {}
    net[1].send_offload(offload, &frame);
    assert_eq!(collect_tcp(&net[2], payload.len()), payload);
    assert_eq!(net[1].peer(2).sent.frames, 2 * 45);
}

#[test]
fn a_narrow_path_is_found_and_carries_full_frames_in_parts() {
    let net = Network::start(2, &[(1, 2)]);
    net.introduce();
    net.cables[&(1, 2)].narrow(1200);
    // 1200 bytes less WireGuard's 32 and ours of 50.
    let found = || {
        [net[1].peer(2).mtu, net[2].peer(1).mtu]
            .iter()
            .all(|m| m.is_some_and(|m| (1118 - 8..=1118).contains(&m)))
    };
    wait_until("path MTU", found);
    let frame = unicast(1, 2, &[6; MTU as usize]);
    net[1].send(&frame);
    net[2].receive_until(&frame);
    wait_until("report", || {
        net[1].reports.lock().unwrap().last().is_some_and(|r| r.mtu == net[1].peer(2).mtu)
    });
    assert_eq!(net[1].peer(2).alive, Some(true));
}

#[test]
fn a_peer_behind_a_relay_may_restart_unnoticed() {
    let mut net = Network::start(3, &[(1, 2), (2, 3)]);
    net.introduce();
    let frame = unicast(1, 3, b"before");
    net[1].send(&frame);
    net[3].receive_until(&frame);
    wait_until("probes by the relay", || net[1].peer(3).alive == Some(true));
    let port = net[3].port;
    net.nodes.get_mut(&3).unwrap().datapath.take().unwrap().stop();
    net.nodes.insert(3, Node::start(3, port));
    // The first peer's picture does not change: its probes meet a peer that has no session with it.
    (net.topology.generation, net.topology.renewed) = (2, Some(3));
    net.publish_to(&net[2]);
    net.publish_to(&net[3]);
    wait_until("a session that the restarted peer began", || net[3].established(1));
    wait_until("life with it", || net[3].peer(1).alive == Some(true));
    let frame = unicast(1, 3, b"after");
    net[1].send(&frame);
    net[3].receive_until(&frame);
}

#[test]
fn what_waits_for_a_session_is_bounded() {
    let net = Network::start(3, &[(1, 2), (2, 3)]);
    net.introduce();
    net.cables[&(2, 3)].cut(true);
    for round in 0..100u8 {
        net[1].send(&unicast(1, 3, &[round; 100]));
    }
    wait_until("overflow", || net[1].dropped(DropReason::SessionDown) == 84);
    assert_eq!(net[1].peer(3).waiting, 16);
    net.cables[&(2, 3)].cut(false);
    let last = unicast(1, 3, &[15; 100]);
    // The first sixteen have waited; if the handshake took too long they are gone, and this one goes on its own.
    wait_until("session", || net[1].established(3));
    net[1].send(&last);
    net[3].receive_until(&last);
    assert_eq!(net[1].peer(3).waiting, 0);
}

#[test]
fn every_datagram_of_a_train_is_classified() {
    let net = Network::start(2, &[(1, 2)]);
    let stranger = Port::new(bind(0, 1).unwrap().remove(0)).unwrap();
    let kinds = [0x40, 0x41, 4, 0x42, 0x11, 0x20, 0x88, 0x43, 0x44];
    let mut train = Vec::new();
    for (at, kind) in kinds.iter().enumerate() {
        let mut datagram = vec![*kind, 0, 0, 0];
        datagram.resize(if at + 1 == kinds.len() { 50 } else { 200 }, 7);
        train.extend(datagram);
    }
    let sent = stranger.send((Ipv4Addr::LOCALHOST, net[2].port).into(), &train, 200);
    assert_eq!((sent.sent, stranger.cuts()), (kinds.len(), true));
    wait_until("link control", || {
        net[2].control.lock().unwrap().iter().map(|(_, _, b)| b.len()).sum::<usize>() == 850
    });
    let firsts =
        |(_, stride, bytes): &Control| (*stride, bytes.chunks(*stride).map(|d| d[0]).collect::<Vec<_>>());
    let runs: Vec<_> = net[2].control.lock().unwrap().iter().map(firsts).collect();
    assert_eq!(runs, [(200, vec![0x40, 0x41]), (200, vec![0x42]), (200, vec![0x43, 0x44])]);
    for reason in
        [DropReason::UnknownSession, DropReason::EnvelopeSender, DropReason::Esp, DropReason::NotOurs]
    {
        assert_eq!(net[2].dropped(reason), 1, "{reason:?}");
    }
}

#[test]
fn a_flood_of_handshakes_is_answered_by_cookies() {
    let net = Network::start(2, &[(1, 2)]);
    let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    stranger.connect((Ipv4Addr::LOCALHOST, net[2].port)).unwrap();
    stranger.set_nonblocking(true).unwrap();
    let target = PublicKey::from(public_key(2));
    let mut tunn = Tunn::new(StaticSecret::from([66; 32]), target, None, None, 1, None);
    let mut message = [0; 256];
    let mut cookie = None;
    wait_until("cookie", || {
        for _ in 0..100 {
            let TunnResult::WriteToNetwork(initiation) = tunn.format_handshake_initiation(&mut message, true)
            else {
                panic!("an initiation")
            };
            stranger.send(initiation).unwrap();
        }
        let mut reply = [0; 256];
        cookie = stranger.recv(&mut reply).ok().map(|length| reply[..length].to_vec());
        cookie.is_some()
    });
    let cookie = cookie.unwrap();
    assert_eq!((cookie.len(), cookie[0]), (64, 3));
    assert!(net[2].dropped(DropReason::UnknownKey) >= 900 && net[2].dropped(DropReason::Handshake) >= 1);
    // Meanwhile the session that is up carries on.
    let frame = broadcast(1, b"undisturbed");
    net[1].send(&frame);
    net[2].receive_until(&frame);
}
