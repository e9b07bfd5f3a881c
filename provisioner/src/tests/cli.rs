//! The command line's refusals.

use std::process::ExitCode;

use crate::cli;
use crate::cli::hints::Hints;

fn check(arguments: &[&str], expected: u8) {
    let all = std::iter::once("weave-provision").chain(arguments.iter().copied()).map(Into::into);
    // ExitCode has no `==`; its text names the number.
    let text = |code: ExitCode| format!("{code:?}");
    assert_eq!(text(cli::run(all)), text(ExitCode::from(expected)), "{arguments:?}");
}

#[test]
fn wrong_usage_exits_with_2() {
    let state = tempfile::tempdir().unwrap();
    let dir = state.path().join("none");
    let dir = dir.to_str().unwrap();
    check(&[], 2);
    check(&["up", "--lab", "--nonsense"], 2);
    check(&["up", "--lab", "--clouds", "azure", "--state", dir], 2);
    check(&["up", "--lab", "--topology", "star", "--state", dir], 2);
    check(&["up", "--lab", "--name", "Weave!", "--state", dir], 2);
    check(&["up", "--lab", "--yes", "--state", dir], 2);
    check(&["plan", "--lab", "--state", dir], 2);
    check(&["up", "--clouds", "aws", "--yes", "--state", dir], 2);
    check(&["ssh", "--lab"], 2);
    check(&["ssh", "--lab", "aws-1", "true", "--state", dir], 2);
    check(&["status", "--quiet", "-v"], 2);
    assert!(!state.path().join("none").exists(), "a refused command leaves nothing behind");
}

#[test]
fn commands_in_hints_are_about_the_same_fleet() {
    let hints = Hints::with(&[("--lab", ""), ("--name", " one")]);
    let check = |text: &str, expected: &str| assert_eq!(hints.complete(text), expected);
    check("weave-provision up --lab --clouds aws", "weave-provision up --name one --lab --clouds aws");
    check(
        "`weave-provision status` shows them; `weave-provision ssh HOST -- ls --lab`",
        "`weave-provision status --lab --name one` shows them; `weave-provision ssh --lab --name one HOST -- ls --lab`",
    );
    check("`weave-provision rotate-keys` again", "`weave-provision rotate-keys --lab --name one` again");
    check("`weave-provision init --file x`", "`weave-provision init --file x`");
    check(
        "what weave-provision made, another weave-provision ",
        "what weave-provision made, another weave-provision ",
    );
    assert_eq!(Hints::default().complete("`weave-provision up`"), "`weave-provision up`");
}

#[test]
fn help_is_no_failure() {
    check(&["--help"], 0);
    check(&["up", "--help"], 0);
}

#[test]
fn a_fleet_is_not_mistaken_for_another_or_bent() {
    let state = tempfile::tempdir().unwrap();
    let fleet = r#"{"version":1,"name":"one","clouds":["aws"],"topology":"partial"}"#;
    std::fs::write(state.path().join("fleet.json"), fleet).unwrap();
    let dir = state.path().to_str().unwrap();
    check(&["status", "--lab", "--name", "two", "--state", dir], 2);
    check(&["plan", "--lab", "--name", "one", "--topology", "full", "--state", dir], 2);
}

#[test]
fn init_writes_a_file_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weave.toml");
    let file = path.to_str().unwrap();
    check(&["init", "--file", file], 0);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), crate::config::TEMPLATE);
    std::fs::write(&path, "mine").unwrap();
    check(&["init", "--file", file], 2);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    check(&["init", "--file", "/no/such/folder/weave.toml"], 1);
}

#[test]
fn a_file_that_cannot_be_used_is_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weave.toml");
    let (file, state) = (path.to_str().unwrap(), folder.path().join("state"));
    let plan = |more: &[&str], expected| {
        let all = [&["plan", "--file", file, "--state", state.to_str().unwrap()], more].concat();
        check(&all, expected);
    };
    plan(&[], 2);
    std::fs::write(&path, "[onprem]\n").unwrap();
    plan(&[], 2);
    std::fs::write(&path, "[aws]\nregion = 'eu-central-1'\n").unwrap();
    plan(&["--lab"], 2);
    plan(&["--topology", "full"], 2);
    plan(&["--gateway", "/proc/self/exe"], 2);
    plan(&["--gateway", "/proc/self/exe", "--clouds", "onprem"], 2);
    assert!(!state.exists(), "a refused command leaves nothing behind");
}
