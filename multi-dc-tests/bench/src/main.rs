//! The data path beside its peers, measured in one run on one machine.
//!
//! Two network namespaces joined by a veth pair hold the two ends of every system, three in a row hold the chain
//! with a relay in the middle. All systems are up at the same time, idle, and are measured in turns (A B C, A B C,
//! …), so that what disturbs the machine disturbs all of them; the table shows medians. Absolute figures mean
//! little elsewhere: read the ratios.
//!
//! This is no test: nothing fails because a figure is low.
#![expect(clippy::disallowed_methods, reason = "program: runs daemons, reads the clock and /proc")]

mod bed;
mod figures;
mod load;
mod process;
mod report;
mod systems;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};

use bed::Bed;
use figures::Figures;
use systems::{Running, System};

#[derive(Parser)]
#[command(name = "weave-bench", about = "Measure the encrypted switch beside its peers", version)]
struct Cli {
    /// Rounds; the medians over them are shown
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each throughput and packet rate measurement
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Systems to measure, by name; all when absent
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// File the figures are written to
    #[arg(long, default_value = "bench-results/bench.json")]
    json: std::path::PathBuf,
    #[command(subcommand)]
    load: Option<Load>,
}

/// The load generators; the benchmark runs them inside the namespaces.
#[derive(Subcommand)]
enum Load {
    /// Answer requests and count packets
    #[command(hide = true)]
    Serve {
        /// Address to listen on
        address: std::net::IpAddr,
    },
    /// Send one-byte requests, one at a time, and print the latencies
    #[command(hide = true)]
    Requests {
        /// Address of the server
        address: std::net::IpAddr,
        /// How long
        seconds: u64,
    },
    /// Send packets of 64 bytes as fast as possible and print how many arrived
    #[command(hide = true)]
    Packets {
        /// Address of the server
        address: std::net::IpAddr,
        /// How long
        seconds: u64,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.load {
        Some(Load::Serve { address }) => load::serve(address),
        Some(Load::Requests { address, seconds }) => load::requests(address, Duration::from_secs(seconds)),
        Some(Load::Packets { address, seconds }) => load::packets(address, Duration::from_secs(seconds)),
        None => run(&cli),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("the benchmark needs root\nhint: sudo -E cargo xtask bench");
    }
    let chosen: Vec<System> = System::ALL
        .iter()
        .copied()
        .filter(|s| cli.only.is_empty() || cli.only.iter().any(|name| name == s.name()))
        .collect();
    if let Some(unknown) = cli.only.iter().find(|name| System::ALL.iter().all(|s| s.name() != *name)) {
        let names: Vec<_> = System::ALL.iter().map(|s| s.name()).collect();
        bail!("'{unknown}' is no system\nhint: one of {}", names.join(", "));
    }
    let mut running = Vec::new();
    for system in chosen {
        eprintln!("── starting {}", system.name());
        let bed = Bed::new(system.name(), system.hosts())?;
        let up = Running::start(system, bed).with_context(|| format!("while starting {}", system.name()))?;
        running.push(up);
    }
    // Daemons settle: handshakes, MTU probes, page faults of the start.
    std::thread::sleep(Duration::from_secs(3));
    let mut figures: Vec<Figures> = running.iter().map(Figures::idle).collect();
    for round in 1..=cli.rounds {
        for (up, figures) in running.iter().zip(&mut figures) {
            eprintln!("── round {round} of {}: {}", cli.rounds, up.system.name());
            if let Err(error) = figures.measure(up, cli.seconds) {
                eprintln!("warning: {}: {error:#}", up.system.name());
                figures.problems.push(format!("{error:#}"));
            }
        }
    }
    print!("{}", report::table(&figures));
    report::write_json(&cli.json, &figures)?;
    eprintln!("── figures written to {}", cli.json.display());
    Ok(())
}
