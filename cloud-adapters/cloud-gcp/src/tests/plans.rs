//! Tables of the decisions.

use std::collections::{BTreeMap, BTreeSet};

use cloud_core::{Architecture, HostSpec, Phase, ProviderError, Site};

use super::user_data::spec;
use crate::GcpConfig;
use crate::plan::{
    Mark, Rule, Seen, Subnet, disk_type, host_labels, hosts, last, name, own_block, request_id, rule_changes,
    subnet_in, wanted_rules, zones_for,
};

fn mark() -> Mark {
    Mark { fleet: "demo".to_owned(), site: Site { name: "gcp".to_owned(), index: 3 } }
}

fn rules(operator: Option<&str>) -> Vec<Rule> {
    wanted_rules("weave-demo-gcp", "default", &mark(), operator)
}

#[test]
fn all_mistakes_of_a_configuration_are_told_at_once() {
    let good = GcpConfig::new("demo", "my-project", "europe-west1");
    assert_eq!(good.check(), Ok(()));
    assert_eq!(GcpConfig { project: "example.com:old".to_owned(), ..good.clone() }.check(), Ok(()));
    let bad = GcpConfig {
        fleet: "Demo".to_owned(),
        project: String::new(),
        zones: vec!["us-central1-a".to_owned()],
        endpoint: Some("compute.example".to_owned()),
        network: Some("a/b".to_owned()),
        machine_type: "e2 small".to_owned(),
        operator_address: Some("198.51.100.7/24".to_owned()),
        disk_gib: 1,
        ..good
    };
    let Err(ProviderError::Invalid(text)) = bad.check() else { panic!("accepted") };
    for words in [
        "fleet \"Demo\"",
        "project \"\"",
        "zone \"us-central1-a\" is not in region europe-west1",
        "endpoint \"compute.example\"",
        "network \"a/b\"",
        "machine type \"e2 small\"",
        "operator address \"198.51.100.7/24\"",
        "boot disk of 1 GiB",
    ] {
        assert!(text.contains(words), "{text} lacks {words}");
    }
}

#[test]
fn the_program_the_processor_and_the_image_fit_or_it_is_said() {
    let check = |kind: &str, architecture, family: &str, mistakes: &[&str]| {
        let config = GcpConfig {
            machine_type: kind.to_owned(),
            architecture,
            image_family: family.to_owned(),
            ..GcpConfig::new("demo", "my-project", "europe-west1")
        };
        let said = config.check().err().map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(said.split("; ").filter(|part| !part.is_empty()).count(), mistakes.len(), "{said}");
        assert!(mistakes.iter().all(|words| said.contains(words)), "{said}");
    };
    let (x86, arm) = (Architecture::X86_64, Architecture::Arm64);
    let (amd64, arm64) = ("ubuntu-2404-lts-amd64", "ubuntu-2404-lts-arm64");
    check("e2-small", x86, amd64, &[]);
    check("n2d-standard-2", x86, "our-own", &[]);
    check("t2a-standard-1", arm, arm64, &[]);
    check("t2a-standard-1", x86, amd64, &["has an Arm processor and the gateway's program is for x86_64"]);
    check("e2-small", arm, arm64, &["has no Arm processor"]);
    check("t2a-standard-1", arm, amd64, &["is for amd64 and the hosts are arm64"]);
    check("e2-small", x86, arm64, &["is for arm64 and the hosts are x86_64"]);
}

#[test]
fn names_are_those_of_compute_engine() {
    assert_eq!(name("demo", "gcp-1").unwrap(), "weave-demo-gcp-1");
    for part in ["GCP", "gcp_1", "gcp-", "", "a".repeat(60).as_str(), "gcp 1"] {
        assert!(matches!(name("demo", part), Err(ProviderError::Invalid(_))), "{part:?}");
    }
}

