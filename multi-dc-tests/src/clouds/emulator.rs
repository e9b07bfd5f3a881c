//! A cloud's API on the operator's loopback: a program that prints its port, and how to talk to it from outside.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use emulators::compute::Addresses;
use netlab::{Lab, Place};
use serde_json::Value;

use crate::process::Background;

/// The first call of EC2 takes seconds, on a busy machine many.
const LIMIT: Duration = Duration::from_secs(60);

/// A running emulator; it ends with this value.
#[derive(Debug)]
pub(crate) struct Emulator {
    lab: Lab,
    /// Where it listens, as seen from where the operator stands.
    pub(crate) address: SocketAddr,
    _process: Background,
}

impl Emulator {
    /// moto, which knows the images that the adapter looks for and accepts no others.
    pub(crate) fn ec2(lab: &Lab) -> anyhow::Result<Emulator> {
        let python = emulators::ec2::python()?;
        let mut command = lab.command(&Place::Operator, &python.to_string_lossy())?;
        emulators::ec2::prepare(&mut command);
        Emulator::start(lab, &mut command)
    }

    /// The emulator of Compute Engine.
    pub(crate) fn gce(lab: &Lab) -> anyhow::Result<Emulator> {
        let mut command = lab.command(&Place::Operator, "python3")?;
        emulators::compute::prepare(&mut command, Addresses::Routable);
        Emulator::start(lab, &mut command)
    }

    fn start(lab: &Lab, command: &mut Command) -> anyhow::Result<Emulator> {
        let (process, stdout) = Background::reading(command)?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let port: u16 = line
            .trim()
            .parse()
            .with_context(|| format!("an emulator does not start: {:?}", process.complaints()))?;
        Ok(Emulator { lab: lab.clone(), address: (Ipv4Addr::LOCALHOST, port).into(), _process: process })
    }

    /// A call past everything that stands before the emulator; the answer's body.
    pub(crate) fn ask(&self, verb: &str, path: &str, head: &str, body: &str) -> anyhow::Result<String> {
        ask(&self.lab, self.address, verb, path, head, body)
    }

    /// The same in JSON.
    pub(crate) fn ask_json(&self, verb: &str, path: &str, body: &str) -> anyhow::Result<Value> {
        let said = self.ask(verb, path, "", body)?;
        serde_json::from_str(&said).with_context(|| format!("{verb} {path}: {said}"))
    }
}

/// One call of HTTP from where the operator stands; fails unless the answer is good.
pub(crate) fn ask(
    lab: &Lab,
    to: SocketAddr,
    verb: &str,
    path: &str,
    head: &str,
    body: &str,
) -> anyhow::Result<String> {
    let mut stream = lab.connect(&Place::Operator, to, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let length = body.len();
    let request = format!(
        "{verb} {path} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\ncontent-length: {length}\r\n{head}\r\n{body}"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(|| format!("while waiting for {verb} {path}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer in HTTP")?;
    ensure!(head.split(' ').nth(1) == Some("200"), "{verb} {path}: {answer}");
    Ok(body.to_owned())
}
