//! Compute Engine: `compute.py`, which needs `python3` and nothing else.

use std::path::Path;
use std::process::Command;

use crate::FOLDER;

/// Where the public addresses of hosts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addresses {
    /// On the loopback, where a test can listen.
    Loopback,
    /// Where a lab can route; the emulator then also shows the machines to the lab's landlord.
    Routable,
}

/// What `python3` has to run.
pub fn prepare(python: &mut Command, addresses: Addresses) {
    let file = |name: &str| Path::new(FOLDER).join(name);
    python.args(["-I", "-B"]);
    if addresses == Addresses::Routable {
        python.arg(file("compute_in_lab.py"));
    }
    python.args([file("compute.py"), file("compute_v1.json")]);
}

/// The part of Google's discovery document that requests and answers are held against.
pub const DOCUMENT: &str = include_str!("../compute_v1.json");
