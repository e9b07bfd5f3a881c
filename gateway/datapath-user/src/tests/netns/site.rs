//! A row of network namespaces, each with an underlay address, a bridge, a TAP in it, and a datapath.
//!
//! ```text
//!   site 1 ══ site 2 ══ site 3     underlay 10.98.n.0/30 or fd98:n::/64, veth `right` to `left`; no site forwards IP packets
//!   overlay 10.32.0.n/24 and fd00:32::n/64 on every site's bridge
//! ```

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

/// A row of sites.
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
}

/// One namespace; removed when dropped.
pub(super) struct Site {
    namespace: String,
    datapath: Option<Datapath>,
}

impl Network {
    /// Builds the row and waits for its sessions.
    pub(super) fn start(count: u16, underlay: Underlay) -> Network {
        static ROWS: AtomicUsize = AtomicUsize::new(0);
        let row = format!("wdu{}-{}", std::process::id(), ROWS.fetch_add(1, Ordering::Relaxed));
        let mut sites: Vec<Site> = (1..=count).map(|number| Site::new(format!("{row}-{number}"))).collect();
        for (at, pair) in sites.windows(2).enumerate() {
            let (one, other) = (&pair[0], &pair[1]);
            let (wire, mtu) = (at as u16 + 1, underlay.mtu);
            let (prefix, nodad) = if underlay.v6 { (64, " nodad") } else { (30, "") };
            let address = |host| format!("{}/{prefix}", underlay.address(wire, host));
            one.run(&format!(
                "ip link add right mtu {mtu} type veth peer name left mtu {mtu} netns {}",
                other.namespace
            ));
            one.run(&format!("ip addr add {} dev right{nodad}", address(1)));
            other.run(&format!("ip addr add {} dev left{nodad}", address(2)));
            one.run("ip link set right up");
            other.run("ip link set left up");
        }
        for (at, site) in sites.iter_mut().enumerate() {
            site.start(at as u16 + 1);
        }
        let links: Vec<(u16, u16)> = (1..count).map(|number| (number, number + 1)).collect();
        let topology = Topology::new(&links);
        for (number, site) in (1..=count).zip(&sites) {
            let at = |wire: u16, host: u16| SocketAddr::new(underlay.address(wire, host), PORT);
            let remotes = BTreeMap::from([
                (number + 1, at(number, 2)),
                (number.wrapping_sub(1), at(number.wrapping_sub(1), 1)),
            ]);
            site.node().publish(topology.forwarding(number, &remotes));
        }
        for (number, site) in (1..=count).zip(&sites) {
            let next = name(number + 1);
            wait_until("sessions", || {
                let status = site.node().status();
                let up = |session| matches!(session, SessionStatus::Established { .. });
                status.peers.iter().all(|peer| peer.peer != next || up(peer.session))
            });
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
