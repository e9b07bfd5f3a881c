//! Evidence that nobody else collects: the sites' networks, this machine, and hosts that are not yet of the fleet.
//!
//! Everything here only asks. A machine that is not the fleet's is asked the one question that every host is asked, by
//! the same login, past the adapter, which talks for the fleet and thus only to machines that bear its mark.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use cloud_core::{Cloud, IpNet, ProviderError, Site, Stream};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Silent;
use super::machine::{Machine, Route};
use crate::config::{Onprem, OnpremHost};
use crate::install::{Facts, facts_command, parse_facts};
use crate::observe::call;
use crate::ssh::{Session, SshError};

/// A name, a TCP connection across the world, and two lost packets.
const DIAL_LIMIT: Duration = Duration::from_secs(8);
/// A login through some jump hosts, and a question.
const HOST_LIMIT: Duration = Duration::from_secs(45);
/// A question that a host answers from memory.
const ASK_LIMIT: Duration = Duration::from_secs(20);
/// Some thousand routes.
const MOST_ROUTES_TEXT: u64 = 512 << 10;

/// Asks for the networks of sites, all at once.
pub async fn networks(cloud: &Arc<dyn Cloud>, sites: &[Site]) -> (BTreeMap<String, Vec<IpNet>>, Vec<Silent>) {
    let mut asked = JoinSet::new();
    for site in sites.iter().cloned() {
        let cloud = cloud.clone();
        asked.spawn(async move {
            let name = site.name.clone();
            (name, call(&cloud, move |cloud| cloud.networks(&site)).await)
        });
    }
    let (mut networks, mut silent) = (BTreeMap::new(), Vec::new());
    for (site, answer) in asked.join_all().await {
        match answer {
            Ok(found) => drop(networks.insert(site, found)),
            Err(error) => silent.push(cloud_silent(&site, &error)),
        }
    }
    (networks, silent)
}

/// A cloud that did not answer, with what to do about it.
pub fn cloud_silent(subject: &str, error: &ProviderError) -> Silent {
    let hint = match error {
        ProviderError::Retryable(_) => "ask again; when it stays so, look at the cloud's own status page",
        ProviderError::Permission(_) => "give the operator what it asks for, or other credentials",
        ProviderError::Quota(_) => "ask the cloud for a higher limit, or free some of it",
        ProviderError::NotFound(_)
        | ProviderError::Conflict(_)
        | ProviderError::Invalid(_)
        | ProviderError::Other(_) => {
            "the section of that cloud in weave.toml says where and as whom it is asked"
        }
    };
    let text = error.to_string();
    // The lab's errors bring their own.
    let (why, hint) = text.split_once("; hint: ").unwrap_or((&text, hint));
    Silent { subject: subject.to_owned(), why: why.to_owned(), hint: hint.to_owned() }
}

/// This machine's IPv4 routes; none where it does not tell.
pub fn own_routes() -> Vec<Route> {
    let mut text = String::new();
    if let Ok(file) = std::fs::File::open("/proc/net/route") {
        // What cannot be read is not found in anything's way.
        let _ = file.take(MOST_ROUTES_TEXT).read_to_string(&mut text);
    }
    let mut machine = Machine::default();
    for line in text.lines() {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        if let [interface, to, through, flags, _, _, _, mask, ..] = *fields.as_slice() {
            // The MTU of this machine's interfaces matters to nobody.
            machine.take(&format!("route {interface} {to} {through} {flags} {mask} 0"));
        }
    }
    machine.routes
}

/// Asks machines of the file that no fleet has taken over yet.
pub async fn unclaimed(onprem: &Onprem, hosts: &[&str]) -> (BTreeMap<String, Facts>, Vec<Silent>) {
    let way = Arc::new(Way { onprem: onprem.clone(), open: Mutex::default() });
    let mut asked = JoinSet::new();
    for host in onprem.hosts.iter().filter(|host| hosts.contains(&host.name.as_str())).cloned() {
        let way = way.clone();
        asked.spawn(async move {
            let answer = match timeout(HOST_LIMIT, way.ask(&host)).await {
                Ok(answer) => answer,
                Err(_) => Err(anyhow!("no answer within {} s", HOST_LIMIT.as_secs())),
            };
            (host.name, answer)
        });
    }
    let (mut facts, mut silent) = (BTreeMap::new(), Vec::new());
    for (host, answer) in asked.join_all().await {
        match answer {
            Ok(answer) => drop(facts.insert(host, answer)),
            Err(error) => silent.push(host_silent(&host, &error)),
        }
    }
    for session in way.open.lock().await.values() {
        session.close().await;
    }
    silent.sort_by(|a, b| a.subject.cmp(&b.subject));
    (facts, silent)
}

/// A host that did not answer, with what to do about it.
pub fn host_silent(host: &str, error: &anyhow::Error) -> Silent {
    let known = error.chain().find_map(|cause| {
        let ssh = match cause.downcast_ref::<crate::remote::RemoteError>() {
            Some(crate::remote::RemoteError::Ssh(error)) => Some(error),
            _ => cause.downcast_ref::<SshError>(),
        };
        ssh.and_then(SshError::hint)
    });
    let hint =
        known.unwrap_or("see that it runs, that its SSH can be reached from here, and that sudo works there");
    Silent { subject: host.to_owned(), why: format!("it does not answer: {error:#}"), hint: hint.to_owned() }
}

/// The ways to machines, with the sessions of jump hosts that are open.
struct Way {
    onprem: Onprem,
    open: Mutex<BTreeMap<String, Arc<Session>>>,
}

impl Way {
    async fn ask(&self, host: &OnpremHost) -> anyhow::Result<Facts> {
        let stream = self.dial(&host.reach).await?;
        let session = Session::open(stream, &host.reach.login).await?;
        let said = session.exec_as_root(&facts_command(), b"", ASK_LIMIT).await;
        session.close().await;
        let said = said?;
        if said.status != 0 {
            let words = String::from_utf8_lossy(&said.stderr).into_owned();
            return Err(anyhow!("asking for its state failed with status {}: {words}", said.status));
        }
        Ok(parse_facts(&String::from_utf8_lossy(&said.stdout))?)
    }

    async fn dial(&self, reach: &cloud_onprem::Reach) -> anyhow::Result<Box<dyn Stream>> {
        let place = || format!("{} port {}", reach.address, reach.port);
        let Some(jump) = &reach.jump else {
            let stream = timeout(DIAL_LIMIT, TcpStream::connect((reach.address.as_str(), reach.port))).await;
            return Ok(Box::new(stream.with_context(place)?.with_context(place)?));
        };
        let session = self.through(jump).await.with_context(|| format!("jump host {jump}"))?;
        let stream = timeout(DIAL_LIMIT, session.stream_to(&reach.address, reach.port)).await;
        Ok(Box::new(stream.with_context(place)?.with_context(place)?))
    }

    /// The session of a jump host, opened once. Who reads the file has seen that jump hosts lead nowhere back.
    async fn through(&self, jump: &str) -> anyhow::Result<Arc<Session>> {
        if let Some(session) = self.open.lock().await.get(jump) {
            return Ok(session.clone());
        }
        let reach = self.onprem.jumps.get(jump).context("it is not in the file")?;
        // Boxed: a jump host may stand behind another.
        let stream = Box::pin(self.dial(reach)).await?;
        let session = Arc::new(Session::open(stream, &reach.login).await?);
        // Two that came at the same time keep one each; the earlier is used by who opened it.
        Ok(self.open.lock().await.entry(jump.to_owned()).or_insert(session).clone())
    }
}
