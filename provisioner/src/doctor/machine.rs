//! What a host says about its machine: routes, ports, disk, kernel. The question in shell, and the reading of the answer.
//!
//! The question is part of the one that every plan asks, so it costs milliseconds, changes nothing, and needs no more
//! than busybox. What needs a closer look is looked at only where no gateway runs: one that runs proves it. A line that
//! makes no sense is dropped, and with it only what it would have told; nothing a host says is shown as it came.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use cloud_core::IpNet;
use cloud_onprem::Init;

use crate::footprint::{Glibc, glibc};

/// More routes than a host in a cloud has; a router with a full table is read up to here.
const MOST_ROUTES: usize = 256;
/// Sixteen more sockets than can be in the gateway's way one by one.
const MOST_PORTS: usize = 32;
/// The port of the gateway's API, and for UDP that of VXLAN.
const API_PORT: u16 = 6784;

/// What a host says about its machine. What is absent it did not tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// As `uname -m` says it.
    pub architecture: Option<String>,
    /// Its GNU C library; `None` where it has another or did not tell.
    pub glibc: Option<Glibc>,
    /// What starts services there.
    pub init: Option<Init>,
    /// Whether that is nothing that starts a gateway.
    pub unfit_init: bool,
    /// Its IPv4 routes.
    pub routes: Vec<Route>,
    /// The MTU of its interfaces that have a route or an IPv6 address of global scope.
    pub mtus: BTreeMap<String, u32>,
    /// Kernel features that it was asked for and does not have.
    pub lacks: BTreeSet<Feature>,
    /// Sockets in the way of a gateway; a host on which one runs is not asked.
    pub taken: Vec<Taken>,
    /// Free kilobytes by folder.
    pub free: BTreeMap<Folder, u64>,
    /// Whether its firewall drops what crosses the bridge.
    pub drops_bridged: bool,
    /// How often the init had to start the gateway again.
    pub restarts: u32,
}

/// One IPv4 route of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The interface it leads to.
    pub interface: String,
    /// Where it leads.
    pub net: IpNet,
    /// Whether a router is in between.
    pub routed: bool,
}

/// Something of the kernel that a gateway uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// TAP devices, which carry every frame.
    Tun,
    /// The bridge that containers are plugged into.
    Bridge,
    /// The cables between containers and the bridge.
    Veth,
    /// What the kernel would need to forward by itself.
    Vxlan,
}

impl Feature {
    /// Every one.
    pub const ALL: [Feature; 4] = [Feature::Tun, Feature::Bridge, Feature::Veth, Feature::Vxlan];

    /// The name of the kernel's module.
    pub fn module(self) -> &'static str {
        match self {
            Feature::Tun => "tun",
            Feature::Bridge => "bridge",
            Feature::Veth => "veth",
            Feature::Vxlan => "vxlan",
        }
    }
}

/// A folder that a gateway writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Folder {
    /// Where its program goes.
    Program,
    /// Where its state goes.
    State,
}

impl Folder {
    const ALL: [Folder; 2] = [Folder::Program, Folder::State];

    /// Its path.
    pub fn path(self) -> &'static str {
        match self {
            Folder::Program => "/usr/local",
            Folder::State => "/var/lib",
        }
    }
}

/// A socket on a port that the gateway needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Taken {
    /// `udp` or `tcp`.
    pub protocol: &'static str,
    /// The port.
    pub port: u16,
    /// The name of the process; `None` for the kernel itself and for what could not be found.
    pub process: Option<String>,
    /// The number of the process.
    pub pid: Option<u32>,
}

/// The shell text that asks; it expects the service's state in `$a`, and prints lines that begin with `machine:`.
pub(crate) const QUESTION: &str = r#"
m() { echo "machine: $*"; }
mtu() { t=; [ -r "/sys/class/net/$1/mtu" ] && read -r t <"/sys/class/net/$1/mtu"; [ -n "$t" ]; }
k() { [ -d "/sys/module/$1" ] && return; modprobe -n -q "$1" 2>/dev/null && return
  e=$(LC_ALL=C unshare -n ip link add wv0 type "$@" 2>&1) && return
  case $e in *'nknown device type'*|*'ot supported'*) m lacks "$1";; esac; }
m architecture "$(uname -m)"
m $(getconf GNU_LIBC_VERSION 2>/dev/null)
head -n 257 /proc/net/route 2>/dev/null | while read -r i d g f r u p n x; do
  mtu "$i" && m route "$i" "$d" "$g" "$f" "$n" "$t"; done
head -n 65 /proc/net/if_inet6 2>/dev/null | while read -r d n l s f i; do
  [ "$s" = 00 ] && mtu "$i" && m mtu "$i" "$t"; done
for d in /usr/local /var/lib; do df -kP "$d" 2>/dev/null | { read -r h; read -r d1 d2 d3 v h && m free "$d" "$v"; }; done
if [ "$(cat /proc/sys/net/bridge/bridge-nf-call-iptables 2>/dev/null)" = 1 ]; then
  r=$({ nft list chain ip filter FORWARD; if grep -qs filter /proc/net/ip_tables_names ||
    iptables -V | grep -q nf_tables; then iptables -S FORWARD; iptables -S DOCKER-USER; fi; } 2>/dev/null)
  case $r in *'-i weave -o weave -j ACCEPT'*|*'iifname "weave" oifname "weave"'*accept*) ;;
    *'-P FORWARD DROP'*|*'policy drop'*) m forward drop;; esac
