//! What every command starts from: the state directory, the cloud and the wanted fleet.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use cloud_core::Cloud;

use super::ground::Ground;
use super::hints::Hints;
use super::{Failure, Global, Wanted};
use crate::desired::Desired;
use crate::fleet::{CloudKind, Topology};
use crate::install::Content;
use crate::remote::SshRemote;
use crate::state::{FleetState, StateDir};
use crate::vault::Vault;

/// Where fleets are kept unless told otherwise.
const STATE_ROOT: &str = "/var/lib/weave-provision";

pub(super) struct Context {
    pub(super) dir: StateDir,
    pub(super) vault: Vault,
    pub(super) saved: Option<FleetState>,
    pub(super) name: String,
    pub(super) ground: Ground,
    pub(super) hints: Hints,
}

impl Context {
    /// Reads the file and the state; refuses what this build cannot do.
    pub(super) fn open(global: &Global) -> Result<Context, Failure> {
        let ground = Ground::open(global)?;
        let name = ground.name().to_owned();
        let path = ground.state(global).map_or_else(|| Path::new(STATE_ROOT).join(&name), Path::to_owned);
        let dir = StateDir::new(path);
        let saved = ground.recall(&dir)?;
        if let Some(other) = saved.as_ref().filter(|saved| saved.name != name) {
            return Err(Failure::usage(
                format!("{} belongs to fleet {}, not to {name}", dir.path().display(), other.name),
                format!("add --name {}, or name another directory with --state", other.name),
            ));
        }
        let vault = Vault::new(dir.clone()).of_network(ground.network());
        Ok(Context { vault, dir, saved, name, ground, hints: Hints::new(global) })
    }

    /// The clouds and the topology asked for, else those of the file or the last `up`.
    pub(super) fn choice(&self, wanted: &Wanted) -> Result<(Vec<CloudKind>, Topology), Failure> {
        let mut clouds = wanted.clouds.clone();
        if clouds.is_empty() {
            clouds = self.ground.clouds(self.saved.as_ref());
        }
        if clouds.is_empty() {
            return Err(Failure::usage(
                "no clouds are named and no earlier `up` named any",
                self.ground.up(),
            ));
        }
        if wanted.topology.is_some() && matches!(self.ground, Ground::File(_)) {
            return Err(Failure::usage("only a lab has a topology to choose", "leave out --topology"));
        }
        clouds.sort();
        clouds.dedup();
        let before = self.saved.as_ref().map(|saved| saved.topology);
        let topology = wanted.topology.or(before).unwrap_or_default();
        if before.is_some_and(|before| before != topology) {
            return Err(Failure::usage(
                format!("the lab stands already, and its topology is not {}", topology.as_str()),
                "a lab keeps its topology: `weave-provision down`, then `up` with the new one",
            ));
        }
        self.ground.check_complete(self.saved.as_ref())?;
        Ok((clouds, topology))
    }

    /// The clouds and the topology of what is up.
    pub(super) fn standing(&self) -> (Vec<CloudKind>, Topology) {
        match &self.saved {
            Some(saved) => (saved.clouds.clone(), saved.topology),
            None => (self.ground.clouds(None), Topology::default()),
        }
    }

    /// These clouds and those in which hosts of the fleet may still be: what leaves a cloud is seen there to the end.
    pub(super) fn reach(&self, clouds: &[CloudKind]) -> Vec<CloudKind> {
        let before = self.saved.as_ref().map(|saved| saved.clouds.as_slice()).unwrap_or_default();
        let mut all = [clouds, before].concat();
        all.sort();
        all.dedup();
        all
    }

    /// The adapters for these clouds and for those where hosts of the fleet may still be.
    pub(super) fn cloud(
        &self,
        clouds: &[CloudKind],
        topology: Topology,
        gateway: Option<&Content>,
    ) -> Result<Arc<dyn Cloud>, Failure> {
        self.ground.cloud(&self.reach(clouds), topology, gateway)
    }

    /// The wanted fleet with the program to install.
    pub(super) fn desired(&self, wanted: &Wanted, clouds: &[CloudKind]) -> Result<Desired, Failure> {
        let path = match &wanted.gateway {
            Some(path) => path.clone(),
            None => beside_this_program().map_err(Failure::new)?,
        };
        let program = std::fs::read(&path)
            .with_context(|| format!("cannot read the gateway's program {}", path.display()))
            .map_err(|error| {
                Failure::new(error).with_hint(
                    "name it with --gateway PATH, or build it: cargo build --release -p weave-gatewayd",
                )
            })?;
        Ok(Desired {
            fleet: self.ground.fleet(clouds),
            gateway: Content::new(program),
            network: self.ground.network(),
        })
    }

    /// The fleet of an earlier `up`.
    pub(super) fn fleet(&self) -> Result<&FleetState, Failure> {
        self.saved.as_ref().ok_or_else(|| {
            let error =
                anyhow::anyhow!("there is no fleet called {} in {}", self.name, self.dir.path().display());
            let failure = Failure::new(error);
            match self.vault.is_made() {
                true => failure.with_hint("its keys are there; `weave-provision import` rebuilds the rest"),
                false => failure.with_hint(self.ground.up()),
            }
        })
    }

    /// Reads the state again, under the lock.
    pub(super) fn reload(&mut self) -> Result<(), Failure> {
        self.saved = self.ground.recall(&self.dir)?;
        Ok(())
    }

    /// Removes a directory that holds nothing but the lock of a run that was refused.
    pub(super) fn forget_if_new(&self) {
        if self.saved.is_none() {
            // An empty directory does no harm if it stays.
            let _ = self.dir.remove_if_unused();
        }
    }

    /// Reaches the hosts through `cloud`.
    pub(super) fn remote(&self, cloud: &Arc<dyn Cloud>) -> Arc<SshRemote> {
        Arc::new(SshRemote::new(cloud.clone(), self.ground.logins(&self.vault)))
    }
}

fn beside_this_program() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where this program lies")?;
    Ok(own.with_file_name("weave-gateway"))
}
