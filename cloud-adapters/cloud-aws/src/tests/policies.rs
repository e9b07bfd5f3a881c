//! The policy against the calls that are made.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::policy;

/// The actions that the sources of `api` name, each where its failure is made.
fn called() -> BTreeSet<String> {
    let sources = [include_str!("../api/machines.rs"), include_str!("../api/network.rs")];
    let behind = sources.iter().flat_map(|source| source.split("failure(\"").skip(1));
    behind.map(|text| text.split('"').next().unwrap().to_owned()).collect()
}

#[test]
fn allows_what_is_called_and_no_more() {
    let policy: Value = serde_json::from_str(&policy("demo")).unwrap();
    let mut allowed = BTreeSet::new();
    for statement in policy["Statement"].as_array().unwrap() {
        let Some(actions) = statement["Action"].as_array() else { continue };
        allowed.extend(
            actions.iter().map(|action| action.as_str().unwrap().strip_prefix("ec2:").unwrap().to_owned()),
        );
    }
    assert!(called().len() > 30);
    assert_eq!(allowed, called());
}

#[test]
fn changes_only_what_bears_the_mark() {
    let policy: Value = serde_json::from_str(&policy("demo")).unwrap();
    for statement in policy["Statement"].as_array().unwrap() {
        for action in
            statement["Action"].as_array().into_iter().flatten().map(|action| action.as_str().unwrap())
        {
            let removes = ["ec2:Delete", "ec2:Terminate", "ec2:Release", "ec2:Modify"];
            if removes.iter().any(|verb| action.starts_with(verb)) {
                let mark = &statement["Condition"]["StringEquals"]["aws:ResourceTag/weave-fleet"];
                assert_eq!(mark, "demo", "{action}");
            }
        }
    }
}
