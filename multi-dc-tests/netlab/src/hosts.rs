//! The life of a host: made, booted as often as it likes, destroyed.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::boot;
use crate::cgroup;
use crate::control::{Control, State};
use crate::error::Error;
use crate::image;
use crate::keeper::{HOST, Inside};
use crate::network;
use crate::plan;
use crate::values::{HostConfig, HostStatus, Phase};

/// From the request to an SSH banner. Measured: 1 to 3 s; the rest is for machines busy with something else.
pub(crate) const BOOT_DEADLINE: Duration = Duration::from_secs(30);

/// A kill takes effect at once; what takes long is the kernel's tidying of a network namespace.
const DEATH_DEADLINE: Duration = Duration::from_secs(10);

/// How often what nobody announces is looked at.
const TICK: Duration = Duration::from_millis(25);

/// What of a host runs.
#[derive(Debug, Default)]
pub(crate) struct Running {
    /// The host's pid 1, in the controller's pid namespace.
    pub(crate) init: Option<i32>,
    /// Whether a thread looks after it.
    attended: bool,
    /// Whether it is being destroyed.
    going: bool,
    /// Counts boots, so that what waits for one boot does not see the next.
    boot: u64,
}

impl Control {
    /// Makes a host exist and waits until its SSH answers.
    pub(crate) fn ensure_host(self: &Arc<Control>, config: &HostConfig) -> Result<(), Error> {
        plan::check_host(&config.name)?;
        plan::check_index("host", config.index)?;
        let deadline = Instant::now() + BOOT_DEADLINE;
        let mut state = self.state();
        while state.running.get(&config.name).is_some_and(|running| running.going) {
            state = self.wait(state, deadline, || format!("host {} is being destroyed", config.name))?;
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
                            BOOT_DEADLINE.as_secs()
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
            self.apply_router(&state, &host.site),
            self.apply_lan(&state, &host.site),
            unmake(name, &host),
            self.save(&state),
        ];
        done.into_iter().collect()
    }

