//! Findings about single hosts and clouds: whether they answer, and what carries a gateway there.

use std::collections::BTreeSet;

use cloud_core::Phase;

use super::machine::{Feature, Taken};
use super::{Evidence, Finding, Id};
use crate::install::{Facts, Init, service_path};

/// A question and its answer take seconds at worst; more is the clock.
const MOST_SKEW: u64 = 60;
/// Two programs, a state and a log that grows.
const LITTLE_DISK: u64 = 200 << 10;
/// A program that is put beside the one it replaces does not fit.
const NO_DISK: u64 = 40 << 10;
/// What of VXLAN may be missing: the gateway forwards by itself.
const VXLAN_PORT: (&str, u16) = ("udp", 6784);

pub(super) fn examine(evidence: &Evidence, found: &mut impl FnMut(Finding)) {
    let Evidence { clouds_silent, obstacles, silent, .. } = evidence;
    for one in clouds_silent {
        found(Finding::error(Id::CloudSilent, &one.subject, &one.why, &one.hint));
    }
    for one in obstacles {
        found(Finding::error(Id::HostObstacle, &one.host, &one.what, &one.hint));
    }
    for one in silent {
        found(Finding::error(Id::HostSilent, &one.subject, &one.why, &one.hint));
    }
    existence(evidence, found);
    clocks(evidence, found);
    let obstructed: BTreeSet<&str> = obstacles.iter().map(|one| one.host.as_str()).collect();
    for (host, facts) in evidence.wanted_facts() {
        if !obstructed.contains(host) {
            footing(evidence, host, facts, found);
        }
        ports(host, facts, found);
        disk(host, facts, found);
        if facts.machine.drops_bridged {
            found(Finding::warning(
                Id::ForwardDrop,
                host,
                "its firewall drops what is forwarded, and bridged frames count as that",
                format!(
                    "`weave-provision ssh {host} -- iptables -I DOCKER-USER -i weave -o weave -j ACCEPT`; \
                     without Docker, the same with FORWARD"
                ),
            ));
        }
    }
}

fn existence(evidence: &Evidence, found: &mut impl FnMut(Finding)) {
    let wanted = |name: &str| evidence.fleet.hosts.iter().any(|host| host.name == name);
    for host in evidence.cloud.hosts.iter().filter(|host| wanted(&host.name)) {
        match host.phase {
            Phase::Stopped => found(Finding::error(
                Id::HostStopped,
                &host.name,
                "it exists and is stopped",
                "`weave-provision up` starts it",
            )),
            Phase::Running if host.shows_user_data => found(Finding::warning(
                Id::UserDataShown,
                &host.name,
                "every process on it can read the user-data, and in it the host's SSH key",
                "`weave-provision up` closes the way to it",
            )),
            Phase::Starting | Phase::Running | Phase::Terminating => {}
        }
    }
    for drift in &evidence.cloud.drifts {
        found(Finding::warning(
            Id::SiteDrift,
            &drift.site,
            &drift.what,
            "`weave-provision up` puts it right; whoever changed it should change weave.toml",
        ));
    }
    // Before anything is made, nothing is missing.
    if evidence.report.is_none() {
        return;
    }
    let there = |name: &str| {
        evidence.cloud.hosts.iter().any(|host| host.name == name && host.phase != Phase::Terminating)
    };
    for host in evidence.fleet.hosts.iter().filter(|host| !there(&host.name)) {
        found(Finding::error(
            Id::HostMissing,
            &host.name,
            format!("it is wanted in {} and does not exist", host.site),
            "`weave-provision up` makes it",
        ));
    }
}

fn clocks(evidence: &Evidence, found: &mut impl FnMut(Finding)) {
    let off = |clock: u64| i128::from(clock) - i128::from(evidence.now);
    // A host that tells no time is none without a clock.
    let skews: Vec<(&str, i128)> = evidence
        .wanted_facts()
        .filter(|(_, facts)| facts.clock != 0)
        .map(|(host, facts)| (host, off(facts.clock)))
        .collect();
    let bad = |skew: i128| skew.unsigned_abs() > u128::from(MOST_SKEW);
    let (least, most) =
        (skews.iter().map(|(_, skew)| *skew).min(), skews.iter().map(|(_, skew)| *skew).max());
    if let (Some(least), Some(most)) = (least, most)
        && skews.len() > 1
        && bad(least)
        && bad(most)
        && !bad(most - least)
    {
        found(Finding::warning(
            Id::ClockSkew,
            "this machine",
            format!("its clock is {}; all hosts agree on that", direction(-least)),
            "`timedatectl set-ntp true`",
        ));
        return;
    }
    for (host, skew) in skews.into_iter().filter(|(_, skew)| bad(*skew)) {
        found(Finding::warning(
            Id::ClockSkew,
            host,
            format!("its clock is {}; logs will not line up", direction(skew)),
            format!("`weave-provision ssh {host} -- timedatectl set-ntp true`, or another NTP client there"),
        ));
    }
}

