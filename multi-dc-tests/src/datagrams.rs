//! Single datagrams to many: who hears them, and how often.

use std::fmt;
use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::process::Background;

/// The system's own, not one that only a login shell knows.
pub(crate) const PYTHON: &str = "/usr/bin/python3";

const SCRIPT: &str = include_str!("datagrams.py");

/// A datagram that nobody answers is heard within milliseconds; the rest is for a busy machine.
const LIMIT: Duration = Duration::from_secs(10);

/// Ways to reach many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// UDP to a group.
    Multicast,
    /// UDP from 0.0.0.0:68 to 255.255.255.255:67.
    Dhcp,
    /// Who has an address? The text is the address.
    Arp,
    /// A frame of VLAN 7 that fills the MTU.
    Tagged,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Multicast => "multicast",
            Kind::Dhcp => "dhcp",
            Kind::Arp => "arp",
            Kind::Tagged => "tagged",
        })
    }
}

/// Sends one.
pub fn send(from: &Endpoint<'_>, kind: Kind, text: &str) -> anyhow::Result<()> {
    from.run(&[PYTHON, "-c", SCRIPT, "send", &kind.to_string(), text])?.expect_success().map(drop)
}

/// Sends a frame of VLAN 7 that fills the MTU to one endpoint.
pub fn send_tagged(from: &Endpoint<'_>, to: &Endpoint<'_>, text: &str) -> anyhow::Result<()> {
    from.run(&[PYTHON, "-c", SCRIPT, "send", "tagged", text, &to.mac()?])?.expect_success().map(drop)
}

/// Hears all of one kind at an endpoint.
#[derive(Debug)]
pub struct Listener {
    host: &'static str,
    process: Background,
}

impl Listener {
    /// Starts to listen; what is sent once this returns is heard.
    pub fn start(at: &Endpoint<'_>, kind: Kind) -> anyhow::Result<Listener> {
        let argv = [PYTHON, "-c", SCRIPT, "listen", &kind.to_string()];
        let mut process = Background::lines(&mut at.command(&argv)?)?;
        let ready = |process: &Background| process.output().iter().any(|line| line == "ready").then_some(());
        process.wait_for("waiting for the listener to begin", LIMIT, ready)?;
        Ok(Listener { host: at.host, process })
    }

    /// Where it listens.
    pub fn host(&self) -> &'static str {
        self.host
    }

    /// Waits until a text has been heard.
    pub fn wait_for(&mut self, text: &str) -> anyhow::Result<()> {
        let heard = |process: &Background| process.output().iter().any(|line| line == text).then_some(());
        self.process.wait_for(&format!("waiting for {text:?} to arrive at {}", self.host), LIMIT, heard)
    }

    /// How often a text has been heard.
    pub fn count(&self, text: &str) -> usize {
        self.process.output().iter().filter(|line| *line == text).count()
    }
}
