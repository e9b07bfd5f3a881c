//! The controller: answers the lab's socket and is the only one who changes the lab.
//!
//! One thread per connection, one lock around the state; who waits for a host waits without it. A command that is
//! killed half-way changes nothing here: what it asked for is finished.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::conntrack;
use crate::error::Error;
use crate::folder::Folder;
use crate::hosts::Running;
use crate::keeper::Inside;
use crate::network;
use crate::plan::{self, Router};
use crate::protocol::{self, NAMESPACES, Reply, Request};
use crate::range::Range;
use crate::rules::{self, Behind};
use crate::values::{Cable, Nat, Place, SiteStatus, Status, Topology};

/// More commands at once than a lab has hosts are not commands.
const MOST_VISITORS: usize = 256;

/// How long a visitor may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long no visitor is let in after one could not be: what is short is not there again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The lab from inside.
pub(crate) struct Control {
    folder: Folder,
    state: Mutex<State>,
    /// Notified whenever a host changes.
    pub(crate) changed: Condvar,
}

/// What there is, and what runs.
pub(crate) struct State {
    pub(crate) status: Status,
    pub(crate) running: BTreeMap<String, Running>,
}

/// Runs as the controller.
pub(crate) fn run(folder: &Folder, topology: Topology, listener: &UnixListener) -> Result<(), Error> {
    network::make_internet()?;
    let status = Status {
        name: folder.name().to_owned(),
        topology,
        sites: BTreeMap::new(),
        hosts: BTreeMap::new(),
        cuts: BTreeSet::new(),
    };
    let state = Mutex::new(State { status, running: BTreeMap::new() });
    let control = Arc::new(Control { folder: folder.clone(), state, changed: Condvar::new() });
    control.apply_internet(&control.state())?;
    control.save(&control.state())?;
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            // A visitor that left again, or no descriptor for it: neither is worth the lab.
            Err(error) => {
                eprintln!("accepting on the lab's socket: {error}");
                thread::sleep(ACCEPT_PAUSE);
                continue;
            }
        };
        // Each visitor's thread holds the controller once.
        if Arc::strong_count(&control) > MOST_VISITORS {
            continue;
        }
        let visited = Arc::clone(&control);
        thread::spawn(move || visited.serve(&stream));
    }
}

impl Control {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(self: Arc<Control>, stream: &UnixStream) {
        let answer = protocol::receive(stream, PATIENCE).and_then(|(request, _)| self.handle(request));
        let (reply, fds) = match answer {
            Ok((reply, files)) => (Ok(reply), files),
            Err(error) => (Err(error), Vec::new()),
        };
        let raw: Vec<RawFd> = fds.iter().map(|file: &File| file.as_raw_fd()).collect();
        // A visitor that has been killed needs no answer.
        let _ = protocol::send::<Result<Reply, Error>>(stream, &reply, &raw);
    }

    fn handle(self: &Arc<Control>, request: Request) -> Result<(Reply, Vec<File>), Error> {
        match request {
            Request::Status => {}
            Request::SetTopology(topology) => self.set_topology(topology)?,
            Request::EnsureSite { name, index, lan } => self.ensure_site(&name, index, lan)?,
            Request::RemoveSite { name } => self.remove_site(&name)?,
            Request::EnsureHost(order) => self.ensure_host(&order)?,
            Request::DestroyHost { name } => self.destroy_host(&name)?,
            Request::SetNat { site, nat } => self.set_nat(&site, nat)?,
            Request::Cut(cable) => self.set_cut(cable, true)?,
            Request::Heal(cable) => self.set_cut(cable, false)?,
            Request::Enter { place } => return self.enter(&place.parse()?),
        }
        Ok((Reply::Status(Box::new(self.state().status.clone())), Vec::new()))
    }

    fn set_topology(&self, topology: Topology) -> Result<(), Error> {
        let mut state = self.state();
        state.status.topology = topology;
        self.apply_internet(&state)?;
        self.save(&state)
    }

