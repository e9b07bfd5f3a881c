//! What a place of the lab sees of some bytes: a capture whose every byte is searched.

use std::io::Read;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::process::Background;

/// Sixteen bytes that occur nowhere by chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canary(pub [u8; 16]);

impl Canary {
    /// Other bytes in every process.
    pub fn new() -> anyhow::Result<Canary> {
        let mut bytes = [0; 16];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(Canary(bytes))
    }

    /// As `ping -p` wants it.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// How often a text occurs in a stream, whatever the pieces in which it comes.
#[derive(Debug)]
pub(crate) struct Search {
    canary: Canary,
    tail: Vec<u8>,
}

impl Search {
    /// Searches for a canary.
    pub(crate) fn new(canary: Canary) -> Search {
        Search { canary, tail: Vec::new() }
    }

    /// Takes the next piece; returns how many occurrences end in it.
    pub(crate) fn take(&mut self, piece: &[u8]) -> u64 {
        self.tail.extend_from_slice(piece);
        let [first, ..] = self.canary.0;
        let mut found = 0;
        let mut rest = &self.tail[..];
        while let Some(at) = rest.iter().position(|byte| *byte == first) {
            found += u64::from(rest[at..].starts_with(&self.canary.0));
            rest = &rest[at + 1..];
        }
        let keep = self.tail.len().saturating_sub(self.canary.0.len() - 1);
        self.tail.drain(..keep);
        found
    }
}

/// A capture under way.
#[derive(Debug)]
pub struct Capture {
    /// What it says about itself in errors.
    pub place: String,
    bytes: Arc<AtomicU64>,
    found: Arc<AtomicU64>,
    process: Background,
}

impl Capture {
    /// Starts to capture everything on an interface, with `tcpdump` as made for a place; what passes once this returns
    /// is seen.
    pub fn start(
        place: &str,
        tcpdump: &mut Command,
        interface: &str,
        canary: Canary,
    ) -> anyhow::Result<Capture> {
        // Whole packets, each written out at once; room for what comes while the machine does something else.
        tcpdump.args(["-i", interface, "-n", "-U", "-s", "0", "-B", "65536", "-Z", "root", "-w", "-"]);
        let (mut process, mut stdout) = Background::reading(tcpdump)?;
        let (bytes, found) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let counters = (bytes.clone(), found.clone());
        thread::spawn(move || {
            let mut search = Search::new(canary);
            let mut buffer = vec![0; 1 << 18];
            while let Ok(length @ 1..) = stdout.read(&mut buffer) {
                counters.1.fetch_add(search.take(&buffer[..length]), Ordering::Relaxed);
                counters.0.fetch_add(length as u64, Ordering::Relaxed);
            }
        });
        let listening = |process: &Background| {
            process.complaints().iter().any(|line| line.contains("listening on")).then_some(())
        };
        process.wait_for(
            &format!("waiting for the capture at {place}"),
            Duration::from_secs(10),
            listening,
        )?;
        Ok(Capture { place: place.to_owned(), bytes, found, process })
    }

    /// How many bytes it has seen.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How often it has seen the canary.
    pub fn found(&self) -> u64 {
        self.found.load(Ordering::Relaxed)
    }

    /// Ends it.
    pub fn stop(&mut self) {
        self.process.kill();
    }
}
