//! Hosts come and go: made and booted when asked for, destroyed with all that is theirs.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::cgroup;
use crate::control::{Control, State};
use crate::error::Error;
use crate::image;
use crate::keeper::Inside;
use crate::network;
use crate::order::Order;
use crate::plan::{self, OPERATOR, Router};
use crate::values::{HostStatus, Phase, SiteStatus, Status};

/// A kill takes effect at once; what takes long is the kernel's tidying of a network namespace.
pub(crate) const DEATH_DEADLINE: Duration = Duration::from_secs(10);

/// How often what nobody announces is looked at.
pub(crate) const TICK: Duration = Duration::from_millis(25);

/// What of a host runs.
#[derive(Debug, Default)]
pub(crate) struct Running {
    /// The host's pid 1, in the controller's pid namespace.
    pub(crate) init: Option<i32>,
    /// Whether a thread looks after it.
    pub(crate) attended: bool,
    /// Whether it is being destroyed.
    pub(crate) going: bool,
    /// Counts boots, so that what waits for one boot does not see the next.
    pub(crate) boot: u64,
}

impl Control {
    /// Makes a host exist and waits until its SSH answers.
    pub(crate) fn ensure_host(self: &Arc<Control>, config: &Order) -> Result<(), Error> {
        plan::check_host(&config.name)?;
        plan::check_index("host", config.index)?;
        let deadline = Instant::now() + config.deadline();
        let mut state = self.state();
        while state.running.get(&config.name).is_some_and(|running| running.going) {
            state = self.wait(state, deadline, || format!("host {} is being destroyed", config.name))?;
        }
        if self.is_off(&state, config) {
            self.move_host(&mut state, config)?;
        }
        if !known(&state, config)? {
            self.make_host(&mut state, config)?;
        }
        if state.running.get(&config.name).is_some_and(|running| !running.attended) {
            self.boot(&mut state, &config.name);
        }
        loop {
            match state.status.hosts.get(&config.name).map(|host| host.phase) {
                Some(Phase::Running) => return Ok(()),
                Some(Phase::Starting) => {
                    state = self.wait(state, deadline, || {
                        format!(
                            "host {} shows no SSH banner after {} s",
                            config.name,
                            config.deadline().as_secs()
                        )
                    })?;
                }
                Some(Phase::Stopped) => {
                    return Err(Error::Failed(format!(
                        "host {} stopped while booting; the lab's log ends: {}",
                        config.name,
                        self.log_tail()
                    )));
                }
                None => {
                    return Err(Error::Failed(format!("host {} was destroyed while booting", config.name)));
                }
            }
        }
    }

    /// Removes a host and all that belongs to it, if it is there.
    pub(crate) fn destroy_host(&self, name: &str) -> Result<(), Error> {
        let deadline = Instant::now() + DEATH_DEADLINE;
        let mut state = self.state();
        match state.running.get_mut(name) {
            Some(running) => running.going = true,
            None => return Ok(()),
        }
        while state.running.get(name).is_some_and(|running| running.attended) {
            // Again and again: a boot may be between two steps.
            let _ = std::fs::write(Path::new(Inside::CGROUP).join(name).join("cgroup.kill"), "1");
            if let Some(init) = state.running.get(name).and_then(|running| running.init) {
                // SAFETY: sends a signal; the pid is that of a child's child that is not yet reaped by its supervisor.
                unsafe { libc::kill(init, libc::SIGKILL) };
            }
            state = self.wait(state, deadline, || format!("host {name} does not die"))?;
        }
        let Some(host) = state.status.hosts.remove(name) else { return Ok(()) };
        state.running.remove(name);
        state.status.forget_cuts(name);
        self.changed.notify_all();
        let done = [
            self.unroute(&state, &host),
            self.apply_router(&state, &host.site),
            self.apply_lan(&state, &host.site),
            unmake(name, &host),
            self.save(&state),
        ];
        done.into_iter().collect()
    }

    fn make_host(&self, state: &mut State, config: &Order) -> Result<(), Error> {
        let site = state.status.sites.get(&config.site).cloned();
        let site = site.ok_or_else(|| Error::NotFound(format!("site {}", config.site)))?;
        let (private, public) = match config.addresses {
            Some(given) => check_addresses(&state.status, &site, given)?,
            None => (
                plan::host_private(site.lan, config.index),
                plan::host_public(site.router, site.index, config.index),
            ),
        };
        let host = HostStatus {
            site: config.site.clone(),
            index: config.index,
            private,
            public,
            ssh: plan::host_ssh(public, site.index, config.index),
            phase: Phase::Stopped,
            labels: config.labels.clone(),
        };
        let made = network::make_host(&config.name, &site, &host)
            .and_then(|()| image::make_strip())
            .and_then(|()| image::make(config))
            .and_then(|()| {
                state.status.hosts.insert(config.name.clone(), host.clone());
                self.route(state)?;
                self.apply_router(state, &config.site)
            });
        if let Err(error) = made {
            state.status.hosts.remove(&config.name);
            // What failed is worth more than what could not be removed after it.
            let _ = unmake(&config.name, &host);
            return Err(error);
        }
        state.running.insert(config.name.clone(), Running::default());
        self.save(state)
    }

