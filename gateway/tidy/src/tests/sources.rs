//! Every source file by itself.

use std::path::{Path, PathBuf};

use super::{assert_none, root};

/// Longer files hold more than one idea.
const MAX_LINES: usize = 500;

/// Modules named so collect what has no home.
const HOMELESS: [&str; 6] = ["util.rs", "utils.rs", "common.rs", "misc.rs", "helpers.rs", "manager.rs"];

/// Rust files below `folder`, with their path from the top of the repository.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if entry.file_type().unwrap().is_dir() {
            if name != "target" && !name.starts_with('.') {
                sources(&path, found);
            }
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

fn each_source(mut check: impl FnMut(&str, &str)) {
    let (root, mut found) = (root(), Vec::new());
    sources(&root, &mut found);
    assert!(found.len() > 20, "the source tree was not found");
    for path in found {
        let text = std::fs::read_to_string(&path).unwrap();
        check(&path.strip_prefix(&root).unwrap().to_string_lossy(), &text);
    }
}

fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

#[test]
fn every_file_says_what_it_is() {
    let mut findings = Vec::new();
    each_source(|path, text| {
        if !text.starts_with("//! ") && !text.starts_with("#![no_main]\n//! ") {
            findings.push(path.to_owned());
        }
    });
    assert_none("files that do not open with `//!`", findings);
}

#[test]
fn files_hold_one_idea() {
    let mut findings = Vec::new();
    each_source(|path, text| {
        let lines = text.lines().count();
        if lines > MAX_LINES && !is_test(path) {
            findings.push(format!("{path}: {lines} lines"));
        }
        if HOMELESS.iter().any(|h| path.ends_with(&format!("/{h}"))) {
            findings.push(format!("{path}: says nothing about what is inside"));
        }
    });
    assert_none("files that are too long or named after nothing", findings);
}

#[test]
fn cores_and_vocabulary_forbid_unsafe() {
    let mut findings = Vec::new();
    for name in ["model", "wire", "api", "trust", "mesh", "switch"] {
        let text = std::fs::read_to_string(root().join("gateway").join(name).join("src/lib.rs")).unwrap();
        if !text.contains("#![forbid(unsafe_code)]") {
            findings.push(name.to_owned());
        }
    }
    assert_none("crates without `#![forbid(unsafe_code)]`", findings);
}

#[test]
fn no_test_is_switched_off() {
    let mut findings = Vec::new();
    let ignored = concat!("#[", "ignore");
    each_source(|path, text| {
        if text.contains(ignored) {
            findings.push(path.to_owned());
        }
    });
    assert_none("files with ignored tests", findings);
}
