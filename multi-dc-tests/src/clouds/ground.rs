//! A fleet's whole ground: both clouds, one or two machines behind a jump host, and a `weave.toml` that describes them.
//!
//! ```text
//!   op ── internet ──┬── r-aws: instances      ┬── r-gcp: instances
//!                    └── r-onprem ─┬─ onprem-3: the jump host `bastion`, no part of the fleet
//!                                  ├─ onprem-1, onprem-2: machines that exist already
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use netlab::{Config, HostConfig, Lab, OPERATOR, Place, Topology};

use super::{COMPUTE_REGION, Clouds, EC2_REGION, PROJECT, Trouble};
use crate::fleet::{PREFIX, end_orphans, program, state_name};
use crate::journal::Journal;
use crate::process::{Run, run, run_until};
use crate::wait::wait_for;

/// The mark of the fleet in both clouds.
pub const FLEET: &str = "e2e";

/// The secret half of the operator's key to EC2, of the form and length of real ones; it opens nothing.
pub const SECRET_ACCESS_KEY: &str = "wEaVeTeStSeCrEt+NoDoOrOpEnS/0123456789ab";

/// The site's number in the lab.
const ONPREM: u8 = 3;

/// The machine of the site that is no part of the fleet.
const BASTION: &str = "onprem-3";

/// The longest that the product may take before it is killed.
const LIMIT: Duration = Duration::from_secs(180);

/// What is run on a host answers at once or hangs.
const HOST_LIMIT: Duration = Duration::from_secs(30);

/// The ground, which goes with this value.
pub struct Ground {
    // First of all: the landlord works in the lab.
    clouds: Option<Clouds>,
    lab: Lab,
    folder: PathBuf,
    provisioner: PathBuf,
    /// The machines that exist already.
    machines: Vec<String>,
    /// All that the provisioner said.
    said: Mutex<Vec<u8>>,
}

impl Ground {
    /// Makes the ground with two machines and without any instance; `troubles` befall the calls of the clouds' APIs.
    pub fn new(test: &str, troubles: &[Trouble]) -> anyhow::Result<Ground> {
        Ground::with(test, 2, troubles)
    }

    /// The same with one machine, for what is done often.
    pub fn small(test: &str, troubles: &[Trouble]) -> anyhow::Result<Ground> {
        Ground::with(test, 1, troubles)
    }

    fn with(test: &str, machines: u8, troubles: &[Trouble]) -> anyhow::Result<Ground> {
        end_orphans()?;
        let name = format!("{PREFIX}{}-{test}", std::process::id());
        let folder = std::env::temp_dir().join(state_name(&name));
        std::fs::create_dir_all(&folder)?;
        let provisioner = program("weave-provision")?;
        // The test program is the lab's keeper: see `intercept_main` there.
        let config = Config { name, topology: Topology::Partial, helper: None };
        let machines = (1..=machines).map(|index| format!("onprem-{index}")).collect();
        let (lab, said) = (Lab::ensure(&config)?, Mutex::default());
        let mut ground = Ground { clouds: None, lab, folder, provisioner, machines, said };
        ground.onprem()?;
        ground.clouds = Some(Clouds::open(&ground.lab, troubles)?);
        ground.describe()?;
        Ok(ground)
    }

    /// Both clouds.
    pub fn clouds(&self) -> anyhow::Result<&Clouds> {
        self.clouds.as_ref().context("the clouds are closed")
    }

    /// The lab that plays all.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// The folder of keys and `weave.toml`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The state directory of the fleet.
    pub fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// The fleet's journal, from its present end.
    pub fn journal(&self) -> anyhow::Result<Journal> {
        Journal::follow(self.state().join("journal.jsonl"))
    }

    /// Every byte that the provisioner has written to stdout and stderr.
    pub fn said(&self) -> Vec<u8> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs the provisioner where the operator stands, to its end.
    pub fn provision(&self, args: &[&str]) -> anyhow::Result<Run> {
        self.note(run(&mut self.command(args)?, LIMIT))
    }

    /// Runs it until a moment, at which it is killed, or to its end, if that comes first.
    pub fn provision_until(
        &self,
        args: &[&str],
        moment: impl FnMut() -> anyhow::Result<bool>,
    ) -> anyhow::Result<Run> {
        self.note(run_until(&mut self.command(args)?, LIMIT, moment))
    }

    fn note(&self, ended: anyhow::Result<Run>) -> anyhow::Result<Run> {
        let run = ended?;
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.extend([run.stdout.as_bytes(), run.stderr.as_bytes()].concat());
        Ok(run)
    }

    fn command(&self, args: &[&str]) -> anyhow::Result<Command> {
        let mut command = self.lab.command(&Place::Operator, &self.provisioner.to_string_lossy())?;
        command
            .arg("--file")
            .arg(self.path("weave.toml"))
            .args(args)
            .env("HOME", &self.folder)
            // Credentials that open nothing, and no way to others.
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
            .env("AWS_EC2_METADATA_DISABLED", "true");
        for other in ["AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "SSH_AUTH_SOCK"] {
            command.env_remove(other);
        }
        Ok(command)
    }

    /// Runs a program on a host to its end, past SSH.
    pub fn run_on(&self, host: &str, argv: &[&str]) -> anyhow::Result<Run> {
        let (program, args) = argv.split_first().context("nothing to run was named")?;
        let mut command = self.lab.command(&Place::Host(host.to_owned()), program)?;
        let mut said = run(command.args(args), HOST_LIMIT)?;
        said.line = format!("{host}: {}", said.line);
        Ok(said)
    }

