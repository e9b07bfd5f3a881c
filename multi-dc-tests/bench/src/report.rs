//! The table and the JSON file.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde_json::json;

use crate::figures::{Figures, median};

/// Renders medians, each throughput also as a share of the plain copy (`copy`) on the same number of hosts.
pub(crate) fn table(all: &[Figures]) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{:<16}{:>10}{:>9}{:>10}{:>9}{:>10}{:>10}{:>10}{:>9}{:>11}",
        "system", "TCP×1", "of copy", "TCP×4", "s/GB", "RR p50", "RR p99", "64 B", "idle", "first ping"
    );
    let _ = writeln!(
        text,
        "{:<16}{:>10}{:>9}{:>10}{:>9}{:>10}{:>10}{:>10}{:>9}{:>11}",
        "", "Gb/s", "%", "Gb/s", "CPU", "µs", "µs", "kpps", "MiB", "ms"
    );
    let copy = value(all, "copy", |f| &f.tcp_1);
    for figures in all {
        let show = |readings: &[f64], scale: f64, digits: usize| {
            median(readings).map_or("-".to_owned(), |v| format!("{:.digits$}", v / scale))
        };
        let share = median(&figures.tcp_1)
            .zip(copy)
            .map_or("-".to_owned(), |(own, copy)| format!("{:.0}", own / copy * 100.0));
        let _ = writeln!(
            text,
            "{:<16}{:>10}{:>9}{:>10}{:>9}{:>10}{:>10}{:>10}{:>9.1}{:>11}",
            figures.system,
            show(&figures.tcp_1, 1e9, 2),
            share,
            show(&figures.tcp_4, 1e9, 2),
            show(&figures.cpu_per_gb, 1.0, 1),
            show(&figures.latency_p50, 1.0, 0),
            show(&figures.latency_p99, 1.0, 0),
            show(&figures.packets, 1e3, 0),
            figures.idle_memory as f64 / f64::from(1 << 20),
            figures.first_ping.as_millis(),
        );
    }
    text.push('\n');
    for (name, ratio, asked, ok) in targets(all) {
        let _ = writeln!(text, "{} {name}: {ratio} (asked: {asked})", if ok { "met   " } else { "missed" });
    }
    text
}

/// What is asked of the encrypted switch, with the ratio found and whether it is enough.
fn targets(all: &[Figures]) -> Vec<(String, String, String, bool)> {
    let mut found = Vec::new();
    let Some(own) = value(all, "weave", |f| &f.tcp_1) else { return found };
    let mut least = |name: &str, of: Option<f64>, asked: f64| {
        if let Some(of) = of.filter(|of| *of > 0.0) {
            let ratio = own / of;
            found.push((
                format!("TCP×1 over {name}"),
                format!("{ratio:.2}"),
                format!("≥ {asked}"),
                ratio >= asked,
            ));
        }
    };
    least("wireguard-go", value(all, "wireguard-go", |f| &f.tcp_1), 4.0);
    least("tinc", value(all, "tinc", |f| &f.tcp_1), 4.0);
    least("fastd", value(all, "fastd", |f| &f.tcp_1), 4.0);
    least("nebula", value(all, "nebula", |f| &f.tcp_1), 3.0);
    least("copy", value(all, "copy", |f| &f.tcp_1), 0.28);
    let mut most = |name: &str, found_value: Option<f64>, asked: f64, at_least: bool| {
        if let Some(v) = found_value {
            let (sign, ok) = if at_least { ("≥", v >= asked) } else { ("≤", v <= asked) };
            found.push((name.to_owned(), format!("{v:.2}"), format!("{sign} {asked}"), ok));
        }
    };
    let share = |part: Option<f64>, of: Option<f64>| Some(part? / of.filter(|v| *v > 0.0)?);
    most(
        "TCP×1 via a relay over direct",
        share(value(all, "weave-relay", |f| &f.tcp_1), Some(own)),
        0.6,
        true,
    );
    most("daemon CPU seconds per GB", value(all, "weave", |f| &f.cpu_per_gb), 4.0, false);
    let latency = share(value(all, "weave", |f| &f.latency_p50), value(all, "copy", |f| &f.latency_p50));
    most("RR p50 over copy", latency, 1.5, false);
    let memory = all.iter().find(|f| f.system == "weave").map(|f| f.idle_memory as f64 / f64::from(1 << 20));
    most("idle memory, MiB", memory, 20.0, false);
    found
}

fn value(all: &[Figures], system: &str, pick: impl Fn(&Figures) -> &Vec<f64>) -> Option<f64> {
    median(pick(all.iter().find(|f| f.system == system)?))
}

/// Writes all readings and their medians.
pub(crate) fn write_json(path: &Path, all: &[Figures]) -> anyhow::Result<()> {
    let one = |f: &Figures| {
        let series = |readings: &[f64]| json!({ "median": median(readings), "readings": readings });
        json!({
            "system": f.system,
            "relayed": f.relayed,
            "first_ping_seconds": f.first_ping.as_secs_f64(),
            "idle_memory_bytes": f.idle_memory,
            "tcp_1_bits_per_second": series(&f.tcp_1),
            "tcp_4_bits_per_second": series(&f.tcp_4),
            "cpu_seconds_per_gigabyte": series(&f.cpu_per_gb),
            "latency_p50_microseconds": series(&f.latency_p50),
            "latency_p99_microseconds": series(&f.latency_p99),
            "packets_64_bytes_per_second": series(&f.packets),
            "problems": f.problems,
        })
    };
    let targets: Vec<_> = targets(all)
        .into_iter()
        .map(|(name, found, asked, met)| json!({ "name": name, "found": found, "asked": asked, "met": met }))
        .collect();
    let document = json!({ "systems": all.iter().map(one).collect::<Vec<_>>(), "targets": targets });
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).with_context(|| format!("while creating {}", folder.display()))?;
    }
    std::fs::write(path, serde_json::to_vec_pretty(&document)?)
        .with_context(|| format!("while writing {}", path.display()))
}
