//! Outgoing trains: datagrams to one address gathered until one send takes them all.

use std::net::SocketAddr;

use crate::counters::{Counters, DropReason};
use crate::socket::{MAX_SEGMENTS, MAX_TRAIN, Port};

/// Destinations with an open train at once; one more sends the train that was opened first.
const TRAINS: usize = 8;
/// Room behind the longest train, so that every reservation is at least this long (boringtun wants 148).
const SLACK: usize = 256;

/// The trains of one thread. Datagrams to one address keep their order.
#[derive(Debug)]
pub(crate) struct Trains {
    trains: Vec<Train>,
    used: usize,
    too_big: Option<SocketAddr>,
}

#[derive(Debug)]
struct Train {
    to: SocketAddr,
    bytes: Vec<u8>,
    length: usize,
    stride: usize,
    count: usize,
}

impl Trains {
    pub(crate) fn new() -> Trains {
        let to = SocketAddr::from(([0, 0, 0, 0], 0));
        // Allocated zeroed, so the kernel gives the pages when they are first written.
        let train = || Train { to, bytes: vec![0; MAX_TRAIN + SLACK], length: 0, stride: 0, count: 0 };
        Trains { trains: (0..TRAINS).map(|_| train()).collect(), used: 0, too_big: None }
    }

    /// Appends the datagram of `length` bytes that `write` makes; it says `false` when there is none after all.
    ///
    /// `write` gets at least `length` and never less than 148 bytes.
    pub(crate) fn push(
        &mut self,
        port: &Port,
        counters: &Counters,
        to: SocketAddr,
        length: usize,
        write: impl FnOnce(&mut [u8]) -> bool,
    ) {
        if length == 0 || length > MAX_TRAIN {
            counters.count(DropReason::TooLong);
            return;
        }
        let (train, too_big) = self.train(port, counters, to);
        if train.count > 0 && (length > train.stride || train.length + length > MAX_TRAIN) {
            *too_big = train.send(port, counters).or(*too_big);
        }
        let at = train.length;
        if !write(&mut train.bytes[at..]) {
            return;
        }
        if train.count == 0 {
            train.stride = length;
        }
        train.length += length;
        train.count += 1;
        // A shorter datagram can only be the last.
        if length < train.stride || train.count == MAX_SEGMENTS {
            *too_big = train.send(port, counters).or(*too_big);
        }
    }

    /// Sends everything.
    pub(crate) fn flush(&mut self, port: &Port, counters: &Counters) {
        for train in &mut self.trains[..self.used] {
            self.too_big = train.send(port, counters).or(self.too_big);
        }
        self.used = 0;
    }

    /// The address of a datagram that was too large since the last call.
    pub(crate) fn take_too_big(&mut self) -> Option<SocketAddr> {
        self.too_big.take()
    }

    fn train(
        &mut self,
        port: &Port,
        counters: &Counters,
        to: SocketAddr,
    ) -> (&mut Train, &mut Option<SocketAddr>) {
        let open = self.trains[..self.used].iter().position(|t| t.to == to);
        let at = open.unwrap_or_else(|| {
            if self.used == TRAINS {
                self.too_big = self.trains[0].send(port, counters).or(self.too_big);
                self.trains.rotate_left(1);
                self.used -= 1;
            }
            self.used += 1;
            self.trains[self.used - 1].to = to;
            self.used - 1
        });
        (&mut self.trains[at], &mut self.too_big)
    }
}

impl Train {
    /// Empties the train; returns where it went when part of it was too large.
    fn send(&mut self, port: &Port, counters: &Counters) -> Option<SocketAddr> {
        let bytes = &self.bytes[..self.length];
        (self.length, self.count) = (0, 0);
        if bytes.is_empty() {
            return None;
        }
        let sent = port.send(self.to, bytes, self.stride);
        counters.sent(sent);
        (sent.too_big > 0).then_some(self.to)
    }
}
