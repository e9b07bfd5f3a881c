//! Waiting for what nobody announces.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;

/// Rare enough to leave the machine to what is waited for, often enough to measure tenths of seconds.
pub(crate) const TICK: Duration = Duration::from_millis(20);

/// To be there before anything else happens.
pub(crate) const CLOSE_TICK: Duration = Duration::from_millis(1);

/// Asks until the answer is there and returns it; fails at the limit with what was waited for. An error of the question
/// ends the wait.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    ask: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    wait_with(TICK, what, limit, ask)
}

/// The same, as often as the tick says.
pub(crate) fn wait_with<T>(
    tick: Duration,
    what: &str,
    limit: Duration,
    mut ask: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if begun.elapsed() >= limit {
            bail!("waited in vain for {limit:?}: {what}");
        }
        thread::sleep(tick);
    }
}

/// Waits until a condition holds; returns how long it took.
pub fn within(
    what: &str,
    limit: Duration,
    mut holds: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    wait_for(what, limit, || Ok(holds()?.then_some(())))?;
    Ok(begun.elapsed())
}
