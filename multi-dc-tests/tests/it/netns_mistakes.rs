//! What an operator may do wrong, and hosts that are not as they were left.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use multi_dc_tests::{Background, CLOUDS, Fleet, Run, Status, run};

/// Whoever is refused is told at once.
const AT_ONCE: Duration = Duration::from_secs(10);

/// Nobody.
const STRANGER: &str = "65534";

#[test]
fn a_wrong_command_line_is_refused_and_nothing_is_made() -> anyhow::Result<()> {
    let fleet = Fleet::new("usage")?;
    for (args, says) in [
        (&["up", "--clouds", CLOUDS, "--yes", "--bogus"][..], &["--bogus"][..]),
        (&["up", "--clouds", "aws,azure", "--yes"], &["azure", "aws, gcp and onprem"]),
        (&["up", "--yes"], &["--clouds aws,gcp,onprem"]),
        // Nobody can have agreed: stdin is no terminal.
        (&["up", "--clouds", CLOUDS], &["nothing was changed", "--yes"]),
        (&["up", "--clouds", CLOUDS, "--topology", "star", "--yes"], &["star", "partial", "full"]),
        (&["frobnicate"], &["frobnicate"]),
    ] {
        refused(fleet.provision(args)?, 2, says)?;
        fleet.is_gone()?;
    }
    for args in [&["status"][..], &["ssh", "aws-1", "--", "true"]] {
        let code = if args == ["status"] { 1 } else { 255 };
        refused(fleet.provision(args)?, code, &["no fleet called", "hint: weave-provision up"])?;
    }
    // There is nothing to end, which is what was asked for.
    fleet.down()
}

#[test]
fn without_root_nothing_is_made() -> anyhow::Result<()> {
    let fleet = Fleet::new("stranger")?;
    // The stranger may write there, so that it is the lab that refuses.
    std::fs::create_dir(fleet.state())?;
    std::fs::set_permissions(fleet.state(), std::fs::Permissions::from_mode(0o777))?;
    let mine = fleet.state().join("mine").to_string_lossy().into_owned();
    refused(
        as_stranger(&fleet, &["up", "--clouds", CLOUDS, "--yes", "--state", &mine])?,
        1,
        &["root", "hint: "],
    )?;
    ensure!(!std::path::Path::new(&mine).exists(), "the refusal has left a state directory");
    std::fs::remove_dir_all(fleet.state())?;
    fleet.is_gone()
}

/// Runs the provisioner without any right; the last `--state` counts.
fn as_stranger(fleet: &Fleet, args: &[&str]) -> anyhow::Result<Run> {
    let plain = fleet.command(&[]);
    let mut command = Command::new("setpriv");
    command.args(["--reuid", STRANGER, "--regid", STRANGER, "--clear-groups"]);
    command.arg(plain.get_program()).args(["--lab", "--name", fleet.name()]).args(args);
    run(&mut command, AT_ONCE)
}

#[test]
fn a_second_up_is_refused_while_the_first_works() -> anyhow::Result<()> {
    let fleet = Fleet::new("twice")?;
    let mut first = Background::lines(&mut fleet.command(&["up", "--clouds", CLOUDS, "--yes"]))?;
    let begun =
        |process: &Background| process.output().iter().any(|line| line.contains("to create")).then_some(());
    first.wait_for("its plan", AT_ONCE, begun)?;
    for args in [&["up", "--clouds", CLOUDS, "--yes"][..], &["down", "--yes"]] {
        refused(fleet.provision(args)?, 1, &["`weave-provision up --lab ", "hint: wait until it has ended"])?;
    }
    let ended = |process: &Background| {
        process.output().iter().any(|line| line.contains("verified: all 12 pairs")).then_some(())
    };
    first.wait_for("the first to be verified", Duration::from_secs(60), ended)?;
    fleet.explain(|fleet| fleet.wait_for_status("all pairs", AT_ONCE, Status::all_ok))?;
    fleet.down()
}

