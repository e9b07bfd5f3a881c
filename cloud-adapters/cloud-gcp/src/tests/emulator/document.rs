//! The emulator is as strict as Google's discovery document: what is not in it is refused.

use std::collections::BTreeSet;

use emulators::compute::DOCUMENT;
use serde_json::{Value, json};

use super::Emulator;

fn document() -> Value {
    serde_json::from_str(DOCUMENT).unwrap()
}

/// The names of the schemas to which anything below refers.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|inner| references(inner, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| references(inner, found)),
        _ => {}
    }
}

/// Which methods it has is a test of the role's, `every_method_is_one_of_the_api`.
#[test]
fn every_schema_that_is_spoken_of_is_there_and_no_other() {
    let document = document();
    let (mut spoken, mut open) = (BTreeSet::new(), BTreeSet::new());
    references(&document["methods"], &mut open);
    assert!(open.len() > 10, "{open:?}");
    while let Some(name) = open.pop_first() {
        let schema = document["schemas"].get(&name).unwrap_or_else(|| panic!("there is no schema {name}"));
        references(schema, &mut open);
        spoken.insert(name);
        open.retain(|name| !spoken.contains(name));
    }
    let there: BTreeSet<String> = document["schemas"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(there, spoken);
}

#[test]
fn what_the_document_does_not_know_is_refused() {
    let emulator = Emulator::start();
    let ask = |verb: &str, path: &str, body: Value| -> Value {
        let path = format!("/compute/v1/projects/proj/{path}");
        serde_json::from_str(&emulator.server.ask(verb, &path, &body.to_string())).unwrap()
    };
    let instances = "zones/europe-west1-b/instances";
    for (verb, path, body, status, words) in [
        ("POST", instances, json!({ "name": "a", "colour": "red" }), 400, "Unknown name \"colour\""),
        ("POST", instances, json!({ "disks": [{ "bot": true }] }), 400, "Unknown name \"bot\""),
        ("POST", instances, json!({ "canIpForward": "yes" }), 400, "canIpForward"),
        ("POST", instances, json!({ "status": "FLYING" }), 400, "status"),
        ("POST", "zones/europe-west1-b/instances?request=1", json!({}), 400, "no parameter request"),
        ("GET", "global/networks?maxResult=1", json!({}), 400, "no parameter maxResult"),
        ("PATCH", "global/networks", json!({}), 404, "there is no method PATCH"),
        ("GET", "global/clouds", json!({}), 404, "there is no method GET"),
    ] {
        let error = &ask(verb, path, body)["error"];
        assert_eq!(error["code"], status, "{verb} {path}: {error}");
        assert!(error["message"].as_str().unwrap().contains(words), "{verb} {path}: {error}");
    }
    assert!(ask("GET", "global/networks", json!({}))["items"].is_array());
}
