//! `weave-provision up` and `down` are killed at moments spread over their whole run; running them again goes on from
//! there.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use multi_dc_tests::{Background, CLOUDS, Fleet, within};

/// How many slices of the run are hit, each somewhere in it.
const MOMENTS: u32 = 10;

const UP: [&str; 4] = ["up", "--clouds", CLOUDS, "--yes"];
const DOWN: [&str; 2] = ["down", "--yes"];

#[test]
fn an_up_that_was_killed_goes_on_and_down_leaves_nothing() -> anyhow::Result<()> {
    let seed = match std::env::var("WEAVE_TEST_SEED") {
        Ok(text) => text.parse()?,
        Err(_) => SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64,
    };
    killed_and_repeated(seed).with_context(|| format!("run it again with WEAVE_TEST_SEED={seed}"))
}

/// At how many moments a `down` is killed.
const MOMENTS_OF_DOWN: u32 = 3;

#[test]
fn a_down_that_was_killed_goes_on() -> anyhow::Result<()> {
    let fleet = Fleet::new("downkilled")?;
    fleet.provision(&UP)?.expect_success()?;
    let whole = fleet.provision(&DOWN)?.expect_success()?.took;
    for slice in 1..=MOMENTS_OF_DOWN {
        fleet.provision(&UP)?.expect_success()?;
        let moment = whole * slice / (MOMENTS_OF_DOWN + 1);
        kill_after(&fleet, &DOWN, moment)?;
        fleet.down().with_context(|| format!("killed after {moment:?} of {whole:?}"))?;
    }
    Ok(())
}

fn killed_and_repeated(seed: u64) -> anyhow::Result<()> {
    let fleet = Fleet::new("killed")?;
    let whole = fleet.provision(&UP)?.expect_success()?.took;
    fleet.down()?;
    let mut random = Random(seed);
    for slice in 0..MOMENTS {
        let moment = whole.mul_f64((f64::from(slice) + random.fraction()) / f64::from(MOMENTS));
        let what = format!("killed after {moment:?} of {whole:?}");
        kill_after(&fleet, &UP, moment)?;
        // Every third is given up instead of repeated.
        if slice % 3 != 2 {
            let said = fleet.provision(&UP)?.expect_success().with_context(|| what.clone())?;
            ensure!(said.stdout.contains("verified: all 12 pairs"), "{what}: {said}");
            eprintln!("{what}; verified {:?} after", said.took);
        }
        fleet.down().with_context(|| what.clone())?;
    }
    Ok(())
}

fn kill_after(fleet: &Fleet, args: &[&str], moment: Duration) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut run = Background::lines(&mut fleet.command(args))?;
    within("the moment", 2 * moment + Duration::from_secs(1), || Ok(begun.elapsed() >= moment))?;
    run.kill();
    Ok(())
}

/// The same numbers for the same seed: SplitMix64.
struct Random(u64);

impl Random {
    /// From 0 up to 1.
    fn fraction(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((word ^ (word >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}
