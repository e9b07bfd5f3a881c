//! The command line: parses, sets up logging, runs one command, and turns its outcome into an exit status.
//!
//! stdout is for results, stderr for people. 0 is success, 2 a wrong command line, 1 a failure; `status` and
//! `doctor` add 3.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use crate::fleet::{CloudKind, Topology, valid_name};

mod adapters;
pub(crate) mod completions;
mod context;
mod doctor;
mod down;
mod failure;
mod graph;
mod ground;
pub(crate) mod hints;
mod iam;
mod import;
mod init;
mod logs;
mod members;
mod plan;
mod rotate;
mod ssh;
mod status;
mod up;
mod upgrade;

pub use failure::Failure;
use hints::Hints;
#[cfg(test)]
pub(crate) use rotate::plan as rotation_plan;

/// Names the state directory for all commands of a session.
const STATE: &str = "WEAVE_PROVISION_STATE";

/// Bring up a virtual Ethernet switch across clouds
#[derive(Debug, Parser)]
#[command(name = "weave-provision", disable_help_subcommand = true, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Global {
    /// Play every cloud by network namespaces on this machine
    #[arg(long, global = true)]
    lab: bool,
    /// Description of the fleet [default: weave.toml]
    #[arg(long, global = true, value_name = "PATH")]
    file: Option<PathBuf>,
    /// Name of the fleet [default: that in the file, else weave]
    #[arg(long, global = true, value_parser = fleet_name)]
    name: Option<String>,
    /// Directory of the fleet's keys and state [default: /var/lib/weave-provision/NAME]
    #[arg(long, global = true, value_name = "DIR", env = STATE)]
    state: Option<PathBuf>,
    /// Form of the results
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Short for --output json
    #[arg(long, global = true)]
    json: bool,
    /// Say nothing but results and errors
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Log decisions; twice logs the libraries too
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