    /// Waits until the lab has exactly these hosts beside the machines on premises.
    pub fn wait_for_instances(&self, wanted: &[&str], limit: Duration) -> anyhow::Result<()> {
        let mut last = Vec::new();
        let there = || {
            let hosts = self.lab.status()?.hosts;
            last = hosts.into_keys().filter(|name| !name.starts_with("onprem-")).collect();
            Ok((last == wanted).then_some(()))
        };
        wait_for(&format!("the instances {wanted:?}"), limit, there)
            .with_context(|| format!("the lab has {last:?}; {:?}", self.clouds().map(Clouds::complaints)))
    }

    /// Makes a key pair; returns the private and the public half.
    pub fn keygen(&self, name: &str) -> anyhow::Result<(String, String)> {
        let path = self.path(name);
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(&path);
        run(&mut keygen, HOST_LIMIT)?.expect_success()?;
        let public = std::fs::read_to_string(path.with_extension("pub"))?;
        Ok((std::fs::read_to_string(path)?, public))
    }

    /// The fingerprint of a key that was made here.
    pub fn fingerprint(&self, name: &str) -> anyhow::Result<String> {
        let mut keygen = Command::new("ssh-keygen");
        keygen.arg("-lf").arg(self.path(&format!("{name}.pub")));
        let said = run(&mut keygen, HOST_LIMIT)?.expect_success()?;
        said.stdout.split(' ').nth(1).map(str::to_owned).context("no fingerprint")
    }

    /// The machines that exist already, all with keys of their own.
    fn onprem(&self) -> anyhow::Result<()> {
        let (_, operator) = self.keygen("operator")?;
        self.lab.ensure_site("onprem", ONPREM)?;
        let bastion = BASTION.to_owned();
        for (name, index) in self.machines.iter().cloned().zip(1..).chain([(bastion, 3)]) {
            let host = HostConfig {
                host_key_pem: self.keygen(&name)?.0,
                name,
                site: "onprem".to_owned(),
                index,
                authorized_key: operator.clone(),
                labels: BTreeMap::new(),
            };
            self.lab.ensure_host(&host)?;
        }
        Ok(())
    }

    fn describe(&self) -> anyhow::Result<()> {
        let (clouds, status) = (self.clouds()?, self.lab.status()?);
        let host = |name: &str| status.hosts.get(name).with_context(|| format!("no host {name}"));
        let bastion = host(BASTION)?.ssh;
        let mut text = format!(
            r#"[fleet]
name = "{FLEET}"
state = "state"
operator = "{OPERATOR}/32"
[aws]
region = "{EC2_REGION}"
hosts = 1
endpoint = "{}"
[gcp]
project = "{PROJECT}"
region = "{COMPUTE_REGION}"
hosts = 1
endpoint = "{}"
[onprem]
[[onprem.jumps]]
name = "bastion"
address = "{}"
port = {}
key = "operator"
host_key = "{}"
"#,
            clouds.ec2_endpoint(),
            clouds.compute_endpoint(),
            bastion.ip(),
            bastion.port(),
            self.fingerprint(BASTION)?,
        );
        for name in &self.machines {
            text += &format!(
                r#"[[onprem.hosts]]
name = "{name}"
address = "{}"
key = "operator"
host_key = "{}"
jump = "bastion"
site = "onprem"
"#,
                host(name)?.private,
                self.fingerprint(name)?,
            );
        }
        std::fs::write(self.path("weave.toml"), text)?;
        Ok(())
    }

    /// What helps to understand a failed test, while its ground is still there.
    pub fn diagnosis(&self) -> String {
        let mut text = format!("complaints: {:?}\n", self.clouds().map(Clouds::complaints));
        let hosts = self.lab.status().map(|status| status.hosts).unwrap_or_default();
        for (name, host) in &hosts {
            text += &format!("{name}: {host:?}\n");
            let shown = "cloud-init status --long | tail -5; weave status paths; \
                         journalctl -u weave-gateway -u ssh -u cloud-init -n 15 --no-pager -o short-precise";
            text += &match self.run_on(name, &["sh", "-c", shown]) {
                Ok(said) => format!("{said}\n"),
                Err(error) => format!("{error:#}\n"),
            };
        }
        text
    }

    /// Runs a scenario on this ground; its error comes with the diagnosis.
    pub fn explain<T>(&self, scenario: impl FnOnce(&Ground) -> anyhow::Result<T>) -> anyhow::Result<T> {
        scenario(self).inspect_err(|_| eprintln!("{}", self.diagnosis()))
    }

    /// Proves that neither cloud lists anything of the fleet and that no instance has a host.
    pub fn is_empty(&self) -> anyhow::Result<()> {
        let remains = self.clouds()?.remains(FLEET)?;
        ensure!(remains.is_empty(), "the clouds still list {remains:#?}");
        self.wait_for_instances(&[], HOST_LIMIT)
    }

    /// Proves that a machine carries nothing of the product.
    pub fn is_clean(&self, host: &str) -> anyhow::Result<()> {
        let left = "ls -d /etc/weave /var/lib/weave /usr/local/bin/weave* /etc/systemd/system/weave* 2>/dev/null; \
                    pgrep -a weave; true";
        let said = self.run_on(host, &["sh", "-c", left])?.expect_success()?;
        ensure!(said.stdout.is_empty(), "{said}");
        Ok(())
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.diagnosis());
        }
        drop(self.clouds.take());
        if let Err(error) = netlab::down(self.lab.name()) {
            eprintln!("lab {} is not gone: {error}", self.lab.name());
        }
        // Gone already is as good.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
