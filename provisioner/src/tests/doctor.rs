//! The doctor: from evidence to text and JSON, and what hosts say to evidence.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use cloud_core::{Addresses, Drift, HostState, Observed, Obstacle, Phase};

use super::golden;
use crate::doctor::machine::{Feature, Folder, Machine, QUESTION};
use crate::doctor::{Evidence, Finding, Id, Severity, Silent, examine, of_ground, render};
use crate::fleet::{CloudKind, Fleet, Topology};
use crate::install::{Checksum, Facts, IDENTITY, Init, UNIT, facts_command, parse_facts};
use crate::state::{FleetState, HostRecord};
use crate::verify::{GatewayRow, Pair, Report};

const DOCUMENT: &str = include_str!("../../docs/findings.md");
const NOW: u64 = 1_700_000_000;

fn machine(lines: &str) -> Machine {
    let mut machine = Machine::default();
    lines.lines().for_each(|line| machine.take(line.trim()));
    machine
}

/// A host in good order at 10.SITE.0.0/24.
fn good(site: u8) -> Facts {
    let machine = machine(&format!(
        "architecture x86_64\nglibc 2.36\ninit systemd\nroute eth0 00000000 0100{site:02X}0A 0003 00000000 1500\n\
         route eth0 0000{site:02X}0A 00000000 0001 00FFFFFF 1500\nfree /usr/local 9000000\nfree /var/lib 9000000"
    ));
    let file = (Checksum::of(b""), 0o644);
    let files = [UNIT, IDENTITY].map(|path| (path.to_owned(), file.clone()));
    Facts {
        files: BTreeMap::from(files),
        active: true,
        enabled: true,
        clock: NOW,
        machine,
        ..Facts::default()
    }
}

fn row(host: &str, site: &str, state: &str) -> GatewayRow {
    GatewayRow {
        host: host.to_owned(),
        site: site.to_owned(),
        peer: format!("peer of {host}"),
        version: "1.2.3".to_owned(),
        state: state.to_owned(),
    }
}

/// A fleet that is up and in good order, as the lab makes it.
fn healthy() -> Evidence {
    let fleet = Fleet::lab(&CloudKind::ALL);
    let index = |site: &str| fleet.sites.iter().find(|known| known.name == site).unwrap().index;
    let host = |host: &crate::fleet::Host| HostState {
        name: host.name.clone(),
        site: host.site.clone(),
        addresses: Some(Addresses {
            private: IpAddr::from([10, index(&host.site), 0, host.index]),
            public: (host.index == 1).then(|| IpAddr::from([203, 0, 113, index(&host.site)])),
        }),
        phase: Phase::Running,
        shows_user_data: false,
    };
    let pair = |from: &str, to: &str| Pair {
        from: from.to_owned(),
        to: to.to_owned(),
        path: Some("direct".to_owned()),
        via: Vec::new(),
        rtt_ms: Some(1.0),
        mtu: Some(1376),
        ok: true,
    };
    let names: Vec<&str> = fleet.hosts.iter().map(|host| host.name.as_str()).collect();
    let pairs =
        names.iter().flat_map(|from| names.iter().filter(move |to| *to != from).map(|to| pair(from, to)));
    let record = |name: &&str| (name.to_string(), HostRecord { peer: format!("peer of {name}"), issue: 1 });
    let mut saved = FleetState::next("weave", None, CloudKind::ALL.to_vec(), Topology::Partial);
    saved.hosts = names.iter().map(record).collect();
    Evidence {
        range: Some("10.32.0.0/12".parse().unwrap()),
        cloud: Observed {
            sites: fleet.sites.clone(),
            hosts: fleet.hosts.iter().map(host).collect(),
            drifts: Vec::new(),
        },
        facts: fleet.hosts.iter().map(|host| (host.name.clone(), good(index(&host.site)))).collect(),
        saved: Some(saved),
        architecture: Some("x86_64"),
        needs_glibc: Some((2, 34)),
        report: Some(Report {
            gateways: fleet.hosts.iter().map(|host| row(&host.name, &host.site, "active")).collect(),
            pairs: pairs.collect(),
        }),
        now: NOW,
        fleet,
        ..Evidence::default()
    }
}

impl Evidence {
    fn host(&mut self, name: &str) -> &mut Facts {
        self.facts.get_mut(name).unwrap()
    }

    fn row(&mut self, name: &str) -> &mut GatewayRow {
        self.report.as_mut().unwrap().gateways.iter_mut().find(|row| row.host == name).unwrap()
    }

