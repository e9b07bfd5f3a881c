//! What strangers and misbehaving members send closes nothing but their own link.

use quinn::{ConnectionError, SendStream};
use weave_mesh::MAX_MESSAGE;
use weave_model::Train;

use super::support::{DEADLINE, Node, Wire, credentials, linked, member, wait_until};
use crate::link::Established;
use crate::quic;

/// A member that speaks QUIC and then whatever the test makes it say.
struct Rogue {
    wire: Wire,
    endpoint: quinn::Endpoint,
}

impl Rogue {
    fn new() -> Rogue {
        let wire = Wire::open();
        let member = member(1, 9);
        let endpoint = quic::endpoint(wire.port.clone(), &member.identity, &credentials(&member)).unwrap();
        Rogue { wire, endpoint }
    }

    async fn connect(&self, node: &Node) -> quinn::Connection {
        within(quic::connect(&self.endpoint, node.wire.address).unwrap()).await.unwrap()
    }

    /// A link on which the empty messages were exchanged.
    async fn link(&self, node: &Node) -> Established {
        within(Established::on(self.connect(node).await)).await.unwrap()
    }
}

async fn within<T>(future: impl IntoFuture<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("within the deadline")
}

/// The words with which the other side closed.
async fn closed(connection: &quinn::Connection) -> String {
    match within(connection.closed()).await {
        ConnectionError::ApplicationClosed(close) => String::from_utf8(close.reason.to_vec()).unwrap(),
        other => panic!("closed by {other:?}"),
    }
}

async fn write(stream: &mut SendStream, bytes: &[u8]) {
    within(stream.write_all(bytes)).await.unwrap();
}

/// Two peers that get along, and one that does not.
async fn scene() -> (Node, Node, Rogue) {
    let b = Node::start(1, 2, &[]);
    let a = Node::start(1, 1, &[b.wire.address]);
    linked(&a, &b).await;
    (a, b, Rogue::new())
}

/// The link between the two is the one of before.
async fn undisturbed(a: &Node, b: &Node) {
    let status = b.status().await;
    assert!(status.connections.iter().any(|c| c.peer == Some(a.name)), "{:?}", status.connections);
    assert_eq!(a.status().await.counters.links_down, 0);
    assert_eq!(a.status().await.counters.links, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_longer_than_allowed_ends_its_link() {
    let (a, b, rogue) = scene().await;
    for length in [MAX_MESSAGE as u32 + 1, u32::MAX] {
        let mut link = rogue.link(&b).await;
        write(&mut link.send, &length.to_be_bytes()).await;
        let words = closed(&link.connection).await;
        assert_eq!(words, format!("a message of {length} bytes, longer than the {MAX_MESSAGE} allowed"));
    }
    undisturbed(&a, &b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_makes_no_sense_ends_its_link() {
    let (a, b, rogue) = scene().await;
    let mut link = rogue.link(&b).await;
    write(&mut link.send, &[0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff]).await;
    assert!(!closed(&link.connection).await.is_empty());
    wait_until("the refusal is counted", async || {
        (b.status().await.counters.messages_refused == 1).then_some(())
    })
    .await;
    undisturbed(&a, &b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_begins_with_an_empty_message() {
    let (a, b, rogue) = scene().await;
    let connection = rogue.connect(&b).await;
    let mut stream = within(connection.open_uni()).await.unwrap();
    write(&mut stream, &[0, 0, 0, 1, 7]).await;
    assert_eq!(closed(&connection).await, "the first message is not empty");
    let connection = rogue.connect(&b).await;
    let mut stream = within(connection.open_uni()).await.unwrap();
    write(&mut stream, &[0, 0]).await;
    stream.finish().unwrap();
    assert_eq!(closed(&connection).await, "the control stream ended");
    undisturbed(&a, &b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ended_or_refused_stream_ends_its_link() {
    let (a, b, rogue) = scene().await;
    let mut link = rogue.link(&b).await;
    link.send.finish().unwrap();
    assert_eq!(closed(&link.connection).await, "the control stream ended");
    let mut link = rogue.link(&b).await;
    link.receive.stop(7u32.into()).unwrap();
    // A greeting, so that there is an answer to refuse.
    assert!(!closed(&link.connection).await.is_empty());
    undisturbed(&a, &b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_of_goodbye_are_shown_without_what_steers_a_terminal() {
    let (a, b, rogue) = scene().await;
    let link = rogue.link(&b).await;
    let words = format!("so long\u{1b}[2J\n{}", "x".repeat(500));
    link.connection.close(9u32.into(), words.as_bytes());
    let error = ConnectionError::ApplicationClosed(quinn::ApplicationClose {
        error_code: 9u32.into(),
        reason: words.into_bytes().into(),
    });
    let shown = crate::reason::of_connection(&error);
    assert!(shown.starts_with("the other side closed the link: so long [2J xxx"), "{shown}");
    assert!(shown.len() < 250);
    wait_until("the link is gone", async || (b.status().await.counters.links == 1).then_some(())).await;
    undisturbed(&a, &b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_on_the_port_disturbs_nobody() {
    let (a, b, rogue) = scene().await;
    let noise: Vec<u8> = (0..65_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for (at, from) in [(0, a.wire.address), (7, rogue.wire.address), (100, b.wire.address)] {
        for (stride, first) in [(1, 0x40), (21, 0x40), (1200, 0xc0), (1472, 0xff)] {
            let mut bytes = noise[at..at + 40_000].to_vec();
            bytes.iter_mut().step_by(stride).for_each(|b| *b |= first);
            b.wire.port.deliver(Train { from, to: None, ecn: 1, stride, known: false, bytes: &bytes });
        }
    }
    // A handshake passes through whatever noise is queued, so the noise has been dealt with after it.
    let link = rogue.link(&b).await;
    assert_eq!(link.remote, b.wire.address);
    undisturbed(&a, &b).await;
}
