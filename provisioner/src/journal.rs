//! What a run is about to do and what it has done, one JSON line each, on disk before the step begins.
//!
//! The truth about hosts is always observed, never remembered; the journal tells what a run that was killed had begun,
//! and leaves a trail of everything this fleet ever caused in a cloud.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A journal of a finished run that is larger than this starts anew: some ten thousand steps, more than anybody reads.
const MOST_BYTES: u64 = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    /// Unix seconds.
    at: u64,
    event: Event,
    step: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Event {
    /// A command starts; `step` is the command.
    Run,
    Begin,
    Done,
    Failed,
    /// The command is over, well or not.
    End,
}

/// What the journal says about the run before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The command that did not reach its end.
    pub interrupted: Option<String>,
    /// The steps that had begun and were not over.
    pub open_steps: Vec<String>,
}

/// The journal of one fleet, open for one run.
#[derive(Debug)]
pub struct Journal {
    file: Mutex<File>,
}

impl Journal {
    /// Opens the journal for `command` and tells how the run before ended. A line that a crash cut short is dropped.
    pub fn open(path: &Path, command: &str) -> io::Result<(Journal, Recovery)> {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let (recovery, good) = recover(&bytes);
        let keep = if recovery.interrupted.is_none() && good as u64 > MOST_BYTES { 0 } else { good as u64 };
        file.set_len(keep)?;
        file.seek(SeekFrom::Start(keep))?;
        let journal = Journal { file: Mutex::new(file) };
        journal.write(Event::Run, command, None)?;
        Ok((journal, recovery))
    }

    /// Notes that a step is about to begin; returns when that is on disk.
    pub fn begin(&self, step: &str) -> io::Result<()> {
        self.write(Event::Begin, step, None)
    }

    /// Notes how a step ended.
    pub fn finish(&self, step: &str, failure: Option<String>) -> io::Result<()> {
        let event = if failure.is_some() { Event::Failed } else { Event::Done };
        self.write(event, step, failure)
    }

    /// Notes that the command is over.
    pub fn end(&self, command: &str) -> io::Result<()> {
        self.write(Event::End, command, None)
    }

    fn write(&self, event: Event, step: &str, error: Option<String>) -> io::Result<()> {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let line = Line { at, event, step: step.to_owned(), error };
        let mut text = serde_json::to_string(&line).map_err(io::Error::other)?;
        text.push('\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(text.as_bytes())?;
        file.sync_data()
    }
}

/// Reads the whole lines; returns also how many bytes they take. Reading stops at a line that makes no sense.
pub(crate) fn recover(bytes: &[u8]) -> (Recovery, usize) {
    let mut recovery = Recovery::default();
    let mut good = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let Some(body) = line.strip_suffix(b"\n") else { break };
        let Ok(line_read) = serde_json::from_slice::<Line>(body) else { break };
        good += line.len();
        match line_read.event {
            Event::Run => recovery = Recovery { interrupted: Some(line_read.step), open_steps: Vec::new() },
            Event::Begin => recovery.open_steps.push(line_read.step),
            Event::Done | Event::Failed => recovery.open_steps.retain(|step| *step != line_read.step),
            Event::End => recovery = Recovery::default(),
        }
    }
    (recovery, good)
}
