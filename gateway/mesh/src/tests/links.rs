//! Links that come and go: two machines, three in a row, a square, duplicates, restarts.

use std::time::Duration;

use weave_model::LinkId;

use super::network::{Network, address, config};
use super::peer;
use super::records::{identity, issued};
use crate::codec::Message;
use crate::{CloseReason, Command, ConnectionState, DialId, Event, LinkUp, Refused};

fn count(network: &Network, number: u16, which: impl Fn(&Event) -> bool) -> usize {
    network.events[&number].iter().filter(|event| which(event)).count()
}

fn routes(event: &Event) -> bool {
    matches!(event, Event::Routes(_))
}

/// Machines 1 to 4 in a square 1-2-3-4 whose diagonal 2-4 exists and whose diagonal 1-3 cannot be.
fn square() -> Network {
    let mut network = Network::of(4);
    network.apart.insert((1, 3));
    for (one, other) in [(1, 2), (2, 3), (3, 4), (4, 1), (2, 4)] {
        network.connect(one, other);
    }
    network.seconds(2);
    network
}

fn link_up(number: u16, link: u64, dial: Option<DialId>) -> LinkUp {
    let certificate = identity(number).certificate().to_vec();
    LinkUp { link: LinkId(link), certificate, remote: address(number), dial }
}

#[test]
fn two_machines_link_and_see_each_other() {
    let mut network = Network::of(2);
    network.connect(1, 2);
    network.seconds(1);
    assert_eq!((network.reached(1), network.reached(2)), (vec![2], vec![1]));
    assert!(network.agree());
    let route = network.routes(1).peers[&peer(2)].clone();
    assert_eq!((route.next_hop, route.via), (peer(2), vec![]));
    let connection = &network.machines[&1].connections()[0];
    assert_eq!((connection.state, connection.outbound), (ConnectionState::Established, true));
    assert_eq!(connection.nickname.as_deref(), Some("host-2"));
}

#[test]
fn a_machine_alone_knows_itself() {
    let network = Network::of(1);
    let routes = network.routes(1);
    assert!(routes.peers.is_empty() && routes.neighbours.is_empty());
    assert!(routes.local_short_id.is_some());
}

#[test]
fn three_in_a_row_meet_in_the_middle() {
    let mut network = Network::of(3);
    network.apart.insert((1, 3));
    network.connect(1, 2);
    network.connect(3, 2);
    network.seconds(1);
    let route = network.routes(1).peers[&peer(3)].clone();
    assert_eq!((route.next_hop, route.via, route.alternate), (peer(2), vec![peer(2)], None));
    assert_eq!(network.routes(2).trees[&peer(1)].children, [peer(3)]);
}

#[test]
fn a_square_without_a_diagonal_has_an_alternate() {
    let network = square();
    let route = network.routes(1).peers[&peer(3)].clone();
    assert_eq!(route.via.len(), 1);
    assert_eq!(route.next_hop.octets()[5] + route.alternate.unwrap().octets()[5], 2 + 4);
}

#[test]
fn a_lost_link_is_routed_around() {
    let mut network = square();
    let next = network.routes(1).peers[&peer(3)].next_hop.octets()[5].into();
    network.cut(1, next);
    network.pass(Duration::from_millis(30));
    let route = network.routes(1).peers[&peer(3)].clone();
    assert_eq!(u16::from(route.next_hop.octets()[5]), 6 - next);
    network.seconds(2);
    assert_eq!(network.reached(1), [2, 3, 4]);
}

#[test]
fn a_neighbour_that_frames_do_not_pass_to_is_routed_around_at_once() {
    let mut network = square();
    network.report(1, 2, true, 800);
    network.seconds(2);
    assert_eq!(network.routes(1).peers[&peer(2)].next_hop, peer(2));
    network.report(1, 2, false, 800);
    assert_eq!(network.routes(1).peers[&peer(2)].next_hop, peer(4));
    assert!(network.routes(1).neighbours.contains_key(&peer(2)), "the link itself stands");
    let reason = network.machines[&1].connections()[0].reason.clone();
    assert_eq!(reason.as_deref(), Some("no frames pass to this peer"));
    network.pass(Duration::from_millis(100));
    assert_eq!(network.routes(2).peers[&peer(1)].next_hop, peer(4));
    network.report(1, 2, true, 800);
    network.seconds(1);
    assert_eq!(network.routes(2).peers[&peer(1)].next_hop, peer(1));
}

