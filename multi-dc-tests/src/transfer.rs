//! A lot of bytes over one TCP connection between two endpoints.

use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::capture::Canary;
use crate::datagrams::PYTHON;
use crate::endpoint::Endpoint;
use crate::process::Background;

const SCRIPT: &str = include_str!("transfer.py");
const PORT: &str = "5001";

/// What one side says about a transfer.
#[derive(Debug, Clone, PartialEq)]
pub struct Moved {
    /// How much.
    pub bytes: u64,
    /// The SHA-256 of all.
    pub digest: String,
    /// How long.
    pub took: Duration,
}

impl Moved {
    /// Reads the line `BYTES DIGEST SECONDS`.
    pub fn parse(line: &str) -> Option<Moved> {
        let mut words = line.split(' ');
        let bytes = words.next()?.parse().ok()?;
        let digest = words.next().filter(|digest| digest.len() == 64)?.to_owned();
        Some(Moved { bytes, digest, took: Duration::try_from_secs_f64(words.next()?.parse().ok()?).ok()? })
    }

    /// Millions of bytes a second.
    pub fn speed(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.took.as_secs_f64()
    }
}

/// Moves random bytes, with the canary in every 64 KiB of them; fails when other bytes arrive, or not all in time.
pub fn transfer(
    from: &Endpoint<'_>,
    to: &Endpoint<'_>,
    bytes: u64,
    canary: &Canary,
    limit: Duration,
) -> anyhow::Result<Moved> {
    let what = format!("moving {bytes} bytes from {} to {}", from.host, to.host);
    let mut server = Background::lines(&mut to.command(&[PYTHON, "-c", SCRIPT, "serve", PORT])?)?;
    let ready = |process: &Background| process.output().iter().any(|line| line == "ready").then_some(());
    server.wait_for("waiting for the server to begin", Duration::from_secs(10), ready)?;
    let argv = [PYTHON, "-c", SCRIPT, "send", &to.v4(), PORT, &bytes.to_string(), &canary.hex()];
    let sent = from.run_within(&argv, limit).with_context(|| what.clone())?.expect_success()?;
    let sent = Moved::parse(sent.stdout.trim()).with_context(|| format!("{what}: {sent}"))?;
    let line = |process: &Background| process.output().iter().find_map(|line| Moved::parse(line));
    let received = server.wait_for(&what, Duration::from_secs(10), line)?;
    ensure!((sent.bytes, received.bytes) == (bytes, bytes), "{what}: {sent:?}, but {received:?}");
    ensure!(sent.digest == received.digest, "{what}: other bytes arrived: {sent:?}, but {received:?}");
    Ok(received)
}
