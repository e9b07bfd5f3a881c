//! One gateway: its parts, made in an order in which a failure leaves nothing behind, and the loop that joins them.
//!
//! ```text
//!   data threads ── QUIC datagrams, path reports ──► peering (mesh) ── forwarding ──► data threads
//!                                                       └── what to remember ──► store
//!   HTTP ── commands ──► this loop
//! ```

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use weave_datapath_user::Datapath;
use weave_hostnet::{Bridge, Host, HostError};
use weave_http_api::{Command, Refused, Reply};
use weave_mesh::{NotDead, Remembered};
use weave_model::{Cidr, Forwarding, PathReport, PeerName, Target};
use weave_peering::{Peering, PeeringError, Port};
use weave_switch::Switch;
use weave_trust::Membership;

use crate::bridging::{TAP, keep_switch, open_switch, overlay_mtu};
use crate::cli::Hint;
use crate::config::Config;
use crate::echo::Echo;
use crate::persist::{Memory, Store};
use crate::remembering::Remembering;
use crate::report::Reporter;
use crate::{membership, notify, pinging, renewal};

/// How often the host's addresses are compared with those we tell others.
const ADDRESSES_EVERY: Duration = Duration::from_secs(15);
/// What withdrawing from the network may take.
const LEAVE_WITHIN: Duration = Duration::from_secs(3);
/// Requests of the API that wait.
const MAX_COMMANDS: usize = 64;

/// Runs a gateway until a signal or a command ends it.
pub(crate) async fn run(config: Config) -> anyhow::Result<()> {
    // From here on a reload that comes too early waits instead of ending the process.
    let mut hangup = signal(SignalKind::hangup())?;
    let listener = listen(config.http).await?;
    let mut node = Node::start(config).await?;
    let (commands, mut inbox) = mpsc::channel(MAX_COMMANDS);
    let (stop, mut stopped) = watch::channel(false);
    let server = tokio::spawn(weave_http_api::serve(listener, commands, async move {
        let _ = stopped.wait_for(|stop| *stop).await;
    }));
    tracing::info!(peer = %node.local, network = %node.config.network, port = node.config.port, "the gateway is ready");
    let outcome = node.drive(&mut inbox, &mut hangup).await;
    notify::notify("STOPPING=1");
    tracing::info!("the gateway stops");
    node.stop().await;
    let outcome = outcome.map(|waiting| {
        if let Some(reply) = waiting {
            let _ = reply.send(Ok(()));
        }
    });
    let _ = stop.send(true);
    let _ = tokio::time::timeout(LEAVE_WITHIN, server).await;
    outcome
}

/// Opens the API's socket; who is in the way is the first thing an operator asks.
async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => Hint::error(
            format!("another gateway or program listens on {address}, where the HTTP API belongs"),
            format!("see `ss -ltnp sport = :{}`, or choose another address with --http-addr", address.port()),
        ),
        _ => anyhow::Error::from(error).context(format!("the HTTP API cannot listen on {address}")),
    })
}

/// The running parts.
struct Node {
    config: Config,
    local: PeerName,
    store: Store,
    remembering: Remembering,
    host: Arc<Host>,
    switch: Arc<Switch>,
    peering: Peering,
    events: mpsc::Receiver<weave_peering::Event>,
    datapath: Datapath,
    /// Why a data thread has ended.
    ended: mpsc::Receiver<std::io::Error>,
    echo: Echo,
    /// Answers echoes, tells the mesh of new addresses, and mends the bridge.
    helpers: [tokio::task::JoinHandle<()>; 3],
    mtu: u16,
    /// Who this gateway is and whom it recognises at this moment.
    membership: Membership,
}

