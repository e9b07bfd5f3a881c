//! A fleet of its own for every test, made by the product's own programs.

use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use netlab::{Lab, Place};

use crate::process::{Run, run};
use crate::status::Status;
use crate::wait::wait_for;

/// Every cloud there is.
pub const CLOUDS: &str = "aws,gcp,onprem";

/// The hosts of a fleet in all clouds.
pub const HOSTS: [&str; 4] = ["aws-1", "gcp-1", "onprem-1", "onprem-2"];

/// Before the number of the process that runs the test.
pub(crate) const PREFIX: &str = "mdc";

/// Where labs are.
const LABS: &str = "/run/weave-lab";

/// No command of the provisioner takes as long, not even an `up` whose verification fails after its minute.
const LIMIT: Duration = Duration::from_secs(120);

/// What is run on a host answers at once or hangs.
const HOST_LIMIT: Duration = Duration::from_secs(30);

/// A fleet that ends with its test, whatever becomes of the test.
#[derive(Debug)]
pub struct Fleet {
    name: String,
    state: PathBuf,
    provisioner: PathBuf,
}

impl Fleet {
    /// A name and a state directory that nobody else uses; nothing is made yet.
    pub fn new(test: &str) -> anyhow::Result<Fleet> {
        end_orphans()?;
        let name = format!("{PREFIX}{}-{test}", std::process::id());
        let state = std::env::temp_dir().join(state_name(&name));
        Ok(Fleet { provisioner: program("weave-provision")?, name, state })
    }

    /// A fleet in all clouds, up and verified.
    pub fn up(test: &str) -> anyhow::Result<Fleet> {
        let fleet = Fleet::new(test)?;
        fleet.provision(&["up", "--clouds", CLOUDS, "--yes"])?.expect_success()?;
        Ok(fleet)
    }

    /// The fleet's name, which is also that of its lab.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory of its keys and state.
    pub fn state(&self) -> &PathBuf {
        &self.state
    }

    /// A command of the provisioner on this fleet.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.provisioner);
        command.arg("--lab").arg("--name").arg(&self.name).arg("--state").arg(&self.state).args(args);
        command
    }

    /// Runs a command of the provisioner on this fleet to its end.
    pub fn provision(&self, args: &[&str]) -> anyhow::Result<Run> {
        run(&mut self.command(args), LIMIT)
    }

    /// What `status` says, with its exit status.
    pub fn status(&self) -> anyhow::Result<(i32, Status)> {
        let said = self.provision(&["status", "--json", "--quiet"])?;
        let status = Status::parse(&said.stdout).with_context(|| said.to_string())?;
        Ok((said.code(), status))
    }

    /// Waits for a status that exits with 0 and fulfils a condition.
    pub fn wait_for_status(
        &self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut(&Status) -> bool,
    ) -> anyhow::Result<Status> {
        let mut last = String::new();
        wait_for(what, limit, || {
            let (code, status) = self.status()?;
            last = format!("exit status {code}\n{status}");
            let holds = code == 0 && condition(&status);
            Ok(holds.then_some(status))
        })
        .with_context(|| format!("the last status, {last}"))
    }

    /// The lab that plays the clouds.
    pub fn lab(&self) -> anyhow::Result<Lab> {
        Lab::open(&self.name)?.with_context(|| format!("lab {} is not up", self.name))
    }

    /// A program on a host of the fleet.
    pub fn on_host(&self, host: &str, program: &str) -> anyhow::Result<Command> {
        Ok(self.lab()?.command(&Place::Host(host.to_owned()), program)?)
    }

    /// Runs a program on a host to its end.
    pub fn run_on(&self, host: &str, argv: &[&str]) -> anyhow::Result<Run> {
        let (program, args) = argv.split_first().context("nothing to run was named")?;
        let mut said = run(self.on_host(host, program)?.args(args), HOST_LIMIT)?;
        said.line = format!("{host}: {}", said.line);
        Ok(said)
    }

    /// Runs a program on several hosts at once; fails when it fails on one.
    pub fn run_on_all(&self, hosts: &[&str], argv: &[&str]) -> anyhow::Result<Vec<Run>> {
        thread::scope(|scope| {
            let each: Vec<_> = hosts.iter().map(|host| scope.spawn(|| self.run_on(host, argv))).collect();
            each.into_iter()
                .map(|one| one.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??.expect_success())
                .collect()
        })
    }

    /// Does something to the gateway's unit on a host: `stop`, `start`, `restart`.
    pub fn gateway(&self, host: &str, verb: &str) -> anyhow::Result<()> {
        self.run_on(host, &["systemctl", verb, "weave-gateway"])?.expect_success().map(drop)
    }

    /// Ends the fleet by its own command and proves that nothing is left.
    pub fn down(&self) -> anyhow::Result<()> {
        self.provision(&["down", "--yes"])?.expect_success()?;
        self.is_gone()
    }

    /// Proves that the machine shows nothing of the fleet.
    pub fn is_gone(&self) -> anyhow::Result<()> {
        ensure!(!self.state.exists(), "{} is still there", self.state.display());
        let remains = netlab::remains(&self.name)?;
        ensure!(remains.is_empty(), "of lab {} there is still {remains:?}", self.name);
        let users = users_of(&self.state.to_string_lossy());
        ensure!(users.is_empty(), "still running: {users:?}");
        Ok(())
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.diagnosis());
        }
        // A test that ended its fleet has no lab to end; otherwise the lab goes, whatever the provisioner thinks.
        if let Err(error) = netlab::down(&self.name) {
            eprintln!("lab {} is not gone: {error}", self.name);
        }
        // Gone already is as good.
        let _ = std::fs::remove_dir_all(&self.state);
    }
}

