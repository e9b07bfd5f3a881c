//! What gateways log, as journald or a file gives it: the question, the answer, and lines of many hosts in one order. Pure.
//!
//! Nothing here is kept for longer than one answer, and an answer has a size: a gateway that logs without end is shown
//! piece by piece.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::install::{Init, log};
use crate::ssh::quote;

/// The largest answer of one host. What is behind it is asked for next when following, and else left out.
const MOST_BYTES: usize = 4 << 20;

/// One line of one gateway.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Entry {
    /// When, in UTC, to the microsecond.
    pub time: String,
    /// On which host.
    pub host: String,
    /// How grave, as syslog counts: 3 is an error, 4 a warning, 6 is for information.
    pub priority: u8,
    /// What.
    pub message: String,
}

impl Entry {
    /// The line for people, without control characters.
    pub fn render(&self, width: usize) -> String {
        let Entry { time, host, priority: _, message } = self;
        let message: String = message.chars().map(|c| if c == '\t' { ' ' } else { c }).collect();
        let message: String = message.chars().filter(|c| !c.is_control()).collect();
        format!("{time}  {host:width$}  {message}\n")
    }
}

/// From where on lines are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// The last so many lines, and none older than this.
    Last {
        /// How many.
        lines: u32,
        /// How old at most; `None` is any age.
        since: Option<Duration>,
    },
    /// What comes behind a place that an answer named.
    Cursor(String),
}

/// The command that asks a host for lines of its gateway.
pub fn command(from: &From) -> String {
    let range = match from {
        From::Last { lines, since: None } => format!("-n {lines}"),
        From::Last { lines, since: Some(age) } => format!("-n {lines} --since=-{}s", age.as_secs()),
        From::Cursor(cursor) => format!("--after-cursor={}", quote::text(cursor)),
    };
    let file = match from {
        From::Last { lines, since } => log::last(*lines, since.map(|age| age.as_secs())),
        From::Cursor(place) => log::behind(place, MOST_BYTES).unwrap_or_else(|| log::last(10, None)),
    };
    let journal = format!(
        "timeout 15 journalctl -u weave-gateway -q --no-pager --utc -o json --output-fields=MESSAGE,PRIORITY {range} \
         | head -c {MOST_BYTES}"
    );
    let each = |init| match init {
        Init::Systemd => journal.clone(),
        Init::OpenRc | Init::SysV => file.clone(),
    };
    Init::choose(each, "echo 'the gateway logs to whatever started it here' >&2; exit 1")
}

/// What a host answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// In the order of the journal.
    pub entries: Vec<Entry>,
    /// The place behind the last of them.
    pub cursor: Option<String>,
}

/// Reads the answer to [`command`]. Lines that are no entry, the last one cut in two among them, are left out.
pub fn parse(host: &str, answer: &[u8]) -> Answer {
    #[derive(Deserialize)]
    struct Line {
        #[serde(rename = "__REALTIME_TIMESTAMP")]
        time: String,
        #[serde(rename = "__CURSOR")]
        cursor: String,
        #[serde(rename = "PRIORITY", default)]
        priority: Option<String>,
        #[serde(rename = "MESSAGE", default)]
        message: serde_json::Value,
    }
    if log::is_answer(answer) {
        let (lines, place) = log::parse(answer).unzip();
        let entry =
            |log::Line { time, priority, message }| Entry { time, host: host.to_owned(), priority, message };
        return Answer { entries: lines.unwrap_or_default().into_iter().map(entry).collect(), cursor: place };
    }
    let mut entries = Answer::default();
    for line in answer.split(|byte| *byte == b'\n') {
        let Ok(line) = serde_json::from_slice::<Line>(line) else { continue };
        let Ok(microseconds) = line.time.parse() else { continue };
        entries.cursor = Some(line.cursor);
        entries.entries.push(Entry {
            time: utc(microseconds),
            host: host.to_owned(),
            priority: line.priority.and_then(|text| text.parse().ok()).unwrap_or(6),
            message: message(&line.message),
        });
    }
    entries
}

/// Lines of several hosts in the order of their times; those of one host stay in theirs.
pub fn merge(answers: Vec<Vec<Entry>>) -> Vec<Entry> {
    let mut all = answers.concat();
    all.sort_by(|a, b| (&a.time, &a.host).cmp(&(&b.time, &b.host)));
    all
}

/// journald gives text as a string, what is not UTF-8 as bytes, and what is long as nothing (journalctl(1), `-o json`).
fn message(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Array(bytes) => {
            let bytes: Vec<u8> =
                bytes.iter().filter_map(|byte| byte.as_u64().and_then(|byte| byte.try_into().ok())).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        }
        _ => "(a line too long to show; `journalctl -u weave-gateway` on the host has it)".to_owned(),
    }
}

/// Unix microseconds as RFC 3339 text, which sorts as the times do.
fn utc(microseconds: u64) -> String {
    let (seconds, fraction) = (microseconds / 1_000_000, microseconds % 1_000_000);
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Eras of 400 years that begin on 1 March (Howard Hinnant, "chrono-compatible low-level date algorithms").
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:06}Z")
}

/// Reads an age: `90s`, `10m`, `2h` or `3d`.
pub fn age(text: &str) -> Result<Duration, String> {
    let bad = || "write a number and s, m, h or d, e.g. 10m".to_owned();
    let unit = text.chars().last().ok_or_else(bad)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(bad()),
    };
    let number = &text[..text.len() - 1];
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad());
    }
    let number: u64 = number.parse().map_err(|_| bad())?;
    // Ten years: more than any journal holds, and nothing that a host's date arithmetic stumbles over.
    let age = number.checked_mul(seconds).filter(|age| *age <= 10 * 366 * 86_400);
    age.map(Duration::from_secs).ok_or_else(|| "that is longer than ten years".to_owned())
}
