//! A running emulator.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;

/// A program that emulates a cloud's API; it ends with this value.
#[derive(Debug)]
pub struct Emulator {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Emulator {
    /// Starts a program and waits for the port that it prints.
    pub fn start(command: &mut Command) -> anyhow::Result<Emulator> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let child = child.with_context(|| format!("while starting {command:?}"))?;
        let mut emulator = Emulator { child, address: (Ipv4Addr::LOCALHOST, 0).into() };
        let stdout = emulator.child.stdout.take().context("an emulator without a stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let port = line.trim().parse().context("an emulator ended before it listened; see its stderr")?;
        emulator.address.set_port(port);
        Ok(emulator)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
