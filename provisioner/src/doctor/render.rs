//! Findings as text for people.

use std::fmt::Write as _;

use super::{Finding, Severity};

/// Two lines each, and a last one that counts.
pub fn render(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{finding}\n  fix: {}", finding.hint);
    }
    text.push_str(&summary(findings));
    text.push('\n');
    text
}

fn summary(findings: &[Finding]) -> String {
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let parts: Vec<String> = [Severity::Error, Severity::Warning, Severity::Note]
        .into_iter()
        .map(|severity| (count(severity), severity))
        .filter(|(n, _)| *n > 0)
        .map(|(n, severity)| format!("{n} {severity}{}", if n == 1 { "" } else { "s" }))
        .collect();
    if parts.is_empty() {
        "doctor: nothing found".to_owned()
    } else {
        format!("doctor: {}", parts.join(", "))
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Finding { severity, subject, id, text, hint: _ } = self;
        write!(f, "{severity}: {subject}: {text} [{}]", id.as_str())
    }
}
