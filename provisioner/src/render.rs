//! Reports as text for people.

use crate::verify::{GatewayRow, Pair, Report};

/// The gateways, then the pairs.
pub fn report(report: &Report) -> String {
    let gateways = report.gateways.iter().map(|row| {
        let GatewayRow { host, site, peer, version, state } = row;
        vec![host.clone(), site.clone(), or_dash(peer), or_dash(version), state.clone()]
    });
    let mut text = table(&["GATEWAY", "SITE", "PEER", "VERSION", "STATE"], gateways);
    text.push('\n');
    text.push_str(&pairs(&report.pairs));
    text
}

/// Every ordered pair, one line each.
pub fn pairs(pairs: &[Pair]) -> String {
    let rows = pairs.iter().map(|pair| {
        let Pair { from, to, path, via, rtt_ms, mtu, ok } = pair;
        let path = match (path, via.is_empty()) {
            (Some(path), true) => path.clone(),
            (Some(path), false) => format!("{path} via {}", via.join(", ")),
            (None, _) => "-".to_owned(),
        };
        let rtt = rtt_ms.map_or("-".to_owned(), |rtt| format!("{rtt:.1} ms"));
        let mtu = mtu.map_or("-".to_owned(), |mtu| mtu.to_string());
        vec![from.clone(), to.clone(), path, rtt, mtu, if *ok { "ok" } else { "FAILS" }.to_owned()]
    });
    table(&["FROM", "TO", "PATH", "RTT", "MTU", "PING"], rows)
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-" } else { text }.to_owned()
}

/// Left-aligned columns, two spaces apart. What hosts say is stripped of control characters.
fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let head = head.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
    let clean = |cell: String| cell.chars().filter(|c| !c.is_control()).take(60).collect::<String>();
    let rows: Vec<Vec<String>> =
        std::iter::once(head).chain(rows.map(|row| row.into_iter().map(clean).collect())).collect();
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}
