//! Real TAP devices in bridges, in network namespaces joined by veth: what a user's programs meet.

mod site;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use site::{Network, Site, Underlay};

use super::wait_until;
use crate::PathStatus;

const MEGABYTES: usize = 50;

/// Pings once a tenth of a second, five times; all must be answered.
fn ping(from: &Site, arguments: &str) {
    let command = format!("ping -n -q -c 5 -i 0.1 -W 5 {arguments}");
    let output = from.run(&command);
    assert!(output.contains("5 received"), "{command}: {output}");
}

/// Sends bytes over TCP and compares them; returns gigabits a second.
fn transfer(from: &Site, to: &Site, address: &str) -> f64 {
    let address: SocketAddr = address.parse().unwrap();
    let block: Vec<u8> = (0..1_000_003u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let listener = to.inside(move || TcpListener::bind(address).unwrap());
    let expected = block.clone();
    let receiver = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut received = vec![0; expected.len()];
        for _ in 0..MEGABYTES {
            stream.read_exact(&mut received).unwrap();
            assert!(received == expected, "bytes changed on the way");
        }
        stream.write_all(b"done").unwrap();
    });
    let mut stream = from.inside(move || TcpStream::connect(address).unwrap());
    stream.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let began = Instant::now();
    for _ in 0..MEGABYTES {
        stream.write_all(&block).unwrap();
    }
    stream.read_exact(&mut [0; 4]).unwrap();
    let rate = (block.len() * MEGABYTES * 8) as f64 / began.elapsed().as_secs_f64() / 1e9;
    receiver.join().unwrap();
    rate
}

/// Everything that a user would try between the first and the last site.
fn exercise(net: &Network) {
    let (first, last) = (&net.sites[0], &net.sites[net.sites.len() - 1]);
    let n = net.sites.len();
    ping(first, &format!("10.32.0.{n}"));
    ping(first, &format!("-s 1348 -M do 10.32.0.{n}"));
    ping(first, &format!("-6 fd00:32::{n}"));
    ping(last, "-s 4000 10.32.0.1");
    for address in [format!("10.32.0.{n}:5001"), format!("[fd00:32::{n}]:5002")] {
        let rate = transfer(first, last, &address);
        eprintln!("{} sites in a row, TCP to {address}: {rate:.2} Gb/s", n);
    }
    let status = first.node().status();
    eprintln!("{:?}\n{:?}", status.totals, status.drops);
    assert!(status.segmentation, "trains leave in one piece");
    let totals = last.node().status().totals;
    assert!(totals.trains_received * 3 < totals.datagrams_received, "trains arrive in one piece: {totals:?}");
}

#[test]
fn two_sites_behind_one_link() {
    let net = Network::row(2, Underlay { v6: false, mtu: 1500 });
    exercise(&net);
    let status = net.sites[0].node().status();
    assert!(matches!(status.peers[0].path, PathStatus::Direct { .. }));
}

#[test]
fn two_sites_behind_a_relay() {
    let net = Network::row(3, Underlay { v6: false, mtu: 1500 });
    exercise(&net);
    let relay = net.sites[1].node().status();
    let (relayed, delivered) = (relay.totals.relayed, relay.totals.tap_written);
    assert!(
        relayed > 50_000 && delivered < 1_000,
        "relayed {relayed} datagrams, delivered {delivered} frames"
    );
}

#[test]
fn an_underlay_that_is_too_narrow_is_found_and_used() {
    let net = Network::row(2, Underlay { v6: false, mtu: 1400 });
    let peer = || net.sites[0].node().status().peers[0].mtu;
    // 1400 less IPv4, UDP, WireGuard and ours: 28 + 32 + 50.
    wait_until("path MTU", || peer().is_some_and(|mtu| (1290 - 8..=1290).contains(&mtu)));
    exercise(&net);
}

#[test]
fn an_ipv6_underlay_carries_less_in_one_piece() {
    let net = Network::row(3, Underlay { v6: true, mtu: 1500 });
    let mtu = |of: &str| {
        let status = net.sites[0].node().status();
        status.peers.iter().find(|peer| peer.nickname == of).unwrap().mtu
    };
    // 20 bytes more than IPv4 takes: 48 + 32 + 50.
    wait_until("path MTU", || mtu("peer2").is_some_and(|mtu| (1370 - 8..=1370).contains(&mtu)));
    exercise(&net);
    // And the envelope's twelve.
    wait_until("path MTU by the relay", || mtu("peer3").is_some_and(|mtu| (1358 - 8..=1358).contains(&mtu)));
}

#[test]
fn a_silent_link_is_left_and_found_again() {
    let net = Network::row(2, Underlay { v6: false, mtu: 1500 });
    ping(&net.sites[0], "10.32.0.2");
    let alive = || net.sites[0].node().status().peers[0].alive;
    wait_until("life", || alive() == Some(true));
    net.sites[1].run("ip link set wire1 down");
    wait_until("death", || alive() == Some(false));
    net.sites[1].run("ip link set wire1 up");
    wait_until("life again", || alive() == Some(true));
    ping(&net.sites[0], "10.32.0.2");
}

#[test]
fn a_silent_loss_in_a_triangle_costs_half_a_second_at_most() {
    let net = Network::start(3, &[(1, 2), (2, 3), (1, 3)], Underlay { v6: false, mtu: 1500 });
    ping(&net.sites[0], "10.32.0.3");
    let peer =
        || net.sites[0].node().status().peers.into_iter().find(|peer| peer.nickname == "peer3").unwrap();
    wait_until("life", || peer().alive == Some(true));
    let before = peer().sent.frames;
    let output = std::thread::scope(|scope| {
        let ping = scope.spawn(|| net.sites[0].run("ping -n -q -c 200 -i 0.01 -W 2 10.32.0.3"));
        wait_until("some answers", || peer().sent.frames > before + 50);
        // What comes from site 1 by their wire is for nobody then: dropped without a word.
        net.sites[2].run("ip addr del 10.98.3.2/30 dev wire3");
        ping.join().unwrap()
    });
    let received = output.split(", ").find_map(|part| part.strip_suffix(" received"));
    let lost = 200 - received.unwrap().parse::<u32>().unwrap();
    eprintln!("lost {lost} pings of 10 ms");
    assert!((5..=60).contains(&lost), "{output}");
    assert!(matches!(peer().path, PathStatus::Via { alternate: true, .. }), "{:?}", peer());
}
