//! Attempts: addresses in turn, the words of failures, and a flood of strangers.

use quinn::{ApplicationClose, ConnectionClose, ConnectionError, TransportErrorCode};

use super::support::{Node, Wire, credentials, linked, member, wait_until};
use crate::{dial, quic, reason};

fn endpoint(wire: &Wire, ca: u8, seed: u8) -> quinn::Endpoint {
    let member = member(ca, seed);
    quic::endpoint(wire.port.clone(), &member.identity, &credentials(&member)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_addresses_of_a_name_are_tried_in_turn() {
    let (stranger, b) = (Node::start(3, 3, &[]), Node::start(1, 2, &[]));
    let wire = Wire::open();
    let endpoint = endpoint(&wire, 1, 1);
    let link = dial::try_in_turn(&endpoint, &[stranger.wire.address, b.wire.address]).await.unwrap();
    assert_eq!(link.remote, b.wire.address);
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let all = [stranger.wire.address, silent];
    let why = dial::try_in_turn(&endpoint, &all).await.err().unwrap();
    let expected = format!(
        "{}: the certificate was not issued by this network's CA: password or CA differ; {silent}: no answer: is the \
         gateway running there, and UDP port {} open?",
        stranger.wire.address,
        silent.port()
    );
    assert_eq!(why, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_handshakes_do_not_keep_members_out() {
    let b = Node::start(1, 2, &[]);
    // It sends, but whatever comes back is lost, as with addresses that are not the sender's.
    let wire = Wire::open();
    wire.deafen();
    let flood = endpoint(&wire, 1, 9);
    let attempts: Vec<_> = (0..200).map(|_| quic::connect(&flood, b.wire.address).unwrap()).collect();
    wait_until("the flood has arrived", async || {
        (b.status().await.counters.port.delivered >= 200).then_some(())
    })
    .await;
    let a = Node::start(1, 1, &[b.wire.address]);
    linked(&a, &b).await;
    assert_eq!(a.status().await.counters.dials_failed, 0);
    drop(attempts);
}

#[test]
fn the_other_sides_words_are_put_in_ours() {
    let check = |code: TransportErrorCode, text: &str, expected: &str| {
        let reason = text.to_owned().into_bytes().into();
        let close = ConnectionClose { error_code: code, frame_type: None, reason };
        assert_eq!(reason::of_connection(&ConnectionError::ConnectionClosed(close)), expected);
    };
    check(
        TransportErrorCode::crypto(120),
        "peer doesn't support any known protocol",
        "the other side speaks another protocol than weave/1; its version is too old or too new",
    );
    check(
        TransportErrorCode::crypto(46),
        "invalid peer certificate: Other(OtherError(the certificate cannot be read))",
        "the other side refused our certificate: the certificate cannot be read",
    );
    check(
        TransportErrorCode::crypto(48),
        "",
        "the other side refused our certificate: its password or CA differs from ours",
    );
    check(TransportErrorCode::CONNECTION_REFUSED, "", "the other side has too many handshakes under way");
    let close = ApplicationClose { error_code: 0u32.into(), reason: Vec::new().into() };
    assert_eq!(
        reason::of_connection(&ConnectionError::ApplicationClosed(close)),
        "the other side closed the link without a reason"
    );
}
