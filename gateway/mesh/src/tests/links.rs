//! Links that come and go: two machines, three in a row, a square, duplicates, restarts.

use super::network::Network;
use super::peer;

#[test]
fn two_machines_link_and_see_each_other() {
    let mut network = Network::of(2);
    network.connect(1, 2);
    network.seconds(1);
    assert_eq!((network.reached(1), network.reached(2)), (vec![2], vec![1]));
    assert!(network.agree());
    let route = network.routes(1).peers[&peer(2)].clone();
    assert_eq!((route.next_hop, route.via), (peer(2), vec![]));
}
