//! Programs: run to their end with a limit, or in the background until their handle goes.

use std::fmt;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::wait::{CLOSE_TICK, TICK, wait_for, wait_with};

/// What a program did.
#[derive(Debug)]
pub struct Run {
    /// The command line.
    pub line: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
    /// How long it ran.
    pub took: Duration,
}

impl Run {
    /// The exit status; −1 for a death by signal.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    /// Passes a run that ended with this status on; the error of others shows all that it said.
    pub fn expect_code(self, code: i32) -> anyhow::Result<Run> {
        if self.code() != code {
            bail!("expected exit status {code} of {self}");
        }
        Ok(self)
    }

    /// Passes a successful run on.
    pub fn expect_success(self) -> anyhow::Result<Run> {
        self.expect_code(0)
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Run { line, status, stdout, stderr, took } = self;
        write!(f, "`{line}`: {status} after {took:?}\n--- stdout\n{stdout}--- stderr\n{stderr}---")
    }
}

/// Runs a program to its end; kills it at the limit.
pub fn run(command: &mut Command, limit: Duration) -> anyhow::Result<Run> {
    drive(command, limit, TICK, || Ok(false))
}

/// Runs a program until a moment, at which it is killed, or to its end, if that comes first.
pub fn run_until(
    command: &mut Command,
    limit: Duration,
    moment: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<Run> {
    drive(command, limit, CLOSE_TICK, moment)
}

fn drive(
    command: &mut Command,
    limit: Duration,
    tick: Duration,
    mut moment: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<Run> {
    let line = line(command);
    let begun = Instant::now();
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = Killed(spawned.with_context(|| format!("while starting `{line}`"))?);
    let stdout = collect(child.0.stdout.take());
    let stderr = collect(child.0.stderr.take());
    let ended = wait_with(tick, &line, limit, || {
        if moment()? {
            child.0.kill()?;
            return Ok(Some(child.0.wait()?));
        }
        Ok(child.0.try_wait()?)
    });
    drop(child);
    let took = begun.elapsed();
    let text = |reader: JoinHandle<Vec<u8>>| {
        String::from_utf8_lossy(&reader.join().unwrap_or_default()).into_owned()
    };
    let (stdout, stderr) = (text(stdout), text(stderr));
    let status = ended.with_context(|| format!("--- stdout\n{stdout}--- stderr\n{stderr}---"))?;
    Ok(Run { line, status, stdout, stderr, took })
}

/// A program that runs until this is dropped.
#[derive(Debug)]
pub struct Background {
    line: String,
    child: Killed,
    lines: Arc<Mutex<Vec<String>>>,
    complaints: Arc<Mutex<Vec<String>>>,
}

impl Background {
    /// Starts a program whose output is kept line by line.
    pub fn lines(command: &mut Command) -> anyhow::Result<Background> {
        let (mut background, stdout) = Background::reading(command)?;
        background.lines = follow(Some(stdout));
        Ok(background)
    }

    /// Starts a program whose stdout the caller reads.
    pub fn reading(command: &mut Command) -> anyhow::Result<(Background, impl Read + Send + 'static)> {
        let line = line(command);
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = Killed(spawned.with_context(|| format!("while starting `{line}`"))?);
        let stdout = child.0.stdout.take().context("stdout is piped")?;
        let complaints = follow(child.0.stderr.take());
        Ok((Background { line, child, lines: Arc::default(), complaints }, stdout))
    }

    /// The lines on stdout so far.
    pub fn output(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The lines on stderr so far.
    pub fn complaints(&self) -> Vec<String> {
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks until the answer is there; fails when the program ends or the limit is reached.
    pub fn wait_for<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut ask: impl FnMut(&Background) -> Option<T>,
    ) -> anyhow::Result<T> {
        let begun = Instant::now();
        wait_for("the answer", limit, || {
            // First the end, then the question: the last words of a program count.
            let ended = self.child.0.try_wait()?;
            match (ask(self), ended) {
                (Some(answer), _) => Ok(Some(answer)),
                (None, Some(status)) => bail!("it ended: {status}"),
                (None, None) => Ok(None),
            }
        })
        .with_context(|| {
            let said = [self.output(), self.complaints()].concat().join("\n");
            format!("{what}, of `{}`, after {:?}; it said:\n{said}", self.line, begun.elapsed())
        })
    }

    /// Kills the program; its output stays.
    pub fn kill(&mut self) {
        self.child.end();
    }
}

/// A child that does not outlive its handle.
#[derive(Debug)]
struct Killed(Child);

impl Killed {
    fn end(&mut self) {
        // Ended already is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        self.end();
    }
}

fn collect(stream: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // What came before the error is what there is.
            let _ = stream.read_to_end(&mut bytes);
        }
        bytes
    })
}

fn follow(stream: Option<impl Read + Send + 'static>) -> Arc<Mutex<Vec<String>>> {
    let lines = Arc::<Mutex<Vec<String>>>::default();
    let kept = lines.clone();
    thread::spawn(move || {
        for line in stream.into_iter().flat_map(|stream| BufReader::new(stream).lines()).map_while(Result::ok)
        {
            kept.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    });
    lines
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy().chars().take(200).collect::<String>())
        .collect::<Vec<_>>()
        .join(" ")
}
