//! Two hundred networks in trouble, and the means to judge them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::{Fault, Ground, Kept, Road, Underlay, World, faults_in, restlessness_in};

/// As many seeds as the default profile runs.
const SEEDS: u64 = 200;

/// The gateways of one network.
const GATEWAYS: usize = 12;

#[test]
fn whatever_happens_the_network_heals() {
    let next = AtomicU64::new(0);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let work = || {
            let mut failures = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= SEEDS {
                    return failures;
                }
                failures.extend(crate::run(GATEWAYS, seed).err());
            }
        };
        let workers: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(failures.is_empty(), "{} of {SEEDS} seeds failed\n{}", failures.len(), failures.join("\n\n"));
}

/// The checks themselves can fail: each thing that is broken behind the gateways' backs is found.
#[test]
fn the_reference_finds_what_is_broken() {
    let mut world = small();
    world.run_until(Duration::from_secs(30));
    assert_eq!(faults_in(&world, Ground::Roads), [""; 0]);
    assert_eq!(faults_in(&world, Ground::Links), [""; 0]);
    assert_eq!(restlessness_in(&world, Duration::from_secs(10)), [""; 0]);
    assert!(!restlessness_in(&world, Duration::from_secs(30)).is_empty(), "it began to rest later");

    world.underlay.set_lossy((0, 1), true);
    let wrong = faults_in(&world, Ground::Roads).join("\n");
    assert!(wrong.contains("0 → 1: no frame passes from 0 to 1"), "{wrong}");
    assert!(wrong.contains("the tree of 0: no frame passes from 0 to 1"), "{wrong}");
    world.underlay.set_lossy((0, 1), false);
    assert_eq!(faults_in(&world, Ground::Roads), [""; 0]);
    world.wires.clear();
    assert!(faults_in(&world, Ground::Links).contains(&"0 has routes to {1, 2}, not to {}".to_owned()));
    let restless = restlessness_in(&world, Duration::ZERO).join("\n");
    assert!(restless.contains("0 links between 0 and 1"), "{restless}");
}

#[test]
fn a_seed_does_the_same_again() {
    let logs = [(), ()].map(|()| {
        let mut world = small();
        world.plan(Duration::from_secs(9), Fault::Crash(1));
        world.plan(Duration::from_secs(20), Fault::Start(1, Kept::Key));
        world.run_until(Duration::from_secs(60));
        assert_eq!(faults_in(&world, Ground::Roads), [""; 0]);
        world.log
    });
    assert!(logs[0].len() > 5);
    assert_eq!(logs[0], logs[1]);
}

/// All of a full mesh start at once and know one of them; then one dies.
#[test]
fn a_full_mesh_comes_up_and_loses_one_at_little_cost() {
    const COUNT: usize = 24;
    let road = Road { dialable: [true, true], delay: Duration::from_millis(3) };
    let roads = (0..COUNT).flat_map(|a| (a + 1..COUNT).map(move |b| ((a, b), road)));
    let targets = (0..COUNT).map(|n| if n == 0 { vec![] } else { vec![0] }).collect();
    let mut world = World::new(Underlay::of(roads), targets, 7);
    (0..COUNT).for_each(|number| world.start(number, Kept::Everything));
    world.run_until(Duration::from_secs(8));
    assert_eq!(faults_in(&world, Ground::Roads), [""; 0]);
    // Each learns some versions of each: messages grow with the square of the count, and not with its cube.
    let pairs = COUNT * (COUNT - 1);
    let (messages, bytes) = world.sent;
    assert!(messages < 40 * pairs, "{messages} messages for {pairs} pairs");
    assert!(bytes < 20_000 * pairs, "{bytes} bytes for {pairs} pairs");
    world.plan(Duration::from_secs(12), Fault::Crash(3));
    world.run_until(Duration::from_secs(11));
    let before = world.sent.0;
    world.run_until(Duration::from_secs(19));
    assert_eq!(faults_in(&world, Ground::Roads), [""; 0]);
    // A record and an offer from each to each.
    assert!(world.sent.0 - before < 3 * pairs, "{} messages for {pairs} pairs", world.sent.0 - before);
}

/// Three gateways, the outer two with the middle one as their target; the road between the outer two is slow.
fn small() -> World {
    let both = Road { dialable: [true, true], delay: Duration::from_millis(3) };
    let slow = Road { delay: Duration::from_millis(30), ..both };
    let underlay = Underlay::of([((0, 1), both), ((1, 2), both), ((0, 2), slow)]);
    let mut world = World::new(underlay, vec![vec![1], vec![], vec![1]], 7);
    (0..3).for_each(|number| world.start(number, Kept::Everything));
    world
}
