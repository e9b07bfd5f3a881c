//! The report: what the parts say, put together for people.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use weave_api::{
    BroadcastRoute, Connection, ConnectionState, Mac, Path, PathKind, Peer, PeerConnection, Process, Report,
    Router, Session, UnicastRoute, VersionCheck,
};
use weave_hostnet::Host;
use weave_http_api::Refused;
use weave_mesh::Record;
use weave_model::{PeerName, Routes, ShortId};
use weave_peering::Peering;
use weave_switch::{Location, Switch};

use crate::bridging::TAP;
use crate::config::{Admission, Config};
use crate::notify;

/// What carries the frames, where the original says `fastdp` or `sleeve`.
const OVERLAY: &str = "user";

/// Handles on all parts that know something.
pub(crate) struct Reporter {
    pub(crate) config: Config,
    pub(crate) local: PeerName,
    pub(crate) mtu: u16,
    pub(crate) host: Arc<Host>,
    pub(crate) switch: Arc<Switch>,
    pub(crate) peering: Peering,
    pub(crate) datapath: weave_datapath_user::Status,
}

impl Reporter {
    /// Asks all parts.
    pub(crate) async fn report(&self) -> Result<Report, Refused> {
        let failed = |error: &dyn std::fmt::Display| Refused::Failed(error.to_string());
        let mesh = self.peering.status().await.map_err(|e| failed(&e))?;
        let exposed = self.host.exposed(&self.config.bridge).await.map_err(|e| failed(&e))?;
        let names = Names::of(&mesh.records, self.local, &self.config.nickname);
        let routes = &mesh.routes;
        Ok(Report {
            ready: true,
            version: crate::VERSION.to_owned(),
            version_check: VersionCheck::default(),
            process: Process { pid: std::process::id(), supervised: notify::supervised() },
            router: Router {
                protocol: "weave".to_owned(),
                protocol_min_version: 1,
                protocol_max_version: 1,
                network: self.config.network.to_string(),
                encryption: self.config.admission != Admission::Open,
                peer_discovery: self.config.discovery,
                name: self.local.to_string(),
                nick_name: self.config.nickname.clone(),
                site: self.config.site.clone(),
                short_id: routes.local_short_id.map(ShortId::number),
                port: self.config.port,
                bridge: self.config.bridge.clone(),
                interface: self.interface(),
                mtu: self.mtu,
                exposed: exposed.iter().map(ToString::to_string).collect(),
                peers: self.peers(&mesh.records, &mesh.connections, &names),
                unicast_routes: unicast(routes, self.local),
                broadcast_routes: broadcast(routes),
                connections: mesh
                    .connections
                    .iter()
                    .map(|c| self.connection(c, &names))
                    .chain(mesh.refusals.iter().filter(|r| r.at.elapsed() < REFUSALS_FOR).map(refusal))
                    .collect(),
                termination_count: mesh.counters.links_down,
                targets: mesh.targets.iter().map(ToString::to_string).collect(),
                paths: self.paths(&mesh.records, &mesh.connections, routes, &names),
                macs: self.macs(routes, &names),
                drops: self.drops(&mesh.counters),
                trusted_subnets: Vec::new(),
            },
        })
    }

    fn interface(&self) -> String {
        let workers = self.datapath.workers;
        format!("{TAP} (user datapath, {workers} worker{})", if workers == 1 { "" } else { "s" })
    }

    fn peers(&self, records: &[Record], links: &[weave_mesh::Connection], names: &Names) -> Vec<Peer> {
        let by_name: HashMap<PeerName, &Record> = records.iter().map(|r| (r.peer, r)).collect();
        let mut peers: Vec<Peer> =
            records.iter().map(|record| self.peer(record, &by_name, links, names)).collect();
        // This peer first, as in the original.
        peers.sort_by_key(|peer| (peer.name != self.local.to_string(), peer.name.clone()));
        peers
    }

