//! The API: a handle on a lab that some keeper holds.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::cgroup::{self, Cgroup};
use crate::enter::{self, Door};
use crate::error::Error;
use crate::folder::Folder;
use crate::keeper::KEEPER;
use crate::network;
use crate::order::{InstanceConfig, Order};
use crate::protocol::{self, Reply, Request};
use crate::range::Range;
use crate::remains;
use crate::requirements;
use crate::values::{Cable, Config, HostConfig, HostStatus, Nat, Place, Status, Topology};

/// What the keeper does without booting anything takes well under a second.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// Namespaces of a lab are gone 0.2 s after the kill; the rest is for busy machines.
const DEATH_DEADLINE: Duration = Duration::from_secs(10);

/// How often what nobody announces is looked at.
const TICK: Duration = Duration::from_millis(20);

/// A lab that was up when this was made.
#[derive(Debug, Clone)]
pub struct Lab {
    folder: Folder,
}

impl Lab {
    /// Finds a lab that is up.
    pub fn open(name: &str) -> Result<Option<Lab>, Error> {
        let folder = Folder::of(name)?;
        requirements::check_folder(&folder)?;
        let deadline = Instant::now() + ANSWER_DEADLINE;
        while alive(&folder) {
            match ask(&folder, &Request::Status, ANSWER_DEADLINE) {
                Ok(_) => return Ok(Some(Lab { folder })),
                // Its processes die one after the other.
                Err(_) if Instant::now() < deadline => thread::sleep(TICK),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Makes a lab be up: finds it, or removes what is left of it and starts a keeper. Sites and hosts that are there
    /// stay as they are.
    pub fn ensure(config: &Config) -> Result<Lab, Error> {
        let folder = Folder::of(&config.name)?;
        if let Some(lab) = Lab::open(&config.name)? {
            return lab.with_topology(config.topology);
        }
        requirements::check()?;
        let lock = folder.lock()?;
        // Somebody else may have been faster.
        if let Some(lab) = Lab::open(&config.name)? {
            return lab.with_topology(config.topology);
        }
        tear_down(&folder)?;
        folder.create()?;
        match start_keeper(&folder, config, &lock) {
            Ok(()) => Ok(Lab { folder }),
            Err(error) => {
                // Nothing of a lab that never was should stay; what failed first is worth more than what fails now.
                let _ = tear_down(&folder);
                folder.remove_lock(lock);
                Err(error)
            }
        }
    }

    /// The lab's name.
    pub fn name(&self) -> &str {
        self.folder.name()
    }

    /// The lab's folder on disk, readable by root alone; `down` removes it with all that was put there.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Tells all there is.
    pub fn status(&self) -> Result<Status, Error> {
        self.change(&Request::Status, ANSWER_DEADLINE)
    }

    /// Makes a site exist: a router on the internet with a LAN behind it.
    pub fn ensure_site(&self, name: &str, index: u8) -> Result<(), Error> {
        self.change(&Request::EnsureSite { name: name.to_owned(), index, lan: None }, ANSWER_DEADLINE)
            .map(drop)
    }

    /// Makes a site exist whose LAN has these addresses.
    pub fn ensure_site_with(&self, name: &str, index: u8, lan: Range) -> Result<(), Error> {
        let request = Request::EnsureSite { name: name.to_owned(), index, lan: Some(lan) };
        self.change(&request, ANSWER_DEADLINE).map(drop)
    }

    /// Removes a site, whose hosts must be gone, if it is there. The lab stays up without sites; see
    /// [`Lab::remove_site_or_lab`].
    pub fn remove_site(&self, name: &str) -> Result<(), Error> {
        self.change(&Request::RemoveSite { name: name.to_owned() }, ANSWER_DEADLINE).map(drop)
    }

    /// Removes a site and, if it was the last, the lab.
    pub fn remove_site_or_lab(&self, name: &str) -> Result<(), Error> {
        let request = Request::RemoveSite { name: name.to_owned() };
        let lock = self.folder.lock()?;
        let status = self.change(&request, ANSWER_DEADLINE)?;
        if !status.sites.is_empty() {
            return Ok(());
        }
        tear_down(&self.folder)?;
        self.folder.remove_lock(lock);
        Ok(())
    }

    /// Makes a host exist and waits until its SSH answers.
    pub fn ensure_host(&self, host: &HostConfig) -> Result<HostStatus, Error> {
        self.order(Order::from(host))
    }

    /// Makes a host exist that plays an instance of a cloud, and waits until its SSH answers: cloud-init has given it
    /// keys by then. One that was switched off boots again, also at another public address.
    pub fn ensure_instance(&self, instance: &InstanceConfig) -> Result<HostStatus, Error> {
        self.order(Order::from(instance))
    }

    /// Removes a host and all that belongs to it, if it is there.
    pub fn destroy_host(&self, name: &str) -> Result<(), Error> {
        self.change(&Request::DestroyHost { name: name.to_owned() }, DEATH_DEADLINE + ANSWER_DEADLINE)
            .map(drop)
    }

    /// Lets a masquerading router treat UDP in another way from here on. It forgets all its connections.
    pub fn set_nat(&self, site: &str, nat: Nat) -> Result<(), Error> {
        self.change(&Request::SetNat { site: site.to_owned(), nat }, ANSWER_DEADLINE).map(drop)
    }

    /// Lets the packets of a cable vanish from here on.
    pub fn cut(&self, cable: Cable) -> Result<(), Error> {
        self.change(&Request::Cut(cable), ANSWER_DEADLINE).map(drop)
    }

    /// Undoes [`Lab::cut`].
    pub fn heal(&self, cable: Cable) -> Result<(), Error> {
        self.change(&Request::Heal(cable), ANSWER_DEADLINE).map(drop)
    }

    /// Prepares a program to run at a place, with the environment of the place. It ends with the lab.
    pub fn command(&self, place: &Place, program: &str) -> Result<Command, Error> {
        let door = self.door(place)?;
        enter::command(door, matches!(place, Place::Host(_)), program)
    }

    /// Runs a program at a place to its end.
    pub fn exec(&self, place: &Place, argv: &[&str]) -> Result<Output, Error> {
        let Some((program, args)) = argv.split_first() else {
            return Err(Error::Invalid("nothing to run was named".to_owned()));
        };
        let mut command = self.command(place, program)?;
        command
            .args(args)
            .stdin(Stdio::null())
            .output()
            .map_err(Error::io(format_args!("running {program} at {place}")))
    }

    /// Runs a function in the network of a place, on a thread of its own. Sockets made there live there for good,
    /// whoever uses them; all else is the caller's: files, processes, the clock.
    pub fn within<T: Send>(&self, place: &Place, run: impl FnOnce() -> T + Send) -> Result<T, Error> {
        network::inside_of(&self.door(place)?.network, run)
    }

    /// Opens a TCP connection from a place.
    pub fn connect(&self, place: &Place, to: SocketAddr, limit: Duration) -> Result<TcpStream, Error> {
        self.within(place, || TcpStream::connect_timeout(&to, limit))?.map_err(|error| {
            let text = format!("connecting from {place} to {to}: {error}");
            if error.kind() == std::io::ErrorKind::TimedOut {
                Error::Timeout(text)
            } else {
                Error::Failed(text)
            }
        })
    }

    fn order(&self, order: Order) -> Result<HostStatus, Error> {
        let (name, limit) = (order.name.clone(), order.deadline() + ANSWER_DEADLINE);
        let status = self.change(&Request::EnsureHost(Box::new(order)), limit)?;
        status.hosts.get(&name).cloned().ok_or_else(|| Error::NotFound(format!("host {name}")))
    }

    fn with_topology(self, topology: Topology) -> Result<Lab, Error> {
        if self.status()?.topology != topology {
            self.change(&Request::SetTopology(topology), ANSWER_DEADLINE)?;
        }
        Ok(self)
    }

    fn change(&self, request: &Request, limit: Duration) -> Result<Status, Error> {
        match ask(&self.folder, request, limit)? {
            (Reply::Status(status), _) => Ok(*status),
            (Reply::Door { .. }, _) => Err(Error::Failed("the keeper answered another question".to_owned())),
        }
    }

    fn door(&self, place: &Place) -> Result<Door, Error> {
        match ask(&self.folder, &Request::Enter { place: place.to_string() }, ANSWER_DEADLINE)? {
            (Reply::Door { cgroup }, namespaces) => Door::new(self.name(), &cgroup, namespaces),
            (Reply::Status(_), _) => Err(Error::Failed("the keeper answered another question".to_owned())),
        }
    }
}

/// Ends a lab, or removes what a crash left of it. Asked twice, it succeeds.
pub fn down(name: &str) -> Result<(), Error> {
    let folder = Folder::of(name)?;
    requirements::check_folder(&folder)?;
    let mut traces = vec![folder.path().to_owned(), folder.lock_path()];
    traces.extend(Cgroup::of(name).map(|cgroup| cgroup.path().to_owned()));
    if !traces.iter().any(|path| path.exists()) {
        return Ok(());
    }
    let lock = folder.lock()?;
    tear_down(&folder)?;
    folder.remove_lock(lock);
    Ok(())
}

/// Kills and removes everything of a lab. Needs nothing from its keeper. The caller holds the lock.
fn tear_down(folder: &Folder) -> Result<(), Error> {
    let deadline = Instant::now() + DEATH_DEADLINE;
    loop {
        let cgroup = Cgroup::of(folder.name());
        if let Some(cgroup) = &cgroup {
            cgroup.kill();
        }
        let keeper = folder.keeper().filter(|keeper| keeper.is_alive());
        if let Some(keeper) = keeper {
            // SAFETY: sends a signal; the start time says that the process is the keeper.
            unsafe { libc::kill(keeper.pid, libc::SIGKILL) };
        }
        let gone = cgroup.is_none_or(|cgroup| cgroup.remove());
        // A killed pid 1 has left its cgroup and still waits for its namespace to empty.
        if gone && keeper.is_none() && remains::processes(folder.name()).is_empty() {
            break;
        }
        if Instant::now() >= deadline {
            return Err(Error::Timeout(format!(
                "the processes of lab {} do not die; hint: look for them in the state D",
                folder.name()
            )));
        }
        thread::sleep(TICK);
    }
    cgroup::release_own_mount(folder.name())?;
    folder.remove()
}

fn alive(folder: &Folder) -> bool {
    folder.keeper().is_some_and(|keeper| keeper.is_alive())
}

fn ask(folder: &Folder, request: &Request, limit: Duration) -> Result<(Reply, Vec<File>), Error> {
    let missing = |_| Error::NotFound(format!("lab {}", folder.name()));
    let stream = UnixStream::connect(folder.file("control")).map_err(missing)?;
    protocol::send(&stream, request, &[])?;
    let (reply, fds) = protocol::receive::<Result<Reply, Error>>(&stream, limit)?;
    Ok((reply?, fds.into_iter().map(File::from).collect()))
}

/// Starts a keeper and waits until it answers. It inherits the lock and frees it once it is registered, so that killing
/// this command leaves nothing that `down` cannot find.
fn start_keeper(folder: &Folder, config: &Config, lock: &File) -> Result<(), Error> {
    let helper = match &config.helper {
        Some(helper) => helper.clone(),
        None => PathBuf::from("/proc/self/exe"),
    };
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(folder.file("log"));
    let mut log = log.map_err(Error::io("opening the lab's log"))?;
    let complaints = log.try_clone().map_err(Error::io("opening the lab's log"))?;
    let fd = lock.as_raw_fd();
    let mut command = Command::new(&helper);
    command
        .arg0("weave-lab")
        .args([KEEPER, folder.name(), &config.topology.to_string(), &fd.to_string()])
        .env_clear()
        .env("PATH", crate::boot::PATH)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(complaints);
    // SAFETY: one system call, on a descriptor that is open in this process.
    unsafe {
        command.pre_exec(move || match libc::fcntl(fd, libc::F_SETFD, 0) {
            -1 => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
    let status = command.status().map_err(Error::io(format_args!("starting {}", helper.display())))?;
    let answer = if status.success() {
        ask(folder, &Request::Status, ANSWER_DEADLINE).map(drop)
    } else {
        Err(Error::Failed(format!("{} as the keeper ended: {status}", helper.display())))
    };
    answer.map_err(|error| {
        let _ = writeln!(log, "{error}");
        Error::Failed(format!("the lab's keeper did not start: {}", folder.log_tail()))
    })
}
