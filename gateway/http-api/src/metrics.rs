//! Prometheus metrics, text format 0.0.4.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use weave_api::{ConnectionState, Report};

/// Renders all metrics; those of the original keep their names.
pub(crate) fn render(report: &Report) -> String {
    let router = &report.router;
    let mut out = Text::default();
    let states = [
        ConnectionState::Established,
        ConnectionState::Pending,
        ConnectionState::Retrying,
        ConnectionState::Failed,
        ConnectionState::Connecting,
    ];
    out.family("weave_connections", "gauge", "Links, dials and failed targets by state.");
    for state in states {
        let count = router.connections.iter().filter(|c| c.state == state).count();
        out.value("weave_connections", &[("state", &state.to_string())], count as f64);
    }
    out.family("weave_peers", "gauge", "Known peers, this one included.");
    out.value("weave_peers", &[], router.peers.len() as f64);
    out.family("weave_macs", "gauge", "Learned Ethernet addresses.");
    out.value("weave_macs", &[], router.macs.len() as f64);
    out.family("weave_drops_total", "counter", "Frames and datagrams that went nowhere, by reason.");
    for (reason, count) in &router.drops {
        out.value("weave_drops_total", &[("reason", reason)], *count as f64);
    }
    out.family("weave_path_up", "gauge", "Whether probes to a peer come back.");
    out.family("weave_path_rtt_seconds", "gauge", "Smoothed round trip of the probes to a peer.");
    out.family(
        "weave_path_mtu_bytes",
        "gauge",
        "Largest overlay packet known to pass to a peer unfragmented.",
    );
    out.family("weave_path_sent_bytes_total", "counter", "Bytes sent to a peer in frames.");
    out.family("weave_path_received_bytes_total", "counter", "Bytes received from a peer in frames.");
    for path in &router.paths {
        let kind = path.kind.to_string();
        let labels =
            [("peer", path.nick_name.as_str()), ("name", path.peer.as_str()), ("path", kind.as_str())];
        let session = path.session.as_ref();
        let alive = session.is_some_and(|s| s.alive);
        out.value("weave_path_up", &labels, f64::from(u8::from(alive)));
        let Some(session) = session else { continue };
        if let Some(rtt) = session.rtt_ms {
            out.value("weave_path_rtt_seconds", &labels, rtt / 1e3);
        }
        if let Some(mtu) = session.mtu {
            out.value("weave_path_mtu_bytes", &labels, f64::from(mtu));
        }
        out.value("weave_path_sent_bytes_total", &labels, session.sent_bytes as f64);
        out.value("weave_path_received_bytes_total", &labels, session.received_bytes as f64);
    }
    out.render()
}

/// Samples grouped by family, in the order in which the families were announced.
#[derive(Default)]
struct Text {
    order: Vec<&'static str>,
    families: BTreeMap<&'static str, String>,
}

impl Text {
    fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.order.push(name);
        self.families.insert(name, format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn value(&mut self, name: &'static str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> = labels.iter().map(|(n, v)| format!("{n}=\"{}\"", escape(v))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.families.entry(name).or_default(), "{name}{labels} {value}");
    }

    fn render(&self) -> String {
        self.order.iter().filter_map(|name| self.families.get(name)).map(String::as_str).collect()
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