fi
if [ "$a" != active ]; then
  if [ ! -c /dev/net/tun ]; then m lacks tun
  elif [ ! -e /sys/devices/virtual/misc/tun ] && command -v modprobe >/dev/null 2>&1; then
    modprobe -n -q tun 2>/dev/null || m lacks tun; fi
  k bridge; k veth; k vxlan id 1 dstport 6784
  for t in udp udp6 tcp tcp6; do
    grep -E '^ *[0-9]+: [0-9A-F]+:1A(7F|80) ' "/proc/net/$t" 2>/dev/null | head -n 8 |
    while read -r n l r s q w e u o i x; do
      case "$t $s" in tcp*' 0A'|udp*) ;; *) continue;; esac
      p=; c=
      if [ "$i" != 0 ]; then
        p=$(ls -l /proc/[0-9]*/fd 2>/dev/null |
          awk -v s="socket:[$i]" '/^\/proc/ {d = $1} index($0, s) {print d; exit}')
        p=${p#/proc/}; p=${p%%/*}
        [ -n "$p" ] && read -r c 2>/dev/null <"/proc/$p/comm"
      fi
      m taken "$t" "$l" "${p:-0}" "$c"
    done
  done
fi
"#;

impl Machine {
    /// Takes in what follows `machine:` on one line. What makes no sense, or is too much, is dropped.
    pub(crate) fn take(&mut self, line: &str) {
        // Every branch ends in `Some` when it took the line; nobody needs to know.
        let _ = self.try_take(line);
    }

    fn try_take(&mut self, line: &str) -> Option<()> {
        let fields: Vec<&str> = line.split_ascii_whitespace().take(8).collect();
        match *fields.as_slice() {
            ["architecture", name] => self.architecture = Some(word(name)?),
            ["glibc", version] => self.glibc = Some(glibc(version)?),
            ["init", word] => {
                self.init = Init::parse(word);
                self.unfit_init = self.init.is_none();
            }
            ["route", interface, to, through, flags, mask, mtu] => {
                let route = route(interface, to, through, flags, mask)?;
                self.note_mtu(interface, mtu)?;
                if self.routes.len() < MOST_ROUTES {
                    self.routes.push(route);
                }
            }
            ["mtu", interface, mtu] => self.note_mtu(interface, mtu)?,
            ["lacks", module] => {
                let feature = Feature::ALL.into_iter().find(|feature| feature.module() == module)?;
                self.lacks.insert(feature);
            }
            ["free", folder, kilobytes] => {
                let folder = Folder::ALL.into_iter().find(|known| known.path() == folder)?;
                self.free.insert(folder, kilobytes.parse().ok()?);
            }
            ["forward", "drop"] => self.drops_bridged = true,
            ["restarts", times] => self.restarts = times.parse().ok()?,
            ["taken", protocol, place, pid, ..] => {
                let taken = taken(protocol, place, pid, fields.get(4).copied())?;
                if self.taken.len() < MOST_PORTS && !self.taken.contains(&taken) {
                    self.taken.push(taken);
                }
            }
            _ => {}
        }
        Some(())
    }

    fn note_mtu(&mut self, interface: &str, mtu: &str) -> Option<()> {
        let (interface, mtu) = (word(interface)?, mtu.parse().ok()?);
        if self.mtus.len() < MOST_ROUTES {
            self.mtus.insert(interface, mtu);
        }
        Some(())
    }
}

/// A name as hosts give them, fit to be shown.
fn word(text: &str) -> Option<String> {
    let fit = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-@:+/".contains(&b));
    (fit && (1..=32).contains(&text.len())).then(|| text.to_owned())
}

/// A line of `/proc/net/route`, whose numbers are in the byte order of the host; all that run a gateway are
/// little-endian.
fn route(interface: &str, to: &str, through: &str, flags: &str, mask: &str) -> Option<Route> {
    /// `RTF_UP` of route.h.
    const UP: u32 = 1;
    /// `RTF_REJECT` of route.h: nothing goes there.
    const REJECT: u32 = 0x200;
    let number = |text: &str| u32::from_str_radix(text, 16).ok();
    let address = |text: &str| number(text).map(|number| Ipv4Addr::from(number.swap_bytes()));
    let flags = number(flags)?;
    if flags & UP == 0 || flags & REJECT != 0 {
        return None;
    }
    let net = IpNet::with_netmask(IpAddr::V4(address(to)?), IpAddr::V4(address(mask)?)).ok()?;
    Some(Route { interface: word(interface)?, net: net.trunc(), routed: number(through)? != 0 })
}

/// A line of `/proc/net/udp` and its like, if its socket is in the way of the gateway's.
fn taken(protocol: &str, place: &str, pid: &str, process: Option<&str>) -> Option<Taken> {
    let protocol = match protocol {
        "udp" | "udp6" => "udp",
        "tcp" | "tcp6" => "tcp",
        _ => return None,
    };
    let (address, port) = place.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // The API is on 127.0.0.1 alone; everything else of the gateway is on every address.
    let everywhere = address.bytes().all(|digit| digit == b'0');
    if (protocol, port) == ("tcp", API_PORT) && !everywhere && address != "0100007F" {
        return None;
    }
    let pid: u32 = pid.parse().ok()?;
    Some(Taken { protocol, port, process: process.and_then(word), pid: (pid != 0).then_some(pid) })
}