impl Node {
    async fn start(config: Config) -> anyhow::Result<Node> {
        let unix_seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let store = Store::open(&config.state)?;
        let membership = membership::load(&config, &store, unix_seconds)?;
        let local = membership.identity.name();
        let host = Host::new()?;
        let workers = weave_datapath_user::default_workers();
        let sockets = weave_datapath_user::bind(config.port, workers)?;
        let mtu = overlay_mtu(&config, &host).await?;
        let bridge = Bridge { name: config.bridge.clone(), mac: local.to_mac(), mtu };
        let tap = open_switch(&host, &bridge, workers).await?;

        let memory = store.memory()?;
        let endpoints = endpoints(&config, &host).await?;
        let mesh = mesh_config(&config, &membership, &memory, &endpoints, unix_seconds);
        let port = Port::new(sockets.first().context("a port has a socket")?.try_clone()?)?;
        let key = membership.identity.key().wireguard_private_key();
        let psk = membership.psk;
        let peering_config =
            weave_peering::Config { mesh, membership: membership.clone(), seed: rand::random() };
        let (peering, events) = Peering::start(peering_config, Arc::clone(&port))?;
        let switch =
            Arc::new(Switch::new(weave_switch::Config { seed: rand::random(), ..Default::default() }));
        let reports = peering.clone();
        let (end, ended) = mpsc::channel(1);
        let parts = weave_datapath_user::Parts {
            tap,
            sockets,
            switch: Arc::clone(&switch),
            control: Box::new(move |train| port.deliver(train)),
            report: Box::new(move |report: PathReport| reports.report(report)),
            // One is enough to know.
            ended: Box::new(move |error| drop(end.try_send(error))),
        };
        let datapath_config =
            weave_datapath_user::Config { local, wireguard_key: key, psk, mtu, tap: TAP.to_owned() };
        let datapath = Datapath::start(datapath_config, parts)?;
        let (echo, echoes) = Echo::start(&config.bridge, local.to_mac())?;
        let host = Arc::new(host);
        let addresses =
            tokio::spawn(follow_addresses(config.clone(), Arc::clone(&host), peering.clone(), endpoints));
        let switching = tokio::spawn(keep_switch(Arc::clone(&host), bridge, echo.clone()));
        let helpers = [echoes, addresses, switching];
        renewal::note(&config, &store, &membership);
        Ok(Node {
            config,
            local,
            remembering: Remembering::start(store.clone()),
            store,
            host,
            switch,
            peering,
            events,
            datapath,
            ended,
            echo,
            helpers,
            mtu,
            membership,
        })
    }