impl Global {
    fn json(&self) -> bool {
        self.json || self.output == Output::Json
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a weave.toml that explains itself
    Init,
    /// Create, install and connect what is missing, then prove that every pair of gateways talks
    Up(UpArgs),
    /// Show what `up` would do
    Plan(Wanted),
    /// Show the gateways and how every pair of them talks
    Status,
    /// Change the network CA and all certificates without losing a frame
    RotateKeys(rotate::RotateArgs),
    /// Replace the gateway's program, one host at a time
    Upgrade(upgrade::UpgradeArgs),
    /// Add a host to the file and to the fleet
    Add(AddArgs),
    /// Take a host out of the fleet and of the file
    Remove(RemoveArgs),
    /// Destroy the fleet and forget its keys
    Down(DownArgs),
    /// Run a command on a host, or open a shell there
    Ssh(SshArgs),
    /// Show what the gateways log, all hosts in one order
    Logs(LogsArgs),
    /// Look for what is wrong, or may become so, and say what to do about it
    Doctor(doctor::DoctorArgs),
    /// Draw the sites, the hosts and how every pair of them talks
    Graph(GraphArgs),
    /// Print the least that you must be allowed to do in a cloud
    Iam(IamArgs),
    /// Rebuild the state of a fleet from what clouds and hosts tell, when it was lost
    Import(ImportArgs),
    /// Print a script that completes this command line in a shell
    Completions(CompletionsArgs),
}

#[derive(Debug, Args)]
struct Wanted {
    /// Clouds to stand in: aws, gcp, onprem [default: those of the file, or of the last `up`]
    #[arg(long, value_delimiter = ',', value_name = "CLOUD,…")]
    clouds: Vec<CloudKind>,
    /// How the lab's sites reach each other [default: that of the last `up`, else partial]
    #[arg(long, value_enum)]
    topology: Option<Topology>,
    /// The gateway's program to install [default: weave-gateway beside this program]
    #[arg(long, value_name = "PATH")]
    gateway: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct UpArgs {
    #[command(flatten)]
    wanted: Wanted,
    /// Do not ask before changing anything
    #[arg(long, short)]
    yes: bool,
}

#[derive(Debug, Args)]
struct AddArgs {
    /// A cloud that makes the host (aws, gcp), or the name of a machine of yours
    #[arg(value_name = "CLOUD|NAME")]
    what: String,
    /// Name or address of the machine's SSH
    #[arg(long, value_name = "HOST")]
    address: Option<String>,
    /// Port of its SSH [default: 22]
    #[arg(long)]
    port: Option<u16>,
    /// User to log in as [default: root]
    #[arg(long)]
    user: Option<String>,
    /// File of the private key to log in with, as the file shall name it [default: the keys of ssh-agent]
    #[arg(long, value_name = "PATH")]
    key: Option<String>,
    /// File where its key is known, as the file shall name it
    #[arg(long, value_name = "PATH", conflicts_with = "host_key")]
    known_hosts: Option<String>,
    /// Fingerprint of its key, SHA256:…
    #[arg(long, value_name = "FINGERPRINT")]
    host_key: Option<String>,
    /// Jump host in front of it
    #[arg(long, value_name = "NAME")]
    jump: Option<String>,
    /// Its site [default: onprem]
    #[arg(long, value_name = "NAME")]
    site: Option<String>,
    /// Address at which other sites reach it; may be repeated
    #[arg(long, value_name = "IP")]
    advertise: Vec<std::net::IpAddr>,
    /// The gateway's program to install [default: weave-gateway beside this program]
    #[arg(long, value_name = "PATH")]
    gateway: Option<PathBuf>,
    /// Do not ask before changing anything
    #[arg(long, short)]
    yes: bool,
}

impl AddArgs {
    fn wanted(&self) -> Wanted {
        Wanted { clouds: Vec::new(), topology: None, gateway: self.gateway.clone() }
    }
}

#[derive(Debug, Args)]
struct RemoveArgs {
    /// Name of the host, e.g. aws-2
    host: String,
    /// The gateway's program that the others carry [default: weave-gateway beside this program]
    #[arg(long, value_name = "PATH")]
    gateway: Option<PathBuf>,
    /// Do not ask before changing anything
    #[arg(long, short)]
    yes: bool,
}

impl RemoveArgs {
    fn wanted(&self) -> Wanted {
        Wanted { clouds: Vec::new(), topology: None, gateway: self.gateway.clone() }
    }
}

#[derive(Debug, Args)]
struct DownArgs {
    /// Do not ask before destroying
    #[arg(long, short)]
    yes: bool,
}

#[derive(Debug, Args)]
struct SshArgs {
    /// Name of the host, e.g. aws-1
    host: String,
    /// Command and arguments, passed exactly as given; none opens a shell
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Debug, Args)]
struct LogsArgs {
    /// Hosts to ask [default: all]
    #[arg(value_name = "HOST")]
    hosts: Vec<String>,
    /// Go on with what comes, until interrupted
    #[arg(long, short)]
    follow: bool,
    /// Nothing older than this, e.g. 90s, 10m, 2h, 3d
    #[arg(long, value_name = "AGE", value_parser = crate::logs::age)]
    since: Option<Duration>,
    /// The last lines of each host
    #[arg(long, short = 'n', value_name = "NUMBER", default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    lines: u32,
}

#[derive(Debug, Args)]
struct GraphArgs {
    /// Language of the picture
    #[arg(long, value_enum, default_value_t = GraphFormat::Text)]
    format: GraphFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum GraphFormat {
    Text,
    Mermaid,
    Dot,
}

#[derive(Debug, Args)]
struct IamArgs {
    /// Cloud
    #[arg(value_enum)]
    cloud: IamCloud,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum IamCloud {
    Aws,
    Gcp,
}

impl IamCloud {
    fn as_str(self) -> &'static str {
        match self {
            IamCloud::Aws => "aws",
            IamCloud::Gcp => "gcp",
        }
    }
}

#[derive(Debug, Args)]
struct ImportArgs {
    /// How the lab's sites reach each other, if not partial
    #[arg(long, value_enum)]
    topology: Option<Topology>,
    /// Keep what can be rebuilt when some of it cannot
    #[arg(long)]
    partial: bool,
}

#[derive(Debug, Args)]
struct CompletionsArgs {
    /// Shell to complete in
    #[arg(value_enum)]
    shell: ShellKind,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ShellKind {
    Bash,
    Zsh,
    Fish,
}

/// Runs the program.
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

/// Runs the program with these arguments, the first being its name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help that nobody reads to its end is not a failure.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    start_logging(&cli.global);
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return Failure::new(anyhow::Error::new(error)).report(cli.global.json(), &Hints::default());
        }
    };
    let (json, hints) = (cli.global.json(), Hints::new(&cli.global));
    let outcome = runtime.block_on(dispatch(cli));
    // Reads of a terminal and calls of a cloud may still block threads; nobody waits for them.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => failure.report(json, &hints),
    }
}

