//! The namespaces one system is measured in.
//!
//! ```text
//!   2 hosts   h0 ══ h1           underlay 10.99.0.0/30, veth, MTU 1500
//!   3 hosts   h0 ══ h1 ══ h2     10.99.0.0/30 and 10.99.0.4/30; h1 forwards no packets
//! ```

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{finish, run};

/// A row of namespaces and a folder for configuration and logs; all removed when dropped.
pub(crate) struct Bed {
    name: String,
    hosts: usize,
    folder: PathBuf,
}

impl Bed {
    /// Makes `hosts` namespaces in a row.
    pub(crate) fn new(system: &str, hosts: usize) -> anyhow::Result<Bed> {
        let name = format!("wb{}-{system}", std::process::id());
        let folder = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(&folder)?;
        let bed = Bed { name, hosts, folder };
        for host in 0..hosts {
            run("ip", ["netns", "add", &bed.namespace(host)])?;
            bed.ip(host, "link set lo up")?;
            // Neighbour discovery of idle interfaces would disturb the packet counts.
            finish(bed.command(host, "sysctl").args(["-qw", "net.ipv6.conf.default.disable_ipv6=1"]))?;
        }
        for host in 1..hosts {
            let peer = bed.namespace(host);
            bed.ip(host - 1, &format!("link add right type veth peer name left netns {peer}"))?;
            bed.ip(host - 1, &format!("addr add {}/30 dev right", bed.right(host - 1)))?;
            bed.ip(host, &format!("addr add {}/30 dev left", bed.left(host)))?;
            bed.ip(host - 1, "link set right up")?;
            bed.ip(host, "link set left up")?;
        }
        Ok(bed)
    }

    /// How many hosts stand in the row.
    pub(crate) fn hosts(&self) -> usize {
        self.hosts
    }

    /// The last host of the row, the far end.
    pub(crate) fn last(&self) -> usize {
        self.hosts - 1
    }

    /// The address of `host` towards the host before it.
    pub(crate) fn left(&self, host: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 99, 0, (host as u8 - 1) * 4 + 2)
    }

    /// The address of `host` towards the host behind it.
    pub(crate) fn right(&self, host: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 99, 0, host as u8 * 4 + 1)
    }

    /// The address under which `from` reaches its neighbour `to`.
    pub(crate) fn address(&self, from: usize, to: usize) -> Ipv4Addr {
        if to > from { self.left(to) } else { self.right(to) }
    }

    /// The namespace of `host`.
    pub(crate) fn namespace(&self, host: usize) -> String {
        format!("{}-{host}", self.name)
    }

    /// A file in the bed's folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The bed's folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A program to run in the namespace of `host`.
    pub(crate) fn command(&self, host: usize, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(host), program]);
        command
    }

    /// Runs `ip` with the words of `line` in the namespace of `host`.
    pub(crate) fn ip(&self, host: usize, line: &str) -> anyhow::Result<String> {
        run("ip", ["-n", &self.namespace(host)].into_iter().chain(line.split_whitespace()))
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        for host in 0..self.hosts {
            let _ = run("ip", ["netns", "del", &self.namespace(host)]);
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
