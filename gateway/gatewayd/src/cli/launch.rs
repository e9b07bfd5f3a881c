//! Starting and stopping the gateway.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;
use weave_api::{Client, ClientError, Report};
use weave_hostnet::Host;

use super::args::{Launch, Reset};
use super::{Hint, PATIENCE, client, host};
use crate::config::{Admission, Config};
use crate::{bridging, node, persist};

/// Deriving the network's key from a password takes a second on a slow machine.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// What stopping may take: withdrawing from the network, then ending threads.
const STOPPED_WITHIN: Duration = Duration::from_secs(15);
/// A gateway that is there answers at once; something else may hold its port and never answer.
const PROBE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(50);

/// `weave daemon`: runs until a signal or `weave stop` ends it.
pub(super) fn daemon(launch: &Launch) -> anyhow::Result<ExitCode> {
    let config = Config::load(launch.config.as_deref(), &launch.flags)?;
    need_root("the gateway")?;
    // Whatever folder it was started in can be unmounted.
    std::env::set_current_dir("/").context("while changing to /")?;
    let filter = EnvFilter::try_new(log_filter(&config.log_level)).context("log_level")?;
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(terminal);
    // The journal notes the time itself.
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        log.without_time().init()
    } else {
        log.init()
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(node::run(config));
    runtime.shutdown_timeout(Duration::from_secs(2));
    result.map(|()| ExitCode::SUCCESS)
}

/// Libraries warn of what is normal here: sessions that expire, networks that cannot be reached for a while.
fn log_filter(level: &str) -> String {
    match level {
        "debug" | "trace" => level.to_owned(),
        _ => format!("{level},boringtun=off,quinn_udp=off"),
    }
}

/// `weave launch`: checks the flags, starts the daemon in the background and waits until it answers.
pub(super) fn launch(launch: &Launch) -> anyhow::Result<ExitCode> {
    let config = Config::load(launch.config.as_deref(), &launch.flags)?;
    need_root("launching the gateway")?;
    let gateway = Client::new(&config.http.to_string(), PROBE);
    if let Ok(report) = gateway.value::<Report>("/report") {
        return Err(Hint::error(
            format!("a gateway runs already: {}({})", report.router.name, report.router.nick_name),
            "stop it first with `weave stop`",
        ));
    }
    let log_path = log_path(&config.state);
    if let Some(folder) = log_path.parent() {
        // It may become the state folder, which keeps keys.
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.with_context(|| format!("while making {}", folder.display()))?;
    }
    let mut log = OpenOptions::new()
        .append(true)
        .read(true)
        .create(true)
        .mode(0o600)
        .open(&log_path)
        .with_context(|| format!("while opening the log {}", log_path.display()))?;
    let start = log.seek(SeekFrom::End(0))?;
    let mut command = Command::new(std::env::current_exe().context("while looking for this program")?);
    command.args(daemon_words(std::env::args_os().skip(1)));
    // Everybody may read a process's words, only root its environment. Empty stands above a password of the file.
    let password = if let Admission::Password(password) = &config.admission { password.reveal() } else { "" };
    command.env("WEAVE_PASSWORD", password);
    // Of a service manager that runs this command, which is not the daemon's.
    for name in ["NOTIFY_SOCKET", "INVOCATION_ID", "JOURNAL_STREAM"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
    let detach = || {
        // What the shell has open, such as a lock or a pipe, is not the daemon's. Kernels before 5.11 refuse.
        // SAFETY: the call takes three numbers and changes flags of the child's own descriptors.
        unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
        nix::unistd::setsid().map(drop).map_err(Into::into)
    };
    // SAFETY: both calls are async-signal-safe and the child shares nothing they change.
    unsafe { command.pre_exec(detach) };
    let mut child = command.spawn().context("while starting the gateway")?;
    wait_ready(&mut child, &gateway).map_err(|error| {
        let mut said = String::new();
        let read = log.seek(SeekFrom::Start(start)).and_then(|_| log.read_to_string(&mut said));
        match read.ok().and_then(|_| said.split_once("error: ").map(|(_, e)| e.trim().to_owned())) {
            // The daemon's own words, with its causes and its hint.
            Some(reason) => Said(reason).into(),
            None => error.context(format!("see {}", log_path.display())),
        }
    })?;
    if config.admission == Admission::Open {
        let port = config.port;
        eprintln!(
            "warning: no password was given: everybody who reaches UDP port {port} may join the network"
        );
    }
    println!("{}", child.id());
    Ok(ExitCode::SUCCESS)
}

/// The words of `launch` for the daemon: another verb, and no password. Flags of the command line as a whole may stand
/// before the verb.
pub(crate) fn daemon_words(mut words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut kept: Vec<OsString> = words.by_ref().take_while(|word| word != "launch").collect();
    kept.push("daemon".into());
    while let Some(word) = words.next() {
        match word.as_encoded_bytes() {
            b"--password" => drop(words.next()),
            flag if flag.starts_with(b"--password=") => {}
            _ => kept.push(word),
        }
    }
    kept
}

/// The log of gateways in the background: where logs belong, or beside a state that is kept elsewhere.
fn log_path(state: &Path) -> PathBuf {
    let folder = if state == Path::new("/var/lib/weave") { Path::new("/var/log") } else { state };
    folder.join("weave-gateway.log")
}

/// What the daemon said before it ended.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Said(String);

fn wait_ready(child: &mut Child, gateway: &Client) -> anyhow::Result<()> {
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        // Something else may answer where the API belongs.
        if gateway.value::<Report>("/report").is_ok_and(|report| report.process.pid == child.id()) {
            return Ok(());
        }
        if let Some(status) = child.try_wait()? {
            anyhow::bail!("the gateway ended at once ({status})");
        }
        if Instant::now() >= deadline {
            let _ = child.kill();
            let _ = child.wait();
            anyhow::bail!("the gateway does not answer within {} s", READY_WITHIN.as_secs());
        }
        std::thread::sleep(POLL);
    }
}