    fn pairs(&mut self) -> impl Iterator<Item = &mut Pair> {
        self.report.as_mut().unwrap().pairs.iter_mut()
    }
}

/// A standing fleet with one of everything that such a fleet can have.
fn ailing() -> Evidence {
    let mut ill = healthy();
    ill.cloud.drifts =
        vec![Drift { site: "aws".to_owned(), what: "firewall rule x lets in 0.0.0.0/0".to_owned() }];
    ill.cloud.hosts.iter_mut().find(|host| host.name == "gcp-1").unwrap().shows_user_data = true;
    ill.networks = BTreeMap::from([
        ("aws".to_owned(), vec!["10.40.0.0/16".parse().unwrap()]),
        ("gcp".to_owned(), vec!["10.3.0.0/16".parse().unwrap()]),
    ]);
    let facts = ill.host("onprem-2");
    (facts.clock, facts.enabled) = (NOW - 3600, false);
    // A VPN for all of 10/8, and a Docker network in the middle of the overlay.
    for line in [
        "route wg0 0000000A 0100030A 0003 000000FF 1380",
        "route docker0 0000290A 00000000 0001 0000FFFF 1500",
    ] {
        facts.machine.take(line);
    }
    (facts.machine.drops_bridged, facts.machine.restarts) = (true, 3);
    ill.host("gcp-1").machine.take("mtu eth0 1460");
    ill.host("gcp-1").machine.free.insert(Folder::State, 150 << 10);
    ill.row("gcp-1").version = "1.2.4".to_owned();
    ill.row("aws-1").peer = "peer of nobody".to_owned();
    ill.saved.as_mut().unwrap().hosts.remove("onprem-1");
    for pair in ill.pairs() {
        let both = |a: &str, b: &str| pair.from.starts_with(a) && pair.to.starts_with(b);
        if both("aws", "gcp") || both("gcp", "aws") || both("gcp-1", "onprem-2") {
            (pair.path, pair.via) = (Some("relay".to_owned()), vec!["onprem-1".to_owned()]);
        }
        pair.ok = !both("onprem-2", "aws-1");
    }
    ill
}

/// A fleet that is about to be made where it cannot stand.
fn impossible() -> Evidence {
    let mut ground = Evidence { report: None, saved: None, ..healthy() };
    ground.clouds_silent = vec![Silent {
        subject: "gcp".to_owned(),
        why: "not permitted: compute.networks.list".to_owned(),
        hint: "give the operator what it asks for, or other credentials".to_owned(),
    }];
    ground.obstacles = vec![Obstacle {
        host: "onprem-1".to_owned(),
        what: "it belongs to fleet \"other\"".to_owned(),
        hint: "`weave-provision down` of that fleet frees it; one machine is in one fleet".to_owned(),
    }];
    ground.facts.remove("onprem-1");
    ground.facts.remove("gcp-1");
    ground.silent = vec![Silent {
        subject: "gcp-1".to_owned(),
        why: "it does not answer: connection refused\n\u{1b}[2J".to_owned(),
        hint: "see that it runs".to_owned(),
    }];
    let facts = ground.host("onprem-2");
    (facts.active, facts.enabled, facts.files) = (false, false, BTreeMap::new());
    facts.machine = machine(
        "architecture aarch64\nglibc 2.31\ninit other\nlacks tun\nlacks bridge\nlacks veth\nlacks vxlan\n\
         taken udp 00000000:1A7F 812 weaver\ntaken udp6 00000000000000000000000000000000:1A80 0\n\
         taken tcp 0100007F:1A80 77 nginx\nfree /usr/local 20480\nfree /var/lib 9000000\n\
         route tun0 0000640A 00000000 0001 0000FFFF 1300",
    );
    ground
}

fn json(findings: &[Finding]) -> String {
    format!("{}\n", serde_json::to_string_pretty(findings).unwrap())
}

#[test]
fn a_healthy_fleet_has_nothing() {
    assert_eq!(render(&examine(&healthy())), "doctor: nothing found\n");
    assert_eq!(json(&examine(&healthy())), "[]\n");
    assert_eq!(examine(&Evidence::default()), [], "nothing is found where nothing is known");
}

#[test]
fn findings_as_text_and_json() {
    for (name, evidence) in [("doctor", ailing()), ("doctor-pre", impossible())] {
        let findings = examine(&evidence);
        golden::check(name, &render(&findings));
        golden::check(&format!("{name}.json"), &json(&findings));
    }
}

