//! The landlord: keeps a host of the lab for every machine that runs in a cloud, as a cloud's data centre does.
//!
//! ```text
//!   emulator ── machines: id, addresses, power, user-data ──► landlord ── ensure_instance, poweroff, destroy ──► lab
//! ```
//!
//! Each machine has a thread while something is done to it, so that one that boots keeps no other waiting.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use netlab::{InstanceConfig, Lab, Phase, Place};
use serde_json::Value;

use super::emulator::Emulator;
use super::impostor::HostKeys;
use crate::wait::within;

/// A real instance needs seconds from `running` to its first instruction; this much is nobody's bottleneck.
const TICK: Duration = Duration::from_millis(100);

/// A host powers off in a tenth of a second.
const OFF: Duration = Duration::from_secs(20);

/// Between two attempts at what failed.
const PAUSE: Duration = Duration::from_secs(1);

/// The machines of one cloud stand at one site.
#[derive(Debug)]
pub(crate) struct Estate {
    pub(crate) site: &'static str,
    pub(crate) emulator: Arc<Emulator>,
}

/// The landlord at work; it stops with this value.
#[derive(Debug)]
pub(crate) struct Landlord {
    stop: Option<Sender<()>>,
    worker: Option<JoinHandle<()>>,
    complaints: Arc<Mutex<Vec<String>>>,
    host_keys: HostKeys,
}

impl Landlord {
    /// Begins to keep the lab in step with the clouds; the sites must exist.
    pub(crate) fn start(lab: &Lab, estates: Vec<Estate>) -> Landlord {
        let (stop, stopped) = mpsc::channel();
        let complaints = Arc::<Mutex<Vec<String>>>::default();
        let host_keys = HostKeys::default();
        let mut books = Books {
            lab: lab.clone(),
            tenants: BTreeMap::new(),
            complaints: complaints.clone(),
            host_keys: host_keys.clone(),
        };
        let work = move || {
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                for estate in &estates {
                    match machines(&estate.emulator) {
                        Ok(machines) => books.see(estate.site, machines),
                        Err(error) => books.complain(format!("{}: {error:#}", estate.site)),
                    }
                }
                books.turn();
            }
            // Dropping the books waits for what is under way.
        };
        Landlord { stop: Some(stop), worker: Some(thread::spawn(work)), complaints, host_keys }
    }

    /// The keys that hosts show instead of those in their user-data.
    pub(crate) fn host_keys(&self) -> &HostKeys {
        &self.host_keys
    }

    /// What did not work so far.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Landlord {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A panic there is told on stderr already.
        let _ = self.worker.take().map(JoinHandle::join);
    }
}

/// What a machine shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Power {
    On,
    Off,
    Gone,
}

/// A machine as its cloud has it.
#[derive(Debug)]
struct Machine {
    id: String,
    name: String,
    private: Ipv4Addr,
    public: Option<Ipv4Addr>,
    /// `None` while the cloud changes it.
    power: Option<Power>,
    user_data: String,
}

/// The machines of one cloud.
fn machines(emulator: &Emulator) -> anyhow::Result<Vec<Machine>> {
    let seen = emulator.ask_json("GET", "/_machines", "")?;
    let read = |machine: &Value| {
        let text = |key: &str| machine[key].as_str().unwrap_or_default().to_owned();
        let power = match text("power").as_str() {
            "on" => Some(Power::On),
            "off" => Some(Power::Off),
            "gone" => Some(Power::Gone),
            "between" => None,
            other => bail!("a machine is {other:?}"),
        };
        // What is gone has no addresses any more.
        let private = text("private").parse().unwrap_or(Ipv4Addr::UNSPECIFIED);
        let (id, name, user_data) = (text("id"), text("name"), text("user_data"));
        Ok(Machine { id, name, private, public: text("public").parse().ok(), power, user_data })
    };
    seen.as_array().context("no list of machines")?.iter().map(read).collect()
}

/// A machine with its host.
struct Tenant {
    config: InstanceConfig,
    is: Power,
    shall_be: Power,
    /// What it will be when this is done.
    work: Option<(Power, JoinHandle<anyhow::Result<()>>)>,
    not_before: Option<Instant>,
}