    fn ensure_site(&self, name: &str, index: u8, lan: Option<Range>) -> Result<(), Error> {
        plan::check_site(name)?;
        plan::check_index("site", index)?;
        let mut state = self.state();
        if let Some(site) = state.status.sites.get(name) {
            if site.index == index && lan.is_none_or(|lan| lan == site.lan) {
                return Ok(());
            }
            let known_as = format!("has number {} and range {}", site.index, site.lan);
            return Err(Error::Conflict(format!("site {name}"), known_as));
        }
        if let Some((other, _)) = state.status.sites.iter().find(|(_, site)| site.index == index) {
            return Err(Error::Conflict(format!("number {index}"), format!("is site {other}")));
        }
        if state.status.hosts.contains_key(name) {
            return Err(Error::Conflict(name.to_owned(), "is the name of a host".to_owned()));
        }
        let router = Router::of(name);
        let nat = (router == Router::Masquerade).then(Nat::default);
        let lan = lan.unwrap_or_else(|| plan::lan(index));
        let site = SiteStatus { index, lan, router, public: plan::router_public(index), nat };
        let made = network::make_site(name, &site).and_then(|()| {
            network::add_routes([network::router(name)], state.status.foreign())?;
            state.status.sites.insert(name.to_owned(), site);
            self.apply_router(&state, name)
        });
        if let Err(error) = made {
            state.status.sites.remove(name);
            // What failed is worth more than what could not be removed after it.
            let _ = network::remove_site(name);
            return Err(error);
        }
        self.save(&state)
    }

    fn remove_site(&self, name: &str) -> Result<(), Error> {
        let mut state = self.state();
        if let Some((host, _)) = state.status.hosts.iter().find(|(_, host)| host.site == name) {
            return Err(Error::Invalid(format!("site {name} still has host {host}")));
        }
        if state.status.sites.remove(name).is_some() {
            state.status.forget_cuts(name);
            network::remove_site(name)?;
            self.apply_internet(&state)?;
        }
        self.save(&state)
    }

    fn set_nat(&self, name: &str, nat: Nat) -> Result<(), Error> {
        let mut state = self.state();
        let site = state.status.sites.get_mut(name).ok_or_else(|| Error::NotFound(format!("site {name}")))?;
        if site.nat.is_none() {
            return Err(Error::Invalid(format!("site {name} does not masquerade: it translates one to one")));
        }
        site.nat = Some(nat);
        self.apply_router(&state, name)?;
        let router = network::router(name);
        nft(&router, rules::forget_mappings())?;
        // What is under way would go on by the rules it began with.
        network::inside(&router, conntrack::flush)??;
        self.save(&state)
    }

    fn set_cut(&self, cable: Cable, cut: bool) -> Result<(), Error> {
        let mut state = self.state();
        let status = &mut state.status;
        let (cable, ends) = match &cable {
            Cable::Between(a, b) => (Cable::between(a, b), vec![a.clone(), b.clone()]),
            Cable::Of(name) => (cable.clone(), vec![name.clone()]),
        };
        let between = ends.len() == 2;
        for end in &ends {
            if !status.sites.contains_key(end) && (between || !status.hosts.contains_key(end)) {
                let kind = if between { "site" } else { "site or host" };
                return Err(Error::NotFound(format!("{kind} {end}")));
            }
        }
        if cut {
            status.cuts.insert(cable);
        } else {
            status.cuts.remove(&cable);
        }
        match state.status.hosts.get(&ends[0]).map(|host| host.site.clone()) {
            Some(site) => self.apply_lan(&state, &site)?,
            None => self.apply_internet(&state)?,
        }
        self.save(&state)
    }

