//! Text for people, compared letter by letter with files in `golden/`. `WEAVE_BLESS=1` writes the files anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cloud_core::{HostState, Phase, Secret, Site};

use crate::cli::{Failure, help};
use crate::fleet::{CloudKind, Fleet};
use crate::graph::Graph;
use crate::install::{Content, Facts, GatewayConfig, LINK_TARGET, WantedFile, generation, wanted_files};
use crate::plan::{Observed, Plan};
use crate::remote::RemoteError;
use crate::ssh::SshError;
use crate::state::StateError;
use crate::verify::{GatewayRow, NotVerified, Pair, Report};

/// Compares a text with `golden/NAME.txt`.
#[track_caller]
pub(super) fn check(name: &str, text: &str) {
    let path = folder().join(format!("{name}.txt"));
    if std::env::var_os("WEAVE_BLESS").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(folder()).unwrap();
        std::fs::write(&path, text).unwrap();
        return;
    }
    if let Some(difference) = difference(&path, text) {
        panic!(
            "{difference}\nif it is meant to be so: WEAVE_BLESS=1 cargo nextest run -p weave-provisioner golden"
        );
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tests/golden")
}

/// Says where a text and a file part.
fn difference(path: &Path, text: &str) -> Option<String> {
    let expected = match std::fs::read_to_string(path) {
        Ok(expected) => expected,
        Err(error) => return Some(format!("cannot read {}: {error}", path.display())),
    };
    if expected == text {
        return None;
    }
    let (mut old, mut new) = (expected.lines(), text.lines());
    let number = (1..).find(|_| match (old.next(), new.next()) {
        (None, None) => true,
        (old, new) => old != new,
    })?;
    let line = |text: &str| text.lines().nth(number - 1).map(str::to_owned);
    let (old, new) = (line(&expected), line(text));
    Some(format!("{}:{number}: expected {old:?}, found {new:?}\n\nall of it:\n{text}", path.display()))
}

#[test]
fn a_difference_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some.txt");
    assert!(difference(&path, "a\n").unwrap().contains("cannot read"));
    std::fs::write(&path, "a\nb\n").unwrap();
    assert_eq!(difference(&path, "a\nb\n"), None);
    assert!(difference(&path, "a\nc\n").unwrap().contains(":2: expected Some(\"b\"), found Some(\"c\")"));
    assert!(difference(&path, "a\n").unwrap().contains("found None"));
    // An end of line more or less is a difference too.
    assert!(difference(&path, "a\nb").is_some());
}

fn help_file(verb: &str) -> String {
    if verb.is_empty() { "help".to_owned() } else { format!("help_{verb}") }
}

#[test]
fn help_of_the_program_and_of_every_verb() {
    let all = help();
    for (verb, text) in &all {
        check(&help_file(verb), text);
    }
    // A verb that is gone leaves no file.
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name());
    let files = files.filter(|name| name.to_str().is_some_and(|name| name.starts_with("help")));
    assert_eq!(files.count(), all.len());
}

fn fleet() -> Fleet {
    Fleet::lab(&[CloudKind::Aws, CloudKind::Onprem])
}

fn files(fleet: &Fleet) -> BTreeMap<String, Vec<WantedFile>> {
    let files = |name: &str| {
        let config = GatewayConfig::new(name, "site", "weave", &[], &[]);
        let identity = Secret::new(format!("key of {name}"));
        wanted_files(&Content::new(*b"program"), Some(&identity), Some(&config))
    };
    fleet.hosts.iter().map(|host| (host.name.clone(), files(&host.name))).collect()
}

fn settled(fleet: &Fleet) -> Observed {
    let facts = |files: &[WantedFile]| Facts {
        files: files
            .iter()
            .map(|file| (file.path.to_owned(), (file.checksum().unwrap().clone(), file.mode)))
            .collect(),
        link: Some(LINK_TARGET.to_owned()),
        active: true,
        enabled: true,
        applied: generation(files),
        ..Facts::default()
    };
    let running = |name: &str, site: &str| HostState {
        name: name.to_owned(),
        site: site.to_owned(),
        addresses: None,
        phase: Phase::Running,
        shows_user_data: false,
    };
    Observed {
        cloud: cloud_core::Observed {
            sites: fleet.sites.clone(),
            hosts: fleet.hosts.iter().map(|host| running(&host.name, &host.site)).collect(),
            drifts: Vec::new(),
        },
        facts: files(fleet).iter().map(|(name, files)| (name.clone(), facts(files))).collect(),
    }
}

#[test]
fn plans() {
    let (fleet, wanted) = (fleet(), files(&fleet()));
    let render = |observed: &Observed| Plan::new(&fleet, &wanted, observed).render();
    check("plan_create", &render(&Observed::default()));
    check("plan_nothing", &render(&settled(&fleet)));

    // A site and a host too many, a host too few, another program here, a stopped service there.
    let mut mixed = settled(&fleet);
    mixed.cloud.sites.push(Site { name: "gcp".to_owned(), index: 2 });
    let stranger =
        HostState { name: "gcp-1".to_owned(), site: "gcp".to_owned(), ..mixed.cloud.hosts[0].clone() };
    mixed.cloud.hosts.push(stranger);
    mixed.cloud.hosts.retain(|host| host.name != "onprem-2");
    mixed.facts.remove("onprem-2");
    let aws = mixed.facts.get_mut("aws-1").unwrap();
    aws.files.get_mut(crate::install::GATEWAY).unwrap().0 = crate::install::Checksum::of(b"older");
    aws.applied = None;
    mixed.facts.get_mut("onprem-1").unwrap().active = false;
    check("plan_mixed", &render(&mixed));
    check("plan_down", &Plan::down(&fleet, &settled(&fleet).cloud).render());
}