/// `weave stop`.
pub(super) fn stop() -> anyhow::Result<ExitCode> {
    let report: Report = client(PATIENCE).value("/report")?;
    if report.process.supervised {
        // sd_booted(3): the folder is there where systemd is the init.
        let (program, arguments, hint) = if Path::new("/run/systemd/system").is_dir() {
            (
                "systemctl",
                ["stop", "weave-gateway.service"].as_slice(),
                "see `systemctl status weave-gateway`",
            )
        } else {
            ("/etc/init.d/weave-gateway", ["stop"].as_slice(), "see /var/log/weave-gateway.log")
        };
        let status = Command::new(program).args(arguments).status();
        let stopped = status.with_context(|| format!("while running {program}"))?.success();
        return if stopped {
            Ok(ExitCode::SUCCESS)
        } else {
            Err(Hint::error("the service manager would start the gateway again, and did not stop it", hint))
        };
    }
    client(PATIENCE).delete("/process")?;
    let deadline = Instant::now() + STOPPED_WITHIN;
    while runs(report.process.pid) {
        if Instant::now() >= deadline {
            anyhow::bail!("the gateway (process {}) does not end", report.process.pid);
        }
        std::thread::sleep(POLL);
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether a process has not ended; one that nobody has waited for yet has (proc_pid_stat(5)).
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z')))
}

/// `weave reset`: the host is as it was before the first launch.
pub(super) fn reset(reset: &Reset) -> anyhow::Result<ExitCode> {
    need_root("resetting")?;
    let stopped = match client(PATIENCE).value::<Report>("/report") {
        Ok(_) => stop().map(drop),
        Err(ClientError::NotRunning { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    };
    if let Err(error) = stopped {
        if !reset.force {
            return Err(error);
        }
        eprintln!("warning: the gateway could not be stopped: {error}");
    }
    let failures: Vec<String> = host::runtime()?.block_on(async {
        let host = Host::new()?;
        let mut failures = Vec::new();
        if let Err(errors) = host.remove_bridge(&reset.weave_bridge).await {
            failures.extend(errors.iter().map(ToString::to_string));
        }
        if let Err(error) = host.remove_interface(bridging::TAP).await {
            failures.push(error.to_string());
        }
        anyhow::Ok(failures)
    })?;
    for file in persist::FILES {
        let _ = std::fs::remove_file(reset.state.join(file));
    }
    let _ = std::fs::remove_file(log_path(&reset.state));
    // Only when nothing of somebody else's is in it.
    let _ = std::fs::remove_dir(&reset.state);
    if failures.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(anyhow::anyhow!("{}", failures.join("\n"))) }
}

fn need_root(what: &str) -> anyhow::Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Hint::error(
        format!("{what} needs root: it makes interfaces and opens /dev/net/tun"),
        "run it with sudo",
    ))
}