#[test]
fn a_host_with_another_key_is_sent_nothing() -> anyhow::Result<()> {
    let fleet = Fleet::up("key")?;
    fleet.explain(|fleet| {
        let fingerprint = || -> anyhow::Result<String> {
            let said = fleet.run_on("gcp-1", &["ssh-keygen", "-l", "-f", "/etc/weave-lab/hostkey"])?;
            let line = said.expect_success()?.stdout;
            Ok(line.split(' ').find(|word| word.starts_with("SHA256:")).unwrap_or(&line).to_owned())
        };
        let expected = fingerprint()?;
        let replace = "rm /etc/weave-lab/hostkey && ssh-keygen -q -t ed25519 -N '' -f /etc/weave-lab/hostkey \
                       && systemctl restart lab-sshd && journalctl --rotate && journalctl --vacuum-time=1ms";
        fleet.run_on("gcp-1", &["sh", "-c", replace])?.expect_success()?;
        let found = fingerprint()?;
        ensure!(found != expected, "the key is still {found}");

        let says = ["gcp-1", &expected, &found, "nothing was sent", "hint: either something stands between"];
        refused(fleet.provision(&["up", "--yes"])?, 1, &says)?;
        refused(fleet.provision(&["ssh", "gcp-1", "--", "touch", "/root/been-here"])?, 255, &says)?;
        let said = fleet.provision(&["status"])?.expect_code(3)?;
        ensure!(said.stderr.contains("gcp-1 does not answer") && said.stderr.contains(&found), "{said}");
        // Neither a command nor a proof of who is asking.
        fleet.run_on("gcp-1", &["test", "!", "-e", "/root/been-here"])?.expect_success()?;
        let log = fleet.run_on("gcp-1", &["journalctl", "--no-pager", "-u", "lab-sshd"])?.expect_success()?;
        ensure!(log.stdout.contains("[preauth]") && !log.stdout.contains("Accepted"), "{log}");
        Ok(())
    })?;
    fleet.down()
}

#[test]
fn a_host_that_is_down_is_named_and_the_others_are_reported() -> anyhow::Result<()> {
    let fleet = Fleet::up("hostdown")?;
    fleet.explain(|fleet| {
        fleet.wait_for_status("all as they should be", AT_ONCE, Status::is_partial)?;
        fleet.run_on("gcp-1", &["systemctl", "stop", "lab-sshd"])?.expect_success()?;
        let said = fleet.provision(&["status", "--json"])?.expect_code(3)?;
        let status = Status::parse(&said.stdout)?;
        ensure!(said.stderr.contains("gcp-1 does not answer"), "{said}");
        only_missing(&status, "gcp-1", &["unreachable"])?;
        // Only its SSH is gone, and the others know better.
        ensure!(status.pair("onprem-1", "gcp-1")?.ok && !status.pair("gcp-1", "onprem-1")?.ok, "{status}");
        fleet.run_on("gcp-1", &["systemctl", "start", "lab-sshd"])?.expect_success()?;
        fleet.wait_for_status("all as before", AT_ONCE, Status::all_ok)?;

        // Its last words may be lost with it.
        let _ = fleet.run_on("onprem-2", &["systemctl", "poweroff", "--force", "--force"]);
        let gone = |status: &Status| {
            status.pairs.iter().all(|pair| pair.ok != (pair.from == "onprem-2" || pair.to == "onprem-2"))
        };
        let status = multi_dc_tests::wait_for("a status without onprem-2", AT_ONCE, || {
            let (code, status) = fleet.status()?;
            ensure!(code == 3 || !gone(&status), "exit status {code}\n{status}");
            Ok(gone(&status).then_some(status))
        })?;
        only_missing(&status, "onprem-2", &["missing", "stopped", "unreachable"])?;
        let up = fleet.provision(&["up", "--clouds", CLOUDS, "--yes"])?.expect_success()?;
        ensure!(up.stdout.contains("~ start host onprem-2 in onprem"), "{up}");
        fleet.wait_for_status("all as before", AT_ONCE, Status::all_ok)
    })?;
    fleet.down()
}

/// One gateway is in another state than `active`, namely in one of these.
fn only_missing(status: &Status, host: &str, states: &[&str]) -> anyhow::Result<()> {
    for gateway in &status.gateways {
        let good = if gateway.host == host { states } else { &["active"] };
        ensure!(good.contains(&gateway.state.as_str()), "{status}");
    }
    let others = status.pairs.iter().filter(|pair| pair.from != host && pair.to != host);
    ensure!(others.clone().count() == 6 && others.clone().all(|pair| pair.ok), "{status}");
    Ok(())
}

/// A refusal: the exit status, words that must be on stderr, no panic, and soon.
fn refused(said: Run, code: i32, says: &[&str]) -> anyhow::Result<()> {
    let said = said.expect_code(code)?;
    ensure!(said.stderr.starts_with("error: ") || said.stderr.contains("\nerror: "), "{said}");
    ensure!(!said.stderr.contains("panicked"), "{said}");
    ensure!(said.took <= AT_ONCE, "{said}");
    let unsaid: Vec<_> = says.iter().filter(|text| !said.stderr.contains(**text)).collect();
    ensure!(unsaid.is_empty(), "not said: {unsaid:?}: {said}");
    Ok(())
}
