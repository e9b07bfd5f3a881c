//! The role against the calls that are made.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::roles::{needed, roles};

/// The methods that the sources of `api` name, each where it is asked, and those by which the SDK waits.
fn called() -> BTreeSet<String> {
    let sources = [include_str!("../api/machines.rs"), include_str!("../api/network.rs")];
    let named = sources.iter().flat_map(|source| {
        let asked = source.split("self.ask(").chain(source.split("self.finish(")).skip(1);
        asked.filter_map(|behind| behind.trim_start().strip_prefix('"')?.split('"').next())
    });
    let waits = ["globalOperations.get", "regionOperations.get", "zoneOperations.get"];
    named.chain(waits).map(str::to_owned).collect()
}

fn permitted() -> BTreeSet<String> {
    let role = roles("demo");
    let (_, list) = role.split_once("includedPermissions:\n").unwrap();
    list.lines().map(|line| line.strip_prefix("- ").unwrap().to_owned()).collect()
}

#[test]
fn permits_what_is_called_and_no_more() {
    let mut needs = BTreeSet::new();
    for method in called() {
        let (kind, verb) = method.split_once('.').unwrap();
        // The permission of a method is called as the method is, but for these.
        let verb = match verb {
            "insert" => "create",
            "patch" => "update",
            "aggregatedList" => "list",
            same => same,
        };
        let there = needed(&method);
        assert_eq!(there.first(), Some(&format!("compute.{kind}.{verb}")), "{method}");
        needs.extend(there);
    }
    assert!(called().len() > 20, "{:?}", called());
    assert_eq!(permitted(), needs);
}

#[test]
fn every_method_is_one_of_the_api() {
    let document: Value = serde_json::from_str(emulators::compute::DOCUMENT).unwrap();
    let methods: BTreeSet<String> = document["methods"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(called(), methods);
}

#[test]
fn is_a_file_for_gcloud_whatever_the_fleet_is_called() {
    let head: String = roles("demo-1").lines().take(6).map(|line| format!("{line}\n")).collect();
    assert_eq!(
        head,
        "# gcloud iam roles create weave_demo_1 --project=PROJECT --file=FILE\n\
         # gcloud projects add-iam-policy-binding PROJECT --member=user:OPERATOR \
         --role=projects/PROJECT/roles/weave_demo_1\n\
         title: \"Weave fleet demo-1\"\n\
         description: \"What weave-provision does for fleet demo-1 in Compute Engine, and no more\"\n\
         stage: GA\n\
         includedPermissions:\n"
    );
    let odd = roles("a\": \n- compute.projects.delete");
    assert!(odd.lines().all(|line| !line.starts_with("- compute.projects")), "{odd}");
}
