//! A ping ten times a second for as long as something is done to the network, and the gaps in its answers.

use std::time::Duration;

use anyhow::Context as _;

use crate::endpoint::Endpoint;
use crate::process::Background;

/// Between two requests.
const INTERVAL: Duration = Duration::from_millis(100);

/// A ping under way.
#[derive(Debug)]
pub struct Pings {
    what: String,
    process: Background,
}

/// One answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reply {
    /// The number of the request.
    pub sequence: u32,
    /// When the answer came, since the epoch.
    pub at: Duration,
}

/// The answers of some time, in the order in which they came.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Replies(pub Vec<Reply>);

impl Pings {
    /// Starts to ping and waits for the first answers.
    pub fn start(from: &Endpoint<'_>, to: &Endpoint<'_>) -> anyhow::Result<Pings> {
        let interval = INTERVAL.as_secs_f64().to_string();
        let argv = ["ping", "-n", "-D", "-i", &interval, &to.v4()].map(str::to_owned);
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        let process = Background::lines(&mut from.command(&argv)?)?;
        let mut pings = Pings { what: format!("{} → {}", from.host, to.host), process };
        pings.wait_for_more(5, Duration::from_secs(10))?;
        Ok(pings)
    }

    /// The answers so far.
    pub fn replies(&self) -> Replies {
        Replies(self.process.output().iter().filter_map(|line| Reply::parse(line)).collect())
    }

    /// Waits until that many answers more have come.
    pub fn wait_for_more(&mut self, count: usize, limit: Duration) -> anyhow::Result<()> {
        let what = format!("pinging {}: {count} more answers", self.what);
        let enough = self.replies().0.len() + count;
        let answers = |process: &Background| {
            let replies = process.output().iter().filter(|line| Reply::parse(line).is_some()).count();
            (replies >= enough).then_some(())
        };
        self.process.wait_for(&what, limit, answers)
    }

    /// Waits until a request sent from here on is answered, and the ten after it.
    pub fn wait_for_steady(&mut self, limit: Duration) -> anyhow::Result<()> {
        let what = format!("pinging {}: ten answers in a row", self.what);
        let begun = self.replies().0.last().map_or(0, |reply| reply.sequence);
        let steady = |process: &Background| {
            let lines = process.output();
            let replies: Vec<_> = lines.iter().rev().filter_map(|line| Reply::parse(line)).take(10).collect();
            let row = replies.windows(2).all(|two| two[0].sequence == two[1].sequence + 1);
            let last = replies.last().is_some_and(|oldest| oldest.sequence > begun);
            (replies.len() == 10 && row && last).then_some(())
        };
        self.process.wait_for(&what, limit, steady)
    }

    /// Ends the ping.
    pub fn stop(mut self) -> anyhow::Result<Replies> {
        self.process.kill();
        let replies = self.replies();
        anyhow::ensure!(!replies.0.is_empty(), "pinging {}: no answer at all", self.what);
        Ok(replies)
    }
}

impl Reply {
    /// Reads a line such as `[1795559032.727448] 64 bytes from 10.32.1.2: icmp_seq=1 ttl=64 time=1.11 ms`.
    pub fn parse(line: &str) -> Option<Reply> {
        let (stamp, rest) = line.strip_prefix('[')?.split_once("] ")?;
        let (_, sequence) = rest.split_once("bytes from ")?.1.split_once("icmp_seq=")?;
        let at = Duration::try_from_secs_f64(stamp.parse().ok()?).ok()?;
        Some(Reply { sequence: sequence.split(' ').next()?.parse().ok()?, at })
    }
}

impl Replies {
    /// The longest time between two answers that follow each other.
    pub fn longest_gap(&self) -> Duration {
        let gaps = self.0.windows(2).map(|two| two[1].at.saturating_sub(two[0].at));
        gaps.max().unwrap_or_default()
    }

    /// Requests before the last answered one that were not answered.
    pub fn lost(&self) -> u32 {
        let mut sequences: Vec<u32> = self.0.iter().map(|reply| reply.sequence).collect();
        sequences.sort_unstable();
        sequences.dedup();
        let (Some(first), Some(last)) = (sequences.first(), sequences.last()) else { return 0 };
        last - first + 1 - u32::try_from(sequences.len()).unwrap_or(u32::MAX)
    }

    /// Answers beyond the first to one request.
    pub fn repeated(&self) -> usize {
        let mut sequences: Vec<u32> = self.0.iter().map(|reply| reply.sequence).collect();
        sequences.sort_unstable();
        sequences.windows(2).filter(|two| two[0] == two[1]).count()
    }

    /// The answers that came within a time.
    pub fn between(&self, from: Duration, to: Duration) -> Replies {
        Replies(self.0.iter().copied().filter(|reply| (from..=to).contains(&reply.at)).collect())
    }
}

/// What the clock of [`Reply::at`] shows.
pub fn clock() -> anyhow::Result<Duration> {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).context("the clock is before 1970")
}
