//! The systems that are compared, each brought up in a bed of its own.
//!
//! The switch itself and the plain copy join when the user datapath exists; until then this measures what it has to
//! beat.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::bed::Bed;
use crate::process::{Daemon, finish, run, wait_until};

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    /// The underlay itself.
    Veth,
    /// The kernel's VXLAN with a bridge on each side, in clear text.
    Vxlan,
    WireguardGo,
    Tinc,
    Nebula,
    Fastd,
}

impl System {
    pub(crate) const ALL: &'static [System] =
        &[System::Veth, System::Vxlan, System::WireguardGo, System::Tinc, System::Nebula, System::Fastd];

    /// The name in tables and for `--only`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            System::Veth => "veth",
            System::Vxlan => "vxlan",
            System::WireguardGo => "wireguard-go",
            System::Tinc => "tinc",
            System::Nebula => "nebula",
            System::Fastd => "fastd",
        }
    }

    /// How many hosts stand in a row.
    pub(crate) fn hosts(self) -> usize {
        2
    }
}

/// A system that passes packets.
pub(crate) struct Running {
    pub(crate) system: System,
    /// The address of the far end inside the system.
    pub(crate) far: IpAddr,
    /// What does the work in user space.
    pub(crate) daemons: Vec<Daemon>,
    /// From the start of the daemons to the first answer.
    pub(crate) first_ping: Duration,
    // Dropped last, in this order: servers, then the namespaces they run in.
    _servers: Vec<Daemon>,
    pub(crate) bed: Bed,
}

/// The address of a host inside a system.
fn inside(host: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 98, 0, host as u8 + 1)
}

impl Running {
    /// Brings a system up and waits for the first answer from the far end.
    pub(crate) fn start(system: System, bed: Bed) -> anyhow::Result<Running> {
        let far: IpAddr =
            if system == System::Veth { bed.left(bed.last()) } else { inside(bed.last()) }.into();
        let start = Instant::now();
        let mut daemons = match system {
            System::Veth => Vec::new(),
            System::Vxlan => vxlan(&bed)?,
            System::WireguardGo => wireguard_go(&bed)?,
            System::Tinc => tinc(&bed)?,
            System::Nebula => nebula(&bed)?,
            System::Fastd => fastd(&bed)?,
        };
        let answered = wait_until("first answer", Duration::from_secs(30), || {
            let far = far.to_string();
            finish(bed.command(0, "ping").args(["-c", "1", "-W", "1", "-i", "0.2", &far])).is_ok()
        });
        if let Some(dead) = daemons.iter_mut().find_map(|d| d.ended().then(|| d.name().to_owned())) {
            bail!("{dead} ended by itself; its output is in {}", bed.folder().display());
        }
        answered?;
        let first_ping = start.elapsed();
        let mut servers = Vec::new();
        let mut iperf = bed.command(bed.last(), "iperf3");
        servers.push(Daemon::start(
            iperf.args(["--server", "--bind", &far.to_string()]),
            &bed.file("iperf3.log"),
        )?);
        let mut load = bed.command(bed.last(), &std::env::current_exe()?.to_string_lossy());
        servers.push(Daemon::start(load.args(["serve", &far.to_string()]), &bed.file("serve.log"))?);
        Ok(Running { system, far, daemons, first_ping, _servers: servers, bed })
    }
}

fn vxlan(bed: &Bed) -> anyhow::Result<Vec<Daemon>> {
    for host in 0..bed.hosts() {
        let other = bed.last() - host;
        let (remote, local) = (bed.address(host, other), bed.address(other, host));
        bed.ip(
            host,
            &format!("link add name vx type vxlan id 7 dstport 6784 local {local} remote {remote}"),
        )?;
        bed.ip(host, "link add name br0 type bridge")?;
        bed.ip(host, "link set vx master br0 up")?;
        up(bed, host, "br0", 1450)?;
    }
    Ok(Vec::new())
}

fn wireguard_go(bed: &Bed) -> anyhow::Result<Vec<Daemon>> {
    let mut keys = Vec::new();
    for host in 0..bed.hosts() {
        let private = run("wg", ["genkey"])?;
        std::fs::write(bed.file(&format!("key{host}")), &private)?;
        let script = format!("wg pubkey < {}", bed.file(&format!("key{host}")).display());
        keys.push(run("sh", ["-c", &script])?.trim().to_owned());
    }
    let mut daemons = Vec::new();
    for host in 0..bed.hosts() {
        let other = bed.last() - host;
        // Control sockets of all namespaces share one folder, so the name has to differ.
        let device = format!("wg{}x{host}", std::process::id());
        let mut command = bed.command(host, "wireguard-go");
        // The program refuses to run where the kernel could do its work, unless told.
        command.env("WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD", "1").args(["-f", &device]);
        daemons.push(Daemon::start(&mut command, &bed.file(&format!("wireguard{host}.log")))?);
        appears(bed, host, &device)?;
        let endpoint = format!("{}:51820", bed.address(host, other));
        let key = bed.file(&format!("key{host}"));
        let mut set = bed.command(host, "wg");
        set.args(["set", &device, "listen-port", "51820", "private-key"]).arg(key);
        set.args(["peer", &keys[other], "endpoint", &endpoint, "allowed-ips", "10.98.0.0/24"]);
        retry(|| finish(&mut set).map(drop))?;
        up(bed, host, &device, 1420)?;
    }
    Ok(daemons)
}

