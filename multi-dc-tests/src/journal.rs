//! The provisioner's journal, read while a run writes it.

use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::Value;

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// `run`, `begin`, `done`, `failed` or `end`.
    pub event: String,
    /// The step or the command, in words.
    pub step: String,
}

/// Follows what runs from here on write.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    seen: usize,
}

impl Journal {
    /// Follows the journal of this path, which need not exist yet, from its present end.
    pub fn follow(path: PathBuf) -> anyhow::Result<Journal> {
        let mut journal = Journal { path, seen: 0 };
        journal.fresh()?;
        Ok(journal)
    }

    /// The whole lines that nobody has seen yet. None when the journal is gone.
    pub fn fresh(&mut self) -> anyhow::Result<Vec<Entry>> {
        let bytes = match std::fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                return Err(error).with_context(|| format!("while reading {}", self.path.display()));
            }
        };
        // A run that is killed may leave part of a line, which the next one drops: what counts is whole lines.
        let whole = bytes.iter().filter(|byte| **byte == b'\n').count();
        let lines = bytes.split(|byte| *byte == b'\n').take(whole).skip(self.seen);
        let fresh = lines.map(entry).collect::<anyhow::Result<Vec<Entry>>>()?;
        self.seen = whole;
        Ok(fresh)
    }
}

fn entry(line: &[u8]) -> anyhow::Result<Entry> {
    let value: Value = serde_json::from_slice(line)
        .with_context(|| format!("no line of a journal: {}", String::from_utf8_lossy(line)))?;
    let text =
        |key: &str| value[key].as_str().map(str::to_owned).with_context(|| format!("no {key}: {value}"));
    Ok(Entry { event: text("event")?, step: text("step")? })
}