    fn enter(&self, place: &Place) -> Result<(Reply, Vec<File>), Error> {
        let state = self.state();
        let own = PathBuf::from("/proc/self/ns");
        let network = |name: &str| Inside::network(name);
        let (folder, net, cgroup) = match place {
            Place::Operator => (own.clone(), own.join("net"), "keeper".to_owned()),
            Place::Internet => (own, network(network::INTERNET), "keeper".to_owned()),
            Place::Router(site) if state.status.sites.contains_key(site) => {
                (own, network(&network::router(site)), "keeper".to_owned())
            }
            Place::Router(site) => return Err(Error::NotFound(format!("site {site}"))),
            Place::Host(name) => {
                let running =
                    state.running.get(name).ok_or_else(|| Error::NotFound(format!("host {name}")))?;
                let init =
                    running.init.ok_or_else(|| Error::Failed(format!("host {name} is not running")))?;
                let folder = PathBuf::from(format!("/proc/{init}/ns"));
                (folder.clone(), folder.join("net"), format!("{name}/lab-exec"))
            }
        };
        let open = |kind: &&str| {
            let path = if *kind == "net" { net.clone() } else { folder.join(kind) };
            File::open(&path).map_err(Error::io(format_args!("opening {} for {place}", path.display())))
        };
        let files = NAMESPACES.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        Ok((Reply::Door { cgroup }, files))
    }

    /// Lets the switch between the routers drop what the topology and the cuts say.
    pub(crate) fn apply_internet(&self, state: &State) -> Result<(), Error> {
        let cuts = &state.status.cuts;
        let dark = cuts.iter().filter_map(|cable| match cable {
            Cable::Of(name) if state.status.sites.contains_key(name) => Some(name.as_str()),
            _ => None,
        });
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        if state.status.topology == Topology::Partial {
            pairs.push(("aws", "gcp"));
        }
        pairs.extend(cuts.iter().filter_map(|cable| match cable {
            Cable::Between(a, b) => Some((a.as_str(), b.as_str())),
            Cable::Of(_) => None,
        }));
        let both_ways = pairs.iter().flat_map(|&(a, b)| [(a, b), (b, a)]);
        nft(network::INTERNET, &rules::cables(dark, both_ways))
    }

    /// Lets a site's router drop what is cut off on its LAN.
    pub(crate) fn apply_lan(&self, state: &State, site: &str) -> Result<(), Error> {
        let on_lan = |name: &str| state.status.hosts.get(name).is_some_and(|host| host.site == site);
        let dark = state.status.cuts.iter().filter_map(|cable| match cable {
            Cable::Of(name) if on_lan(name) => Some(name.as_str()),
            _ => None,
        });
        nft(&network::router(site), &rules::cables(dark, []))
    }

    /// Gives a site's router the rules that follow from its hosts.
    pub(crate) fn apply_router(&self, state: &State, name: &str) -> Result<(), Error> {
        let Some(site) = state.status.sites.get(name) else { return Ok(()) };
        let behind = |host: &crate::values::HostStatus| Behind {
            index: host.index,
            private: host.private,
            public: host.public,
        };
        let hosts: Vec<Behind> = state.status.hosts.values().filter(|h| h.site == name).map(behind).collect();
        nft(&network::router(name), &rules::router(site, &hosts))
    }

    /// The end of what went wrong so far.
    pub(crate) fn log_tail(&self) -> String {
        self.folder.log_tail()
    }

    /// Writes the description that people read.
    pub(crate) fn save(&self, state: &State) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(&state.status)
            .map_err(|error| Error::Failed(format!("encoding the lab's description: {error}")))?;
        self.folder.replace("lab.json", &(text + "\n"))
    }
}

impl Status {
    /// The public addresses that do not follow from numbers, to which everybody needs a route.
    pub(crate) fn foreign(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.hosts.values().filter_map(|host| host.public).filter(|address| !plan::is_numbered(*address))
    }

    /// Drops the cuts of a site or host that goes.
    pub(crate) fn forget_cuts(&mut self, name: &str) {
        self.cuts.retain(|cable| match cable {
            Cable::Between(a, b) => a != name && b != name,
            Cable::Of(cut) => cut != name,
        });
    }
}

/// Gives `nft` one transaction in a named namespace.
fn nft(namespace: &str, text: &str) -> Result<(), Error> {
    network::inside(namespace, || network::feed(std::process::Command::new("nft").args(["-f", "-"]), text))?
}
