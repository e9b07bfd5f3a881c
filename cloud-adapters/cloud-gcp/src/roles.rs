//! The least an operator must be allowed to do, as a custom role of IAM. Pure.
//!
//! A role cannot be narrowed to what bears the fleet's mark, as a policy of AWS can: what it permits, it permits in the
//! whole project.

use std::collections::BTreeSet;

use serde_json::Value;

/// The methods that are called, each with the permissions that it needs: first its own, then those on what it uses.
///
/// Google names them in the reference of each method; the discovery document does not have them.
const NEEDS: [(&str, &[&str]); 25] = [
    ("addresses.aggregatedList", &["addresses.list"]),
    ("addresses.delete", &["addresses.delete"]),
    // Labels of a new thing are a right of their own.
    ("addresses.insert", &["addresses.create", "addresses.setLabels"]),
    ("firewalls.delete", &["firewalls.delete", "networks.updatePolicy"]),
    ("firewalls.insert", &["firewalls.create", "networks.updatePolicy"]),
    ("firewalls.list", &["firewalls.list"]),
    ("firewalls.patch", &["firewalls.update", "firewalls.get", "networks.updatePolicy"]),
    ("globalOperations.get", &["globalOperations.get"]),
    // Google lets everybody use its own images; these two are for a project's own.
    ("images.getFromFamily", &["images.getFromFamily", "images.useReadOnly"]),
    ("instances.aggregatedList", &["instances.list"]),
    ("instances.delete", &["instances.delete"]),
    ("instances.get", &["instances.get"]),
    (
        "instances.insert",
        &[
            "instances.create",
            "instances.setLabels",
            "instances.setMetadata",
            "instances.setTags",
            "addresses.use",
            "disks.create",
            "disks.setLabels",
            "networks.use",
            "subnetworks.use",
            "subnetworks.useExternalIp",
        ],
    ),
    ("instances.setMetadata", &["instances.setMetadata"]),
    ("instances.start", &["instances.start"]),
    ("networks.delete", &["networks.delete"]),
    ("networks.get", &["networks.get"]),
    ("networks.insert", &["networks.create"]),
    ("networks.list", &["networks.list"]),
    ("regionOperations.get", &["regionOperations.get"]),
    ("subnetworks.delete", &["subnetworks.delete", "networks.updatePolicy"]),
    ("subnetworks.insert", &["subnetworks.create", "networks.updatePolicy"]),
    ("subnetworks.list", &["subnetworks.list"]),
    ("zoneOperations.get", &["zoneOperations.get"]),
    ("zones.list", &["zones.list"]),
];

/// The custom role for the operator of `fleet`, in the YAML that `gcloud iam roles create --file` reads.
pub fn roles(fleet: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let id: String = format!("weave_{fleet}").chars().map(letter).take(64).collect();
    let quoted = |text: String| Value::String(text).to_string();
    let permissions: BTreeSet<&str> = NEEDS.iter().flat_map(|(_, needs)| *needs).copied().collect();
    let lines: String = permissions.iter().map(|name| format!("- compute.{name}\n")).collect();
    format!(
        "# gcloud iam roles create {id} --project=PROJECT --file=FILE\n\
         # gcloud projects add-iam-policy-binding PROJECT --member=user:OPERATOR --role=projects/PROJECT/roles/{id}\n\
         title: {}\n\
         description: {}\n\
         stage: GA\n\
         includedPermissions:\n\
         {lines}",
        quoted(format!("Weave fleet {fleet}")),
        quoted(format!("What weave-provision does for fleet {fleet} in Compute Engine, and no more")),
    )
}

/// What a method needs, for a message: its own permission and those on what it uses.
pub(crate) fn needed(method: &str) -> Vec<String> {
    let needs = NEEDS.iter().find(|(known, _)| *known == method).map_or(&[][..], |(_, needs)| *needs);
    needs.iter().map(|name| format!("compute.{name}")).collect()
}