    fn is_off(&self, state: &State, config: &Order) -> bool {
        state.running.get(&config.name).is_some_and(|running| !running.attended && !running.going)
    }

    /// Gives a host that is off its other public address: most clouds give one for each time that it runs.
    fn move_host(&self, state: &mut State, config: &Order) -> Result<(), Error> {
        let Some(host) = state.status.hosts.get(&config.name).cloned() else { return Ok(()) };
        let (Some(site), Some((private, public))) =
            (state.status.sites.get(&host.site).cloned(), config.addresses)
        else {
            return Ok(());
        };
        if private != host.private || public == host.public {
            return Ok(());
        }
        let mut others = state.status.clone();
        others.hosts.remove(&config.name);
        check_addresses(&others, &site, (private, public))?;
        network::remove_public(&host)?;
        self.unroute(state, &host)?;
        if let Some(known) = state.status.hosts.get_mut(&config.name) {
            known.public = public;
            known.ssh = plan::host_ssh(public, site.index, config.index);
            network::add_public(known)?;
        }
        self.route(state)?;
        self.apply_router(state, &config.site)?;
        self.save(state)
    }

    /// Lets everybody find the public addresses of hosts that do not follow from numbers.
    fn route(&self, state: &State) -> Result<(), Error> {
        let routers = state.status.sites.keys().map(|site| network::router(site));
        network::add_routes(routers, state.status.foreign())
    }

    /// Undoes it for a host.
    fn unroute(&self, state: &State, host: &HostStatus) -> Result<(), Error> {
        let routers = state.status.sites.keys().map(|site| network::router(site));
        match host.public.filter(|public| !plan::is_numbered(*public)) {
            Some(public) => network::remove_routes(routers, public),
            None => Ok(()),
        }
    }

    /// Waits for a change of some host, for a tick at most.
    fn wait<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        deadline: Instant,
        late: impl FnOnce() -> String,
    ) -> Result<MutexGuard<'a, State>, Error> {
        if Instant::now() >= deadline {
            return Err(Error::Timeout(late()));
        }
        Ok(self.changed.wait_timeout(state, TICK).unwrap_or_else(PoisonError::into_inner).0)
    }
}

/// Whether the host is there already, as it is asked for.
fn known(state: &State, config: &Order) -> Result<bool, Error> {
    let Order { name, site, index, addresses, .. } = config;
    if let Some(host) = state.status.hosts.get(name) {
        let addressed = addresses.is_none_or(|given| given == (host.private, host.public));
        if (&host.site, &host.index) == (site, index) && addressed {
            return Ok(true);
        }
        let known_as = format!("is number {} of site {} at {}", host.index, host.site, host.private);
        return Err(Error::Conflict(format!("host {name}"), known_as));
    }
    if state.status.sites.contains_key(name) {
        return Err(Error::Conflict(name.clone(), "is the name of a site".to_owned()));
    }
    let twin = state.status.hosts.iter().find(|(_, host)| (&host.site, &host.index) == (site, index));
    if let Some((twin, _)) = twin {
        return Err(Error::Conflict(format!("number {index} of site {site}"), format!("is host {twin}")));
    }
    Ok(false)
}

/// Passes on addresses that a host of the site can have and nobody has.
fn check_addresses(
    status: &Status,
    site: &SiteStatus,
    (private, public): (Ipv4Addr, Option<Ipv4Addr>),
) -> Result<(Ipv4Addr, Option<Ipv4Addr>), Error> {
    if !site.lan.suits(private) {
        return Err(Error::Invalid(format!("{private} is no host's address in {}", site.lan)));
    }
    match (site.router, public) {
        (Router::Cloud, None) => {
            return Err(Error::Invalid(format!("without a public address nobody would reach {private}")));
        }
        (Router::Masquerade, Some(public)) => {
            return Err(Error::Invalid(format!("{public} cannot be a host's behind a masquerade")));
        }
        _ => {}
    }
    let free = public
        .is_none_or(|public| public != OPERATOR && status.sites.values().all(|other| other.public != public));
    let twin = status.hosts.iter().find(|(_, host)| {
        host.private == private && status.sites.get(&host.site).is_some_and(|other| other.index == site.index)
            || public.is_some() && host.public == public
    });
    match twin {
        None if free => Ok((private, public)),
        None => Err(Error::Conflict(format!("{public:?}"), "is a router's or the operator's".to_owned())),
        Some((twin, host)) => {
            let address = if host.private == private { private } else { public.unwrap_or(private) };
            Err(Error::Conflict(address.to_string(), format!("is host {twin}")))
        }
    }
}

/// Removes what is outside of the state: cable, disk, cgroup. Goes on after an error and reports the first.
fn unmake(name: &str, host: &HostStatus) -> Result<(), Error> {
    let done = [network::remove_host(name, host), image::remove(name)];
    cgroup::remove_tree(&Path::new(Inside::CGROUP).join(name));
    done.into_iter().collect()
}