/// Two sites with a host each and one that relays between them; `spoil` breaks what it likes.
fn report(spoil: impl FnOnce(&mut Report)) -> Report {
    let hosts = [("aws-1", "aws"), ("gcp-1", "gcp"), ("onprem-1", "onprem")];
    let row = |(number, (host, site)): (usize, (&str, &str))| GatewayRow {
        host: host.to_owned(),
        site: site.to_owned(),
        peer: format!("aa:00:00:00:00:0{number}"),
        version: "1.2.3".to_owned(),
        state: "active".to_owned(),
    };
    let mut pairs = Vec::new();
    for (from, _) in hosts {
        for (to, _) in hosts.into_iter().filter(|(to, _)| *to != from) {
            pairs.push(Pair {
                from: from.to_owned(),
                to: to.to_owned(),
                path: Some("direct".to_owned()),
                via: Vec::new(),
                rtt_ms: Some(12.34),
                mtu: Some(1376),
                ok: true,
            });
        }
    }
    let mut report = Report { gateways: hosts.into_iter().enumerate().map(row).collect(), pairs };
    spoil(&mut report);
    report
}

fn relayed(report: &mut Report) {
    for pair in report.pairs.iter_mut().filter(|pair| pair.from != "onprem-1" && pair.to != "onprem-1") {
        pair.path = Some("relay".to_owned());
        pair.via = vec!["onprem-1".to_owned()];
    }
}

fn broken(report: &mut Report) {
    relayed(report);
    let last = report.gateways.last_mut().unwrap();
    *last = GatewayRow {
        peer: String::new(),
        version: String::new(),
        state: "unreachable".to_owned(),
        ..last.clone()
    };
    for pair in report.pairs.iter_mut().filter(|pair| pair.from == "onprem-1" || pair.to == "onprem-1") {
        (pair.path, pair.rtt_ms, pair.mtu, pair.ok) = (None, None, None, false);
    }
    // One way only.
    let one = report.pairs.iter_mut().find(|pair| pair.from == "gcp-1" && pair.to == "aws-1").unwrap();
    *one = Pair { path: Some("direct".to_owned()), via: Vec::new(), ..one.clone() };
}

#[test]
fn reports() {
    let json = |report: &Report| format!("{}\n", serde_json::to_string_pretty(report).unwrap());
    check("status_ok", &crate::render::report(&report(|_| {})));
    check("status_relay", &crate::render::report(&report(relayed)));
    check("status_broken", &crate::render::report(&report(broken)));
    check("status_broken_json", &json(&report(broken)));
}

#[test]
fn graphs() {
    // A name that would end a quotation, a line or a label in each of the languages.
    let odd = |report: &mut Report| {
        broken(report);
        let odd = |name: &mut String| {
            if name == "gcp-1" {
                *name = "g\"]; \\<b>#`\x1b[2J\n".to_owned();
            }
        };
        report.gateways.iter_mut().for_each(|row| odd(&mut row.host));
        report.pairs.iter_mut().for_each(|pair| {
            odd(&mut pair.from);
            odd(&mut pair.to);
        });
    };
    for (name, report) in [("relay", report(relayed)), ("broken", report(broken)), ("odd", report(odd))] {
        let graph = Graph::new(&report);
        check(&format!("graph_{name}"), &graph.text());
        check(&format!("graph_{name}_mermaid"), &graph.mermaid());
        check(&format!("graph_{name}_dot"), &graph.dot());
    }
    assert_eq!(Graph::new(&Report::default()).text(), "");
}

#[test]
fn errors_with_their_hints() {
    let ssh = |error: SshError| Failure::new(anyhow::Error::new(RemoteError::from(error)).context("aws-1"));
    let io = |kind: std::io::ErrorKind| StateError::Io {
        what: "write",
        path: "/var/lib/weave-provision/weave/fleet.json".into(),
        source: kind.into(),
    };
    let key = |text: &str| format!("SHA256:{text}");
    let refused = cloud_core::ProviderError::Retryable("connection refused".to_owned());
    let failures: Vec<Failure> = vec![
        ssh(SshError::UnknownHost("aws-1".to_owned())),
        ssh(SshError::HostKey { expected: key("aaa"), found: key("bbb") }),
        ssh(SshError::Agent("holds no key".to_owned())),
        ssh(SshError::Refused),
        ssh(SshError::Connect(refused)),
        ssh(SshError::TimedOut("the command", 20)),
        ssh(SshError::Lost),
        ssh(SshError::ExecRefused),
        ssh(SshError::TooMuch(16 << 20)),
        StateError::Locked { holder: "`weave-provision up`, process 7".to_owned() }.into(),
        StateError::Damaged { path: "fleet.json".into(), why: "EOF at line 1".to_owned() }.into(),
        io(std::io::ErrorKind::PermissionDenied).into(),
        io(std::io::ErrorKind::StorageFull).into(),
        Failure::usage("no clouds are named", "weave-provision up --lab --clouds aws,gcp,onprem"),
        Failure::several(vec![
            anyhow::Error::new(NotVerified { seconds: 60, missing: vec!["aws-1 → gcp-1".to_owned()] }),
            anyhow::anyhow!("weave ping failed with status 1").context("aws-1"),
        ])
        .or_hint("`weave-provision status` shows every pair"),
    ];
    let text: Vec<String> = failures.iter().map(Failure::render).collect();
    check("errors", &text.join("\n"));
}