fn direction(skew: i128) -> String {
    format!("{} s {}", skew.unsigned_abs(), if skew < 0 { "behind" } else { "ahead" })
}

fn footing(evidence: &Evidence, host: &str, facts: &Facts, found: &mut impl FnMut(Finding)) {
    let machine = &facts.machine;
    if let (Some(wanted), Some(own)) = (evidence.architecture, &machine.architecture)
        && wanted != own
    {
        found(Finding::error(
            Id::Architecture,
            host,
            format!("it is {own}, and the gateway's program is for {wanted}"),
            "name a program for it with `--gateway PATH`",
        ));
    }
    if let (Some(wanted), Some(own)) = (evidence.needs_glibc, machine.glibc)
        && wanted > own
    {
        found(Finding::error(
            Id::CLibrary,
            host,
            format!(
                "its C library is glibc {}.{}, and the gateway's program wants {}.{}",
                own.0, own.1, wanted.0, wanted.1
            ),
            "`cargo xtask dist` builds one that wants none; name it with `--gateway PATH`",
        ));
    }
    if machine.unfit_init {
        found(Finding::error(
            Id::NoSystemd,
            host,
            "its init is none that starts a gateway: systemd, OpenRC, or SysV init with start-stop-daemon",
            "take the host out of weave.toml; `weave launch` runs a gateway there by hand",
        ));
    }
    for feature in &machine.lacks {
        let module = feature.module();
        let load = format!("`weave-provision ssh {host} -- modprobe {module}`");
        found(match feature {
            Feature::Tun | Feature::Bridge => Finding::error(
                Id::KernelFeature,
                host,
                format!("its kernel has no {module}, without which no gateway starts"),
                format!("{load}; if there is no such module, install the kernel's extra modules"),
            ),
            Feature::Veth => Finding::warning(
                Id::KernelFeature,
                host,
                "its kernel has no veth, without which no container there can be attached",
                format!("{load}; if there is no such module, install the kernel's extra modules"),
            ),
            Feature::Vxlan => Finding::note(
                Id::KernelFeature,
                host,
                "its kernel has no vxlan; the gateway forwards by itself",
                format!("nothing has to be done; {load} if there is such a module"),
            ),
        });
    }
}

fn ports(host: &str, facts: &Facts, found: &mut impl FnMut(Finding)) {
    for taken in &facts.machine.taken {
        let Taken { protocol, port, process, pid } = taken;
        // One that is starting or stopping.
        let own = matches!(process.as_deref(), Some("weave-gateway" | "weave"));
        if own && facts.files.contains_key(service_path(facts.init())) {
            continue;
        }
        let (who, hint) = match (process, pid) {
            (Some(process), Some(pid)) => (
                format!("process {pid}, {process}"),
                match facts.init() {
                    Init::Systemd => {
                        format!("stop what `weave-provision ssh {host} -- systemctl status {pid}` names")
                    }
                    Init::OpenRc | Init::SysV => {
                        format!("stop what `weave-provision ssh {host} -- ls -l /proc/{pid}/exe` names")
                    }
                },
            ),
            _ => (
                "the kernel or a process that hides".to_owned(),
                format!(
                    "`weave-provision ssh {host} -- ip -d link show type vxlan` lists the devices that hold ports"
                ),
            ),
        };
        let text = format!("{} port {port} is taken by {who}", protocol.to_uppercase());
        found(if (*protocol, *port) == VXLAN_PORT {
            Finding::warning(Id::PortTaken, host, text, hint)
        } else {
            Finding::error(Id::PortTaken, host, text, hint)
        });
    }
}

fn disk(host: &str, facts: &Facts, found: &mut impl FnMut(Finding)) {
    for (folder, free) in &facts.machine.free {
        let path = folder.path();
        let (text, hint) = (
            format!("{} MB are free in {path}", free >> 10),
            format!("make room: `weave-provision ssh {host} -- du -xh -d 2 {path}` says what is large"),
        );
        if *free < NO_DISK {
            found(Finding::error(Id::DiskFull, host, text, hint));
        } else if *free < LITTLE_DISK {
            found(Finding::warning(Id::DiskFull, host, text, hint));
        }
    }
}
