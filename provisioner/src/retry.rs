//! Trying again with growing pauses until a limit.

use std::future::Future;
use std::time::{Duration, Instant};

/// How long and how often something is tried.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The first pause; each is twice the one before.
    pub first: Duration,
    /// The longest pause.
    pub most: Duration,
    /// No attempt starts later than this after the first.
    pub limit: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        // A virtual machine answers SSH within a minute of its creation; clouds forget throttling within seconds.
        Pace {
            first: Duration::from_millis(100),
            most: Duration::from_secs(2),
            limit: Duration::from_secs(90),
        }
    }
}

/// Repeats `attempt` while it fails in a way that `retryable` accepts and the pace allows; the last error counts.
pub async fn retry<T, E, F, A>(pace: Pace, retryable: impl Fn(&E) -> bool, mut attempt: A) -> Result<T, E>
where
    E: std::fmt::Display,
    F: Future<Output = Result<T, E>>,
    A: FnMut() -> F,
{
    let start = Instant::now();
    let mut pause = pace.first;
    loop {
        match attempt().await {
            Err(error) if retryable(&error) && start.elapsed() + pause <= pace.limit => {
                tracing::debug!(%error, ?pause, "trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(pace.most);
            }
            outcome => return outcome,
        }
    }
}