/// The help of the program, under no name, and of every verb, at a width of 100.
pub fn help() -> Vec<(String, String)> {
    let mut program = Cli::command().term_width(100);
    // Verbs get what they share with the program.
    program.build();
    let mut texts = vec![(String::new(), program.render_long_help().to_string())];
    for verb in program.get_subcommands() {
        texts.push((verb.get_name().to_owned(), verb.clone().term_width(100).render_long_help().to_string()));
    }
    texts
}

async fn dispatch(cli: Cli) -> Result<u8, Failure> {
    let global = cli.global;
    match cli.command {
        Command::Init => init::run(&global),
        Command::Up(args) => interruptible(up::run(&global, &args), AGAIN).await,
        Command::Plan(wanted) => plan::run(&global, &wanted).await,
        Command::Status => status::run(&global).await,
        Command::RotateKeys(args) => interruptible(rotate::run(&global, &args), AGAIN).await,
        Command::Upgrade(args) => interruptible(upgrade::run(&global, &args), AGAIN).await,
        Command::Add(args) => interruptible(members::add(&global, &args), UP).await,
        Command::Remove(args) => interruptible(members::remove(&global, &args), UP).await,
        Command::Down(args) => interruptible(down::run(&global, &args), AGAIN).await,
        Command::Ssh(args) => ssh::run(&global, &args).await,
        Command::Doctor(args) => doctor::run(&global, &args).await,
        Command::Logs(args) => logs::run(&global, &args).await,
        Command::Graph(args) => graph::run(&global, &args).await,
        Command::Iam(args) => iam::run(&global, &args),
        Command::Import(args) => interruptible(import::run(&global, &args), AGAIN).await,
        Command::Completions(args) => completions::run(&args),
    }
}

/// How most commands are gone on with.
const AGAIN: &str = "the same command again goes on from there";
/// How those are that change the file first, and would change it once more.
const UP: &str =
    "`weave-provision plan` shows what of it the file says; `weave-provision up` goes on from there";

/// Ends a command early when the operator or the system asks, after clearing the terminal; what was begun stands in
/// the journal.
async fn interruptible(
    command: impl Future<Output = Result<u8, Failure>>,
    hint: &'static str,
) -> Result<u8, Failure> {
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)) = signals else { return command.await };
    let number = tokio::select! {
        outcome = command => return outcome,
        _ = interrupt.recv() => 2,
        _ = terminate.recv() => 15,
    };
    let error = anyhow::anyhow!("interrupted; what was begun may be half done");
    Err(Failure::new(error).with_hint(hint).with_code(128 + number))
}

fn start_logging(global: &Global) {
    let filter = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (false, 0) => "warn,russh=error",
        (false, 1) => {
            "warn,weave_provisioner=debug,cloud_lab=debug,cloud_onprem=debug,netlab=debug,russh=error"
        }
        // The SSH library's own debug lines show what travels inside.
        (false, _) => "debug,russh=info",
    };
    // A second call in one process (tests) keeps the first subscriber.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(io::stderr)
        .try_init();
}

fn fleet_name(text: &str) -> Result<String, String> {
    valid_name(text)
        .then(|| text.to_owned())
        .ok_or_else(|| "use 1 to 32 lower-case letters, digits and inner hyphens".to_owned())
}

/// Writes a result. A reader that has gone away (`| head`) is not an error.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(anyhow::Error::new(error).context("while writing the result")))
        }
        _ => Ok(()),
    }
}
