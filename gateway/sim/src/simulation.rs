//! One run: a world drawn from a seed, faults, and the checks afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::faults::{Kept, schedule};
use crate::reference::{Ground, faults_in, restlessness_in};
use crate::underlay::Underlay;
use crate::world::World;

/// How long things go wrong.
const FAULTS: Duration = Duration::from_secs(60);

/// By then every link that an operator asked for is up and routes lead over all there are: the longest pause before a target is dialled again, half as much
/// again, and some time to tell everybody.
const CONNECTED: Duration = Duration::from_secs(60 + 100);

/// By then everything is at rest: the same with the longest pause before a peer is dialled again.
const AT_REST: Duration = Duration::from_secs(60 + 560);

/// Without a change of routes for so long a gateway is at rest.
const QUIET: Duration = Duration::from_secs(60);

/// Runs `count` gateways through the faults that follow from `seed`; `Err` says what was wrong and what led there.
pub fn run(count: usize, seed: u64) -> Result<(), String> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let underlay = Underlay::draw(count, &mut rng);
    let targets = targets(&underlay, count, &mut rng);
    let faults = schedule(&underlay, count, FAULTS, &mut rng);
    let mut world = World::new(underlay, targets, rng.random());
    (0..count).for_each(|number| world.start(number, Kept::Everything));
    for (at, fault) in faults {
        world.plan(at, fault);
    }
    // A link may have come up this very moment: then the routes need one more.
    let moments =
        [Duration::ZERO, Duration::from_secs(3), Duration::from_secs(6)].map(|more| CONNECTED + more);
    let wrong = moments.map(|moment| {
        world.run_until(moment);
        faults_in(&world, Ground::Links)
    });
    if wrong.iter().all(|wrong| !wrong.is_empty()) {
        let [.., wrong] = wrong;
        return verdict(&world, seed, "after the faults", wrong);
    }
    world.run_until(AT_REST);
    let wrong = [faults_in(&world, Ground::Roads), restlessness_in(&world, QUIET)].concat();
    verdict(&world, seed, "at rest", wrong)
}

fn verdict(world: &World, seed: u64, when: &str, wrong: Vec<String>) -> Result<(), String> {
    if wrong.is_empty() {
        return Ok(());
    }
    let log: Vec<&str> = world.log.iter().map(String::as_str).collect();
    Err(format!("seed {seed}, {when}:\n{}\nwhat happened last:\n{}", wrong.join("\n"), log.join("\n")))
}

/// Targets that an operator would give: enough that everybody within reach is found, from whichever side can dial.
fn targets(underlay: &Underlay, count: usize, rng: &mut ChaCha8Rng) -> Vec<Vec<usize>> {
    let mut targets: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (one, other) in underlay.roads() {
        // Every road's ends know each other; an operator need not, but a final fault may leave any road as the last.
        if rng.random_bool(0.5) || needed((one, other), &targets, count) {
            let (from, to) = if underlay.can_dial(one, other) { (one, other) } else { (other, one) };
            targets.entry(from).or_default().insert(to);
        }
    }
    (0..count).map(|n| targets.remove(&n).unwrap_or_default().into_iter().collect()).collect()
}

/// Whether a road joins gateways that the targets so far do not.
fn needed((one, other): (usize, usize), targets: &BTreeMap<usize, BTreeSet<usize>>, count: usize) -> bool {
    let joined = |a: usize, b: usize| {
        let has = |a: usize, b: usize| targets.get(&a).is_some_and(|t| t.contains(&b));
        has(a, b) || has(b, a)
    };
    let (mut seen, mut open) = (BTreeSet::from([one]), vec![one]);
    while let Some(at) = open.pop() {
        open.extend((0..count).filter(|n| joined(at, *n)).filter(|n| seen.insert(*n)).collect::<Vec<_>>());
    }
    !seen.contains(&other)
}