impl Fleet {
    /// What helps to understand a failed test, while its fleet is still there.
    pub fn diagnosis(&self) -> String {
        let status = self.provision(&["status", "--quiet"]);
        let mut text = status.map_or_else(|error| format!("{error:#}"), |said| said.to_string());
        for host in HOSTS {
            let journal =
                ["journalctl", "-u", "weave-gateway", "-n", "25", "--no-pager", "-o", "short-precise"];
            for argv in [&["weave", "status", "paths"][..], &journal] {
                text += &match self.run_on(host, argv) {
                    Ok(said) => format!("\n{said}"),
                    Err(error) => format!("\n{host}: {error:#}"),
                };
            }
        }
        text
    }

    /// Runs a scenario on this fleet; its error comes with the diagnosis.
    pub fn explain<T>(&self, scenario: impl FnOnce(&Fleet) -> anyhow::Result<T>) -> anyhow::Result<T> {
        scenario(self).inspect_err(|_| eprintln!("{}", self.diagnosis()))
    }
}

/// Ends the fleets of tests that were killed before they could do so themselves.
pub(crate) fn end_orphans() -> anyhow::Result<()> {
    for (folder, before) in
        [(PathBuf::from(LABS), PREFIX.to_owned()), (std::env::temp_dir(), state_name(PREFIX))]
    {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let owner = name.strip_prefix(&before).and_then(|rest| rest.split_once('-'));
            let Some((pid, test)) = owner.filter(|(pid, _)| pid.parse::<u32>().is_ok()) else { continue };
            if PathBuf::from("/proc").join(pid).exists() {
                continue;
            }
            let name = format!("{PREFIX}{pid}-{test}");
            netlab::down(&name).with_context(|| format!("while ending {name}, whose test was killed"))?;
            // Another test may have been faster.
            let _ = std::fs::remove_dir_all(std::env::temp_dir().join(state_name(&name)));
        }
    }
    Ok(())
}

pub(crate) fn state_name(fleet: &str) -> String {
    format!("weave-{fleet}")
}

/// Every ordered pair of different values.
pub fn ordered_pairs<T: PartialEq>(all: &[T]) -> impl Iterator<Item = (&T, &T)> {
    all.iter().flat_map(move |a| all.iter().filter(move |b| *b != a).map(move |b| (a, b)))
}

/// Names the folder of the programs to test: those of a build for release, or copies that no other build replaces.
const PROGRAMS: &str = "WEAVE_TEST_PROGRAMS";

/// A program of the workspace: in the folder that the environment names, else beside this one or in the folder above,
/// where cargo puts tests one folder deeper.
pub(crate) fn program(name: &str) -> anyhow::Result<PathBuf> {
    if let Some(folder) = std::env::var_os(PROGRAMS) {
        let path = PathBuf::from(folder).join(name);
        ensure!(path.is_file(), "there is no {}, where {PROGRAMS} says", path.display());
        return Ok(path);
    }
    let own = std::env::current_exe().context("cannot tell where this program lies")?;
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.is_file());
    match found {
        Some(path) => Ok(path),
        None => bail!("{name} is not in the folder above {}: build the workspace first", own.display()),
    }
}

/// The processes whose command line names a text, this one excepted.
fn users_of(text: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let lines = entries.flatten().filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(text)).collect()
}
