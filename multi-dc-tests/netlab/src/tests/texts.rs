//! What is parsed and what is written.

use std::collections::BTreeMap;

use crate::folder::{Process, start_time};
use crate::order::{InstanceConfig, Order};
use crate::plan::Router;
use crate::rules::{self, Behind};
use crate::strip::unlocked;
use crate::values::{Cable, HostConfig, Nat, Place, SiteStatus};

#[test]
fn a_start_time_is_found_behind_any_name() {
    let rest = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20";
    for name in ["sh", "a) S b", "(((", ""] {
        assert_eq!(start_time(&format!("12 ({name}) S {rest}")), Some(777), "{name}");
    }
    assert_eq!(start_time(&format!("12 (sh) Z {rest}")), None);
    assert_eq!(start_time("12 (sh"), None);
    assert_eq!(start_time("12 (sh) S 1 2"), None);
}

#[test]
fn a_process_is_itself_and_not_an_earlier_one_of_its_number() {
    let own = Process::running(std::process::id() as i32).unwrap();
    assert!(own.is_alive());
    assert_eq!(Process::parse(&own.render()), Some(own));
    assert!(!Process::parse(&format!("{} 1", own.pid)).unwrap().is_alive());
    assert_eq!(Process::parse(""), None);
}

#[test]
fn only_the_root_of_a_shadow_file_is_unlocked() {
    assert_eq!(unlocked("root:!:1:0:\ndaemon:!:1:0:\n"), "root:*:1:0:\ndaemon:!:1:0:\n");
    assert_eq!(unlocked("daemon:!:1"), "daemon:!:1\n");
}

#[test]
fn places_and_cables_have_names() {
    for name in ["op", "internet", "r-aws", "aws-1"] {
        assert_eq!(name.parse::<Place>().unwrap().to_string(), name);
    }
    assert_eq!(Cable::between("gcp", "aws"), Cable::between("aws", "gcp"));
}

#[test]
fn a_masquerading_router_lets_nobody_but_the_operator_in() {
    let site = SiteStatus {
        index: 3,
        lan: "10.3.0.0/24".parse().unwrap(),
        router: Router::Masquerade,
        public: [203, 0, 113, 48].into(),
        nat: Some(Nat::Port),
    };
    let host = Behind { index: 1, private: [10, 3, 0, 11].into(), public: None };
    let text = rules::router(&site, &[host]);
    let inward: Vec<&str> = text.lines().filter(|line| line.contains("dnat to")).collect();
    assert_eq!(
        inward,
        ["add rule ip nat pre iifname \"wan\" ip saddr 203.0.113.250 tcp dport 2201 dnat to 10.3.0.11:22"]
    );
    assert!(text.ends_with("add rule inet fw forward drop\n"));
}

#[test]
fn keys_do_not_show() {
    let host = HostConfig {
        name: "aws-1".to_owned(),
        site: "aws".to_owned(),
        index: 1,
        authorized_key: String::new(),
        host_key_pem: "PRIVATE".to_owned(),
        labels: BTreeMap::new(),
    };
    assert!(!format!("{host:?}{:?}", Order::from(&host)).contains("PRIVATE"));
    let instance = InstanceConfig {
        name: "aws-1".to_owned(),
        site: "aws".to_owned(),
        index: 1,
        private: [10, 1, 0, 11].into(),
        public: None,
        instance_id: "i-1".to_owned(),
        user_data: "PRIVATE".to_owned(),
        labels: BTreeMap::new(),
    };
    assert!(!format!("{instance:?}{:?}", Order::from(&instance)).contains("PRIVATE"));
}