fn tinc(bed: &Bed) -> anyhow::Result<Vec<Daemon>> {
    for host in 0..bed.hosts() {
        let folder = bed.file(&format!("tinc{host}"));
        std::fs::create_dir_all(folder.join("hosts"))?;
        let other = bed.last() - host;
        let config = format!(
            "Name = h{host}\nMode = switch\nDeviceType = tap\nInterface = tinc\nConnectTo = h{other}\n"
        );
        std::fs::write(folder.join("tinc.conf"), config)?;
        let address = format!("Address = {}\n", bed.address(other, host));
        std::fs::write(folder.join(format!("hosts/h{host}")), address)?;
        let mut command = Command::new("tincd");
        finish(command.arg("-c").arg(&folder).arg("-K2048")).context("while making keys")?;
    }
    let mut daemons = Vec::new();
    for host in 0..bed.hosts() {
        let (folder, other) = (bed.file(&format!("tinc{host}")), bed.last() - host);
        let description = bed.file(&format!("tinc{other}/hosts/h{other}"));
        std::fs::copy(description, folder.join(format!("hosts/h{other}")))?;
        let mut command = bed.command(host, "tincd");
        command.arg("-D").arg("-c").arg(&folder).arg(format!("--pidfile={}/pid", folder.display()));
        daemons.push(Daemon::start(&mut command, &bed.file(&format!("tinc{host}.log")))?);
        appears(bed, host, "tinc")?;
        up(bed, host, "tinc", 1400)?;
    }
    Ok(daemons)
}

fn nebula(bed: &Bed) -> anyhow::Result<Vec<Daemon>> {
    let cert = |args: &[&str]| {
        let mut command = Command::new("nebula-cert");
        finish(command.current_dir(bed.folder()).args(args)).map(drop)
    };
    cert(&["ca", "-name", "bench"])?;
    let mut daemons = Vec::new();
    for host in 0..bed.hosts() {
        let (name, other) = (format!("h{host}"), bed.last() - host);
        cert(&["sign", "-name", &name, "-ip", &format!("{}/24", inside(host))])?;
        let folder = bed.folder().display();
        let any = "    - {port: any, proto: any, host: any}";
        let config = format!(
            "pki: {{ca: {folder}/ca.crt, cert: {folder}/{name}.crt, key: {folder}/{name}.key}}\n\
             static_host_map: {{\"{}\": [\"{}:4242\"]}}\n\
             listen: {{host: 0.0.0.0, port: 4242}}\ntun: {{dev: nebula, mtu: 1400}}\n\
             firewall:\n  outbound:\n{any}\n  inbound:\n{any}\n",
            inside(other),
            bed.address(host, other),
        );
        let path = bed.file(&format!("{name}.yml"));
        std::fs::write(&path, config)?;
        let mut command = bed.command(host, "nebula");
        command.arg("-config").arg(&path);
        daemons.push(Daemon::start(&mut command, &bed.file(&format!("nebula{host}.log")))?);
    }
    Ok(daemons)
}

fn fastd(bed: &Bed) -> anyhow::Result<Vec<Daemon>> {
    let mut keys = Vec::new();
    for host in 0..bed.hosts() {
        let secret = run("fastd", ["--machine-readable", "--generate-key"])?.trim().to_owned();
        let path = bed.file(&format!("secret{host}.conf"));
        std::fs::write(&path, format!("secret \"{secret}\";\n"))?;
        let mut show = Command::new("fastd");
        let public = finish(show.args(["--machine-readable", "--show-key", "--config"]).arg(&path))?;
        keys.push((secret, public.trim().to_owned()));
    }
    let mut daemons = Vec::new();
    for host in 0..bed.hosts() {
        let other = bed.last() - host;
        let config = format!(
            "mode tap;\ninterface \"fastd\";\nmethod \"salsa2012+umac\";\nmtu 1400;\nbind {}:10000;\n\
             secret \"{}\";\npeer \"other\" {{ key \"{}\"; remote {}:10000; }}\n",
            bed.address(other, host),
            keys[host].0,
            keys[other].1,
            bed.address(host, other),
        );
        let path = bed.file(&format!("fastd{host}.conf"));
        std::fs::write(&path, config)?;
        let mut command = bed.command(host, "fastd");
        command.arg("--config").arg(&path);
        daemons.push(Daemon::start(&mut command, &bed.file(&format!("fastd{host}.log")))?);
        appears(bed, host, "fastd")?;
        up(bed, host, "fastd", 1400)?;
    }
    Ok(daemons)
}

/// Gives a device the host's address inside the system and starts it.
fn up(bed: &Bed, host: usize, device: &str, mtu: u16) -> anyhow::Result<()> {
    bed.ip(host, &format!("link set {device} mtu {mtu} up"))?;
    bed.ip(host, &format!("addr add {}/24 dev {device}", inside(host)))?;
    Ok(())
}

fn appears(bed: &Bed, host: usize, device: &str) -> anyhow::Result<()> {
    let line = format!("link show dev {device}");
    wait_until(&format!("device {device}"), Duration::from_secs(10), || bed.ip(host, &line).is_ok())?;
    Ok(())
}

/// Repeats what fails while a daemon opens its control socket.
fn retry(mut action: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut last = Ok(());
    let _ = wait_until("control socket", Duration::from_secs(5), || {
        last = action();
        last.is_ok()
    });
    last
}