    fn make_host(&self, state: &mut State, config: &HostConfig) -> Result<(), Error> {
        let site = state.status.sites.get(&config.site).cloned();
        let site = site.ok_or_else(|| Error::NotFound(format!("site {}", config.site)))?;
        let host = HostStatus {
            site: config.site.clone(),
            index: config.index,
            private: plan::host_private(site.index, config.index),
            public: plan::host_public(site.router, site.index, config.index),
            ssh: plan::host_ssh(site.router, site.index, config.index),
            phase: Phase::Stopped,
            labels: config.labels.clone(),
        };
        let made = network::make_host(&config.name, &site, &host)
            .and_then(|()| image::make_strip())
            .and_then(|()| image::make(config))
            .and_then(|()| {
                state.status.hosts.insert(config.name.clone(), host.clone());
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

    /// Starts a thread that boots a host until it powers off or is destroyed.
    fn boot(self: &Arc<Control>, state: &mut State, name: &str) {
        let (control, host) = (Arc::clone(self), name.to_owned());
        if let Some(running) = state.running.get_mut(name) {
            running.attended = true;
        }
        set_phase(state, name, Phase::Starting);
        thread::spawn(move || {
            while control.begin_boot(&host) {
                match control.attend(&host) {
                    Ok(status) if status.code() == Some(boot::REBOOT) => {}
                    Ok(status) if status.code() == Some(boot::POWEROFF) => break,
                    Ok(status) => {
                        eprintln!("the supervisor of {host} ended: {status}");
                        break;
                    }
                    Err(error) => {
                        eprintln!("{error}");
                        break;
                    }
                }
            }
            let mut state = control.state();
            set_phase(&mut state, &host, Phase::Stopped);
            if let Some(running) = state.running.get_mut(&host) {
                (running.attended, running.init) = (false, None);
            }
            control.saved(&state);
        });
    }

    /// Notes that a boot begins and has somebody watch for its SSH; `false` if the host is on its way out.
    fn begin_boot(self: &Arc<Control>, name: &str) -> bool {
        let mut state = self.state();
        let Some(running) = state.running.get_mut(name).filter(|running| !running.going) else {
            return false;
        };
        running.boot += 1;
        running.init = None;
        let boot = running.boot;
        set_phase(&mut state, name, Phase::Starting);
        if let Some(ssh) = state.status.hosts.get(name).map(|host| host.ssh) {
            let (control, host) = (Arc::clone(self), name.to_owned());
            thread::spawn(move || control.watch(&host, boot, ssh));
        }
        self.saved(&state);
        true
    }

    /// Runs one boot to its end.
    fn attend(&self, name: &str) -> Result<ExitStatus, Error> {
        cgroup::remove_tree(&Path::new(Inside::CGROUP).join(name));
        let mut supervisor = Command::new("/proc/self/exe")
            .arg0("weave-lab")
            .args([HOST, name])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(Error::io(format_args!("starting the supervisor of {name}")))?;
        let mut line = String::new();
        if let Some(stdout) = supervisor.stdout.take() {
            // Nothing to read means that the supervisor failed, which its code tells.
            let _ = BufReader::new(stdout.take(32)).read_line(&mut line);
        }
        if let Some(running) = self.state().running.get_mut(name) {
            running.init = line.trim().parse().ok();
        }
        supervisor.wait().map_err(Error::io(format_args!("waiting for the supervisor of {name}")))
    }

    /// Waits for the first SSH banner of a boot.
    fn watch(&self, name: &str, boot: u64, ssh: SocketAddrV4) {
        loop {
            let answers = has_banner(ssh);
            let mut state = self.state();
            let current = state.running.get(name).is_some_and(|r| r.attended && !r.going && r.boot == boot);
            if !current {
                return;
            }
            // The banner of the boot before cannot be meant: this one has a pid 1 already.
            if answers && state.running.get(name).is_some_and(|running| running.init.is_some()) {
                set_phase(&mut state, name, Phase::Running);
                self.saved(&state);
                return;
            }
            drop(state);
            thread::sleep(TICK);
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

    /// Writes the description after a change that nobody waits to hear about.
    fn saved(&self, state: &State) {
        self.changed.notify_all();
        if let Err(error) = self.save(state) {
            eprintln!("{error}");
        }
    }
}

/// Whether the host is there already, as it is asked for.
fn known(state: &State, config: &HostConfig) -> Result<bool, Error> {
    let HostConfig { name, site, index, .. } = config;
    if let Some(host) = state.status.hosts.get(name) {
        if (&host.site, &host.index) == (site, index) {
            return Ok(true);
        }
        return Err(Error::Conflict(format!(
            "host {name} exists already as number {} of site {}",
            host.index, host.site
        )));
    }
    if state.status.sites.contains_key(name) {
        return Err(Error::Conflict(format!("{name} is already the name of a site")));
    }
    let twin = state.status.hosts.iter().find(|(_, host)| (&host.site, &host.index) == (site, index));
    if let Some((twin, _)) = twin {
        return Err(Error::Conflict(format!("number {index} of site {site} is already that of host {twin}")));
    }
    Ok(false)
}

fn set_phase(state: &mut State, name: &str, phase: Phase) {
    if let Some(host) = state.status.hosts.get_mut(name) {
        host.phase = phase;
    }
}

/// Removes what is outside of the state: cable, disk, cgroup. Goes on after an error and reports the first.
fn unmake(name: &str, host: &HostStatus) -> Result<(), Error> {
    let done = [network::remove_host(name, host), image::remove(name)];
    cgroup::remove_tree(&Path::new(Inside::CGROUP).join(name));
    done.into_iter().collect()
}

fn has_banner(ssh: SocketAddrV4) -> bool {
    let limit = Duration::from_secs(1);
    let Ok(mut stream) = TcpStream::connect_timeout(&SocketAddr::V4(ssh), limit) else { return false };
    let mut banner = [0u8; 4];
    stream.set_read_timeout(Some(limit)).is_ok()
        && stream.read_exact(&mut banner).is_ok()
        && &banner == b"SSH-"
}
