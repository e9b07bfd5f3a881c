//! What holds for the whole tree.
#![expect(clippy::disallowed_methods, reason = "tests: read the source tree")]

mod layers;
mod sources;

use std::path::{Path, PathBuf};

/// The top of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("this crate lies in gateway/tidy")
}

/// Fails with every finding, not just the first.
fn assert_none(what: &str, findings: Vec<String>) {
    assert!(findings.is_empty(), "{what}:\n  {}", findings.join("\n  "));
}
