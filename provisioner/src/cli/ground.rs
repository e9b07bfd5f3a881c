//! Where a fleet stands, and the adapters for it: the one place that knows which there are.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cloud_core::{Architecture, Cloud};
use weave_model::NetworkName;

use super::{Failure, Global, adapters};
use crate::clouds::Clouds;
use crate::config::{Config, ConfigError, FILE, Outside};
use crate::fleet::{CloudKind, Fleet, Topology};
use crate::footprint;
use crate::install::Content;
use crate::remote::Logins;
use crate::state::{FleetState, StateDir, StateError};
use crate::vault::Vault;

/// Where a fleet stands.
pub(super) enum Ground {
    /// In network namespaces on this machine.
    Lab {
        /// The fleet's name.
        name: String,
    },
    /// Where `weave.toml` says.
    File(Box<Config>),
}

impl Ground {
    /// Reads the file unless it is a lab.
    pub(super) fn open(global: &Global) -> Result<Ground, Failure> {
        if global.lab {
            if global.file.is_some() {
                return Err(Failure::usage("a lab reads no file", "leave out --lab or --file"));
            }
            return Ok(Ground::Lab { name: global.name.clone().unwrap_or_else(|| "weave".to_owned()) });
        }
        let path = global.file.clone().unwrap_or_else(|| PathBuf::from(FILE));
        if global.file.is_none() && !path.exists() {
            return Err(Failure::usage(
                format!("there is no {FILE} here to say where the fleet stands"),
                "`weave-provision init` writes one; or add --lab: network namespaces on this machine play the clouds",
            ));
        }
        let outside = Outside::of_process(global.name.clone(), global.state.clone());
        match Config::read(&path, &outside) {
            Ok(config) => Ok(Ground::File(Box::new(config))),
            Err(ConfigError::Mistakes(mistakes)) => {
                let errors = mistakes.iter().map(|mistake| anyhow::anyhow!("{mistake}")).collect();
                Err(Failure::several(errors).with_code(2).with_hint(
                    "`weave-provision init --file example.toml` writes a file that explains every key",
                ))
            }
            Err(error) => Err(Failure::new(error.into()).with_code(2)),
        }
    }

    /// The fleet's name.
    pub(super) fn name(&self) -> &str {
        match self {
            Ground::Lab { name } => name,
            Ground::File(config) => &config.name,
        }
    }

    /// The network's name.
    pub(super) fn network(&self) -> NetworkName {
        match self {
            Ground::Lab { .. } => NetworkName::default(),
            Ground::File(config) => config.network.clone(),
        }
    }

    /// The state directory that the file, the environment or a flag names.
    pub(super) fn state<'a>(&'a self, global: &'a Global) -> Option<&'a Path> {
        match self {
            Ground::Lab { .. } => global.state.as_deref(),
            Ground::File(config) => config.state.as_deref(),
        }
    }

    /// What is remembered. The last machine of one's own leaves the file with its section, and asks for none then.
    pub(super) fn recall(&self, dir: &StateDir) -> Result<Option<FleetState>, StateError> {
        let mut saved = dir.fleet()?;
        if let (Ground::File(config), Some(saved)) = (self, &mut saved)
            && !config.clouds.contains(&CloudKind::Onprem)
        {
            saved.leave_if_unused(CloudKind::Onprem);
        }
        Ok(saved)
    }

    /// The clouds to stand in when none are named.
    pub(super) fn clouds(&self, saved: Option<&FleetState>) -> Vec<CloudKind> {
        match self {
            Ground::Lab { .. } => saved.map(|saved| saved.clouds.clone()).unwrap_or_default(),
            Ground::File(config) => config.clouds.clone(),
        }
    }

    /// The sites and hosts wanted in these clouds.
    pub(super) fn fleet(&self, clouds: &[CloudKind]) -> Fleet {
        match self {
            Ground::Lab { .. } => Fleet::lab(clouds),
            Ground::File(config) => config.fleet(clouds),
        }
    }

