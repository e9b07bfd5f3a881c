//! What is wrong, or may become so, with a fleet or with what it is about to stand on. Pure but for [`gather`].
//!
//! ```text
//!   cli::doctor ─► evidence: clouds, networks, hosts' facts, state, gateways' report ─► examine ─► findings
//!   cli::plan   ─► the same without a report ──────────────────────────────────────────────┘
//! ```
//!
//! What each finding means stands in `docs/findings.md`, under its id; ids never change. Nothing here repairs anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use cloud_core::{IpNet, Observed, Obstacle};
use serde::{Serialize, Serializer};

use crate::fleet::Fleet;
use crate::footprint::Glibc;
use crate::install::Facts;
use crate::state::FleetState;
use crate::verify::Report;

mod gateways;
pub mod gather;
mod hosts;
mod id;
pub mod machine;
mod network;
mod render;

pub use id::Id;
pub use render::render;

use machine::Route;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something does not work, or could not; nothing is created on top of it.
    Error,
    /// It works, and will hurt.
    Warning,
    /// Worth knowing.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        })
    }
}

/// One thing found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// The host or site, `the fleet` or `this machine`.
    pub subject: String,
    /// What kind of thing it is.
    pub id: Id,
    /// What was found, in one line.
    pub text: String,
    /// What to do about it, in one line.
    pub hint: String,
}

impl Finding {
    pub(crate) fn error(
        id: Id,
        subject: impl Into<String>,
        text: impl fmt::Display,
        hint: impl Into<String>,
    ) -> Finding {
        let (subject, text, hint) = (line(&subject.into()), line(&text.to_string()), line(&hint.into()));
        Finding { severity: Severity::Error, subject, id, text, hint }
    }

    fn warning(
        id: Id,
        subject: impl Into<String>,
        text: impl fmt::Display,
        hint: impl Into<String>,
    ) -> Finding {
        Finding { severity: Severity::Warning, ..Finding::error(id, subject, text, hint) }
    }

    fn note(id: Id, subject: impl Into<String>, text: impl fmt::Display, hint: impl Into<String>) -> Finding {
        Finding { severity: Severity::Note, ..Finding::error(id, subject, text, hint) }
    }
}

/// One line without anything that draws on a terminal: errors quote what hosts and clouds said.
fn line(text: &str) -> String {
    /// A reason with all its causes.
    const MOST: usize = 400;
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().filter(|c| !c.is_control()).take(MOST).collect()
}

impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Entry<'a> {
            id: &'a str,
            severity: Severity,
            subject: &'a str,
            text: &'a str,
            hint: &'a str,
            anchor: String,
        }
        let Finding { severity, subject, id, text, hint } = self;
        let entry = Entry { id: id.as_str(), severity: *severity, subject, text, hint, anchor: id.anchor() };
        entry.serialize(serializer)
    }
}

/// Something that did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silent {
    /// The host or cloud.
    pub subject: String,
    /// The reason with its causes.
    pub why: String,
    /// What to do about it.
    pub hint: String,
}

/// Everything that is looked at. What is not known is left empty, and nothing is found about it.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// Sites and hosts that are wanted.
    pub fleet: Fleet,
    /// The addresses that the overlay hands out.
    pub range: Option<IpNet>,
    /// What the clouds have.
    pub cloud: Observed,
    /// Clouds that could not be asked.
    pub clouds_silent: Vec<Silent>,
    /// What keeps hosts from becoming part of the fleet.
    pub obstacles: Vec<Obstacle>,
    /// The address ranges of sites, by name.
    pub networks: BTreeMap<String, Vec<IpNet>>,
    /// What the hosts said.
    pub facts: BTreeMap<String, Facts>,
    /// Hosts that did not answer.
    pub silent: Vec<Silent>,
    /// What is remembered of the fleet.
    pub saved: Option<FleetState>,
    /// What the gateway's program is for, as `uname -m` says it.
    pub architecture: Option<&'static str>,
    /// The oldest GNU C library that the program starts with; `None` for a static one.
    pub needs_glibc: Option<Glibc>,
    /// What the gateways said; only a fleet that shall be up is asked.
    pub report: Option<Report>,
    /// This machine's clock when the hosts told theirs, unix seconds.
    pub now: u64,
    /// This machine's routes.
    pub routes: Vec<Route>,
}

impl Evidence {
    /// The facts of the hosts that are wanted.
    fn wanted_facts(&self) -> impl Iterator<Item = (&str, &Facts)> {
        let hosts = self.fleet.hosts.iter();
        hosts.filter_map(|host| Some((host.name.as_str(), self.facts.get(&host.name)?)))
    }
}

/// Looks at the evidence. Errors come first, then by subject and kind; nothing is told twice.
pub fn examine(evidence: &Evidence) -> Vec<Finding> {
    let mut findings = BTreeSet::new();
    let mut found = |finding| {
        findings.insert(finding);
    };
    hosts::examine(evidence, &mut found);
    network::examine(evidence, &mut found);
    gateways::examine(evidence, &mut found);
    findings.into_iter().collect()
}

/// What of the findings concerns a plan: what it stands on. The rest is what the plan itself is about to change.
pub fn of_ground(findings: Vec<Finding>) -> Vec<Finding> {
    findings.into_iter().filter(|finding| finding.id.is_of_ground()).collect()
}

/// Whether anything in them keeps the fleet from working.
pub fn has_errors(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Error)
}