#[test]
fn every_id_is_documented_and_named_once() {
    let named: Vec<&str> = Id::ALL.iter().map(|id| id.as_str()).collect();
    let documented: Vec<&str> = DOCUMENT.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(named, documented, "in the same order too");
    assert_eq!(named.iter().collect::<BTreeSet<_>>().len(), named.len());
    for id in Id::ALL {
        let section = DOCUMENT.split("\n## ").find(|section| section.starts_with(id.as_str())).unwrap();
        assert_eq!(section.contains("(ground)"), id.is_of_ground(), "{}", id.as_str());
    }
}

#[test]
fn the_goldens_show_every_id() {
    let mut all = examine(&ailing());
    all.extend(examine(&impossible()));
    let mut broken = healthy();
    broken.row("onprem-2").state = "activating".to_owned();
    broken.host("onprem-2").machine.restarts = 9;
    broken.cloud.hosts.retain(|host| host.name != "aws-1");
    broken.cloud.hosts[0].phase = Phase::Stopped;
    broken.host("onprem-1").machine.take("mtu wg0 1320");
    all.extend(examine(&broken));
    let found: BTreeSet<Id> = all.iter().map(|finding| finding.id).collect();
    let missing: Vec<Id> = Id::ALL.into_iter().filter(|id| !found.contains(id)).collect();
    assert_eq!(missing, []);
}

