//! Endpoints: plain network namespaces on the hosts, attached to the switch.

use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use crate::fleet::{Fleet, HOSTS};
use crate::pings::Reply;
use crate::process::{Run, run};

/// The namespace on its host.
const NAMESPACE: &str = "app";

/// What runs in an endpoint ends by itself long before.
const LIMIT: Duration = Duration::from_secs(60);

/// The endpoint on one host.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint<'f> {
    fleet: &'f Fleet,
    /// The host.
    pub host: &'static str,
    number: usize,
}

impl PartialEq for Endpoint<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.host == other.host
    }
}

/// Makes an endpoint on every host.
pub fn attach_all(fleet: &Fleet) -> anyhow::Result<[Endpoint<'_>; HOSTS.len()]> {
    let mut number = 0;
    let endpoints = HOSTS.map(|host| {
        number += 1;
        Endpoint { fleet, host, number }
    });
    for endpoint in &endpoints {
        endpoint.attach()?;
    }
    Ok(endpoints)
}

impl<'f> Endpoint<'f> {
    fn attach(&self) -> anyhow::Result<()> {
        let target = format!("netns:{NAMESPACE}");
        let (v4, v6) = (format!("{}/24", self.v4()), format!("{}/64", self.v6()));
        for argv in [&["ip", "netns", "add", NAMESPACE][..], &["weave", "attach", &v4, &v6, &target]] {
            self.fleet.run_on(self.host, argv)?.expect_success()?;
        }
        Ok(())
    }

    /// Its IPv4 address.
    pub fn v4(&self) -> String {
        format!("10.32.1.{}", self.number)
    }

    /// Its IPv6 address.
    pub fn v6(&self) -> String {
        format!("fd00:32::{}", self.number)
    }

    /// Its hardware address.
    pub fn mac(&self) -> anyhow::Result<String> {
        let said = self.run(&["cat", "/sys/class/net/ethwe/address"])?.expect_success()?;
        Ok(said.stdout.trim().to_owned())
    }

    /// A program in the endpoint.
    pub fn command(&self, argv: &[&str]) -> anyhow::Result<Command> {
        let mut command = self.fleet.on_host(self.host, "ip")?;
        command.args(["netns", "exec", NAMESPACE]).args(argv);
        Ok(command)
    }

    /// Runs a program in the endpoint to its end.
    pub fn run(&self, argv: &[&str]) -> anyhow::Result<Run> {
        self.run_within(argv, LIMIT)
    }

    /// Runs a program in the endpoint to its end; kills it at the limit.
    pub fn run_within(&self, argv: &[&str], limit: Duration) -> anyhow::Result<Run> {
        run(&mut self.command(argv)?, limit).with_context(|| format!("in the endpoint of {}", self.host))
    }

    /// Sends five pings with these options to an address; fails when one is lost or answered twice.
    pub fn ping(&self, options: &[&str], address: &str) -> anyhow::Result<()> {
        // Without -w it would wait for the last answer for two round trips only. With it, a sixth request replaces a
        // lost one, hence the sequences.
        let argv = [&["ping", "-n", "-D", "-c", "5", "-i", "0.05", "-w", "5"], options, &[address]].concat();
        let said = self.run(&argv)?;
        let sequences: Vec<u32> =
            said.stdout.lines().filter_map(Reply::parse).map(|reply| reply.sequence).collect();
        let clean = said.code() == 0 && sequences == [1, 2, 3, 4, 5];
        anyhow::ensure!(clean, "in the endpoint of {}: {said}", self.host);
        Ok(())
    }
}
