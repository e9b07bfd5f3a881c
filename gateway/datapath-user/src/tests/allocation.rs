//! The way of a packet does not allocate: counted over a whole transfer between two datapaths.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::loopback::{collect_tcp, super_frame};
use super::node::{Node, broadcast};
use super::topology::Topology;
use super::wait_until;

/// The system's allocator with a counter of what any thread asks for.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands everything to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above; `at` came from the system's allocator.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn packets_are_moved_without_allocating() {
    let nodes: Vec<Node> = (1..=2).map(|number| Node::start(number, 0)).collect();
    let at = |node: &Node| SocketAddr::from((Ipv4Addr::LOCALHOST, node.port));
    let remotes = BTreeMap::from([(1, at(&nodes[0])), (2, at(&nodes[1]))]);
    let topology = Topology::new(&[(1, 2)]);
    for node in &nodes {
        node.datapath.as_ref().unwrap().publish(topology.forwarding(node.number, &remotes));
    }
    let hello = broadcast(2, b"hello");
    nodes[1].send(&hello);
    nodes[0].receive_until(&hello);
    wait_until("MTU", || nodes[0].peer(2).alive == Some(true));
    let payload = vec![7; 60_000];
    let (offload, frame) = super_frame(&payload);
    let round = || {
        nodes[0].send_offload(offload, &frame);
        assert_eq!(collect_tcp(&nodes[1], payload.len()).len(), payload.len());
    };
    // Buffers that are kept grow in the first rounds.
    (0..5).for_each(|_| round());
    let (before, sent) = (ALLOCATIONS.load(Ordering::Relaxed), nodes[0].peer(2).sent.frames);
    (0..100).for_each(|_| round());
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    let packets = (nodes[0].peer(2).sent.frames - sent) as usize;
    assert_eq!(packets, 4_500);
    // What is left is this test's own: a handful for each of a hundred rounds.
    assert!(allocations < packets / 3, "{allocations} allocations for {packets} packets");
}
