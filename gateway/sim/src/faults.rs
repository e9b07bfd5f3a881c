//! What goes wrong, and when: a schedule drawn from the seed.

use std::time::Duration;

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use crate::underlay::{Pair, Underlay};

/// One thing that goes wrong or is mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing passes a road; its links time out unless it opens in time.
    Close(Pair),
    /// The road is as before.
    Open(Pair),
    /// Frames are lost on a road although its link lives; only the datapath's probes notice.
    Lose(Pair),
    /// Frames pass again.
    Pass(Pair),
    /// A gateway stops without a word.
    Crash(usize),
    /// A gateway withdraws and stops.
    Leave(usize),
    /// An operator tells all that run that a gateway is dead, which may be wrong.
    Bury(usize),
    /// A stopped gateway starts, with what it kept.
    Start(usize, Kept),
}

/// What a gateway kept across a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// All that it was told to remember.
    Everything,
    /// Its key, but its clock is set back and nothing else is left.
    Key,
    /// Its name; the operator has issued it a later certificate for a new key.
    Name,
}

/// Draws faults for `during`, after which all but a few are mended.
pub(crate) fn schedule(
    underlay: &Underlay,
    count: usize,
    during: Duration,
    rng: &mut ChaCha8Rng,
) -> Vec<(Duration, Fault)> {
    let roads: Vec<Pair> = underlay.roads().collect();
    let mut faults = Vec::new();
    let mut free: Vec<Duration> = vec![Duration::ZERO; count];
    for _ in 0..rng.random_range(3..14) {
        let at = during.mul_f64(rng.random_range(0.0..0.9));
        // Shorter and longer than a link takes to time out.
        let lasting = Duration::from_millis(rng.random_range(200..30_000));
        let until = (at + lasting).min(during);
        let road = (!roads.is_empty()).then(|| roads[rng.random_range(0..roads.len().max(1))]);
        match (rng.random_range(0..10), road) {
            (0..4, Some(road)) => faults.extend([(at, Fault::Close(road)), (until, Fault::Open(road))]),
            (4, Some(road)) => faults.extend([(at, Fault::Lose(road)), (until, Fault::Pass(road))]),
            (5, _) => faults.extend(partition(&roads, count, at, until, rng)),
            (kind, _) => {
                let gateway = rng.random_range(0..count);
                // A gateway stops and starts in turn.
                if at < free[gateway] {
                    continue;
                }
                free[gateway] = until + Duration::from_millis(1);
                let stop = if kind == 6 { Fault::Leave(gateway) } else { Fault::Crash(gateway) };
                let kept = [Kept::Everything, Kept::Everything, Kept::Key, Kept::Name];
                let kept = kept[rng.random_range(0..kept.len())];
                faults.extend([(at, stop), (until, Fault::Start(gateway, kept))]);
            }
        }
    }
    // Some things stay broken for ever.
    for road in roads.iter().copied() {
        match rng.random_range(0..20) {
            0 => faults.push((during, Fault::Close(road))),
            1 => faults.push((during, Fault::Lose(road))),
            _ => {}
        }
    }
    if rng.random_bool(0.3) {
        faults.push((during + Duration::from_millis(2), Fault::Crash(rng.random_range(0..count))));
    }
    // The operator may be right or wrong, and as late as he likes.
    if rng.random_bool(0.5) {
        let at = during.mul_f64(rng.random_range(0.2..1.2));
        faults.push((at, Fault::Bury(rng.random_range(0..count))));
    }
    let crashed: Vec<_> = faults.iter().filter(|(_, f)| matches!(f, Fault::Crash(_))).cloned().collect();
    for (at, fault) in crashed {
        if let (Fault::Crash(number), true) = (fault, rng.random_bool(0.5)) {
            faults.push((at + Duration::from_millis(rng.random_range(0..20_000)), Fault::Bury(number)));
        }
    }
    faults.sort_by_key(|(at, _)| *at);
    faults
}

/// Two halves that hear nothing of each other.
fn partition(
    roads: &[Pair],
    count: usize,
    at: Duration,
    until: Duration,
    rng: &mut ChaCha8Rng,
) -> Vec<(Duration, Fault)> {
    let sides: Vec<bool> = (0..count).map(|_| rng.random()).collect();
    let across = roads.iter().copied().filter(|(a, b)| sides[*a] != sides[*b]);
    across.flat_map(|road| [(at, Fault::Close(road)), (until, Fault::Open(road))]).collect()
}
