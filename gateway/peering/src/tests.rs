//! Loopback, real sockets, real time: a thread per socket reads it and delivers, as the data threads do.

mod dialling;
mod misbehaviour;
mod nat;
mod outbox;
mod peers;
mod port;
mod renewal;
mod slots;
mod support;
