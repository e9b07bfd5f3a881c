//! What is measured of one system.

use std::time::Duration;

use anyhow::Context as _;

use crate::process::finish;
use crate::systems::Running;

/// All readings of one system over the rounds.
pub(crate) struct Figures {
    pub(crate) system: &'static str,
    pub(crate) relayed: bool,
    pub(crate) first_ping: Duration,
    pub(crate) idle_memory: u64,
    pub(crate) tcp_1: Vec<f64>,
    pub(crate) tcp_4: Vec<f64>,
    pub(crate) cpu_per_gb: Vec<f64>,
    pub(crate) latency_p50: Vec<f64>,
    pub(crate) latency_p99: Vec<f64>,
    pub(crate) packets: Vec<f64>,
    pub(crate) problems: Vec<String>,
}

/// The middle reading; `None` without any.
pub(crate) fn median(readings: &[f64]) -> Option<f64> {
    let mut sorted = readings.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

impl Figures {
    /// Reads what an idle system costs: the most resident memory of one of its daemons.
    pub(crate) fn idle(up: &Running) -> Figures {
        Figures {
            system: up.system.name(),
            relayed: up.system.hosts() > 2,
            first_ping: up.first_ping,
            idle_memory: up.daemons.iter().map(|d| d.resident()).max().unwrap_or(0),
            tcp_1: Vec::new(),
            tcp_4: Vec::new(),
            cpu_per_gb: Vec::new(),
            latency_p50: Vec::new(),
            latency_p99: Vec::new(),
            packets: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Takes one reading of everything.
    pub(crate) fn measure(&mut self, up: &Running, seconds: u64) -> anyhow::Result<()> {
        let before = cpu(up);
        let (rate, bytes) = iperf(up, seconds, 1)?;
        let spent = cpu(up).saturating_sub(before).as_secs_f64();
        self.tcp_1.push(rate);
        self.cpu_per_gb.push(spent / (bytes / 1e9));
        self.tcp_4.push(iperf(up, seconds, 4)?.0);
        let latency = load(up, "requests", seconds.div_ceil(2))?;
        let mut fields = latency.split_whitespace().map(str::parse::<f64>);
        self.latency_p50.push(fields.next().context("no p50")??);
        self.latency_p99.push(fields.next().context("no p99")??);
        self.packets.push(load(up, "packets", seconds.div_ceil(2))?.trim().parse()?);
        Ok(())
    }
}

fn cpu(up: &Running) -> Duration {
    up.daemons.iter().map(|d| d.cpu()).sum()
}

/// Runs a TCP bulk transfer; bits a second received and the bytes that took.
fn iperf(up: &Running, seconds: u64, streams: u32) -> anyhow::Result<(f64, f64)> {
    let mut command = up.bed.command(0, "timeout");
    command.args([&(seconds + 10).to_string(), "iperf3", "--json", "--client", &up.far.to_string()]);
    command.args(["--time", &seconds.to_string(), "--omit", "1", "--parallel", &streams.to_string()]);
    let text = finish(&mut command).context("while running iperf3")?;
    let answer: serde_json::Value = serde_json::from_str(&text)?;
    let received = &answer["end"]["sum_received"];
    let rate = received["bits_per_second"].as_f64().context("iperf3 printed no rate")?;
    // CPU is counted over the whole run, the second that is left out of the rate included.
    let all = received["bytes"].as_f64().context("iperf3 printed no bytes")? * (seconds + 1) as f64
        / seconds as f64;
    Ok((rate, all))
}

fn load(up: &Running, kind: &str, seconds: u64) -> anyhow::Result<String> {
    let program = std::env::current_exe()?;
    let mut command = up.bed.command(0, "timeout");
    command.arg((seconds + 10).to_string()).arg(program);
    command.args([kind, &up.far.to_string(), &seconds.to_string()]);
    finish(&mut command).with_context(|| format!("while sending {kind}"))
}
