//! Plans as text: what people see before anything changes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use cloud_core::{Addresses, Drift, HostState, Phase, Secret, Site};

use crate::fleet::{AddressBook, CloudKind, Fleet, Found, dialable};
use crate::install::{
    CONFIG, Checksum, Content, Facts, GatewayConfig, IDENTITY, LINK_TARGET, UNIT, WantedFile, facts_command,
    generation, keys_of, link_command, parse_facts, put_command, service_command, wanted_files,
};
use crate::plan::{Observed, Origin, Plan, Step};
use crate::rotate::generation_with;

fn fleet() -> Fleet {
    Fleet::lab(&[CloudKind::Onprem, CloudKind::Aws])
}

fn host_state(name: &str, site: &str, phase: Phase) -> HostState {
    HostState { name: name.to_owned(), site: site.to_owned(), addresses: None, phase, shows_user_data: false }
}

fn files(fleet: &Fleet) -> BTreeMap<String, Vec<WantedFile>> {
    let files = |name: &str| {
        wanted_files(
            &Content::new(*b"program"),
            Some(&Secret::new(format!("key of {name}"))),
            Some(&GatewayConfig::new(name, "site", "weave", &[], &[])),
        )
    };
    fleet.hosts.iter().map(|host| (host.name.clone(), files(&host.name))).collect()
}

/// A host on which everything is as wanted.
fn settled(files: &[WantedFile]) -> Facts {
    Facts {
        files: files
            .iter()
            .map(|file| (file.path.to_owned(), (file.checksum().unwrap().clone(), file.mode)))
            .collect(),
        keys: files
            .iter()
            .find(|file| file.path == IDENTITY)
            .map(|file| keys_of(file.content.as_ref().unwrap().bytes())),
        link: Some(LINK_TARGET.to_owned()),
        active: true,
        enabled: true,
        applied: generation(files),
        ..Facts::default()
    }
}

