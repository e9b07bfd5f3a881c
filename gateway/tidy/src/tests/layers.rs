//! `layers.toml` against what cargo says.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

use super::{assert_none, root};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Layers {
    crates: BTreeMap<String, Crate>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Crate {
    layer: Layer,
    #[serde(default)]
    may: BTreeSet<String>,
    #[serde(default)]
    tests_may: BTreeSet<String>,
}

#[derive(serde::Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
enum Layer {
    Vocabulary,
    Core,
    Shell,
    Program,
    Cloud,
    Verification,
}

fn layers() -> Layers {
    let text = std::fs::read_to_string(root().join("gateway/tidy/layers.toml")).unwrap();
    toml::from_str(&text).unwrap()
}

fn metadata() -> Metadata {
    MetadataCommand::new().current_dir(root()).other_options(vec!["--locked".into()]).exec().unwrap()
}

fn members(metadata: &Metadata) -> Vec<&Package> {
    metadata.workspace_packages()
}

#[test]
fn every_crate_and_arrow_is_listed() {
    let (layers, metadata) = (layers(), metadata());
    let ours: BTreeSet<String> = members(&metadata).iter().map(|p| p.name.to_string()).collect();
    let mut findings = Vec::new();
    for package in members(&metadata) {
        let name = package.name.to_string();
        let Some(entry) = layers.crates.get(&name) else {
            findings.push(format!("{name} is not in layers.toml"));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|d| ours.contains(&d.name)) {
            let tests = dependency.kind == DependencyKind::Development;
            let allowed = entry.may.contains(&dependency.name)
                || tests && (entry.tests_may.contains(&dependency.name) || dependency.name == name);
            if !allowed {
                findings.push(format!("{name} → {} is not in layers.toml", dependency.name));
            }
        }
    }
    findings
        .extend(layers.crates.keys().filter(|c| !ours.contains(*c)).map(|c| format!("{c} does not exist")));
    assert_none("the crates differ from gateway/tidy/layers.toml", findings);
}

#[test]
fn layers_allow_no_forbidden_arrow() {
    let layers = layers();
    let mut findings = Vec::new();
    for (name, entry) in &layers.crates {
        for target in &entry.may {
            let to = layers.crates[target].layer;
            let allowed = match entry.layer {
                Layer::Vocabulary => to == Layer::Vocabulary,
                Layer::Core => to == Layer::Vocabulary,
                Layer::Shell => matches!(to, Layer::Vocabulary | Layer::Core) || target == "weave-hostnet",
                Layer::Program => !matches!(to, Layer::Program | Layer::Verification),
                Layer::Cloud => {
                    to == Layer::Cloud || target == "weave-api" || name == "cloud-lab" && target == "netlab"
                }
                Layer::Verification => to != Layer::Program || name == "multi-dc-tests",
            };
            if !allowed {
                findings.push(format!("{name} ({:?}) → {target} ({to:?})", entry.layer));
            }
        }
    }
    assert_none("layers.toml lists arrows that no layer may have", findings);
}

#[test]
fn cores_and_vocabulary_reach_no_runtime() {
    const FORBIDDEN: [&str; 6] = ["tokio", "socket2", "nix", "rtnetlink", "quinn", "axum"];
    let (layers, metadata) = (layers(), metadata());
    let resolve = metadata.resolve.as_ref().unwrap();
    let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|n| (&n.id, n)).collect();
    let names: BTreeMap<_, _> = metadata.packages.iter().map(|p| (&p.id, p.name.as_str())).collect();
    let mut findings = Vec::new();
    for package in members(&metadata) {
        let layer = layers.crates.get(package.name.as_str()).map(|c| c.layer);
        if !matches!(layer, Some(Layer::Vocabulary | Layer::Core)) {
            continue;
        }
        let mut reached = BTreeSet::new();
        let mut open = vec![&package.id];
        while let Some(id) = open.pop() {
            let normal = nodes[id]
                .deps
                .iter()
                .filter(|d| d.dep_kinds.iter().any(|k| k.kind == DependencyKind::Normal));
            open.extend(normal.map(|d| &d.pkg).filter(|id| reached.insert(*id)));
        }
        let bad = reached.iter().map(|id| names[*id]).filter(|n| FORBIDDEN.contains(n));
        findings.extend(bad.map(|n| format!("{} reaches {n}", package.name)));
    }
    assert_none("a core or vocabulary crate can touch the world", findings);
}

#[test]
fn every_crate_follows_the_house_settings() {
    let metadata = metadata();
    let mut findings = Vec::new();
    for package in members(&metadata) {
        let manifest = std::fs::read_to_string(&package.manifest_path).unwrap();
        if !manifest.contains("[lints]\nworkspace = true") {
            findings.push(format!("{}: no `[lints] workspace = true`", package.name));
        }
        if package.publish.as_ref().is_none_or(|registries| !registries.is_empty()) {
            findings.push(format!("{}: is not `publish = false`", package.name));
        }
        let versions = manifest.lines().filter(|l| l.contains("version = \"") && l.contains('{'));
        findings.extend(versions.map(|l| format!("{}: versions belong to the workspace: {l}", package.name)));
    }
    assert_none("a manifest differs from the house settings", findings);
}

/// What nobody names is compiled for nothing, and its arrow says what is not so.
#[test]
fn every_declared_dependency_is_used() {
    let metadata = metadata();
    let mut findings = Vec::new();
    for package in members(&metadata) {
        let folder = package.manifest_path.parent().unwrap();
        let mut text = String::new();
        read_sources(folder.as_std_path(), &mut text);
        for dependency in package.dependencies.iter().filter(|d| d.kind != DependencyKind::Build) {
            let name = dependency.rename.as_ref().unwrap_or(&dependency.name).replace('-', "_");
            let named = text.match_indices(&name).any(|(at, _)| {
                let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
                !part(text[..at].chars().next_back()) && !part(text[at + name.len()..].chars().next())
            });
            if !named {
                findings.push(format!("{} declares {} and never names it", package.name, dependency.name));
            }
        }
    }
    assert_none("unused dependencies", findings);
}

/// All Rust text below a folder, without crates inside it.
fn read_sources(folder: &std::path::Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name());
        let inner = path.join("Cargo.toml").exists() || name == "target";
        if entry.file_type().unwrap().is_dir() && !inner {
            read_sources(&path, text);
        } else if path.extension().is_some_and(|e| e == "rs") {
            text.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}
