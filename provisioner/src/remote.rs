//! What is asked of a host: the trait that the engine uses, and the implementation over SSH.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cloud_core::{Cloud, ProviderError};
use tokio::time::timeout;
use weave_api::{PingReport, Removal};

use crate::install::{
    BadFacts, Checksum, Content, Facts, Verb, WantedFile, facts_command, link_command, on_any, parse_facts,
    put_command, service_command,
};
use crate::ssh::{Login, Output, Session, SshError};
use crate::vault::Vault;
use crate::verify::{
    Gateway, forget_command, parse_forgotten, parse_pings, parse_state, pings_command, state_command,
};

/// A TCP connection across the world, and then some.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// A question that a host answers from memory.
const ASK_LIMIT: Duration = Duration::from_secs(20);
/// A small file with its fsync; large ones get a second more for each [`SLOWEST_LINE`] bytes.
const PUT_LIMIT: Duration = Duration::from_secs(30);
/// One megabit per second: slower lines are not worth a gateway.
const SLOWEST_LINE: usize = 128 << 10;
/// A stop, which may take [`TimeoutStopSec`](crate::install), and a start until ready.
const SERVICE_LIMIT: Duration = Duration::from_secs(60);

const SSH_PORT: u16 = 22;

/// What a host did not do.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// It cannot be talked to.
    #[error(transparent)]
    Ssh(#[from] SshError),
    /// A command failed there.
    #[error("{what} failed with status {status}{}", said(.stderr))]
    Failed {
        /// What it was for.
        what: String,
        /// Its exit status.
        status: u8,
        /// Its last words.
        stderr: String,
    },
    /// Its answer about its state makes no sense.
    #[error(transparent)]
    Facts(#[from] BadFacts),
    /// Its gateway's answer makes no sense.
    #[error("the gateway's answer makes no sense")]
    Answer(#[source] serde_json::Error),
    /// Its gateway still hears of a peer that is gone.
    #[error("{0}")]
    Alive(String),
}

impl RemoteError {
    /// Whether trying again may help without anybody doing anything.
    pub fn is_retryable(&self) -> bool {
        match self {
            RemoteError::Ssh(error) => error.is_retryable(),
            // Whoever went without a goodbye is missed a few seconds later.
            RemoteError::Alive(_) => true,
            RemoteError::Failed { .. } | RemoteError::Facts(_) | RemoteError::Answer(_) => false,
        }
    }
}

/// How the engine acts on hosts. Every call is idempotent.
pub trait Remote: Send + Sync + 'static {
    /// Asks a host for its state, in one exchange.
    fn facts(&self, host: &str) -> impl Future<Output = Result<Facts, RemoteError>> + Send;

    /// Puts a file in place.
    fn put(
        &self,
        host: &str,
        file: &WantedFile,
        content: &Content,
    ) -> impl Future<Output = Result<(), RemoteError>> + Send;

    /// Makes the `weave` link.
    fn link(&self, host: &str) -> impl Future<Output = Result<(), RemoteError>> + Send;

    /// Enables and starts or restarts the service, waits until it is ready and notes what it was started from.
    fn service(
        &self,
        host: &str,
        restart: bool,
        generation: &Checksum,
    ) -> impl Future<Output = Result<(), RemoteError>> + Send;

    /// Stops the gateway, which tells its peers.
    fn stop(&self, host: &str) -> impl Future<Output = Result<(), RemoteError>> + Send;

    /// Keeps cloud-init from starting at the next boot, where there is one.
    fn disable_cloud_init(&self, host: &str) -> impl Future<Output = Result<(), RemoteError>> + Send;

    /// Has the host's gateway forget a peer that is gone for good; one that it does not know is forgotten already.
    fn forget_peer(&self, host: &str, peer: &str) -> impl Future<Output = Result<(), RemoteError>> + Send;

    /// Has the host's gateway ping every peer it knows.
    fn ping(&self, host: &str) -> impl Future<Output = Result<Vec<PingReport>, RemoteError>> + Send;

    /// Asks for the gateway's version, name and whether it runs.
    fn gateway(&self, host: &str) -> impl Future<Output = Result<Gateway, RemoteError>> + Send;
}

/// How each host is logged in to.
#[derive(Debug, Clone)]
pub struct Logins {
    /// By the keys that were made for it, unless the operator says otherwise.
    vault: Vault,
    /// As the operator says: port and login by host.
    given: BTreeMap<String, (u16, Login)>,
}

impl Logins {
    /// With ports and logins that the operator gives.
    pub fn with(mut self, given: BTreeMap<String, (u16, Login)>) -> Logins {
        self.given = given;
        self
    }

    fn of(&self, host: &str) -> Result<(u16, Login), SshError> {
        if let Some(given) = self.given.get(host) {
            return Ok(given.clone());
        }
        let made = self.vault.login(host).map_err(|e| SshError::Keys(e.into()))?;
        made.map(|login| (SSH_PORT, login)).ok_or_else(|| SshError::UnknownHost(host.to_owned()))
    }
}

impl From<Vault> for Logins {
    fn from(vault: Vault) -> Logins {
        Logins { vault, given: BTreeMap::new() }
    }
}

/// Hosts over SSH, one connection each, opened when first needed and again when it breaks.
pub struct SshRemote {
    cloud: Arc<dyn Cloud>,
    logins: Logins,
    sessions: Mutex<BTreeMap<String, Arc<Session>>>,
}

impl SshRemote {
    /// Reaches hosts through `cloud`.
    pub fn new(cloud: Arc<dyn Cloud>, logins: impl Into<Logins>) -> SshRemote {
        SshRemote { cloud, logins: logins.into(), sessions: Mutex::default() }
    }

    /// The connection to a host.
    pub async fn session(&self, host: &str) -> Result<Arc<Session>, SshError> {
        if let Some(session) = self.sessions().get(host).filter(|session| !session.is_closed()) {
            return Ok(session.clone());
        }
        let (port, login) = self.logins.of(host)?;
        let (cloud, name) = (self.cloud.clone(), host.to_owned());
        let connect = tokio::task::spawn_blocking(move || cloud.connect(&name, port));
        let stream = match timeout(CONNECT_LIMIT, connect).await {
            Err(_) => return Err(SshError::TimedOut("connecting", CONNECT_LIMIT.as_secs())),
            Ok(Err(panic)) => return Err(SshError::Connect(ProviderError::Other(panic.to_string()))),
            Ok(Ok(stream)) => stream.map_err(SshError::Connect)?,
        };
        let session = Arc::new(Session::open(stream, &login).await?);
        self.sessions().insert(host.to_owned(), session.clone());
        Ok(session)
    }

    /// Says goodbye to every host.
    pub async fn close(&self) {
        let sessions = std::mem::take(&mut *self.sessions());
        for session in sessions.into_values() {
            session.close().await;
        }
    }

    async fn exec(
        &self,
        host: &str,
        command: &str,
        stdin: &[u8],
        limit: Duration,
    ) -> Result<Output, SshError> {
        tracing::debug!(host, command, "exec");
        self.session(host).await?.exec_as_root(command, stdin, limit).await
    }

    /// Runs a command that has to succeed; returns what it says.
    pub(crate) async fn run(
        &self,
        host: &str,
        what: &str,
        command: &str,
        stdin: &[u8],
        limit: Duration,
    ) -> Result<String, RemoteError> {
        let output = self.exec(host, command, stdin, limit).await?;
        if output.status != 0 {
            return Err(RemoteError::Failed {
                what: what.to_owned(),
                status: output.status,
                stderr: tail(&output.stderr),
            });
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remote for SshRemote {
    async fn facts(&self, host: &str) -> Result<Facts, RemoteError> {
        let answer = self.run(host, "asking for the host's state", &facts_command(), b"", ASK_LIMIT).await?;
        Ok(parse_facts(&answer)?)
    }

    async fn put(&self, host: &str, file: &WantedFile, content: &Content) -> Result<(), RemoteError> {
        let command = put_command(file, content.checksum());
        let limit = PUT_LIMIT + Duration::from_secs((content.bytes().len() / SLOWEST_LINE) as u64);
        self.run(host, &format!("writing {}", file.path), &command, content.bytes(), limit).await?;
        Ok(())
    }

    async fn link(&self, host: &str) -> Result<(), RemoteError> {
        self.run(host, "linking weave", &link_command(), b"", ASK_LIMIT).await?;
        Ok(())
    }

    async fn service(&self, host: &str, restart: bool, generation: &Checksum) -> Result<(), RemoteError> {
        let command = service_command(restart, generation);
        self.run(host, "starting weave-gateway", &command, b"", SERVICE_LIMIT).await?;
        Ok(())
    }

    async fn stop(&self, host: &str) -> Result<(), RemoteError> {
        self.run(host, "stopping weave-gateway", &on_any(Verb::Stop), b"", SERVICE_LIMIT).await?;
        Ok(())
    }

    async fn disable_cloud_init(&self, host: &str) -> Result<(), RemoteError> {
        // The file is cloud-init's own switch: cloud-init documentation, "How to disable cloud-init".
        let command = "[ ! -d /etc/cloud ] || : > /etc/cloud/cloud-init.disabled";
        self.run(host, "disabling cloud-init", command, b"", ASK_LIMIT).await?;
        Ok(())
    }

    async fn forget_peer(&self, host: &str, peer: &str) -> Result<(), RemoteError> {
        let Output { status, stdout, stderr } =
            self.exec(host, &forget_command(peer), b"", ASK_LIMIT).await?;
        let failed = |stderr| RemoteError::Failed { what: format!("weave rmpeer {peer}"), status, stderr };
        // A refusal is an answer too, whatever its exit status.
        let answers = parse_forgotten(&stdout).map_err(|error| match status {
            0 => RemoteError::Answer(error),
            _ => failed(tail(&stderr)),
        })?;
        for answer in answers {
            let reason = tail(answer.reason.unwrap_or_default().as_bytes());
            match answer.outcome {
                Removal::Removed | Removal::Unknown => {}
                Removal::Alive => return Err(RemoteError::Alive(reason)),
                Removal::Failed => return Err(failed(reason)),
            }
        }
        Ok(())
    }

    async fn ping(&self, host: &str) -> Result<Vec<PingReport>, RemoteError> {
        let output = self.exec(host, pings_command(), b"", ASK_LIMIT).await?;
        // A ping that failed is an answer too, whatever its exit status.
        parse_pings(&output.stdout).map_err(|error| match output.status {
            0 => RemoteError::Answer(error),
            status => {
                RemoteError::Failed { what: "weave ping".to_owned(), status, stderr: tail(&output.stderr) }
            }
        })
    }

    async fn gateway(&self, host: &str) -> Result<Gateway, RemoteError> {
        let output = self.exec(host, &state_command(), b"", ASK_LIMIT).await?;
        Ok(parse_state(&String::from_utf8_lossy(&output.stdout)))
    }
}

/// The last lines of what a command complained about, fit for a terminal.
fn tail(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let clean = |line: &str| line.chars().filter(|c| !c.is_control()).take(300).collect::<String>();
    let lines: Vec<String> = text.lines().map(clean).filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(15)..].join("\n  ")
}

fn said(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!(": {stderr}") }
}
