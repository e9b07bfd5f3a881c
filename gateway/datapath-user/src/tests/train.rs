//! Trains of datagrams: what leaves in one send and in which order.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use crate::counters::{Counters, DropReason, Total};
use crate::socket::{MAX_TRAIN, Port};
use crate::train::Trains;
use crate::{DatapathError, bind};

/// A sending port with trains, and receivers.
struct Bench {
    port: Port,
    counters: Counters,
    trains: Trains,
    receivers: Vec<UdpSocket>,
}

impl Bench {
    fn new(receivers: usize) -> Bench {
        let port = Port::new(bind(0, 1).unwrap().remove(0)).unwrap();
        let receiver = || {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            socket
        };
        let receivers = (0..receivers).map(|_| receiver()).collect();
        Bench { port, counters: Counters::new(), trains: Trains::new(), receivers }
    }

    fn push(&mut self, receiver: usize, datagram: &[u8]) {
        let to = self.receivers[receiver].local_addr().unwrap();
        self.trains.push(&self.port, &self.counters, to, datagram.len(), |room| {
            assert!(room.len() >= 148);
            room[..datagram.len()].copy_from_slice(datagram);
            true
        });
    }

    fn flush(&mut self) {
        self.trains.flush(&self.port, &self.counters);
    }

    fn receive(&self, receiver: usize, count: usize) -> Vec<Vec<u8>> {
        let mut buffer = vec![0; 65_536];
        let mut one = || {
            let length = self.receivers[receiver].recv(&mut buffer).unwrap();
            buffer[..length].to_vec()
        };
        (0..count).map(|_| one()).collect()
    }
}

#[test]
fn datagrams_of_all_lengths_arrive_in_order() {
    let mut bench = Bench::new(1);
    let lengths = [900, 900, 900, 40, 900, 1400, 1400, 1, 1, 1, 2, 1472, 1000, 1000];
    let datagrams: Vec<Vec<u8>> = lengths.iter().enumerate().map(|(at, n)| vec![at as u8; *n]).collect();
    for datagram in &datagrams {
        bench.push(0, datagram);
    }
    bench.flush();
    assert_eq!(bench.receive(0, datagrams.len()), datagrams);
    assert_eq!(bench.counters.total(Total::DatagramsSent), datagrams.len() as u64);
}

#[test]
fn more_destinations_than_trains_keep_their_order_each() {
    let mut bench = Bench::new(11);
    for round in 0..30u8 {
        for receiver in 0..11 {
            bench.push(receiver, &[round; 100]);
        }
    }
    bench.flush();
    for receiver in 0..11 {
        let expected: Vec<_> = (0..30u8).map(|round| vec![round; 100]).collect();
        assert_eq!(bench.receive(receiver, 30), expected);
    }
}

#[test]
fn long_trains_are_split_at_the_kernels_limits() {
    let mut bench = Bench::new(1);
    for (size, count) in [(1_470, 60), (20, 150)] {
        for at in 0..count {
            bench.push(0, &vec![at as u8; size]);
        }
        bench.flush();
        let expected: Vec<_> = (0..count).map(|at| vec![at as u8; size]).collect();
        assert_eq!(bench.receive(0, count), expected);
    }
    bench.push(0, &vec![0; MAX_TRAIN + 1]);
    assert_eq!(bench.counters.dropped(DropReason::TooLong), 1);
    assert_eq!(bench.counters.dropped(DropReason::SendFailed), 0);
}

#[test]
fn what_was_not_written_is_not_sent() {
    let mut bench = Bench::new(1);
    let to = bench.receivers[0].local_addr().unwrap();
    bench.push(0, &[1; 50]);
    bench.trains.push(&bench.port, &bench.counters, to, 50, |_| false);
    bench.push(0, &[2; 50]);
    bench.flush();
    assert_eq!(bench.receive(0, 2), [vec![1; 50], vec![2; 50]]);
    assert_eq!(bench.counters.total(Total::DatagramsSent), 2);
}

#[test]
fn a_port_is_shared_among_our_own_sockets_only() {
    let ours = bind(0, 3).unwrap();
    let port = ours[0].local_addr().unwrap().port();
    assert!(ours.iter().all(|socket| socket.local_addr().unwrap().port() == port));
    assert!(matches!(bind(port, 3), Err(DatapathError::PortInUse { port: p }) if p == port));
    // The kernel spreads senders over them.
    for _ in 0..200 {
        let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        sender.send_to(b"x", (Ipv4Addr::LOCALHOST, port)).unwrap();
    }
    for socket in &ours {
        let received = std::iter::from_fn(|| socket.recv(&mut [0; 8]).ok()).count();
        assert!((20..=120).contains(&received), "{received} of 200");
    }
    drop(ours);
    assert_eq!(bind(port, 2).unwrap().len(), 2);
}
