//! `cargo xtask test`: everything that must hold before a change lands.

use crate::{packages, step};

/// Runs all checks; `privileged` includes the tests that make network namespaces.
pub(crate) fn run(privileged: bool) -> anyhow::Result<()> {
    if privileged {
        step::need_root(
            "the network namespace tests",
            "run it as root, or leave these tests out: cargo xtask test --unprivileged",
        )?;
        packages::ensure(&[packages::LAB, packages::TESTS])?;
    }
    step::run("format", step::cargo().args(["fmt", "--all", "--check"]))?;
    nextest()?;
    // Programs first: the tests that run them find them in the target folder. With all features everywhere, or what
    // depends on the clouds' SDKs would be compiled again for every other set.
    step::run(
        "build",
        step::cargo().args(["build", "--locked", "--workspace", "--all-targets", "--all-features"]),
    )?;
    let tests = |profile: &str| {
        let mut command = step::cargo();
        command.args([
            "nextest",
            "run",
            "--locked",
            "--workspace",
            "--all-features",
            "--no-tests",
            "warn",
            "--profile",
            profile,
        ]);
        command
    };
    let mut passed = step::run_tests("tests", &mut tests("default"))?;
    if privileged {
        passed += step::run_tests("namespace tests", &mut tests("netns"))?;
    }
    step::run(
        "clippy",
        step::cargo().args([
            "clippy",
            "--locked",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--",
            "-D",
            "warnings",
        ]),
    )?;
    step::run(
        "documentation",
        step::cargo()
            .args(["doc", "--locked", "--workspace", "--all-features", "--no-deps"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    println!("{passed} passed, 0 failed");
    Ok(())
}

/// Installs cargo-nextest when it is absent.
fn nextest() -> anyhow::Result<()> {
    if packages::installed("cargo-nextest") {
        return Ok(());
    }
    step::run("install cargo-nextest", step::cargo().args(["install", "--locked", "cargo-nextest"]))
}
