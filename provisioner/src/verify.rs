//! Proof that the fleet works: every gateway pings every other with Ethernet frames.
//!
//! The gateways themselves ping (`weave ping all`); here their answers are read, put together and judged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use weave_api::{PingReport, RemovedPeer};

use crate::fleet::{Fleet, Host};
use crate::install::{Verb, on_any};
use crate::remote::{Remote, RemoteError};
use crate::ssh::quote;

/// What a host's gateway says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gateway {
    /// Its version; empty when it does not say.
    pub version: String,
    /// Its name in the network; empty when it does not say.
    pub peer: String,
    /// As systemd says it, e.g. `active`.
    pub state: String,
}

/// One row of `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GatewayRow {
    /// The host.
    pub host: String,
    /// Its site.
    pub site: String,
    /// The gateway's name in the network.
    pub peer: String,
    /// Its version.
    pub version: String,
    /// As systemd says it, or `unreachable`, or `missing`.
    pub state: String,
}

/// How one gateway reaches another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pair {
    /// The host that pings.
    pub from: String,
    /// The host that is pinged.
    pub to: String,
    /// `direct` or `relay`; absent when the gateway does not know the other.
    pub path: Option<String>,
    /// Through whom.
    pub via: Vec<String>,
    /// The round trip in milliseconds.
    pub rtt_ms: Option<f64>,
    /// The largest frame payload that passes.
    pub mtu: Option<u32>,
    /// Whether the ping came back.
    pub ok: bool,
}

/// All gateways and all pairs.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// By site and number.
    pub gateways: Vec<GatewayRow>,
    /// Every ordered pair.
    pub pairs: Vec<Pair>,
}

impl Report {
    /// Whether there is a fleet and every pair in it works.
    pub fn ok(&self) -> bool {
        let running = self.gateways.iter().all(|gateway| gateway.state == "active");
        !self.gateways.is_empty() && running && self.pairs.iter().all(|pair| pair.ok)
    }
}

/// The pairs that never worked, each with the last reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("after {seconds} s these gateways still do not reach each other: {}", .missing.join(", "))]
pub struct NotVerified {
    /// How long was tried.
    pub seconds: u64,
    /// `from → to`.
    pub missing: Vec<String>,
}

/// How long pairs are given to find each other, and how often they are asked.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// In all.
    pub limit: Duration,
    /// Between two rounds at first; doubles up to two seconds.
    pub pause: Duration,
    /// For how long no path may have changed once all work, before they are shown; zero takes the first answer.
    pub rest: Duration,
}

/// What a settled fleet gets: nothing was changed, so nothing has to come to rest.
impl Patience {
    /// Takes the first round in which all pairs work.
    pub fn settled() -> Patience {
        Patience { rest: Duration::ZERO, ..Patience::default() }
    }
}

/// A link that is new counts as slow until it is measured, and the size that passes is probed behind that; networks
/// that change for longer are shown as they are.
const REST_WITHIN: Duration = Duration::from_secs(10);

impl Default for Patience {
    fn default() -> Patience {
        // Joining through a relay takes two probes of a few seconds behind the worst NAT; a minute is generous.
        Patience {
            limit: Duration::from_secs(60),
            pause: Duration::from_millis(250),
            rest: Duration::from_secs(2),
        }
    }
}

