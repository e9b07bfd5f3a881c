//! `weave-provision up` is killed at moments spread over its whole run; running it again goes on from there.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use multi_dc_tests::{Background, CLOUDS, Fleet, within};

/// How many slices of the run are hit, each somewhere in it.
const MOMENTS: u32 = 10;

const UP: [&str; 4] = ["up", "--clouds", CLOUDS, "--yes"];

#[test]
fn an_up_that_was_killed_goes_on_and_down_leaves_nothing() -> anyhow::Result<()> {
    let seed = match std::env::var("WEAVE_TEST_SEED") {
        Ok(text) => text.parse()?,
        Err(_) => SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64,
    };
    killed_and_repeated(seed).with_context(|| format!("run it again with WEAVE_TEST_SEED={seed}"))
}

fn killed_and_repeated(seed: u64) -> anyhow::Result<()> {
    let fleet = Fleet::new("killed")?;
    let whole = fleet.provision(&UP)?.expect_success()?.took;
    fleet.down()?;
    let mut random = Random(seed);
    for slice in 0..MOMENTS {
        let moment = whole.mul_f64((f64::from(slice) + random.fraction()) / f64::from(MOMENTS));
        let what = format!("killed after {moment:?} of {whole:?}");
        kill_up_after(&fleet, moment)?;
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

fn kill_up_after(fleet: &Fleet, moment: Duration) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut up = Background::lines(&mut fleet.command(&UP))?;
    within("the moment", 2 * moment + Duration::from_secs(1), || Ok(begun.elapsed() >= moment))?;
    up.kill();
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