#[test]
fn marks_survive_the_description() {
    assert_eq!(mark().render(), r#"{"weave-fleet":"demo","weave-site":"gcp","weave-index":3}"#);
    assert_eq!(Mark::parse(&mark().render()), Some(mark()));
    for theirs in
        ["", "allow ssh", "{}", r#"{"weave-fleet":"demo"}"#, r#"{"weave-fleet":1,"weave-site":"a"}"#]
    {
        assert_eq!(Mark::parse(theirs), None, "{theirs}");
    }
    assert_eq!(Mark::parse(&mark().render().replace('3', "300")), None);
}

#[test]
fn the_mesh_is_open_and_ssh_is_the_operators_alone() {
    let flat = |rules: Vec<Rule>| -> Vec<String> {
        let ports =
            |rule: &Rule| rule.ports.iter().map(|(p, n)| format!("{p}:{n}")).collect::<Vec<_>>().join(",");
        let sources = |rule: &Rule| rule.sources.iter().cloned().collect::<Vec<_>>().join(",");
        let verb = |rule: &Rule| if rule.allow { "allow" } else { "deny" };
        let line = |rule: &Rule| {
            format!("{} {} {} {} {}", rule.name, rule.priority, verb(rule), ports(rule), sources(rule))
        };
        rules.iter().map(line).collect()
    };
    let nobody = [
        "weave-demo-gcp-mesh 1000 allow tcp:6783,udp:6783-6784 0.0.0.0/0",
        "weave-demo-gcp-shut 1000 deny tcp:22 0.0.0.0/0",
    ];
    assert_eq!(flat(rules(None)), nobody);
    let operator = [nobody[0], nobody[1], "weave-demo-gcp-ssh 900 allow tcp:22 198.51.100.7/32"];
    assert_eq!(flat(rules(Some("198.51.100.7/32"))), operator);
    assert!(rules(None).iter().all(|rule| rule.tags == BTreeSet::from(["weave-demo-gcp".to_owned()])));
}

#[test]
fn rules_are_added_changed_and_removed() {
    let wanted = rules(Some("198.51.100.7/32"));
    let names = |rules: &[Rule]| rules.iter().map(|rule| rule.name.clone()).collect::<Vec<_>>();
    let none = rule_changes(&wanted, &wanted);
    assert_eq!((none.add.len(), none.change.len(), none.remove.len()), (0, 0, 0));
    assert_eq!(rule_changes(&wanted, &[]).add, wanted);
    assert_eq!(rule_changes(&rules(None), &wanted).remove, ["weave-demo-gcp-ssh"]);
    assert_eq!(names(&rule_changes(&rules(Some("203.0.113.0/24")), &wanted).change), ["weave-demo-gcp-ssh"]);
    let disabled: Vec<Rule> = wanted.iter().map(|rule| Rule { enabled: false, ..rule.clone() }).collect();
    assert_eq!(rule_changes(&wanted, &disabled).change, wanted);
}

#[test]
fn a_subnetwork_of_the_network_is_chosen() {
    let subnet = |name: &str, network: &str| Subnet {
        name: name.to_owned(),
        network: network.to_owned(),
        block: "10.0.0.0/24".to_owned(),
        description: String::new(),
    };
    let all =
        [subnet("a", "other"), subnet("b", "default"), subnet("default", "default"), subnet("c", "lab")];
    for (network, chosen) in [("default", Some("default")), ("lab", Some("c")), ("none", None)] {
        assert_eq!(subnet_in(network, &all).map(|subnet| subnet.name.as_str()), chosen, "{network}");
    }
    assert_eq!(own_block(7), "10.7.0.0/16");
}

#[test]
fn hosts_spread_over_the_zones() {
    let up: BTreeSet<String> = ["r-b", "r-c", "r-d"].map(str::to_owned).into();
    for (host, order) in [(1, ["r-b", "r-c", "r-d"]), (2, ["r-c", "r-d", "r-b"]), (4, ["r-b", "r-c", "r-d"])]
    {
        assert_eq!(zones_for(&up, &[], host), order, "{host}");
    }
    assert_eq!(zones_for(&up, &["r-d".to_owned()], 2), ["r-d"]);
    assert!(
        zones_for(&up, &["r-x".to_owned()], 1).is_empty() && zones_for(&BTreeSet::new(), &[], 1).is_empty()
    );
}

#[test]
fn statuses_have_phases() {
    for (status, phase) in [
        ("PENDING", Phase::Starting),
        ("PROVISIONING", Phase::Starting),
        ("STAGING", Phase::Starting),
        ("REPAIRING", Phase::Starting),
        ("RUNNING", Phase::Running),
        ("STOPPING", Phase::Terminating),
        ("PENDING_STOP", Phase::Terminating),
        ("DEPROVISIONING", Phase::Terminating),
        ("TERMINATED", Phase::Stopped),
        ("STOPPED", Phase::Stopped),
        ("SUSPENDED", Phase::Stopped),
        ("SUSPENDING", Phase::Stopped),
        ("OF_THE_FUTURE", Phase::Starting),
    ] {
        let seen = Seen { status: status.to_owned(), ..Seen::default() };
        assert_eq!(seen.phase(), phase, "{status}");
    }
    let unaddressed = Seen { status: "RUNNING".to_owned(), ..Seen::default() };
    assert_eq!(unaddressed.host().phase, Phase::Starting);
}

#[test]
fn of_twins_the_one_that_runs_is_the_host() {
    let seen = |host: &str, zone: &str, status: &str| Seen {
        zone: zone.to_owned(),
        status: status.to_owned(),
        labels: BTreeMap::from([("weave-host".to_owned(), host.to_owned())]),
        ..Seen::default()
    };
    let all = [
        seen("b", "r-b", "STOPPING"),
        seen("b", "r-d", "RUNNING"),
        seen("b", "r-c", "RUNNING"),
        seen("a", "r-b", "TERMINATED"),
        seen("", "r-b", "RUNNING"),
    ];
    let chosen: Vec<_> =
        hosts(&all).into_iter().map(|seen| (seen.label("weave-host"), &*seen.zone)).collect();
    assert_eq!(chosen, [("a", "r-b"), ("b", "r-c")]);
}

#[test]
fn labels_fit_and_do_not_replace_the_marks() {
    let labels = [("Owner:Name", "Ada L."), ("weave-fleet", "other"), ("1st", "x"), ("42", "y")];
    let labels = labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let spec = HostSpec { labels, ..spec("gcp-1", 1) };
    let fitted = [
        ("owner-name", "ada-l-"),
        ("st", "x"),
        ("weave-fleet", "demo"),
        ("weave-host", "gcp-1"),
        ("weave-site", "gcp"),
    ];
    let fitted = fitted.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    assert_eq!(host_labels("demo", &spec), fitted);
}

#[test]
fn request_ids_are_uuids_of_what_is_asked() {
    let id = request_id(&["demo", "gcp-1"], 0);
    assert_eq!(id, request_id(&["demo", "gcp-1"], 0));
    let others =
        [request_id(&["demo", "gcp-1"], 1), request_id(&["demo", "gcp-", "1"], 0), request_id(&[], 0)];
    assert!(others.iter().all(|other| *other != id), "{id} {others:?}");
    for id in others.iter().chain([&id]) {
        let lengths: Vec<_> = id.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
        assert!(id.as_bytes()[14] == b'8' && b"89ab".contains(&id.as_bytes()[19]), "{id}");
    }
}

#[test]
fn the_last_part_of_a_url_names() {
    assert_eq!(last("https://compute.googleapis.com/compute/v1/projects/p/zones/r-b"), "r-b");
    assert_eq!((last("r-b"), last("")), ("r-b", ""));
}

#[test]
fn the_series_of_the_machine_tells_the_type_of_its_disk() {
    for (disk, series) in [
        ("pd-balanced", "e2 f1 g1 n1 n2 n2d t2a t2d c2 c2d c3 c3d m1 m3 h3 z3 g2 a2 a3 strange"),
        ("hyperdisk-balanced", "c4 c4a c4d n4 n4a n4d m4 x4 h4d a4 a4x g4 e5 n10"),
    ] {
        for series in series.split(' ') {
            assert_eq!(disk_type(&format!("{series}-standard-4")), disk, "{series}");
        }
    }
    assert_eq!(disk_type("a3-ultragpu-8g"), "hyperdisk-balanced");
    assert_eq!(disk_type("a3-highgpu-8g"), "pd-balanced");
}
