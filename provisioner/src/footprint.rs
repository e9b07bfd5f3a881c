//! What the adapter of existing machines starts from: the file's machines, and what an installation leaves on them.

use cloud_onprem::{Footprint, Machine};
use object::LittleEndian;
use object::elf::FileHeader64;
use object::read::elf::FileHeader as _;

use crate::config::Config;
use crate::install::{APPLIED, CONFIG, GATEWAY, IDENTITY, LINK_TARGET, SCRIPT, TRACES, UNIT, WEAVE};
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

/// A version of the GNU C library.
pub type Glibc = (u16, u16);

/// The oldest GNU C library with which a program starts; `None` for one that wants none, being static.
pub fn needs_glibc(program: &[u8]) -> Option<Glibc> {
    let endian = LittleEndian;
    let header = FileHeader64::<LittleEndian>::parse(program).ok()?;
    let sections = header.sections(endian, program).ok()?;
    let (mut libraries, link) = sections.gnu_verneed(endian, program).ok()??;
    let strings = sections.strings(endian, program, link).ok()?;
    let mut oldest = None;
    while let Ok(Some((_, mut versions))) = libraries.next() {
        while let Ok(Some(version)) = versions.next() {
            let name = version.name(endian, strings).ok().and_then(|name| std::str::from_utf8(name).ok());
            oldest = oldest.max(name.and_then(|name| glibc(name.strip_prefix("GLIBC_")?)));
        }
    }
    oldest
}

/// Reads `2.36`; a third number changes no interface.
pub fn glibc(text: &str) -> Option<Glibc> {
    let mut numbers = text.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Everything that is on a host because of its gateway.
pub fn footprint() -> Footprint {
    Footprint {
        service: "weave-gateway",
        unit: UNIT,
        script: SCRIPT,
        program: GATEWAY,
        link: (WEAVE, LINK_TARGET),
        folder: "/etc/weave",
        files: vec![IDENTITY, STAGED, CONFIG, APPLIED, OLD_GATEWAY],
        traces: TRACES.to_vec(),
        interfaces: vec!["weave", "vethwe-tap"],
    }
}