    fn peer(
        &self,
        record: &Record,
        records: &HashMap<PeerName, &Record>,
        links: &[weave_mesh::Connection],
        names: &Names,
    ) -> Peer {
        let link = |(to, edge): (&PeerName, &weave_mesh::Edge)| {
            let own = links.iter().find(|c| record.peer == self.local && c.peer == Some(*to));
            let claimed_back =
                records.get(to).is_some_and(|other| other.neighbours.contains_key(&record.peer));
            PeerConnection {
                name: to.to_string(),
                nick_name: names.nickname(*to),
                address: own.map(|c| c.remote.clone()).unwrap_or_default(),
                outbound: own.is_some_and(|c| c.outbound),
                established: claimed_back,
                rtt_ms: milliseconds(edge.rtt),
            }
        };
        Peer {
            name: record.peer.to_string(),
            nick_name: record.nickname.clone(),
            site: record.site.clone(),
            uid: record.uid,
            short_id: record.short_id.map(ShortId::number),
            version: record.sequence,
            connections: record.neighbours.iter().map(link).collect(),
        }
    }

    fn paths(
        &self,
        records: &[Record],
        links: &[weave_mesh::Connection],
        routes: &Routes,
        names: &Names,
    ) -> Vec<Path> {
        let others = records.iter().filter(|record| record.peer != self.local && !record.leaving);
        others
            .map(|record| {
                let route = routes.peers.get(&record.peer);
                let via: Vec<String> =
                    route.map(|r| r.via.iter().map(|p| names.nickname(*p)).collect()).unwrap_or_default();
                let kind = match (route, via.is_empty()) {
                    (None, _) => PathKind::None,
                    (Some(_), true) => PathKind::Direct,
                    (Some(_), false) => PathKind::Relay,
                };
                let session = self.session(record.peer);
                let reason = match kind {
                    PathKind::Direct if session.as_ref().is_some_and(|s| !s.alive) => {
                        "its probes have no answer".to_owned()
                    }
                    PathKind::Direct => String::new(),
                    PathKind::Relay if routes.neighbours.contains_key(&record.peer) => {
                        "the direct path is slower or dead".to_owned()
                    }
                    PathKind::Relay | PathKind::None => why_not_direct(record, links),
                };
                Path {
                    peer: record.peer.to_string(),
                    nick_name: record.nickname.clone(),
                    kind,
                    via,
                    reason,
                    session,
                }
            })
            .collect()
    }

    fn session(&self, peer: PeerName) -> Option<Session> {
        let status = self.datapath.peers.iter().find(|status| status.peer == peer)?;
        Some(Session {
            alive: status.alive == Some(true),
            suite: status.suite.to_string(),
            rtt_ms: status.rtt.map(milliseconds),
            mtu: status.mtu,
            sent_bytes: status.sent.bytes,
            received_bytes: status.received.bytes,
        })
    }

    /// The columns of the original: what seals it (in networks that keep strangers out), the overlay, who is there.
    fn connection(&self, connection: &weave_mesh::Connection, names: &Names) -> Connection {
        let state = match (connection.state, &connection.reason) {
            (weave_mesh::ConnectionState::Connecting, _) => ConnectionState::Connecting,
            // The link is up, but frames do not pass.
            (weave_mesh::ConnectionState::Established, Some(_)) => ConnectionState::Pending,
            (weave_mesh::ConnectionState::Established, None) => ConnectionState::Established,
            (weave_mesh::ConnectionState::Failed, _) => ConnectionState::Failed,
            (weave_mesh::ConnectionState::Retrying, _) => ConnectionState::Retrying,
        };
        let who = connection.peer.map(|peer| {
            let nickname = connection.nickname.clone().unwrap_or_else(|| names.nickname(peer));
            let sealed = if self.config.admission == Admission::Open { "" } else { "encrypted   " };
            format!("{sealed}{OVERLAY:<6} {peer}({nickname})")
        });
        let retry = connection.retry_in.map(|wait| format!("retry in {} s", wait.as_secs_f64().ceil()));
        let up = matches!(state, ConnectionState::Established | ConnectionState::Pending);
        let parts =
            if up { vec![who, connection.reason.clone()] } else { vec![connection.reason.clone(), retry] };
        let info: Vec<String> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
        let rtt = connection.rtt.map(|rtt| ("rtt".to_owned(), format!("{:.1}ms", milliseconds(rtt))));
        let mtu = connection.peer.filter(|_| up).and_then(|peer| self.session(peer)?.mtu);
        let mtu = mtu.map(|mtu| ("mtu".to_owned(), mtu.to_string()));
        Connection {
            address: connection.remote.clone(),
            outbound: connection.outbound,
            state,
            info: info.join(", "),
            attrs: mtu.into_iter().chain(rtt).collect(),
        }
    }