fn everything_there(fleet: &Fleet) -> Observed {
    let hosts = fleet.hosts.iter().map(|host| host_state(&host.name, &host.site, Phase::Running)).collect();
    let facts = files(fleet).iter().map(|(name, files)| (name.clone(), settled(files))).collect();
    Observed { cloud: cloud_core::Observed { sites: fleet.sites.clone(), hosts, drifts: Vec::new() }, facts }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn the_first_plan_makes_everything() {
    let plan = Plan::new(&fleet(), &files(&fleet()), &Observed::default());
    let expected = r"  + create site aws (number 1)
  + create site onprem (number 3)
  + create host aws-1 in aws
  + create host onprem-1 in onprem
  + create host onprem-2 in onprem
  ~ aws-1: write /usr/local/bin/weave-gateway
  ~ aws-1: write /etc/weave/identity.pem
  ~ aws-1: write /etc/weave/gateway.toml
  ~ aws-1: write /etc/systemd/system/weave-gateway.service
  ~ aws-1: link /usr/local/bin/weave to weave-gateway
  ~ aws-1: enable and start weave-gateway
  ~ onprem-1: write /usr/local/bin/weave-gateway
  ~ onprem-1: write /etc/weave/identity.pem
  ~ onprem-1: write /etc/weave/gateway.toml
  ~ onprem-1: write /etc/systemd/system/weave-gateway.service
  ~ onprem-1: link /usr/local/bin/weave to weave-gateway
  ~ onprem-1: enable and start weave-gateway
  ~ onprem-2: write /usr/local/bin/weave-gateway
  ~ onprem-2: write /etc/weave/identity.pem
  ~ onprem-2: write /etc/weave/gateway.toml
  ~ onprem-2: write /etc/systemd/system/weave-gateway.service
  ~ onprem-2: link /usr/local/bin/weave to weave-gateway
  ~ onprem-2: enable and start weave-gateway
plan: 23 changes (5 to create, 18 to configure)
";
    assert_eq!(plan.render(), expected);
}

#[test]
fn a_settled_fleet_needs_nothing() {
    let plan = Plan::new(&fleet(), &files(&fleet()), &everything_there(&fleet()));
    assert_eq!(plan.render(), "plan: 0 to change\n");
    assert_eq!(plan.entries(), []);
}

#[test]
fn only_an_empty_plan_says_0_to_change() {
    for steps in 1..=40 {
        let plan =
            Plan { steps: vec![Step::RemoveSite { site: "aws".to_owned(), origin: Origin::Made }; steps] };
        assert!(!plan.render().contains("0 to change"), "{}", plan.render());
    }
}

/// Spoils one thing of `aws-1` and expects the plan that mends it.
fn check_spoilt(spoil: impl FnOnce(&mut Facts), expected: &str) {
    let mut observed = everything_there(&fleet());
    spoil(observed.facts.get_mut("aws-1").unwrap());
    let plan = Plan::new(&fleet(), &files(&fleet()), &observed).render();
    assert_eq!(plan.lines().map(str::trim).collect::<Vec<_>>().join("\n"), expected);
}

#[test]
fn what_differs_on_a_host_is_mended_and_nothing_else() {
    let other = Checksum::of(b"other");
    let path = "/etc/weave/gateway.toml";
    check_spoilt(
        |facts| facts.files.get_mut(path).unwrap().0 = other.clone(),
        "~ aws-1: replace /etc/weave/gateway.toml (contents differ)\nplan: 1 change (1 to configure)",
    );
    check_spoilt(
        |facts| facts.files.get_mut(path).unwrap().1 = 0o644,
        "~ aws-1: replace /etc/weave/gateway.toml (permissions differ)\nplan: 1 change (1 to configure)",
    );
    check_spoilt(
        |facts| drop(facts.files.remove(path)),
        "~ aws-1: write /etc/weave/gateway.toml\nplan: 1 change (1 to configure)",
    );
    check_spoilt(
        |facts| facts.active = false,
        "~ aws-1: enable and start weave-gateway\nplan: 1 change (1 to configure)",
    );
    check_spoilt(
        |facts| facts.enabled = false,
        "~ aws-1: enable weave-gateway\nplan: 1 change (1 to configure)",
    );
    check_spoilt(
        |facts| facts.link = Some("/bin/false".to_owned()),
        "~ aws-1: link /usr/local/bin/weave to weave-gateway\nplan: 1 change (1 to configure)",
    );
}

#[test]
fn a_run_killed_between_the_files_and_the_restart_is_noticed() {
    check_spoilt(
        |facts| facts.applied = Some(Checksum::of(b"what ran before")),
        "~ aws-1: restart weave-gateway\nplan: 1 change (1 to configure)",
    );
    check_spoilt(
        |facts| facts.applied = None,
        "~ aws-1: restart weave-gateway\nplan: 1 change (1 to configure)",
    );
}

/// The service was started from what lies on the host.
fn started_from_what_is_there(facts: &mut Facts) {
    facts.applied = generation_with(facts, None);
}

#[test]
fn another_unit_restarts_nothing() {
    check_spoilt(
        |facts| {
            facts.files.get_mut(UNIT).unwrap().0 = Checksum::of(b"an earlier unit");
            started_from_what_is_there(facts);
        },
        "~ aws-1: replace /etc/systemd/system/weave-gateway.service (contents differ)\n\
         ~ aws-1: read the service again; weave-gateway goes on\nplan: 2 changes (2 to configure)",
    );
    check_spoilt(
        |facts| {
            facts.files.get_mut(UNIT).unwrap().0 = Checksum::of(b"an earlier unit");
            facts.files.get_mut(CONFIG).unwrap().0 = Checksum::of(b"an earlier configuration");
            started_from_what_is_there(facts);
        },
        "~ aws-1: replace /etc/weave/gateway.toml (contents differ)\n\
         ~ aws-1: replace /etc/systemd/system/weave-gateway.service (contents differ)\n\
         ~ aws-1: restart weave-gateway\nplan: 3 changes (3 to configure)",
    );
}

#[test]
fn only_renewed_certificates_of_the_same_keys_restart_nothing() {
    let other = |facts: &mut Facts| {
        facts.files.get_mut(IDENTITY).unwrap().0 = Checksum::of(b"the certificate before");
        started_from_what_is_there(facts);
    };
    let replaced = "~ aws-1: replace /etc/weave/identity.pem (contents differ)\n~ aws-1: restart weave-gateway\n\
                    plan: 2 changes (2 to configure)";
    check_spoilt(
        other,
        "~ aws-1: replace /etc/weave/identity.pem; weave-gateway goes on with it\nplan: 1 change (1 to configure)",
    );
    let strange = |facts: &mut Facts| {
        other(facts);
        facts.keys = Some(keys_of(b"another key"));
    };
    check_spoilt(strange, replaced);
    let untold = |facts: &mut Facts| {
        other(facts);
        facts.keys = None;
    };
    check_spoilt(untold, replaced);
    let unknown = |facts: &mut Facts| {
        other(facts);
        facts.applied = Some(Checksum::of(b"what ran before"));
    };
    check_spoilt(unknown, replaced);
    let unit = |facts: &mut Facts| {
        facts.files.get_mut(UNIT).unwrap().0 = Checksum::of(b"an earlier unit");
        other(facts);
    };
    check_spoilt(
        unit,
        "~ aws-1: replace /etc/weave/identity.pem; weave-gateway goes on with it\n\
         ~ aws-1: replace /etc/systemd/system/weave-gateway.service (contents differ)\n\
         ~ aws-1: read the service again; weave-gateway goes on\nplan: 3 changes (3 to configure)",
    );
}

#[test]
fn a_host_tells_the_keys_of_its_identity_as_they_are_computed_here() {
    let block = |label: &str, body: &str| pem::encode(&pem::Pem::new(label, body.repeat(50)));
    let key = block("PRIVATE KEY", "key");
    let identity = |certificate: &str, psk: &str| {
        let certificates = [block("CERTIFICATE", certificate), block("CERTIFICATE", "anchor")].concat();
        [key.clone(), certificates, block("WEAVE NETWORK PSK", psk)].concat()
    };
    let folder = tempfile::tempdir().unwrap();
    let asked = |text: &str| {
        let path = folder.path().join("identity.pem");
        std::fs::write(&path, text).unwrap();
        let command = facts_command().replace(IDENTITY, path.to_str().unwrap());
        let command = command.split("; ").find(|part| part.contains("keys $(")).unwrap().to_owned();
        let said = std::process::Command::new("sh").args(["-c", &command]).output().unwrap();
        Checksum::parse(String::from_utf8(said.stdout).unwrap().trim().strip_prefix("keys ").unwrap())
    };
    let first = identity("first", "psk");
    for text in [first.clone(), first.replace("\r\n", "\n"), identity("first", "another"), key.clone()] {
        assert_eq!(asked(&text), Some(keys_of(text.as_bytes())), "{text}");
    }
    assert_eq!(keys_of(first.as_bytes()), keys_of(identity("second", "psk").as_bytes()));
    assert_ne!(keys_of(first.as_bytes()), keys_of(identity("first", "another").as_bytes()));
}

#[test]
fn what_is_no_longer_wanted_goes_first() {
    let mut observed = everything_there(&Fleet::lab(&CloudKind::ALL));
    let smaller = Fleet::lab(&[CloudKind::Gcp]);
    observed.facts.remove("gcp-1");
    let plan = Plan::new(&smaller, &files(&smaller), &observed).render();
    let expected = r"  - destroy host aws-1
  - destroy host onprem-1
  - destroy host onprem-2
  - remove site aws
  - remove site onprem
  ~ gcp-1: write /usr/local/bin/weave-gateway if it differs (not known yet)
  ~ gcp-1: write /etc/weave/identity.pem if it differs (not known yet)
  ~ gcp-1: write /etc/weave/gateway.toml if it differs (not known yet)
  ~ gcp-1: write /etc/systemd/system/weave-gateway.service if it differs (not known yet)
  ~ gcp-1: link /usr/local/bin/weave to weave-gateway
  ~ gcp-1: enable and start weave-gateway
plan: 11 changes (5 to destroy, 6 to configure)
";
    assert_eq!(plan, expected);
}

#[test]
fn a_host_on_its_way_out_is_made_again() {
    let mut observed = everything_there(&fleet());
    observed.cloud.hosts[0].phase = Phase::Terminating;
    let plan = Plan::new(&fleet(), &files(&fleet()), &observed);
    assert!(matches!(&plan.steps[0], Step::CreateHost(host, _) if host.name == "aws-1"), "{:?}", plan.steps);
    assert!(matches!(&plan.steps[1], Step::Configure { host, .. } if host == "aws-1"), "{:?}", plan.steps);
}

#[test]
fn what_is_stopped_is_started_and_what_has_drifted_is_mended() {
    let mut observed = everything_there(&fleet());
    observed.cloud.hosts[0].phase = Phase::Stopped;
    observed.cloud.hosts[1].shows_user_data = true;
    observed.facts.remove("aws-1");
    for site in ["onprem", "elsewhere"] {
        observed.cloud.drifts.push(Drift { site: site.to_owned(), what: "no rule for UDP 6783".to_owned() });
    }
    let plan = Plan::new(&fleet(), &files(&fleet()), &observed);
    let text = plan.render();
    assert!(
        text.starts_with(
            "  ~ mend site onprem: no rule for UDP 6783\n  ~ start host aws-1 in aws\n  ~ aws-1: "
        ),
        "{text}"
    );
    assert!(
        text.ends_with(
            "  ~ onprem-1: close the way to its user-data, which holds its SSH key\n\
             plan: 9 changes (1 to mend, 1 to start, 7 to configure)\n"
        ),
        "{text}"
    );
    let actions: Vec<_> = plan.entries().into_iter().map(|entry| (entry.action, entry.subject)).collect();
    assert_eq!(actions[0], ("mend", "onprem".to_owned()));
    assert_eq!(actions[1], ("start", "aws-1".to_owned()));
}

#[test]
fn down_destroys_hosts_before_sites() {
    let observed = everything_there(&fleet()).cloud;
    let text = Plan::down(&Fleet::default(), &observed).render();
    let expected = r"  - destroy host aws-1
  - destroy host onprem-1
  - destroy host onprem-2
  - remove site aws
  - remove site onprem
plan: 5 changes (5 to destroy)
";
    assert_eq!(text, expected);
}

#[test]
fn machines_that_exist_already_are_not_created_and_not_destroyed() {
    let everything = everything_there(&fleet());
    let found = Found {
        sites: fleet().sites.into_iter().map(|site| site.name).collect(),
        hosts: fleet().hosts.into_iter().map(|host| host.name).collect(),
    };
    let existing = Fleet { found, ..fleet() };
    let text = Plan::new(&existing, &BTreeMap::new(), &Observed::default()).render();
    let expected = r"  + take site aws in
  + take site onprem in
  + take over host aws-1 in aws
  + take over host onprem-1 in onprem
  + take over host onprem-2 in onprem
";
    assert!(text.starts_with(expected) && text.ends_with("(5 to take over, 6 to configure)\n"), "{text}");
    let down = Plan::down(&existing, &everything.cloud);
    let expected = r"  - release host aws-1: remove the gateway and all its files
  - release host onprem-1: remove the gateway and all its files
  - release host onprem-2: remove the gateway and all its files
  - release site aws
  - release site onprem
plan: 5 changes (5 to release)
";
    assert_eq!(down.render(), expected);
    assert_eq!(down.entries()[0].action, "release");
}

#[test]
fn sites_keep_their_numbers_whatever_is_chosen() {
    let fleet = Fleet::lab(&[CloudKind::Onprem, CloudKind::Onprem]);
    assert_eq!(fleet.sites, [Site { name: "onprem".to_owned(), index: 3 }]);
    let names: Vec<&str> = fleet.hosts.iter().map(|host| host.name.as_str()).collect();
    assert_eq!(names, ["onprem-1", "onprem-2"]);
}

#[test]
fn hosts_dial_neighbours_privately_and_others_publicly_if_at_all() {
    let fleet = fleet();
    let book = AddressBook::from([
        (
            "aws-1".to_owned(),
            Addresses { private: address("10.1.0.11"), public: Some(address("203.0.113.11")) },
        ),
        ("onprem-1".to_owned(), Addresses { private: address("10.3.0.11"), public: None }),
        ("onprem-2".to_owned(), Addresses { private: address("10.3.0.12"), public: None }),
    ]);
    let peers = |name: &str| {
        let host = fleet.hosts.iter().find(|host| host.name == name).unwrap();
        dialable(&fleet, host, &book).unwrap()
    };
    assert_eq!(peers("aws-1"), Vec::<IpAddr>::new());
    assert_eq!(peers("onprem-1"), [address("203.0.113.11"), address("10.3.0.12")]);
    let mut book = book.clone();
    book.remove("onprem-2");
    assert_eq!(dialable(&fleet, &fleet.hosts[0], &book), None);
}

#[test]
fn the_configuration_reads_as_the_gateway_expects() {
    let (peer, own) = (address("203.0.113.21"), address("203.0.113.11"));
    let text = GatewayConfig::new("aws-1", "aws", "weave", &[peer], &[own]).render();
    let expected = r#"# Written by weave-provision; `weave-provision up` replaces it.
nickname = "aws-1"
site = "aws"
network = "weave"
port = 6783
identity = "/etc/weave/identity.pem"
state = "/var/lib/weave"
http = "127.0.0.1:6784"
peers = ["203.0.113.21:6783"]
advertise = ["203.0.113.11:6783"]
"#;
    assert_eq!(text, expected);
}

#[test]
fn facts_are_read_and_damage_is_named() {
    let sum = "a".repeat(64);
    let answer = format!(
        "Welcome to Debian\nfile {sum} 755 /usr/local/bin/weave-gateway\nlink weave-gateway\nactive active\n\
         enabled enabled\napplied {sum}\nclock 1700000000\nend\n"
    );
    let facts = parse_facts(&answer).unwrap();
    assert_eq!(facts.files["/usr/local/bin/weave-gateway"], (Checksum::parse(&sum).unwrap(), 0o755));
    assert!(facts.active && facts.enabled && facts.applied.is_some() && facts.clock == 1_700_000_000);
    let nothing = parse_facts("link \nactive inactive\nenabled \napplied \nclock 5\nend\n").unwrap();
    assert_eq!(nothing, Facts { clock: 5, ..Facts::default() });
    assert!(parse_facts(&answer.replace("end\n", "")).unwrap_err().to_string().contains("breaks off"));
    assert!(parse_facts("file x 755 /p\nend\n").is_err());
    assert!(parse_facts(&format!("file {sum} 999 /p\nend\n")).is_err());
    assert!(parse_facts("clock soon\nend\n").is_err());
}

#[test]
fn commands_carry_no_secret() {
    let files = files(&fleet());
    for file in &files["aws-1"] {
        assert!(!format!("{file:?}").contains("key of"), "{file:?}");
        assert!(!put_command(file, file.checksum().unwrap()).contains("key of"));
    }
    assert!(
        facts_command().starts_with("for f in '/usr/local/bin/weave-gateway' '/etc/weave/identity.pem' ")
    );
    assert!(service_command(true, &Checksum::of(b"")).contains("systemctl restart weave-gateway"));
}

#[test]
fn commands_are_shell() {
    let files = files(&fleet());
    let put = put_command(&files["aws-1"][0], files["aws-1"][0].checksum().unwrap());
    let service = [true, false].map(|restart| service_command(restart, &Checksum::of(b"")));
    for command in [facts_command(), put, link_command()].iter().chain(&service) {
        let checked = std::process::Command::new("sh").args(["-n", "-c", command]).output().unwrap();
        assert!(checked.status.success(), "{command}: {}", String::from_utf8_lossy(&checked.stderr));
    }
}