#[test]
fn links_dialled_crosswise_become_one_without_flapping() {
    let mut network = Network::of(3);
    network.connect(1, 3);
    network.connect(2, 3);
    network.seconds(1);
    network.connect(1, 2);
    network.connect(2, 1);
    network.seconds(20);
    assert_eq!(network.links_between(1, 2), 1);
    for number in [1, 2] {
        assert_eq!(network.machines[&number].connections().len(), 2);
        assert_eq!(network.routes(number).peers[&peer(3 - number)].next_hop, peer(3 - number));
    }
    // The one that the lower name dialled.
    let connections = network.machines[&1].connections();
    assert!(connections.iter().any(|c| c.peer == Some(peer(2)) && c.outbound));
    // Once up, each is never without the other.
    for number in [1, 2] {
        let direct = network.events[&number].iter().filter_map(|event| match event {
            Event::Routes(routes) => Some(routes.neighbours.contains_key(&peer(3 - number))),
            _ => None,
        });
        assert!(direct.skip_while(|linked| !linked).all(|linked| linked));
    }
}

#[test]
fn of_two_links_dialled_by_one_side_the_later_stays() {
    let mut network = Network::of(2);
    network.link(2, 1);
    network.seconds(20);
    let first = network.routes(1).neighbours[&peer(2)].link;
    network.link(2, 1);
    network.seconds(1);
    assert_eq!(network.links_between(1, 2), 1);
    assert_ne!(network.routes(1).neighbours[&peer(2)].link, first);
    let duplicate = |e: &Event| matches!(e, Event::CloseLink { reason: CloseReason::Duplicate, .. });
    assert_eq!(count(&network, 1, duplicate), 1);
    assert_eq!(count(&network, 2, duplicate), 0);
}

#[test]
fn a_restarted_peer_is_back_before_its_old_link_has_timed_out() {
    let mut network = Network::of(2);
    network.connect(1, 2);
    network.seconds(30);
    network.kill(2);
    network.pass(Duration::from_millis(500));
    network.start(config(2, 2), identity(2));
    // The old link was dialled by the lower name, and machine 1 still believes in it.
    network.connect(2, 1);
    network.seconds(1);
    assert_eq!(network.routes(1).peers[&peer(2)].wireguard_key, [2; 32]);
    assert_eq!(network.links_between(1, 2), 1);
    let restarted = |e: &Event| matches!(e, Event::CloseLink { reason: CloseReason::Restarted, .. });
    assert_eq!(count(&network, 1, restarted), 1);
}

#[test]
fn a_peer_that_says_nothing_is_closed() {
    let mut network = Network::of(1);
    let machine = network.machines.get_mut(&1).unwrap();
    machine.handle_link_up(link_up(2, 7, None), network.now).unwrap();
    network.seconds(11);
    let silent = Event::CloseLink { link: LinkId(7), reason: CloseReason::Silent };
    assert!(network.events[&1].contains(&silent));
    assert!(network.routes(1).neighbours.is_empty());
}

#[test]
fn strangers_and_other_versions_are_not_heard() {
    let mut network = Network::of(1);
    let now = network.now;
    let machine = network.machines.get_mut(&1).unwrap();
    let mut hear = |link: u64, messages: &[Message]| {
        let _ = machine.handle_link_up(link_up(2, link, None), now);
        messages.iter().try_for_each(|m| machine.handle_message(LinkId(link), &m.encode(), now))
    };
    let hello = |lowest, highest| Message::Hello { lowest, highest, uid: 5 };
    assert_eq!(hear(1, &[Message::Digest(1)]), Err(Refused::Version));
    assert_eq!(hear(2, &[hello(2, 9)]), Err(Refused::Version));
    assert_eq!(hear(3, &[hello(1, 1), hello(1, 1)]), Err(Refused::Version));
    assert_eq!(hear(4, &[hello(1, 9), Message::Unknown(99)]), Ok(()));
    assert_eq!(machine.counters().unknown_kinds, 1);
    assert_eq!(machine.handle_message(LinkId(4), &[5, 1], now), Err(Refused::Malformed));
    // A link that was refused is forgotten, and what still comes from it does no harm.
    assert_eq!(machine.handle_message(LinkId(4), &[5, 1], now), Ok(()));
    assert!(machine.connections().is_empty());
}