    /// Joins the parts until the end; returns who waits to hear of it.
    async fn drive(
        &mut self,
        inbox: &mut mpsc::Receiver<Command>,
        hangup: &mut Signal,
    ) -> anyhow::Result<Option<Reply<()>>> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        notify::ready();
        loop {
            tokio::select! {
                event = self.events.recv() => match event {
                    Some(event) => self.handle_event(event),
                    None => anyhow::bail!("the control side ended by itself; please report this"),
                },
                Some(error) = self.ended.recv() => {
                    return Err(anyhow::Error::from(error).context("the data path has ended; start the gateway again"));
                }
                command = inbox.recv() => match command {
                    Some(Command::Stop(reply)) => return Ok(Some(reply)),
                    Some(command) => self.handle_command(command),
                    None => return Ok(None),
                },
                _ = hangup.recv() => self.reload().await,
                _ = terminate.recv() => return Ok(None),
                _ = interrupt.recv() => return Ok(None),
            }
        }
    }

    /// Takes a renewed identity; whatever is wrong with it, the one in use stays.
    async fn reload(&mut self) {
        notify::reloading();
        match renewal::reload(&self.config, &self.store, &self.peering, &self.membership).await {
            Ok(membership) => self.membership = membership,
            Err(error) => {
                tracing::error!(
                    error = format!("{error:#}"),
                    "nothing is reloaded; the identity in use stays"
                );
            }
        }
        notify::ready();
    }

    fn handle_event(&mut self, event: weave_peering::Event) {
        match event {
            weave_peering::Event::Forwarding(forwarding) => self.publish(forwarding),
            weave_peering::Event::Persist(remembered) => self.remember(remembered),
            weave_peering::Event::ShortIdFreed(id) => self.switch.flush(id),
            weave_peering::Event::Clone(peer) => {
                tracing::error!(%peer, "another gateway runs with this gateway's key: stop one of the two");
            }
        }
    }

    fn publish(&self, forwarding: Arc<Forwarding>) {
        self.datapath.publish(forwarding);
    }

    fn remember(&self, remembered: Remembered) {
        let Remembered { short_id, sequence, targets } = remembered;
        let configured = self.config.targets.clone();
        self.remembering.remember(Memory { short_id, sequence, targets, configured });
    }

    /// Answers from tasks of their own, so that no request holds up forwarding.
    fn handle_command(&self, command: Command) {
        match command {
            Command::Report(reply) => {
                let reporter = self.reporter();
                tokio::spawn(async move { reply.send(reporter.report().await) });
            }
            Command::Connect { targets, replace, reply } => {
                self.mesh(weave_mesh::Command::Connect { targets, replace }, reply);
            }
            Command::Forget { targets, reply } => self.mesh(weave_mesh::Command::Forget { targets }, reply),
            Command::Expose(address, reply) => self.expose(address, true, reply),
            Command::Hide(address, reply) => self.expose(address, false, reply),
            Command::Ping { peer, count, reply } => {
                let (reporter, echo) = (self.reporter(), self.echo.clone());
                tokio::spawn(async move { reply.send(pinging::ping(&reporter, &echo, &peer, count).await) });
            }
            Command::RemovePeer { peer, reply } => {
                let peering = self.peering.clone();
                tokio::spawn(async move { reply.send(remove_peer(&peering, peer).await) });
            }
            // Taken out before.
            Command::Stop(reply) => drop(reply.send(Ok(()))),
        }
    }

    fn mesh(&self, command: weave_mesh::Command, reply: Reply<()>) {
        let peering = self.peering.clone();
        tokio::spawn(async move {
            let done = peering.command(command).await.map_err(|e| Refused::Failed(e.to_string()));
            let _ = reply.send(done);
        });
    }

    fn expose(&self, address: Cidr, wanted: bool, reply: Reply<()>) {
        let (host, bridge) = (Arc::clone(&self.host), self.config.bridge.clone());
        tokio::spawn(async move {
            let done =
                if wanted { host.expose(&bridge, address).await } else { host.hide(&bridge, address).await };
            let _ = reply.send(done.map(drop).map_err(|e| Refused::Failed(e.to_string())));
        });
    }

    fn reporter(&self) -> Reporter {
        Reporter {
            config: self.config.clone(),
            local: self.local,
            mtu: self.mtu,
            host: Arc::clone(&self.host),
            switch: Arc::clone(&self.switch),
            peering: self.peering.clone(),
            datapath: self.datapath.status(),
        }
    }

    /// Withdraws from the network; bridge, TAP and attachments stay for the next start.
    async fn stop(self) {
        self.helpers.iter().for_each(tokio::task::JoinHandle::abort);
        self.peering.stop(LEAVE_WITHIN).await;
        self.remembering.finish(LEAVE_WITHIN).await;
        // Joins threads, which may wait for a poll to end.
        let _ = tokio::task::spawn_blocking(move || self.datapath.stop()).await;
    }
}

/// Forgets a peer that is dead; returns how many addresses were taken over from it.
async fn remove_peer(peering: &Peering, peer: String) -> Result<u64, Refused> {
    peering.bury(peer).await.map_err(|error| match error {
        PeeringError::NotDead(why @ NotDead::Unknown(_)) => Refused::Unknown(why.to_string()),
        PeeringError::NotDead(why @ NotDead::Alive { .. }) => Refused::Conflict(why.to_string()),
        PeeringError::NotDead(why) => Refused::Invalid(why.to_string()),
        error => Refused::Failed(error.to_string()),
    })?;
    // Nobody gives addresses out, so nobody holds any.
    Ok(0)
}

