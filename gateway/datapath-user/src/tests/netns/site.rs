//! Network namespaces joined by wires, each with a bridge, a TAP in it, and a datapath.
//!
//! Wire n is a veth pair `wire<n>` with underlay 10.98.n.0/30 or fd98:n::/64, host 1 at the lower site; no site forwards
//! IP packets. The overlay is 10.32.0.s/24 and fd00:32::s/64 on the bridge of site s.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sched::{CloneFlags, setns};
use weave_switch::Switch;

use crate::tests::name;
use crate::tests::node::MTU;
use crate::tests::topology::{Topology, private_key};
use crate::tests::wait_until;
use crate::{Config, Datapath, Parts, SessionStatus, Tap, bind};

const PORT: u16 = 6783;

/// Sites and the wires between them.
pub(super) struct Network {
    pub(super) sites: Vec<Site>,
}

/// What the sites are joined by.
#[derive(Clone, Copy)]
pub(super) struct Underlay {
    pub(super) v6: bool,
    /// The largest IP packet it carries.
    pub(super) mtu: u16,
}

impl Underlay {
    fn address(self, wire: u16, host: u16) -> IpAddr {
        if self.v6 {
            IpAddr::from([0xfd98, wire, 0, 0, 0, 0, 0, host])
        } else {
            IpAddr::from([10, 98, wire as u8, host as u8])
        }
    }

    /// Joins two sites.
    fn wire(self, wire: u16, one: &Site, other: &Site) {
        let (mtu, namespace) = (self.mtu, &other.namespace);
        let (prefix, nodad) = if self.v6 { (64, " nodad") } else { (30, "") };
        let veth = format!("ip link add wire{wire} mtu {mtu} type veth peer name wire{wire} mtu {mtu}");
        one.run(&format!("{veth} netns {namespace}"));
        for (host, site) in [(1, one), (2, other)] {
            site.run(&format!("ip addr add {}/{prefix} dev wire{wire}{nodad}", self.address(wire, host)));
            site.run(&format!("ip link set wire{wire} up"));
        }
    }
}

/// One namespace; removed when dropped.
pub(super) struct Site {
    namespace: String,
    datapath: Option<Datapath>,
}

impl Network {
    /// Builds sites in a row and waits for their sessions.
    pub(super) fn row(count: u16, underlay: Underlay) -> Network {
        let links: Vec<(u16, u16)> = (1..count).map(|number| (number, number + 1)).collect();
        Network::start(count, &links, underlay)
    }

    /// Builds sites with a wire for each link, the first link on wire 1, and waits for their sessions.
    pub(super) fn start(count: u16, links: &[(u16, u16)], underlay: Underlay) -> Network {
        static NETWORKS: AtomicUsize = AtomicUsize::new(0);
        let prefix = format!("wdu{}-{}", std::process::id(), NETWORKS.fetch_add(1, Ordering::Relaxed));
        let mut sites: Vec<Site> =
            (1..=count).map(|number| Site::new(format!("{prefix}-{number}"))).collect();
        let mut remotes = vec![BTreeMap::new(); usize::from(count) + 1];
        for (wire, (one, other)) in (1..).zip(links) {
            underlay.wire(wire, &sites[usize::from(*one) - 1], &sites[usize::from(*other) - 1]);
            remotes[usize::from(*one)].insert(*other, SocketAddr::new(underlay.address(wire, 2), PORT));
            remotes[usize::from(*other)].insert(*one, SocketAddr::new(underlay.address(wire, 1), PORT));
        }
        for (number, site) in (1..).zip(&mut sites) {
            site.start(number);
        }
        let topology = Topology::new(links);
        for (number, site) in (1..).zip(&sites) {
            site.node().publish(topology.forwarding(number, &remotes[usize::from(number)]));
        }
        for (one, other) in links {
            let established = |site: u16, peer: u16| {
                let status = sites[usize::from(site) - 1].node().status();
                let peer = status.peers.into_iter().find(|p| p.peer == name(peer));
                matches!(peer.map(|p| p.session), Some(SessionStatus::Established { .. }))
            };
            wait_until("sessions", || established(*one, *other) && established(*other, *one));
        }
        Network { sites }
    }
}

impl Site {
    fn new(namespace: String) -> Site {
        let site = Site { namespace, datapath: None };
        checked(Command::new("ip").args(["netns", "add", &site.namespace]));
        site.run("ip link set lo up");
        site
    }

    fn start(&mut self, number: u16) {
        let workers = 2;
        let (tap, sockets) =
            self.inside(move || (Tap::open("vethwe-tap", workers).unwrap(), bind(PORT, workers).unwrap()));
        for command in [
            "ip link add weave type bridge".to_owned(),
            format!("ip link set vethwe-tap mtu {MTU} master weave up"),
            format!("ip link set weave mtu {MTU} up"),
            format!("ip addr add 10.32.0.{number}/24 dev weave"),
            format!("ip addr add fd00:32::{number}/64 dev weave nodad"),
        ] {
            self.run(&command);
        }
        let config = Config {
            local: name(number),
            wireguard_key: private_key(number),
            psk: [9; 32],
            mtu: MTU,
            tap: "vethwe-tap".to_owned(),
        };
        let parts = Parts {
            tap,
            sockets,
            switch: Arc::new(Switch::new(weave_switch::Config::default())),
            control: Box::new(|_| {}),
            report: Box::new(|_| {}),
            ended: Box::new(|error| panic!("a thread has ended: {error}")),
        };
        self.datapath = Some(Datapath::start(config, parts).unwrap());
    }

    pub(super) fn node(&self) -> &Datapath {
        self.datapath.as_ref().unwrap()
    }

    /// Runs a command in the namespace; returns what it printed.
    pub(super) fn run(&self, command: &str) -> String {
        checked(Command::new("ip").args(["netns", "exec", &self.namespace]).args(command.split(' ')))
    }

    /// Runs `work` on a thread that stands in the namespace: what it opens stays there.
    pub(super) fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let file = File::open(format!("/run/netns/{}", self.namespace)).unwrap();
        let thread = std::thread::spawn(move || {
            setns(&file, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        });
        thread.join().unwrap()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.datapath = None;
        let _ = Command::new("ip").args(["netns", "del", &self.namespace]).status();
    }
}

fn checked(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}
