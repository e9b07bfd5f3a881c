//! Attending to a host: a thread that boots it as often as it likes, and one per boot that waits for its SSH.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::boot;
use crate::cgroup;
use crate::control::{Control, State};
use crate::error::Error;
use crate::hosts::{DEATH_DEADLINE, TICK};
use crate::keeper::{HOST, Inside};
use crate::values::Phase;

impl Control {
    /// Starts a thread that boots a host until it powers off or is destroyed.
    pub(crate) fn boot(self: &Arc<Control>, state: &mut State, name: &str) {
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
        let ended = supervisor.wait();
        bury(name)?;
        ended.map_err(Error::io(format_args!("waiting for the supervisor of {name}")))
    }

    /// Waits for the first SSH banner of a boot.
    fn watch(&self, name: &str, boot: u64, ssh: SocketAddrV4) {
        let mut pause = TICK;
        loop {
            let answers = has_banner(ssh);
            let mut state = self.state();
            let current = state.running.get(name).is_some_and(|r| r.attended && !r.going && r.boot == boot);
            if !current {
                return;
            }
            // Who hears that a host runs may enter it, for which its pid 1 must be known.
            if answers && state.running.get(name).is_some_and(|running| running.init.is_some()) {
                set_phase(&mut state, name, Phase::Running);
                self.saved(&state);
                return;
            }
            drop(state);
            thread::sleep(pause);
            // A host may live for long without SSH; measured boots are over before this has grown to 0.3 s.
            pause = (pause * 5 / 4).min(Duration::from_secs(1));
        }
    }

    /// Writes the description after a change that nobody waits to hear about.
    fn saved(&self, state: &State) {
        self.changed.notify_all();
        if let Err(error) = self.save(state) {
            eprintln!("{error}");
        }
    }
}

fn set_phase(state: &mut State, name: &str, phase: Phase) {
    if let Some(host) = state.status.hosts.get_mut(name) {
        host.phase = phase;
    }
}

/// Waits until nothing of a boot runs any more: a supervisor that is killed is gone before its host is, whose SSH would
/// be taken for that of the next boot.
fn bury(name: &str) -> Result<(), Error> {
    let (cgroup, deadline) = (Path::new(Inside::CGROUP).join(name), Instant::now() + DEATH_DEADLINE);
    loop {
        // Absent before Linux 5.14, where the supervisor's death has to do.
        let _ = std::fs::write(cgroup.join("cgroup.kill"), "1");
        cgroup::remove_tree(&cgroup);
        if !cgroup.exists() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Error::Timeout(format!("what ran on host {name} does not die")));
        }
        thread::sleep(TICK);
    }
}

fn has_banner(ssh: SocketAddrV4) -> bool {
    let limit = Duration::from_secs(1);
    let Ok(mut stream) = TcpStream::connect_timeout(&SocketAddr::V4(ssh), limit) else { return false };
    let mut banner = [0u8; 4];
    stream.set_read_timeout(Some(limit)).is_ok()
        && stream.read_exact(&mut banner).is_ok()
        && &banner == b"SSH-"
}