    fn macs(&self, routes: &Routes, names: &Names) -> Vec<Mac> {
        let by_id: BTreeMap<ShortId, PeerName> =
            routes.peers.iter().filter_map(|(name, route)| Some((route.short_id?, *name))).collect();
        let macs = self.switch.macs(weave_datapath_user::seconds());
        let place = |location| match location {
            Location::Local => Some(self.local),
            Location::Remote(id) => by_id.get(&id).copied(),
        };
        macs.into_iter()
            .map(|entry| {
                let peer = place(entry.location);
                Mac {
                    mac: entry.mac.to_string(),
                    name: peer.map(|p| p.to_string()).unwrap_or_default(),
                    nick_name: peer.map(|p| names.nickname(p)).unwrap_or_default(),
                    silent_seconds: entry.silent_seconds,
                }
            })
            .collect()
    }

    fn drops(&self, control: &weave_peering::Counters) -> BTreeMap<String, u64> {
        let counters = self.switch.counters();
        let switch = [
            ("switch malformed", counters.malformed),
            ("switch link local", counters.link_local),
            ("switch address evicted", counters.evicted),
            ("switch address refused", counters.refused),
            ("control message refused", control.messages_refused),
            ("control handshake refused", control.handshakes_refused),
            ("datapath panics", self.datapath.panics),
        ];
        let datapath = self.datapath.drops.iter().map(|(reason, count)| (reason.reason().to_owned(), *count));
        switch
            .into_iter()
            .map(|(reason, count)| (reason.to_owned(), count))
            .chain(datapath)
            .filter(|d| d.1 > 0)
            .collect()
    }
}

/// Nicknames of all known peers.
struct Names(BTreeMap<PeerName, String>);

impl Names {
    fn of(records: &[Record], local: PeerName, nickname: &str) -> Names {
        let own = std::iter::once((local, nickname.to_owned()));
        Names(records.iter().map(|record| (record.peer, record.nickname.clone())).chain(own).collect())
    }

    fn nickname(&self, peer: PeerName) -> String {
        self.0.get(&peer).cloned().unwrap_or_else(|| peer.to_string())
    }
}

fn unicast(routes: &Routes, local: PeerName) -> Vec<UnicastRoute> {
    let own = UnicastRoute { dest: local.to_string(), via: PeerName::new([0; 6]).to_string() };
    let others = routes.peers.iter();
    let others =
        others.map(|(peer, route)| UnicastRoute { dest: peer.to_string(), via: route.next_hop.to_string() });
    std::iter::once(own).chain(others).collect()
}

fn broadcast(routes: &Routes) -> Vec<BroadcastRoute> {
    let trees = routes.trees.iter();
    trees
        .map(|(root, tree)| BroadcastRoute {
            source: root.to_string(),
            via: tree.children.iter().map(ToString::to_string).collect(),
        })
        .collect()
}

/// How long somebody who was refused is shown among the connections: its attempts come at least every minute.
const REFUSALS_FOR: Duration = Duration::from_secs(90);

/// Somebody who dialled us and was not let in.
fn refusal(refusal: &weave_peering::Refusal) -> Connection {
    Connection {
        address: refusal.remote.to_string(),
        outbound: false,
        state: ConnectionState::Failed,
        info: refusal.reason.clone(),
        attrs: BTreeMap::new(),
    }
}

/// Why frames for a peer take no direct path.
fn why_not_direct(record: &Record, links: &[weave_mesh::Connection]) -> String {
    let of_peer = |c: &&weave_mesh::Connection| {
        c.peer == Some(record.peer)
            || record.endpoints.iter().any(|endpoint| endpoint.to_string() == c.remote)
    };
    let tried =
        links.iter().filter(of_peer).find_map(|c| Some(format!("{}: {}", c.remote, c.reason.as_ref()?)));
    tried.map_or_else(|| "no link".to_owned(), |reason| format!("no link: {reason}"))
}

fn milliseconds(duration: Duration) -> f64 {
    // Microseconds are more than the measurement is worth.
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
