//! The shared port and TLS, without a mesh: quinn's own connections.

use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use quinn::udp::RecvMeta;
use quinn::{AsyncUdpSocket as _, ConnectionError};
use weave_model::{Train, canonical};

use super::support::{DEADLINE, Wire, credentials, member};
use crate::quic;

fn endpoint(wire: &Wire, ca: u8, seed: u8) -> quinn::Endpoint {
    let member = member(ca, seed);
    quic::endpoint(wire.port.clone(), &member.identity, &credentials(&member)).unwrap()
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("within the deadline")
}

/// The two ends of one connection; it closes when either is dropped.
type Pair = (quinn::Connection, quinn::Connection);

/// Sends a megabyte from `a` to `b`, so that trains, windows and full buffers all happen.
async fn bulk(a: &quinn::Endpoint, b: &quinn::Endpoint, address: SocketAddr) -> Pair {
    let sent: Vec<u8> = (0..1 << 20).map(|i: u32| (i >> 3) as u8).collect();
    let (one, two) = within(async {
        let dial = async { quic::connect(a, address).unwrap().await.unwrap() };
        let accept = async { b.accept().await.unwrap().await.unwrap() };
        tokio::join!(dial, accept)
    })
    .await;
    let send = async {
        let mut stream = one.open_uni().await.unwrap();
        stream.write_all(&sent).await.unwrap();
        stream.finish().unwrap();
    };
    let receive = async { two.accept_uni().await.unwrap().read_to_end(2 << 20).await.unwrap() };
    let ((), received) = within(async { tokio::join!(send, receive) }).await;
    assert!(received == sent);
    (one, two)
}

#[tokio::test]
async fn quic_passes_the_shared_port() {
    let (a, b) = (Wire::open(), Wire::open());
    let (one, two) = (endpoint(&a, 1, 1), endpoint(&b, 1, 2));
    let (connection, _other) = bulk(&one, &two, b.address).await;
    assert_eq!(connection.remote_address(), b.address);
    let expected = member(1, 2).identity.certificate().to_vec();
    let chain = connection.peer_identity().unwrap();
    let chain = chain.downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>().unwrap();
    assert_eq!(chain[0].as_ref(), expected);
    assert!(a.port.counters().delivered > 0 && b.port.counters().delivered > 100);
}

#[tokio::test]
async fn a_dual_stack_port_reaches_plain_ipv4_both_ways() {
    let (a, b) = (Wire::open_dual_stack(), Wire::open());
    let (one, two) = (endpoint(&a, 1, 1), endpoint(&b, 1, 2));
    let (connection, _other) = bulk(&one, &two, b.address).await;
    assert_eq!(canonical(connection.remote_address()), b.address);
    bulk(&two, &one, a.address).await;
}

#[tokio::test]
async fn two_dual_stack_ports_over_ipv6() {
    let (a, b) = (Wire::open_dual_stack(), Wire::open_dual_stack());
    let (one, two) = (endpoint(&a, 1, 1), endpoint(&b, 1, 2));
    let address = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, b.address.port()));
    let (connection, _other) = bulk(&one, &two, address).await;
    assert_eq!(canonical(connection.remote_address()), address);
}

#[tokio::test]
async fn another_network_is_refused_with_the_reason() {
    let (a, b) = (Wire::open(), Wire::open());
    let (one, two) = (endpoint(&a, 1, 1), endpoint(&b, 3, 2));
    let (dialled, accepted) = within(async {
        let dial = async { quic::connect(&one, b.address).unwrap().await.unwrap_err() };
        let accept = async { two.accept().await.unwrap().await.unwrap_err() };
        tokio::join!(dial, accept)
    })
    .await;
    let ConnectionError::TransportError(error) = dialled else { panic!("{dialled:?}") };
    let reason = crate::tls::refusal(&error.reason).unwrap();
    assert_eq!(reason, "the certificate was not issued by this network's CA: password or CA differ");
    let ConnectionError::ConnectionClosed(close) = accepted else { panic!("{accepted:?}") };
    assert_eq!(u64::from(close.error_code), 0x100 + 46);
}

#[tokio::test]
async fn a_full_queue_drops_and_counts() {
    let wire = Wire::open();
    let from = SocketAddr::from(([127, 0, 0, 1], 9));
    let deliver = |bytes: &[u8], stride| {
        wire.port.deliver(Train { from, to: None, ecn: 0, stride, known: true, bytes });
    };
    // Nobody reads: the port has no endpoint.
    let train = vec![0x40; 64_000];
    (0..100).for_each(|_| deliver(&train, 1000));
    let counters = wire.port.counters();
    assert!(counters.delivered >= 900 && counters.delivered <= 1100, "{counters:?}");
    assert_eq!(counters.delivered + counters.dropped_full, 6400);
    deliver(&[0x40; 2000], 2000);
    deliver(&[], 1200);
    assert_eq!(wire.port.counters().dropped_oversized, 1);
    // Of datagrams of one byte the runs are the bound, and no work is done beyond it.
    let wire = Wire::open();
    let tiny = Train { from, to: None, ecn: 0, stride: 1, known: false, bytes: &[0x40] };
    (0..10_000).for_each(|_| wire.port.deliver(tiny));
    assert_eq!(wire.port.counters().delivered, 2048);
}

#[tokio::test]
async fn a_flood_of_strangers_does_not_stand_before_a_neighbour() {
    let wire = Wire::open();
    let address = |last| SocketAddr::from(([127, 0, 0, last], 9));
    let train = |known, bytes| {
        let from = address(if known { 1 } else { 2 });
        wire.port.deliver(Train { from, to: None, ecn: 0, stride: 1000, known, bytes });
    };
    let flood = vec![0x40; 64_000];
    (0..100).for_each(|_| train(false, &flood));
    let strange = wire.port.counters();
    assert!(strange.delivered <= 256 && strange.dropped_full > 6000, "{strange:?}");
    train(true, &[0x41; 1500]);
    assert_eq!(wire.port.counters().delivered, strange.delivered + 2, "a neighbour's datagrams find room");
    let mut buffers = vec![vec![0; 64_000]; 2];
    let mut slices: Vec<_> = buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
    let mut metas = [RecvMeta::default(); 2];
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(2)) = wire.port.poll_recv(&mut context, &mut slices, &mut metas) else {
        panic!("two runs wait");
    };
    assert_eq!(metas.map(|meta| meta.addr), [address(1), address(2)]);
    assert_eq!((metas[0].len, metas[0].stride), (1500, 1000));
    assert!(buffers[0][..1500].iter().all(|byte| *byte == 0x41));
    assert!(buffers[1][..metas[1].len].iter().all(|byte| *byte == 0x40));
}

#[tokio::test]
async fn garbage_does_not_disturb_a_connection() {
    let (a, b) = (Wire::open(), Wire::open());
    let (one, two) = (endpoint(&a, 1, 1), endpoint(&b, 1, 2));
    let (connection, _other) = bulk(&one, &two, b.address).await;
    let noise: Vec<u8> = (0..1200u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8 | 0x40).collect();
    for length in [1, 5, 20, 21, 100, 1200] {
        for stride in [1, 7, length] {
            let train =
                Train { from: a.address, to: None, ecn: 3, stride, known: false, bytes: &noise[..length] };
            b.port.deliver(train);
        }
    }
    let mut stream = within(connection.open_uni()).await.unwrap();
    within(stream.write_all(b"still here")).await.unwrap();
    stream.finish().unwrap();
    within(stream.stopped()).await.unwrap();
    assert!(tokio::time::timeout(Duration::ZERO, connection.closed()).await.is_err());
}
