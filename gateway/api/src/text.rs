//! The report as text, in the shape that scripts know from the original.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::str::FromStr;

use crate::report::{Connection, ConnectionState, Report};

/// A part of the report that has a text of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// The summary.
    Summary,
    /// One target a line, as the operator wrote it.
    Targets,
    /// One link, dial or failed target a line.
    Connections,
    /// Every peer with its links.
    Peers,
    /// How frames reach every other peer.
    Paths,
}

/// The text names no section.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a part of the status; there are targets, connections, peers and paths")]
pub struct UnknownSection(String);

impl FromStr for Section {
    type Err = UnknownSection;

    fn from_str(text: &str) -> Result<Section, UnknownSection> {
        match text {
            "targets" => Ok(Section::Targets),
            "connections" => Ok(Section::Connections),
            "peers" => Ok(Section::Peers),
            "paths" => Ok(Section::Paths),
            other => Err(UnknownSection(other.to_owned())),
        }
    }
}

impl Report {
    /// Renders one section; every line ends with a line feed.
    pub fn text(&self, section: Section) -> String {
        match section {
            Section::Summary => self.summary(),
            Section::Targets => self.router.targets.iter().map(|t| format!("{t}\n")).collect(),
            Section::Connections => self.router.connections.iter().map(connection).collect(),
            Section::Peers => self.peers(),
            Section::Paths => self.paths(),
        }
    }

    fn summary(&self) -> String {
        let router = &self.router;
        let protocol = match (router.protocol_min_version, router.protocol_max_version) {
            (low, high) if low == high => format!("{} {low}", router.protocol),
            (low, high) => format!("{} {low}..{high}", router.protocol),
        };
        let enabled = |on: bool| if on { "enabled" } else { "disabled" };
        let encryption = if router.encryption {
            "enabled".to_owned()
        } else {
            "disabled (sealed, but open to everybody: no password was given)".to_owned()
        };
        let mut lines = vec![
            // Nothing here asks a server for news; scripts know this remark from the original.
            ("Version", format!("{} (version check update disabled)", self.version)),
            ("", String::new()),
            ("Service", "router".to_owned()),
            ("Protocol", protocol),
            ("Name", format!("{}({})", router.name, router.nick_name)),
            ("Encryption", encryption),
            ("PeerDiscovery", enabled(router.peer_discovery).to_owned()),
            ("Targets", router.targets.len().to_string()),
            ("Connections", self.connection_counts()),
            ("Peers", self.peer_counts()),
            ("TrustedSubnets", "none".to_owned()),
            ("Network", router.network.clone()),
            ("Interface", router.interface.clone()),
            ("MTU", router.mtu.to_string()),
        ];
        if !router.site.is_empty() {
            lines.push(("Site", router.site.clone()));
        }
        if !router.exposed.is_empty() {
            lines.push(("Exposed", router.exposed.join(", ")));
        }
        let mut out = String::new();
        for (label, value) in lines {
            let line = if label.is_empty() { String::new() } else { format!("{label:>15}: {value}") };
            let _ = writeln!(out, "{line}");
        }
        out
    }

    fn connection_counts(&self) -> String {
        let mut counts: BTreeMap<ConnectionState, usize> = BTreeMap::new();
        for connection in &self.router.connections {
            *counts.entry(connection.state).or_default() += 1;
        }
        let parts: Vec<String> = counts.iter().map(|(state, count)| format!("{count} {state}")).collect();
        match self.router.connections.len() {
            0 => "0".to_owned(),
            total => format!("{total} ({})", parts.join(", ")),
        }
    }

    fn peer_counts(&self) -> String {
        let links = || self.router.peers.iter().flat_map(|peer| &peer.connections);
        let (established, pending) =
            (links().filter(|l| l.established).count(), links().filter(|l| !l.established).count());
        let total = self.router.peers.len();
        match (established, pending) {
            (0, 0) => total.to_string(),
            (established, 0) => format!("{total} (with {established} established connections)"),
            (0, pending) => format!("{total} (with {pending} pending connections)"),
            _ => format!("{total} (with {established} established, {pending} pending connections)"),
        }
    }

    fn peers(&self) -> String {
        let mut out = String::new();
        for peer in &self.router.peers {
            let _ = writeln!(out, "{}({})", peer.name, peer.nick_name);
            for link in &peer.connections {
                let state = if link.established { "established" } else { "pending" };
                let who = format!("{}({})", link.name, link.nick_name);
                let _ = writeln!(out, "   {} {:<21} {who:<37} {state}", arrow(link.outbound), link.address);
            }
        }
        out
    }

    fn paths(&self) -> String {
        let mut out = String::new();
        for path in &self.router.paths {
            let who = format!("{}({})", path.peer, path.nick_name);
            let way = if path.via.is_empty() {
                path.kind.to_string()
            } else {
                format!("{} via {}", path.kind, path.via.join(", "))
            };
            let mut facts = Vec::new();
            if let Some(session) = &path.session {
                facts.push(if session.alive { "alive".to_owned() } else { "no answer".to_owned() });
                facts.extend(session.rtt_ms.map(|rtt| format!("rtt={rtt:.1}ms")));
                facts.extend(session.mtu.map(|mtu| format!("mtu={mtu}")));
            }
            if !path.reason.is_empty() {
                facts.push(format!("({})", path.reason));
            }
            let _ = writeln!(out, "{who:<37} {way:<24} {}", facts.join(" "));
        }
        out
    }
}

fn connection(connection: &Connection) -> String {
    let attributes: Vec<String> =
        connection.attrs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let line = format!(
        "{} {:<21} {:<11} {} {}",
        arrow(connection.outbound),
        connection.address,
        connection.state,
        connection.info,
        attributes.join(" ")
    );
    format!("{}\n", line.trim_end())
}

fn arrow(outbound: bool) -> &'static str {
    if outbound { "->" } else { "<-" }
}