/// Tells the mesh when the addresses change, beside the loop: the kernel may take seconds to answer, and forwarding
/// must not wait for it.
async fn follow_addresses(config: Config, host: Arc<Host>, peering: Peering, mut told: BTreeSet<SocketAddr>) {
    loop {
        tokio::time::sleep(ADDRESSES_EVERY).await;
        let found = match endpoints(&config, &host).await {
            Ok(found) => found,
            // Nothing says that they have changed.
            Err(error) => {
                tracing::warn!(%error, "the host's addresses cannot be read");
                continue;
            }
        };
        if found == told {
            continue;
        }
        let command = weave_mesh::Command::SetEndpoints(in_order(&config, &found));
        if peering.command(command).await.is_err() {
            return;
        }
        told = found;
    }
}

/// At which addresses others may dial us: what the operator said, and those of the host.
async fn endpoints(config: &Config, host: &Host) -> Result<BTreeSet<SocketAddr>, HostError> {
    let own = host.underlay_addresses().await?;
    let own = own.into_iter().map(|(_, address, _)| SocketAddr::new(address, config.port));
    Ok(config.advertise.iter().copied().chain(own).collect())
}

/// The operator's addresses first: only some of them travel in the record.
fn in_order(config: &Config, endpoints: &BTreeSet<SocketAddr>) -> Vec<SocketAddr> {
    let others = endpoints.iter().filter(|endpoint| !config.advertise.contains(endpoint));
    config.advertise.iter().chain(others).copied().collect()
}

fn mesh_config(
    config: &Config,
    membership: &Membership,
    memory: &Memory,
    endpoints: &BTreeSet<SocketAddr>,
    unix_seconds: u64,
) -> weave_mesh::Config {
    let secret = boringtun::x25519::StaticSecret::from(membership.identity.key().wireguard_private_key());
    weave_mesh::Config {
        nickname: config.nickname.clone(),
        site: config.site.clone(),
        version: crate::VERSION.to_owned(),
        wireguard_key: boringtun::x25519::PublicKey::from(&secret).to_bytes(),
        uid: rand::random(),
        port: config.port,
        short_id: memory.short_id,
        // A million versions a second would be needed to overtake the clock.
        sequence: memory.sequence.max(unix_seconds << 20),
        endpoints: in_order(config, endpoints),
        targets: targets(&config.targets, memory),
        discovery: config.discovery,
        connection_limit: config.connection_limit,
    }
}

/// The remembered targets, changed by what changed in the configuration since: so `connect` and `forget` outlive a
/// restart, and so does an edit of the file.
fn targets(configured: &[Target], memory: &Memory) -> Vec<Target> {
    let set = |targets: &[Target]| targets.iter().cloned().collect::<BTreeSet<_>>();
    let (then, now) = (set(&memory.configured), set(configured));
    let kept = memory.targets.iter().filter(|t| now.contains(t) || !then.contains(t)).cloned();
    let added = configured.iter().filter(|t| !then.contains(t)).cloned();
    let mut seen = BTreeSet::new();
    kept.chain(added).filter(|target| seen.insert(target.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_of_the_file_and_of_the_operator_both_last() {
        let list = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect::<Vec<Target>>();
        let check = |configured: &[&str], then: &[&str], remembered: &[&str], expected: &[&str]| {
            let memory = Memory { configured: list(then), targets: list(remembered), ..Memory::default() };
            assert_eq!(targets(&list(configured), &memory), list(expected));
        };
        check(&["a", "b"], &[], &[], &["a", "b"]);
        check(&["a", "b"], &["a", "b"], &["a", "b", "c"], &["a", "b", "c"]);
        check(&["a", "b"], &["a", "b"], &["b"], &["b"]);
        check(&["b"], &["a", "b"], &["a", "b", "c"], &["b", "c"]);
        check(&["a", "d"], &["a"], &["c"], &["c", "d"]);
        check(&[], &[], &["c"], &["c"]);
    }
}
