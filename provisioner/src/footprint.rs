//! What the adapter of existing machines starts from: the file's machines, and what an installation leaves on them.

use cloud_onprem::{Footprint, Machine};

use crate::config::Config;
use crate::install::{APPLIED, CONFIG, GATEWAY, IDENTITY, LINK_TARGET, UNIT, WEAVE};
use crate::rotate::STAGED;
use crate::upgrade::OLD_GATEWAY;

/// The machines of a configuration.
pub fn machines(config: &Config) -> cloud_onprem::Config {
    let machine = |host: &crate::config::OnpremHost| {
        let literal = host.reach.address.parse().ok();
        Machine {
            site: host.site.clone(),
            reach: host.reach.clone(),
            private: host.private.or(literal),
            public: host.advertise.first().copied(),
        }
    };
    cloud_onprem::Config {
        fleet: config.name.clone(),
        machines: config.onprem.hosts.iter().map(|host| (host.name.clone(), machine(host))).collect(),
        jumps: config.onprem.jumps.clone(),
        footprint: footprint(),
        architecture: None,
    }
}

/// What a program is for, as `uname -m` says it; `None` for what is no Linux program of a common kind.
pub fn architecture(program: &[u8]) -> Option<&'static str> {
    // ELF-64 specification, figure 3: `e_machine` at 18; all of these are little-endian.
    let machine = program.strip_prefix(b"\x7fELF\x02\x01")?.get(12..14)?;
    Some(match machine {
        [62, 0] => "x86_64",
        [183, 0] => "aarch64",
        [243, 0] => "riscv64",
        [21, 0] => "ppc64le",
        _ => return None,
    })
}

/// Everything that is on a host because of its gateway.
pub fn footprint() -> Footprint {
    Footprint {
        service: "weave-gateway",
        unit: UNIT,
        program: GATEWAY,
        link: (WEAVE, LINK_TARGET),
        folder: "/etc/weave",
        files: vec![IDENTITY, STAGED, CONFIG, APPLIED, OLD_GATEWAY],
        interfaces: vec!["weave", "vethwe-tap"],
    }
}
