//! Commands that only ask the running gateway.

use std::process::ExitCode;
use std::time::Duration;

use weave_api::{ClientError, PingReport, Removal, RemovedPeer, Report, Section, Version};

use super::{PATIENCE, client};
use crate::cli::Output;

/// `weave status [SECTION]`.
pub(super) fn status(section: Option<&str>, output: Output) -> anyhow::Result<ExitCode> {
    let section: Section = section.map_or(Ok(Section::Summary), str::parse)?;
    let report: Report = client(PATIENCE).value("/report")?;
    let value = match section {
        Section::Summary => serde_json::to_value(&report)?,
        Section::Targets => serde_json::to_value(&report.router.targets)?,
        Section::Connections => serde_json::to_value(&report.router.connections)?,
        Section::Peers => serde_json::to_value(&report.router.peers)?,
        Section::Paths => serde_json::to_value(&report.router.paths)?,
    };
    match (output, section) {
        (Output::Json, _) => println!("{}", serde_json::to_string_pretty(&value)?),
        // The original frames its summary by blank lines.
        (Output::Text, Section::Summary) => print!("\n{}\n", report.text(section)),
        (Output::Text, _) => print!("{}", report.text(section)),
    }
    Ok(ExitCode::SUCCESS)
}

/// `weave report [-f TEMPLATE]`.
pub(super) fn report(format: Option<&str>) -> anyhow::Result<ExitCode> {
    match format {
        Some(format) => {
            println!("{}", client(PATIENCE).text(&format!("/report?format={}", percent(format)))?)
        }
        None => println!("{}", client(PATIENCE).text("/report")?),
    }
    Ok(ExitCode::SUCCESS)
}

/// `weave connect [--replace] PEER…`.
pub(super) fn connect(peers: &[String], replace: bool) -> anyhow::Result<ExitCode> {
    let mut form: Vec<(&str, String)> = peers.iter().map(|peer| ("peer", peer.clone())).collect();
    form.push(("replace", replace.to_string()));
    client(PATIENCE).post("/connect", &form)?;
    Ok(ExitCode::SUCCESS)
}

/// `weave forget PEER…`.
pub(super) fn forget(peers: &[String]) -> anyhow::Result<ExitCode> {
    let form: Vec<(&str, String)> = peers.iter().map(|peer| ("peer", peer.clone())).collect();
    client(PATIENCE).post("/forget", &form)?;
    Ok(ExitCode::SUCCESS)
}

/// `weave rmpeer PEER…`: exit 1 unless all were forgotten.
pub(super) fn rmpeer(peers: &[String], output: Output) -> anyhow::Result<ExitCode> {
    let removed = peers.iter().map(|peer| remove(peer)).collect::<Result<Vec<RemovedPeer>, ClientError>>()?;
    match output {
        Output::Json => println!("{}", serde_json::to_string(&removed)?),
        Output::Text => removed.iter().for_each(|removed| match &removed.reason {
            None => println!("{} IPs taken over from {}", removed.ips, removed.peer),
            Some(reason) => eprintln!("error: {reason}"),
        }),
    }
    let all = removed.iter().all(|removed| removed.outcome == Removal::Removed);
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the gateway says of one peer; `Err`: none answers.
fn remove(peer: &str) -> Result<RemovedPeer, ClientError> {
    let named = |outcome, ips, reason| RemovedPeer { peer: peer.to_owned(), outcome, ips, reason };
    match client(PATIENCE).delete(&format!("/peer/{}", percent(peer))) {
        Ok(answer) => {
            let ips = answer.split(' ').next().and_then(|count| count.parse().ok()).unwrap_or_default();
            Ok(named(Removal::Removed, ips, None))
        }
        Err(ClientError::Refused { status, reason }) => {
            let outcome = match status {
                404 => Removal::Unknown,
                409 => Removal::Alive,
                _ => Removal::Failed,
            };
            Ok(named(outcome, 0, Some(reason)))
        }
        Err(error) => Err(error),
    }
}

/// `weave ping PEER`: exit 1 unless every frame came back from everybody.
pub(super) fn ping(peer: &str, count: u32, output: Output) -> anyhow::Result<ExitCode> {
    let path = format!("/ping?peer={}&count={count}", percent(peer));
    let lines: Vec<PingReport> = client(PATIENCE + Duration::from_secs(2 * u64::from(count))).value(&path)?;
    match output {
        Output::Json => println!("{}", serde_json::to_string(&lines)?),
        Output::Text => lines.iter().for_each(|line| println!("{}", ping_line(line))),
    }
    Ok(if lines.iter().all(|line| line.ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn ping_line(line: &PingReport) -> String {
    let who = format!("{}({})", line.peer, line.nickname);
    let way = match line.via.as_slice() {
        [] => line.path.to_string(),
        via => format!("{} via {}", line.path, via.join(", ")),
    };
    let trip = line.rtt_ms.map_or("no answer".to_owned(), |rtt| format!("rtt={rtt:.3}ms"));
    format!("{who:<37} {way:<24} {}/{} {trip}", line.received, line.sent)
}

/// `weave version`: works without a gateway too.
pub(super) fn version(output: Output) -> anyhow::Result<ExitCode> {
    let running = client(PATIENCE).value::<Report>("/report").ok();
    let router = running.as_ref().map(|report| &report.router);
    let version = Version {
        version: crate::VERSION.to_owned(),
        peer: router.map(|router| router.name.clone()),
        nickname: router.map(|router| router.nick_name.clone()),
    };
    match output {
        Output::Json => println!("{}", serde_json::to_string(&version)?),
        Output::Text => {
            println!("weave script {}", version.version);
            if let Some(report) = running {
                println!("weave {}", report.version);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Percent-encodes all but unreserved characters (RFC 3986 §2.3).
fn percent(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(encode).collect()
}
