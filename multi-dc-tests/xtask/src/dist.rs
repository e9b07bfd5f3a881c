//! `cargo xtask dist`: the programs as they are shipped.

use std::fs;

use anyhow::{Context as _, ensure};

use crate::step;

/// What is shipped: packages and their programs.
const PROGRAMS: [(&str, &str); 2] =
    [("weave-gatewayd", "weave-gateway"), ("weave-provisioner", "weave-provision")];

/// Builds both programs optimised for all clouds, linked statically: they run on any Linux of this processor, whatever
/// C library it has.
pub(crate) fn run() -> anyhow::Result<()> {
    let triple = host()?;
    let mut build = step::cargo();
    build.args(["build", "--locked", "--profile", "dist", "--target", &triple]);
    for (package, _) in PROGRAMS {
        build.args(["--package", package]);
    }
    build.args(["--features", "weave-provisioner/aws,weave-provisioner/gcp"]);
    // With a target named, the flag concerns the programs and not the build scripts.
    build.env("RUSTFLAGS", "-C target-feature=+crt-static");
    step::run("build", &mut build)?;
    for (_, program) in PROGRAMS {
        let path = step::target().join(&triple).join("dist").join(program);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(is_static(&bytes), "{} wants a C library of its host", path.display());
        println!("{}  {:.1} MB, static", path.display(), bytes.len() as f64 / 1e6);
    }
    Ok(())
}

/// The target that rustc builds for by itself.
fn host() -> anyhow::Result<String> {
    let output = std::process::Command::new("rustc").arg("-vV").output().context("cannot run rustc")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc does not tell its host")
}

/// Whether an ELF-64 program names no interpreter (ELF specification: program header type 3, `PT_INTERP`).
fn is_static(program: &[u8]) -> bool {
    let number = |at: usize, size: usize| {
        let bytes = program.get(at..at + size)?;
        let mut wide = [0; 8];
        wide[..size].copy_from_slice(bytes);
        usize::try_from(u64::from_le_bytes(wide)).ok()
    };
    let types = || {
        let (start, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
        (0..count).map(|at| number(start + at * size, 4)).collect::<Option<Vec<_>>>()
    };
    program.starts_with(b"\x7fELF\x02\x01") && types().is_some_and(|types| !types.contains(&3))
}

#[cfg(test)]
mod tests {
    use super::is_static;

    #[test]
    fn a_program_with_an_interpreter_is_not_static() {
        assert!(!is_static(&std::fs::read("/proc/self/exe").unwrap()));
        assert!(!is_static(b"#!/bin/sh\n"));
        let mut program = vec![0; 64];
        program[..6].copy_from_slice(b"\x7fELF\x02\x01");
        assert!(is_static(&program), "no headers, no interpreter");
        (program[32], program[56]) = (64, 1);
        assert!(!is_static(&program), "cut short");
    }
}
