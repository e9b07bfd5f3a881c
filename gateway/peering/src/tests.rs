//! Loopback, real sockets, real time: a thread per socket reads it and delivers, as the data threads do.

mod misbehaviour;
mod peers;
mod port;
mod support;