    /// The adapters for these clouds, as one; `gateway` is the program that shall run there, if any shall.
    pub(super) fn cloud(
        &self,
        clouds: &[CloudKind],
        topology: Topology,
        gateway: Option<&Content>,
    ) -> Result<Arc<dyn Cloud>, Failure> {
        let config = match self {
            Ground::Lab { name } => {
                let topology = match topology {
                    Topology::Partial => cloud_lab::Topology::Partial,
                    Topology::Full => cloud_lab::Topology::Full,
                };
                return Ok(Arc::new(cloud_lab::LabCloud::new(name, topology)));
            }
            Ground::File(config) => config,
        };
        let architecture = gateway.and_then(|program| footprint::architecture(program.bytes()));
        check_architecture(config, clouds, architecture)?;
        let mut members: Vec<(CloudKind, Arc<dyn Cloud>)> = Vec::new();
        for kind in clouds {
            let missing = || {
                Failure::usage(
                    format!("the file has no section [{kind}]"),
                    "add it, or leave the cloud out of --clouds; of a cloud where hosts of the fleet are, say \
                     `hosts = 0` and run `weave-provision up`, which removes them",
                )
            };
            let cloud: Arc<dyn Cloud> = match kind {
                CloudKind::Onprem if !config.clouds.contains(kind) => return Err(missing()),
                CloudKind::Onprem => {
                    let machines = cloud_onprem::Config { architecture, ..footprint::machines(config) };
                    Arc::new(cloud_onprem::OnpremCloud::new(machines))
                }
                CloudKind::Aws => adapters::aws(config, config.aws.as_ref().ok_or_else(missing)?)?,
                CloudKind::Gcp => adapters::gcp(config, config.gcp.as_ref().ok_or_else(missing)?)?,
            };
            members.push((*kind, cloud));
        }
        Ok(Arc::new(Clouds::new(members)))
    }

    /// How hosts are logged in to.
    pub(super) fn logins(&self, vault: &Vault) -> Logins {
        let logins = Logins::from(vault.clone());
        match self {
            Ground::Lab { .. } => logins,
            Ground::File(config) => {
                let login = |host: &crate::config::OnpremHost| {
                    (host.name.clone(), (host.reach.port, host.reach.login.clone()))
                };
                logins.with(config.onprem.hosts.iter().map(login).collect())
            }
        }
    }

    /// Refuses to forget hosts: what an earlier `up` put there would stay, and nobody could reach it any more.
    pub(super) fn check_complete(&self, saved: Option<&FleetState>) -> Result<(), Failure> {
        let (Ground::File(config), Some(saved)) = (self, saved) else { return Ok(()) };
        let listed = |name: &String| {
            CloudKind::of_host(name) != CloudKind::Onprem
                || config.onprem.hosts.iter().any(|host| host.name == *name)
        };
        let missing: Vec<&str> =
            saved.hosts.keys().filter(|name| !listed(name)).map(String::as_str).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Failure::usage(
            format!("the file no longer lists {}, where a gateway of this fleet is", missing.join(", ")),
            "list it with `absent = true` and run `weave-provision up`, which takes the gateway away; then delete it",
        ))
    }

    /// The command that brings a fleet up here.
    pub(super) fn up(&self) -> &'static str {
        match self {
            Ground::Lab { .. } => "weave-provision up --lab --clouds aws,gcp,onprem",
            Ground::File(_) => "weave-provision up",
        }
    }
}

/// Refuses to make hosts on which the gateway's program cannot run.
fn check_architecture(
    config: &Config,
    clouds: &[CloudKind],
    program: Option<&'static str>,
) -> Result<(), Failure> {
    let sections = [
        (CloudKind::Aws, config.aws.as_ref().map(|aws| (&aws.hosts, aws.architecture))),
        (CloudKind::Gcp, config.gcp.as_ref().map(|gcp| (&gcp.hosts, gcp.architecture))),
    ];
    for (kind, section) in sections {
        let (Some((hosts, wanted)), Some(program)) = (section, program) else { continue };
        let machine = match wanted {
            Architecture::X86_64 => "x86_64",
            Architecture::Arm64 => "aarch64",
        };
        if clouds.contains(&kind) && !hosts.is_empty() && machine != program {
            return Err(Failure::usage(
                format!("the gateway's program is for {program}, and hosts of [{kind}] are {wanted}"),
                "name a program for them with --gateway, or change `architecture` in the section",
            ));
        }
    }
    Ok(())
}
