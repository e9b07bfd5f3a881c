//! Peers that find, lose and regain each other.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use weave_mesh::{Command, ConnectionState};
use weave_model::PathReport;

use super::nat::Nat;
use super::support::{Node, Wire, linked, wait_until};
use crate::PeeringError;

/// Well below the four seconds after which silence ends a link.
const AT_ONCE: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_peers_know_each_other() {
    let b = Node::start(1, 2, &[]);
    let a = Node::start(1, 1, &[b.wire.address]);
    let (to_b, to_a) = linked(&a, &b).await;
    assert_eq!((to_b.remote, to_a.remote), (b.wire.address, a.wire.address));
    assert_eq!(to_b.relay_keys.receive, to_a.relay_keys.send);
    assert_ne!(to_b.relay_keys.send, to_b.relay_keys.receive);
    assert_eq!(format!("{to_b:?}").matches("***").count(), 1);
    for (node, other) in [(&a, &b), (&b, &a)] {
        let status = node.status().await;
        let mut names: Vec<_> = status.records.iter().map(|r| r.peer).collect();
        names.sort();
        let mut both = vec![node.name, other.name];
        both.sort();
        assert_eq!(names, both);
        let established: Vec<_> =
            status.connections.iter().filter(|c| c.state == ConnectionState::Established).collect();
        assert_eq!(established.len(), 1, "{:?}", status.connections);
        assert_eq!(established[0].peer, Some(other.name));
        assert_eq!(status.counters.links, 1);
        assert!(status.counters.messages_received > 0 && status.counters.messages_sent > 0);
    }
    let measured = async || {
        let status = a.status().await;
        let rtt = status.connections.first()?.rtt?;
        (rtt < Duration::from_millis(100)).then_some(rtt)
    };
    assert!(wait_until("the round trip is measured", measured).await > Duration::ZERO);
    wait_until("the path carries what QUIC tries at most", async || {
        (a.forwarding()?.routes.neighbours.get(&b.name)?.mtu == 1452).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_network_is_refused_and_both_sides_say_why() {
    let b = Node::start(3, 2, &[]);
    let a = Node::start(1, 1, &[b.wire.address]);
    let reason = wait_until("the dialler says why", async || {
        a.status().await.connections.into_iter().find_map(|c| c.reason)
    })
    .await;
    assert_eq!(reason, "the certificate was not issued by this network's CA: password or CA differ");
    let refusal = wait_until("the listener says why", async || b.status().await.refusals.pop()).await;
    assert_eq!(refusal.remote, a.wire.address);
    assert_eq!(
        refusal.reason,
        "the other side refused our certificate: the certificate was not issued by this network's CA: \
         password or CA differ"
    );
    assert_eq!(b.status().await.counters.links_up, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn targets_may_be_names() {
    let b = Node::start(1, 2, &[]);
    let a = Node::start(1, 1, &[]);
    let target = format!("localhost:{}", b.wire.address.port()).parse().unwrap();
    a.peering.command(Command::Connect { targets: vec![target], replace: false }).await.unwrap();
    linked(&a, &b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_target_says_why() {
    // A socket that nobody reads.
    let mute = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let unreachable: SocketAddr = "[2001:db8::1]:6783".parse().unwrap();
    let a = Node::start(1, 1, &[mute.local_addr().unwrap(), unreachable]);
    wait_until("both reasons are told", async || {
        let reasons: Vec<_> = a.status().await.connections.into_iter().filter_map(|c| c.reason).collect();
        let told = |words: &str| reasons.iter().any(|r| r.contains(words));
        (told("no answer: is the gateway running there")
            && told("no address that this host's UDP socket can reach"))
        .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_is_the_peer_itself_says_so() {
    let wire = Wire::open();
    let own = wire.address;
    let a = Node::start_on(wire, 1, 1, &[own]);
    let reason = wait_until("it says so", async || a.status().await.connections.pop()?.reason).await;
    assert_eq!(reason, "it is this peer itself");
    wait_until("both ends are closed", async || {
        let counters = a.status().await.counters;
        (counters.links_refused == 1 && counters.handshakes_failed == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_is_followed_to_the_address_that_a_nat_gives_it() {
    let b = Node::start(1, 2, &[]);
    let nat = Nat::start(b.wire.address).await;
    let a = Node::start(1, 1, &[nat.inside]);
    let (to_b, to_a) = linked(&a, &b).await;
    assert_eq!((to_b.remote, to_a.remote), (nat.inside, nat.outside()));
    nat.rebind().await;
    assert_ne!(nat.outside(), to_a.remote);
    wait_until("the other address is known", async || {
        (b.adjacency(&a)?.remote == nat.outside()).then_some(())
    })
    .await;
    assert_eq!(b.adjacency(&a).unwrap().link, to_a.link);
    assert_eq!(a.status().await.counters.links_down, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_drops_its_handle_ends_the_links() {
    let b = Node::start(1, 2, &[]);
    let a = Node::start(1, 1, &[b.wire.address]);
    linked(&a, &b).await;
    let Node { wire: _still_read, peering, .. } = b;
    drop(peering);
    let reason = wait_until("the link is down", async || {
        (a.status().await.counters.links == 0).then_some(())?;
        a.status().await.connections.into_iter().find_map(|c| c.reason)
    })
    .await;
    assert!(
        reason.contains("the peer's daemon ended without a farewell") || reason.contains("no answer"),
        "{reason}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_remembered_survives_a_farewell() {
    let b = Node::start(1, 2, &[]);
    let a = Node::start(1, 1, &[b.wire.address]);
    linked(&a, &b).await;
    let id = wait_until("a number is remembered", async || a.remembered().short_id).await;
    a.peering.stop(Duration::from_secs(5)).await;
    let remembered = a.remembered();
    assert_eq!(remembered.short_id, Some(id));
    assert_eq!(remembered.targets, [b.wire.address.into()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_vanishes_is_missed() {
    let b = Node::start(1, 2, &[]);
    let a = Node::start(1, 1, &[b.wire.address]);
    linked(&a, &b).await;
    a.wire.deafen();
    let reason = wait_until("the link is down", async || {
        (a.adjacency(&b).is_none()).then_some(())?;
        a.status().await.connections.into_iter().find_map(|c| c.reason)
    })
    .await;
    assert!(reason.contains("nothing was heard") || reason.contains("no answer"), "{reason}");
    assert_eq!(a.status().await.counters.links, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_stops_says_so() {
    let b = Node::start(1, 2, &[]);
    let a = Node::start(1, 1, &[b.wire.address]);
    linked(&a, &b).await;
    let before = Instant::now();
    b.peering.stop(Duration::from_secs(5)).await;
    let (name, asked) = (b.name, async || a.status().await);
    wait_until("its link is gone and its record says that it left", async || {
        let status = asked().await;
        let gone = status.counters.links == 0 && status.records.iter().any(|r| r.peer == name && r.leaving);
        gone.then_some(())
    })
    .await;
    assert!(before.elapsed() < AT_ONCE, "{:?}", before.elapsed());
    assert!(matches!(b.peering.status().await, Err(PeeringError::Stopped)));
    let command = Command::SetEndpoints(Vec::new());
    assert!(matches!(b.peering.command(command).await, Err(PeeringError::Stopped)));
    b.peering.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_comes_back_is_linked_again() {
    let b = Node::start(1, 2, &[]);
    let a = Node::start(1, 1, &[b.wire.address]);
    let (before, _) = linked(&a, &b).await;
    let Node { wire, peering, .. } = b;
    peering.stop(Duration::from_secs(5)).await;
    let b = Node::start_on(wire, 1, 2, &[]);
    let (after, _) = linked(&a, &b).await;
    assert_ne!(before.link, after.link);
    assert_ne!(before.relay_keys, after.relay_keys);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_was_killed_and_started_again_is_noticed_at_once() {
    let wire = Wire::open();
    let address = wire.address;
    let doomed = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let b = {
        let _inside = doomed.enter();
        Node::start_on(wire, 1, 2, &[])
    };
    let a = Node::start(1, 1, &[address]);
    linked(&a, &b).await;
    doomed.shutdown_background();
    let before = Instant::now();
    let b = Node::start_on(b.wire, 1, 2, &[]);
    wait_until("the old link is down", async || (a.status().await.counters.links_down == 1).then_some(()))
        .await;
    assert!(before.elapsed() < AT_ONCE, "{:?}", before.elapsed());
    linked(&a, &b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_dial_each_other_keep_one_link() {
    let (one, two) = (Wire::open(), Wire::open());
    let (at_a, at_b) = (one.address, two.address);
    let a = Node::start_on(one, 1, 1, &[at_b]);
    let b = Node::start_on(two, 1, 2, &[at_a]);
    linked(&a, &b).await;
    wait_until("one link remains", async || {
        let links = (a.status().await.counters.links, b.status().await.counters.links);
        (links == (1, 1)).then_some(())
    })
    .await;
    let (to_b, to_a) = linked(&a, &b).await;
    assert_eq!(to_b.relay_keys.receive, to_a.relay_keys.send);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_on_a_dual_stack_port_is_known_by_its_plain_address() {
    let b = Node::start_on(Wire::open_dual_stack(), 1, 2, &[]);
    let a = Node::start_on(Wire::open_dual_stack(), 1, 1, &[b.wire.address]);
    let (to_b, to_a) = linked(&a, &b).await;
    assert!(b.wire.address.is_ipv4());
    assert_eq!((to_b.remote, to_a.remote), (b.wire.address, a.wire.address));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_farewell_does_not_wait_for_the_dead() {
    let b = Node::start(1, 2, &[]);
    let a = Node::start(1, 1, &[b.wire.address]);
    linked(&a, &b).await;
    a.wire.deafen();
    b.wire.deafen();
    let before = Instant::now();
    a.peering.stop(Duration::from_millis(500)).await;
    assert!(before.elapsed() < AT_ONCE, "{:?}", before.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_that_know_one_find_all() {
    let first = Node::start_discovering(1, &[]);
    let mut nodes: Vec<Node> = (2..=6).map(|s| Node::start_discovering(s, &[first.wire.address])).collect();
    nodes.push(first);
    wait_until("everybody has one link with everybody", async || {
        for node in &nodes {
            let links = node.status().await.counters.links;
            let neighbours = node.forwarding()?.adjacencies.len();
            if (links, neighbours) != (5, 5) {
                return None;
            }
        }
        Some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_in_a_row_learn_of_each_other() {
    let c = Node::start(1, 3, &[]);
    let b = Node::start(1, 2, &[c.wire.address]);
    let a = Node::start(1, 1, &[b.wire.address]);
    wait_until("the ends reach each other over the middle", async || {
        (a.relays_to(&c) == Some(1) && c.relays_to(&a) == Some(1)).then_some(())
    })
    .await;
    assert!(a.adjacency(&c).is_none());
    for node in [&a, &b, &c] {
        assert_eq!(node.status().await.records.len(), 3);
    }
    wait_until("everybody has a number to remember", async || {
        [&a, &b, &c].iter().all(|node| node.remembered().short_id.is_some()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_the_data_path_finds_dead_is_not_used() {
    let c = Node::start(1, 3, &[]);
    let b = Node::start(1, 2, &[c.wire.address]);
    let a = Node::start(1, 1, &[b.wire.address, c.wire.address]);
    linked(&a, &b).await;
    wait_until("the third is linked with both", async || {
        (a.relays_to(&c) == Some(0) && b.relays_to(&c) == Some(0)).then_some(())
    })
    .await;
    let report = |alive| PathReport { peer: b.name, alive, rtt: None, mtu: None };
    a.peering.report(report(false));
    wait_until("the route leads round", async || (a.relays_to(&b) == Some(1)).then_some(())).await;
    a.peering.report(report(true));
    wait_until("the route is back", async || (a.relays_to(&b) == Some(0)).then_some(())).await;
}
