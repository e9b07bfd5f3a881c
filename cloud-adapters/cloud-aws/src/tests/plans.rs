//! Tables of the decisions.

use std::collections::BTreeSet;

use cloud_core::{Architecture, Phase, ProviderError};

use crate::config::{AwsConfig, Image};
use crate::failure::Class;
use crate::plan::{self, HOST, ImageQuery, OURS, Rule, SITE, Seen, SeenImage, SeenRule, Subnet, Table, Tags};

fn seen(id: &str, state: &str, host: &str) -> Seen {
    let tags = [(HOST, host), (SITE, "aws")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    Seen { id: id.to_owned(), state: state.to_owned(), tags: Tags::from(tags), ..Seen::default() }
}

#[test]
fn states_are_phases() {
    let table = [
        ("pending", Some(Phase::Starting), true),
        ("running", Some(Phase::Running), true),
        ("stopping", Some(Phase::Stopped), true),
        ("stopped", Some(Phase::Stopped), true),
        ("shutting-down", Some(Phase::Terminating), false),
        ("terminated", None, false),
        ("of-the-future", Some(Phase::Starting), true),
    ];
    for (state, phase, live) in table {
        let seen = seen("i-1", state, "aws-1");
        assert_eq!((seen.phase(), seen.is_live()), (phase, live), "{state}");
    }
}

#[test]
fn of_twins_everybody_takes_the_same() {
    let check = |twins: &[(&str, &str)], expected: Option<&str>| {
        let mut all: Vec<Seen> = twins.iter().map(|(id, state)| seen(id, state, "aws-1")).collect();
        for _ in 0..2 {
            let chosen = plan::hosts(&all);
            assert_eq!(chosen.first().map(|host| host.id.as_str()), expected, "{twins:?}");
            all.reverse();
        }
    };
    check(&[("i-1", "terminated")], None);
    check(&[("i-1", "terminated"), ("i-2", "pending")], Some("i-2"));
    check(&[("i-1", "shutting-down"), ("i-2", "pending")], Some("i-2"));
    check(&[("i-1", "stopped"), ("i-2", "running")], Some("i-2"));
    check(&[("i-1", "running"), ("i-2", "running")], Some("i-1"));
    let all = [seen("i-2", "running", "b"), seen("i-1", "running", "a"), seen("i-3", "running", "")];
    assert_eq!(plan::hosts(&all).iter().map(|host| host.tag(HOST)).collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn the_reason_of_an_end_has_a_class() {
    let check = |code: Option<&str>, class: Class| {
        let reason = code.map(|code| (code.to_owned(), "Said so".to_owned()));
        let end = Seen { reason, ..seen("i-1", "terminated", "aws-1") }.end();
        assert_eq!(end.class(), class, "{code:?}");
        let text = end.about("host aws-1").to_string();
        assert!(text.contains("i-1 ended while it started") && text.contains(code.unwrap_or("")), "{text}");
    };
    check(None, Class::Retryable);
    check(Some("Client.UserInitiatedShutdown"), Class::Retryable);
    check(Some("Client.VolumeLimitExceeded"), Class::Quota);
    check(Some("Client.InternalError"), Class::Other);
    check(Some("Server.InternalError"), Class::Retryable);
    check(Some("Server.InsufficientInstanceCapacity"), Class::Capacity);
    check(Some("Server.SpotInstanceTermination"), Class::Other);
}

#[test]
fn images_have_names() {
    for name in ["debian-12", "ubuntu-24.04", "ami-0123"] {
        assert_eq!(name.parse::<Image>().unwrap().to_string(), name);
    }
    assert!("debian".parse::<Image>().unwrap_err().to_string().contains("want debian-12"));
}

fn rule(protocol: &str, from: i32, to: i32, block: &str) -> Rule {
    Rule { protocol: protocol.to_owned(), from, to, block: block.to_owned() }
}

#[test]
fn only_the_mesh_is_open_to_everybody() {
    let mesh = [rule("tcp", 6783, 6783, "0.0.0.0/0"), rule("udp", 6783, 6784, "0.0.0.0/0")];
    assert_eq!(plan::wanted_rules(None), BTreeSet::from(mesh.clone()));
    let with_ssh = mesh.into_iter().chain([rule("tcp", 22, 22, "198.51.100.7/32")]).collect();
    assert_eq!(plan::wanted_rules(Some("198.51.100.7/32")), with_ssh);
}

#[test]
fn rules_are_compared_before_they_are_changed() {
    let ours = |rule| SeenRule { rule, description: OURS.to_owned() };
    let wanted = plan::wanted_rules(Some("198.51.100.7/32"));
    let there: Vec<SeenRule> = wanted.iter().cloned().map(ours).collect();
    assert_eq!(plan::rule_changes(&wanted, &there), (vec![], vec![]));
    assert_eq!(plan::rule_changes(&wanted, &[]), (wanted.iter().cloned().collect(), vec![]));
    // The operator has moved; a rule by hand stays.
    let moved = plan::wanted_rules(Some("203.0.113.9/32"));
    let by_hand = SeenRule { rule: rule("tcp", 443, 443, "0.0.0.0/0"), description: "mine".to_owned() };
    let seen: Vec<SeenRule> = there.into_iter().chain([by_hand]).collect();
    let (add, stale) = plan::rule_changes(&moved, &seen);
    assert_eq!(add, [rule("tcp", 22, 22, "203.0.113.9/32")]);
    assert_eq!(stale, [rule("tcp", 22, 22, "198.51.100.7/32")]);
}

#[test]
fn images_are_asked_of_their_publishers() {
    let check = |image: Image, cpu: Architecture, publisher: &str, pattern: &str| {
        let ImageQuery::Newest { owner, name, architecture } = plan::image_query(&image, cpu) else {
            panic!()
        };
        assert_eq!((owner, name.as_str(), architecture), (publisher, pattern, cpu), "{image:?} {cpu}");
    };
    let ubuntu = |cpu: &str| format!("ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-{cpu}-server-*");
    for (cpu, short) in [(Architecture::X86_64, "amd64"), (Architecture::Arm64, "arm64")] {
        check(Image::Debian12, cpu, "136693071363", &format!("debian-12-{short}-*"));
        check(Image::Ubuntu2404, cpu, "099720109477", &ubuntu(short));
    }
    let own = plan::image_query(&Image::Ami("ami-1".to_owned()), Architecture::X86_64);
    assert_eq!(own, ImageQuery::Id("ami-1".to_owned()));
}

#[test]
fn an_instance_type_tells_its_processor() {
    for (architecture, kinds) in [
        (
            Architecture::X86_64,
            "t3.small m7i.large g4dn.xlarge g6.large gr6.4xlarge p4de.24xlarge inf2.xlarge",
        ),
        (Architecture::X86_64, "u-6tb1.metal trn1.2xlarge i4i.large t3a.nano"),
        (
            Architecture::Arm64,
            "t4g.small c7gn.large im4gn.large x2gd.medium g5g.xlarge hpc7g.4xlarge a1.medium",
        ),
    ] {
        for kind in kinds.split(' ') {
            assert_eq!(plan::architecture_of(kind), architecture, "{kind}");
        }
    }
}

#[test]
fn the_program_and_the_processor_fit_or_it_is_said() {
    let check = |kind: &str, architecture, words: Option<&str>| {
        let config = AwsConfig { instance_type: kind.to_owned(), architecture, ..AwsConfig::new("demo") };
        let said = config.check().err().map(|error| error.to_string());
        assert_eq!(said.is_some(), words.is_some(), "{kind} {architecture}: {said:?}");
        if let (Some(said), Some(words)) = (said, words) {
            assert!(said.contains(words) && said.contains(kind), "{said}");
        }
    };
    check("t3.small", Architecture::X86_64, None);
    check("t4g.small", Architecture::Arm64, None);
    check("t4g.small", Architecture::X86_64, Some("the gateway's program is for x86-64"));
    check("t3.small", Architecture::Arm64, Some("has no Arm processor"));
}

#[test]
fn the_newest_image_wins() {
    let image = |id: &str, created: &str| SeenImage {
        id: id.to_owned(),
        created: created.to_owned(),
        architecture: String::new(),
        root: String::new(),
    };
    assert_eq!(plan::newest(vec![]), None);
    let all = vec![image("ami-3", "2026-09-01"), image("ami-1", "2026-10-14"), image("ami-2", "2025-12-31")];
    assert_eq!(plan::newest(all).unwrap().id, "ami-1");
}

#[test]
fn tokens_tell_requests_apart() {
    let token = plan::token("f", "eu-west-1", "aws-1", "eu-west-1a", 0);
    assert_eq!(token, plan::token("f", "eu-west-1", "aws-1", "eu-west-1a", 0));
    assert!(token.len() <= 64 && token.is_ascii());
    let others = [
        plan::token("g", "eu-west-1", "aws-1", "eu-west-1a", 0),
        plan::token("f", "eu-west-2", "aws-1", "eu-west-1a", 0),
        plan::token("f", "eu-west-1", "aws-2", "eu-west-1a", 0),
        plan::token("f", "eu-west-1", "aws-1", "eu-west-1b", 0),
        plan::token("f", "eu-west-1", "aws-1", "eu-west-1a", 1),
        token,
    ];
    assert_eq!(others.iter().collect::<BTreeSet<_>>().len(), others.len());
}

#[test]
fn hosts_spread_over_the_zones_that_offer_their_type() {
    let subnet = |id: &str, zone: &str, default| Subnet {
        id: id.to_owned(),
        zone: zone.to_owned(),
        block: String::new(),
        default,
        tags: Tags::new(),
    };
    let subnets = [
        subnet("s1", "b", false),
        subnet("s2", "a", false),
        subnet("s3", "a", true),
        subnet("s4", "c", true),
    ];
    let check = |offered: &str, zone, host, expected: &str| {
        let offered = offered.split_whitespace().map(str::to_owned).collect();
        let chosen = plan::subnets_for(&subnets, &offered, zone, host);
        let ids: Vec<_> = chosen.iter().map(|subnet| subnet.id.as_str()).collect();
        assert_eq!(ids.join(" "), expected, "{offered:?} {zone:?} {host}");
    };
    check("a b c", None, 1, "s3 s1 s4");
    check("a b c", None, 2, "s1 s4 s3");
    check("a b c", None, 4, "s3 s1 s4");
    check("b", None, 2, "s1");
    check("a b c", Some("c"), 1, "s4");
    check("a b", Some("c"), 1, "");
    check("", None, 1, "");
}

#[test]
fn a_subnet_is_public_by_its_own_table_or_the_main_one() {
    let table = |main, subnets: &[&str], public| Table {
        id: String::new(),
        main,
        subnets: subnets.iter().map(|id| id.to_string()).collect(),
        public,
    };
    let tables = [table(true, &[], true), table(false, &["private"], false)];
    assert!(plan::is_public("any", &tables) && !plan::is_public("private", &tables));
    let tables = [table(true, &[], false), table(false, &["public"], true)];
    assert!(!plan::is_public("any", &tables) && plan::is_public("public", &tables));
    assert!(!plan::is_public("any", &[]));
}

#[test]
fn own_networks_keep_the_block_of_a_zone() {
    let zones = ["a", "b", "c", "d"].map(str::to_owned).into();
    let pair = |zone: &str, block: &str| (zone.to_owned(), block.to_owned());
    let all = [pair("a", "10.7.0.0/24"), pair("b", "10.7.1.0/24"), pair("c", "10.7.2.0/24")];
    assert_eq!(plan::own_subnets(7, &zones, None), all);
    assert_eq!(plan::own_subnets(7, &zones, Some("d")), [pair("d", "10.7.3.0/24")]);
}

#[test]
fn all_mistakes_are_told_at_once() {
    assert_eq!(AwsConfig::new("demo").check(), Ok(()));
    let mut config = AwsConfig::new("not a word");
    config.image = Image::Ami("debian".to_owned());
    config.operator_address = Some("198.51.100.7/24".to_owned());
    config.root_gib = 1;
    config.region = Some("eu-west-1".to_owned());
    config.zone = Some("us-east-1a".to_owned());
    let Err(ProviderError::Invalid(text)) = config.check() else { panic!() };
    for word in ["fleet", "ami-", "198.51.100.7/24", "1 GiB", "us-east-1a"] {
        assert!(text.contains(word), "{text:?} lacks {word}");
    }
    for (block, good) in
        [("0.0.0.0/0", true), ("198.51.100.0/24", true), ("198.51.100.7", false), ("::/0", false)]
    {
        let config = AwsConfig { operator_address: Some(block.to_owned()), ..AwsConfig::new("demo") };
        assert_eq!(config.check().is_ok(), good, "{block}");
    }
}