/// All tenants, by site and the cloud's id.
struct Books {
    lab: Lab,
    tenants: BTreeMap<(&'static str, String), Tenant>,
    complaints: Arc<Mutex<Vec<String>>>,
    host_keys: HostKeys,
}

impl Books {
    /// Notes what the machines of a site shall be.
    fn see(&mut self, site: &'static str, machines: Vec<Machine>) {
        let ids: BTreeSet<String> = machines.iter().map(|machine| machine.id.clone()).collect();
        for ((at, id), tenant) in &mut self.tenants {
            if *at == site && !ids.contains(id) {
                tenant.shall_be = Power::Gone;
            }
        }
        for machine in machines {
            let known = self.tenants.get_mut(&(site, machine.id.clone()));
            match (known, machine.power) {
                (_, None) | (None, Some(Power::Gone | Power::Off)) => {}
                (Some(tenant), Some(power)) => {
                    let Tenant { config, is, work, .. } = tenant;
                    let stays = (config.private, config.public) == (machine.private, machine.public);
                    // It was off and on again at another address, perhaps since the last look.
                    let is_on = *is == Power::On || work.is_some();
                    tenant.shall_be = match power {
                        Power::On if !stays && is_on => Power::Off,
                        _ => power,
                    };
                    if power == Power::On && !is_on {
                        (config.private, config.public) = (machine.private, machine.public);
                    }
                }
                (None, Some(Power::On)) => {
                    let id = machine.id.clone();
                    let config = self.config(site, machine);
                    let tenant =
                        Tenant { config, is: Power::Gone, shall_be: Power::On, work: None, not_before: None };
                    self.tenants.insert((site, id), tenant);
                }
            }
        }
    }

    /// A host of the name that the fleet gives its machine, or of another one where two are called so.
    fn config(&self, site: &'static str, machine: Machine) -> InstanceConfig {
        let neighbours = || self.tenants.iter().filter(|((at, _), _)| *at == site).map(|(_, tenant)| tenant);
        let free = |index: &u8| neighbours().all(|tenant| tenant.config.index != *index);
        let index = (1..).find(free).unwrap_or(u8::MAX);
        let taken = self.tenants.values().any(|tenant| tenant.config.name == machine.name);
        let name =
            if taken || machine.name.is_empty() { format!("{site}-{index}-twin") } else { machine.name };
        let user_data = self.host_keys.replace_in(&name, machine.user_data);
        InstanceConfig {
            name,
            site: site.to_owned(),
            index,
            private: machine.private,
            public: machine.public,
            instance_id: machine.id,
            user_data,
            labels: BTreeMap::new(),
        }
    }

    /// Begins what is to be done and notes what is done.
    fn turn(&mut self) {
        let mut failed = Vec::new();
        for tenant in self.tenants.values_mut() {
            if let Some((power, work)) = tenant.work.take_if(|(_, work)| work.is_finished()) {
                match work.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread panicked"))) {
                    Ok(()) => tenant.is = power,
                    Err(error) => {
                        failed.push(format!("{}: {error:#}", tenant.config.name));
                        tenant.not_before = Some(Instant::now() + PAUSE);
                    }
                }
            }
            let rests = tenant.not_before.is_some_and(|time| Instant::now() < time);
            if tenant.work.is_none() && tenant.is != tenant.shall_be && !rests {
                let (lab, config, power) = (self.lab.clone(), tenant.config.clone(), tenant.shall_be);
                tenant.work = Some((power, thread::spawn(move || act(&lab, &config, power))));
            }
        }
        failed.into_iter().for_each(|text| self.complain(text));
        let moved_out = |tenant: &Tenant| {
            tenant.work.is_none() && (tenant.is, tenant.shall_be) == (Power::Gone, Power::Gone)
        };
        self.tenants.retain(|_, tenant| !moved_out(tenant));
    }

    fn complain(&self, text: String) {
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        if complaints.last() != Some(&text) {
            eprintln!("landlord: {text}");
            complaints.push(text);
        }
    }
}

impl Drop for Books {
    fn drop(&mut self) {
        for tenant in self.tenants.values_mut() {
            // The lab goes anyway; only nobody shall be at work in it.
            let _ = tenant.work.take().map(|(_, work)| work.join());
        }
    }
}

fn act(lab: &Lab, config: &InstanceConfig, power: Power) -> anyhow::Result<()> {
    match power {
        Power::On => lab.ensure_instance(config).map(drop)?,
        Power::Off => {
            lab.exec(&Place::Host(config.name.clone()), &["systemctl", "poweroff", "--force"])?;
            within(&format!("{} is off", config.name), OFF, || {
                let host = lab.status()?.hosts.remove(&config.name);
                Ok(host.is_none_or(|host| host.phase == Phase::Stopped))
            })?;
        }
        Power::Gone => lab.destroy_host(&config.name)?,
    }
    Ok(())
}