#[test]
fn certificates_decide_who_may_have_a_link() {
    let mut network = Network::of(1);
    let now = network.now;
    let machine = network.machines.get_mut(&1).unwrap();
    let mut up = |certificate: &[u8]| {
        let certificate = certificate.to_vec();
        machine.handle_link_up(LinkUp { certificate, ..link_up(2, 1, None) }, now)
    };
    assert_eq!(up(&[1, 2, 3]), Err(Refused::Certificate));
    assert_eq!(up(identity(1).certificate()), Err(Refused::OneSelf));
    assert_eq!(up(issued(2, 77, 5).certificate()), Ok(()));
    // Another key under a known name, issued earlier.
    assert_eq!(up(identity(2).certificate()), Err(Refused::Outdated));
}

#[test]
fn the_limit_does_not_shut_out_whom_no_path_leads_to() {
    let mut network = Network::new();
    let mut settings = config(1, 1);
    settings.connection_limit = 1;
    network.start(settings, identity(1));
    [2, 3, 4].into_iter().for_each(|n| network.start(config(n, 1), identity(n)));
    network.connect(2, 1);
    network.connect(3, 2);
    network.seconds(2);
    // 3 is reached through 2, and 4 not at all.
    network.connect(3, 1);
    network.connect(4, 1);
    network.seconds(2);
    assert_eq!(network.links_between(1, 3), 0);
    assert_eq!(network.links_between(1, 4), 1);
    let refused = network.machines[&3].connections().into_iter().find(|c| c.remote == address(1).to_string());
    assert_eq!(refused.unwrap().reason.as_deref(), Some("the connection limit is reached"));
}

#[test]
fn a_leaving_peer_is_gone_at_once_and_not_brought_back() {
    let mut network = square();
    network.command(1, Command::Leave);
    network.pass(Duration::from_millis(100));
    for number in 2..=4 {
        assert!(!network.reached(number).contains(&1), "{number}");
        assert!(network.machines[&number].records().get(peer(1)).unwrap().record().leaving);
    }
    assert_eq!(count(&network, 1, |e| matches!(e, Event::CloseLink { reason: CloseReason::Leaving, .. })), 2);
    let machine = network.machines.get_mut(&1).unwrap();
    assert_eq!(machine.handle_link_up(link_up(2, 9999, None), network.now), Err(Refused::Leaving));
    network.machines.remove(&1);
    network.seconds(2 * 3600);
    for number in 2..=4 {
        assert!(network.machines[&number].records().get(peer(1)).is_none(), "{number}");
    }
    // It returns with what it remembered, or with nothing at all.
    network.start(config(1, 2), identity(1));
    network.connect(1, 2);
    network.seconds(2);
    assert_eq!(network.reached(3), [1, 2, 4]);
}

#[test]
fn an_idle_network_publishes_no_routes() {
    let mut network = square();
    network.seconds(60);
    let before = count(&network, 2, routes);
    for round in 0..100 {
        // Round trips jitter by a tenth.
        network.report(2, 3, true, 1000 + 10 * (round % 20));
        network.seconds(1);
    }
    assert!(count(&network, 2, routes) <= before + 1);
}

#[test]
fn a_neighbour_that_nobody_gets_frames_to_is_still_probed() {
    let mut network = Network::of(3);
    network.link(1, 2);
    network.link(2, 3);
    network.seconds(5);
    for one in [1, 3] {
        network.report(one, 2, false, 1);
        network.report(2, one, false, 1);
    }
    network.seconds(5);
    assert!(!network.routes(1).trees.contains_key(&peer(2)), "no tree leads there");
    assert_eq!(network.routes(1).peers[&peer(2)].next_hop, peer(2), "but probes do");
    assert_eq!(network.reached(1), [2]);
    for one in [1, 3] {
        network.report(one, 2, true, 1);
        network.report(2, one, true, 1);
    }
    network.seconds(5);
    assert_eq!((network.reached(1), network.reached(2)), (vec![2, 3], vec![1, 3]));
}

/// A link is published before it is measured; what it measures then is published to the nearest step.
#[test]
fn the_first_measurement_replaces_the_guess() {
    let mut network = Network::of(2);
    network.connect(1, 2);
    network.seconds(2);
    network.report(1, 2, true, 80_000);
    network.seconds(2);
    let published = network.machines[&2].records().get(peer(1)).unwrap().record().neighbours[&peer(2)].rtt;
    assert!((73_000..88_000).contains(&published.as_micros()), "{published:?}");
}