/// Spoils one thing of a healthy fleet and expects exactly these findings.
#[track_caller]
fn spoilt(spoil: impl FnOnce(&mut Evidence), expected: &[&str]) {
    let mut evidence = healthy();
    spoil(&mut evidence);
    let found: Vec<String> = examine(&evidence).iter().map(ToString::to_string).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_gateway_that_is_down_is_told_once() {
    spoilt(
        |fleet| {
            fleet.row("gcp-1").state = "failed".to_owned();
            fleet.host("gcp-1").active = false;
            fleet.pairs().filter(|p| p.from == "gcp-1" || p.to == "gcp-1").for_each(|pair| pair.ok = false);
        },
        &["error: gcp-1: its gateway is failed [gateway-inactive]"],
    );
}

#[test]
fn whose_clock_is_wrong_is_told() {
    spoilt(
        |fleet| fleet.host("gcp-1").clock = NOW + 61,
        &["warning: gcp-1: its clock is 61 s ahead; logs will not line up [clock-skew]"],
    );
    spoilt(|fleet| fleet.host("gcp-1").clock = NOW - 60, &[]);
    spoilt(
        |fleet| fleet.now = NOW - 86_400,
        &["warning: this machine: its clock is 86400 s behind; all hosts agree on that [clock-skew]"],
    );
    spoilt(
        |fleet| {
            fleet.facts.retain(|name, _| name == "aws-1");
            fleet.host("aws-1").clock = u64::MAX;
        },
        &["warning: aws-1: its clock is 18446744072009551615 s ahead; logs will not line up [clock-skew]"],
    );
}

#[test]
fn routes_around_within_and_beside_the_overlay() {
    let route = |line: &'static str| move |fleet: &mut Evidence| fleet.host("aws-1").machine.take(line);
    // A default route and its halves, the gateway's own, a neighbour, one that leads nowhere.
    for line in [
        "route tun0 00000000 0100080A 0003 00000080 1500",
        "route weave 0000200A 00000000 0001 0000F0FF 1500",
        "route eth1 0000300A 00000000 0001 0000F0FF 1500",
        "route lo 0000200A 00000000 0201 0000F0FF 1500",
    ] {
        spoilt(route(line), &[]);
    }
    let overlaps =
        "error: aws-1: its route 10.32.0.0/12 (wg0) overlaps the overlay's 10.32.0.0/12 [overlay-overlaps]";
    spoilt(route("route wg0 0000200A 0100080A 0003 0000F0FF 1500"), &[overlaps]);
    let overlaps =
        "error: aws-1: its route 10.32.0.0/11 (eth1) overlaps the overlay's 10.32.0.0/12 [overlay-overlaps]";
    spoilt(route("route eth1 0000200A 00000000 0001 0000E0FF 1500"), &[overlaps]);
}

#[test]
fn a_starting_gateway_is_not_in_its_own_way() {
    let taken = |fleet: &mut Evidence| {
        fleet.host("aws-1").machine.take("taken udp 00000000:1A7F 65 weave-gateway");
    };
    spoilt(taken, &[]);
    spoilt(
        |fleet| {
            taken(fleet);
            fleet.host("aws-1").files.remove(UNIT);
        },
        &["error: aws-1: UDP port 6783 is taken by process 65, weave-gateway [port-taken]"],
    );
}

#[test]
fn the_mtu_follows_the_gateways_rule() {
    let smaller = |mtu: &'static str| move |fleet: &mut Evidence| fleet.host("aws-1").machine.take(mtu);
    spoilt(smaller("mtu docker0 1000"), &[]);
    spoilt(smaller("mtu br-0123456789ab 1000"), &[]);
    spoilt(smaller("mtu eth0 9001"), &[]);
    spoilt(
        smaller("mtu eth1 1404"),
        &[
            "note: the fleet: frames of up to 1280 bytes pass everywhere, not 1376: eth1 of aws-1 has an MTU of 1404 \
           [overlay-mtu]",
        ],
    );
    spoilt(
        |fleet| fleet.fleet.hosts[0].advertise = vec!["2001:db8::1".parse().unwrap()],
        &[
            "note: the fleet: frames of up to 1356 bytes pass everywhere, not 1376: eth0 of aws-1 has an MTU of 1500 \
           [overlay-mtu]",
        ],
    );
}

#[test]
fn a_plan_is_refused_only_for_its_ground() {
    let errors = |evidence: &Evidence| -> BTreeSet<Id> {
        let ground = of_ground(examine(evidence)).into_iter();
        ground.filter(|finding| finding.severity == Severity::Error).map(|finding| finding.id).collect()
    };
    assert_eq!(errors(&ailing()), BTreeSet::from([Id::OverlayOverlaps]));
    let all = [Id::Architecture, Id::CLibrary, Id::NoSystemd, Id::KernelFeature, Id::PortTaken, Id::DiskFull];
    assert_eq!(errors(&impossible()), BTreeSet::from(all));
}

#[test]
fn what_hosts_say_is_not_trusted() {
    let nonsense = [
        "",
        "route",
        "route eth0",
        "route eth0 x y z w 1500",
        "route eth0 00000000 00000000 0001 00FF00FF 1500",
        "route \u{1b}[2J 0000000A 00000000 0001 000000FF 1500",
        "mtu eth0 many",
        "mtu eth0 -1",
        "lacks everything",
        "free / 5",
        "free /var/lib -5",
        "free /var/lib 99999999999999999999999",
        "taken sctp 00000000:1A7F 1 x",
        "taken udp 00000000 1 x",
        "taken udp 00000000:FFFFF 1 x",
        "taken udp 00000000:1A7F x x",
        "forward maybe",
        "taken tcp 0101A8C0:1A80 5 other-address",
        "restarts often",
        "architecture x86_64\u{7}",
        "architecture a b",
        "route eth0 0000000A 00000000 0000 000000FF 1500",
    ];
    for line in nonsense {
        assert_eq!(machine(line), Machine::default(), "{line:?}");
    }
    let mut many = Machine::default();
    for n in 0..2000 {
        many.take(&format!("route eth{n} {n:04X}000A 00000000 0001 00FFFFFF 1500"));
        many.take(&format!("taken udp 00000000:1A7F {} x", n + 1));
    }
    assert_eq!((many.routes.len(), many.mtus.len(), many.taken.len()), (256, 256, 32));
    let hidden = machine("taken udp 00000000:1A7F 9 \u{1b}[31m");
    assert_eq!((hidden.taken[0].process.as_deref(), hidden.taken[0].pid), (None, Some(9)));
}

#[test]
fn the_question_is_answered_by_this_machine() {
    let ask = |shell: &str| {
        let out = std::process::Command::new(shell).args(["-c", &facts_command()]).output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        assert!(out.status.success(), "{text}");
        assert_eq!(String::from_utf8_lossy(&out.stderr), "", "nothing is complained about");
        parse_facts(&text).unwrap().machine
    };
    let machine = ask("sh");
    let kernel = std::process::Command::new("uname").arg("-m").output().unwrap().stdout;
    assert_eq!(machine.architecture.as_deref(), Some(String::from_utf8(kernel).unwrap().trim()));
    let systemd = std::path::Path::new("/run/systemd/system").is_dir();
    assert_eq!(machine.init == Some(Init::Systemd), systemd);
    assert!(machine.init.is_some() != machine.unfit_init);
    assert!(machine.free.contains_key(&Folder::Program) && machine.free.contains_key(&Folder::State));
    assert_eq!(machine.routes, crate::doctor::gather::own_routes(), "read here and by shell alike");
    // Whatever may be missing here, the trial must not have left its device.
    assert!(!std::path::Path::new("/sys/class/net/wv0").exists());
    assert_eq!(ask("bash").architecture, machine.architecture);
    assert!(!QUESTION.contains("weave-gateway "), "the question starts nothing");
    assert!(machine.lacks.len() < Feature::ALL.len(), "{machine:?}");
}