/// Pings all pairs until all work or the patience ends; the reasons of hosts that did not even ping are the errors.
pub async fn verify<R: Remote>(
    remote: &Arc<R>,
    fleet: &Fleet,
    patience: Patience,
) -> Result<Vec<Pair>, (NotVerified, Vec<(String, RemoteError)>)> {
    let start = Instant::now();
    let mut pause = patience.pause;
    // When all worked first, since when no path has changed, and what the paths were.
    let mut resting: Option<(Instant, Instant, Vec<Pair>)> = None;
    loop {
        let (answers, errors) = ping_all(remote, fleet).await;
        let pairs = pairs(fleet, &answers);
        if pairs.iter().all(|pair| pair.ok) && errors.is_empty() {
            let now = Instant::now();
            let (first, since) = match &resting {
                Some((first, since, before)) if same_paths(before, &pairs) => (*first, *since),
                Some((first, ..)) => (*first, now),
                None => (now, now),
            };
            let known = patience.rest.is_zero() || pairs.iter().all(|pair| pair.mtu.is_some());
            if known && since.elapsed() >= patience.rest || first.elapsed() >= REST_WITHIN {
                return Ok(pairs);
            }
            resting = Some((first, since, pairs));
            tokio::time::sleep(patience.pause).await;
            continue;
        }
        let hopeless = errors.iter().any(|(_, error)| {
            matches!(
                error,
                RemoteError::Ssh(crate::ssh::SshError::HostKey { .. } | crate::ssh::SshError::UnknownHost(_))
            )
        });
        if hopeless || start.elapsed() + pause > patience.limit {
            let missing = pairs
                .iter()
                .filter(|pair| !pair.ok)
                .map(|pair| format!("{} → {}", pair.from, pair.to))
                .collect();
            return Err((NotVerified { seconds: start.elapsed().as_secs(), missing }, errors));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

/// Whether frames take the same ways.
fn same_paths(before: &[Pair], now: &[Pair]) -> bool {
    let ways = |pairs: &[Pair]| pairs.iter().map(|p| (p.path.clone(), p.via.clone())).collect::<Vec<_>>();
    ways(before) == ways(now)
}

/// Asks every gateway about itself and its pings, all at once; the errors are those of hosts that did not answer.
pub async fn report<R: Remote>(
    remote: &Arc<R>,
    fleet: &Fleet,
    exists: impl Fn(&Host) -> bool,
) -> (Report, Vec<(String, RemoteError)>) {
    let mut asked = JoinSet::new();
    for host in fleet.hosts.iter().filter(|host| exists(host)) {
        let (remote, name) = (remote.clone(), host.name.clone());
        asked.spawn(async move { (name.clone(), remote.gateway(&name).await, remote.ping(&name).await) });
    }
    let mut rows = BTreeMap::new();
    let mut answers = BTreeMap::new();
    let mut errors = Vec::new();
    for (name, gateway, pings) in asked.join_all().await {
        match gateway {
            Ok(gateway) => drop(rows.insert(name.clone(), gateway)),
            Err(error) => errors.push((name.clone(), error)),
        }
        match pings {
            Ok(pings) => drop(answers.insert(name, pings)),
            // Its state in the table says why, or the host did not answer at all.
            Err(error) => tracing::debug!(host = name, %error, "the gateway does not ping"),
        }
    }
    let row = |host: &Host| {
        let absent = if exists(host) { "unreachable" } else { "missing" };
        let gateway = rows
            .get(&host.name)
            .cloned()
            .unwrap_or_else(|| Gateway { state: absent.to_owned(), ..Gateway::default() });
        GatewayRow {
            host: host.name.clone(),
            site: host.site.clone(),
            peer: gateway.peer,
            version: gateway.version,
            state: gateway.state,
        }
    };
    errors.sort_by(|a, b| a.0.cmp(&b.0));
    (Report { gateways: fleet.hosts.iter().map(row).collect(), pairs: pairs(fleet, &answers) }, errors)
}

/// Every ordered pair of hosts with what the first says about the second.
pub fn pairs(fleet: &Fleet, answers: &BTreeMap<String, Vec<PingReport>>) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for from in &fleet.hosts {
        for to in fleet.hosts.iter().filter(|to| to.name != from.name) {
            let ping = answers
                .get(&from.name)
                .and_then(|pings| pings.iter().find(|ping| ping.nickname == to.name))
                .cloned();
            let (from, to) = (from.name.clone(), to.name.clone());
            pairs.push(match ping {
                Some(PingReport { path, via, rtt_ms, mtu, ok, .. }) => {
                    let (path, mtu) = (Some(path.to_string()), mtu.map(u32::from));
                    Pair { from, to, path, via, rtt_ms, mtu, ok }
                }
                None => Pair { from, to, path: None, via: Vec::new(), rtt_ms: None, mtu: None, ok: false },
            });
        }
    }
    pairs
}

async fn ping_all<R: Remote>(
    remote: &Arc<R>,
    fleet: &Fleet,
) -> (BTreeMap<String, Vec<PingReport>>, Vec<(String, RemoteError)>) {
    let mut asked = JoinSet::new();
    for host in &fleet.hosts {
        let (remote, name) = (remote.clone(), host.name.clone());
        asked.spawn(async move { (name.clone(), remote.ping(&name).await) });
    }
    let (mut answers, mut errors) = (BTreeMap::new(), Vec::new());
    for (name, pings) in asked.join_all().await {
        match pings {
            Ok(pings) => drop(answers.insert(name, pings)),
            Err(error) => errors.push((name, error)),
        }
    }
    errors.sort_by(|a, b| a.0.cmp(&b.0));
    (answers, errors)
}

/// The command that makes a gateway ping all; it must not outlive whoever asked.
pub(crate) fn pings_command() -> &'static str {
    "timeout 15 /usr/local/bin/weave ping all --output json"
}

pub(crate) fn parse_pings(answer: &[u8]) -> Result<Vec<PingReport>, serde_json::Error> {
    serde_json::from_slice(answer)
}

/// The command that has a gateway forget a peer that is gone.
pub(crate) fn forget_command(peer: &str) -> String {
    format!("timeout 15 /usr/local/bin/weave rmpeer --output json -- {}", quote::text(peer))
}

pub(crate) fn parse_forgotten(answer: &[u8]) -> Result<Vec<RemovedPeer>, serde_json::Error> {
    serde_json::from_slice(answer)
}

/// The command that asks a gateway about itself.
pub(crate) fn state_command() -> String {
    let state = on_any(Verb::State);
    format!("echo \"state $({state})\"; timeout 10 /usr/local/bin/weave version --output json 2>/dev/null")
}

pub(crate) fn parse_state(answer: &str) -> Gateway {
    #[derive(Default, Deserialize)]
    struct Version {
        #[serde(default)]
        version: String,
        #[serde(default)]
        peer: String,
    }
    let state = answer.lines().find_map(|line| line.strip_prefix("state ")).unwrap_or("unknown").to_owned();
    let json = answer.find('{').map_or("", |at| &answer[at..]);
    let Version { version, peer } = serde_json::from_str(json).unwrap_or_default();
    Gateway { version, peer, state }
}
