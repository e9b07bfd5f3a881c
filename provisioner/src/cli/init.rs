//! `weave-provision init`: writes a `weave.toml` that explains itself.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;

use super::{Failure, Global, print};
use crate::config::{FILE, TEMPLATE};

pub(super) fn run(global: &Global) -> Result<u8, Failure> {
    let path = global.file.clone().unwrap_or_else(|| PathBuf::from(FILE));
    let name = path.display();
    let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(Failure::usage(
                format!("{name} exists already and stays as it is"),
                "name another with --file, or edit that one",
            ));
        }
        Err(error) => return Err(anyhow::Error::new(error).context(format!("cannot write {name}")).into()),
    };
    file.write_all(TEMPLATE.as_bytes()).with_context(|| format!("cannot write {name}"))?;
    if global.json() {
        print(&format!("{}\n", serde_json::json!({ "file": path })))?;
    } else {
        print(&format!("wrote {name}; list your hosts in it, then `weave-provision plan`\n"))?;
    }
    Ok(0)
}
