//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use weave_hostnet::Netns;
use weave_model::Cidr;

use crate::config::FileConfig;

/// One virtual Ethernet switch across clouds
#[derive(Debug, Parser)]
#[command(name = "weave", version = crate::VERSION, disable_version_flag = true, max_term_width = 100)]
#[command(
    after_help = "The gateway on this host is asked over HTTP at WEAVE_HTTP_ADDR [default: 127.0.0.1:6784]."
)]
pub(crate) struct Cli {
    /// How to print
    #[arg(long, short, global = true, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the gateway in the background and wait until it answers
    Launch(Launch),
    /// Run the gateway in the foreground, as a service manager wants it
    Daemon(Launch),
    /// Withdraw from the network and stop the gateway; containers keep their interfaces
    Stop,
    /// Stop the gateway and remove everything it made on this host
    Reset(Reset),
    /// Show the state of the gateway
    Status {
        /// targets, connections, peers or paths; without it a summary
        section: Option<String>,
    },
    /// Show everything the gateway knows, as JSON
    Report {
        /// Go template to render instead, such as '{{len .Router.Targets}}'
        #[arg(long, short, value_name = "TEMPLATE")]
        format: Option<String>,
    },
    /// Connect to further peers
    Connect {
        /// Forget the targets so far
        #[arg(long)]
        replace: bool,
        /// IP or name, with a port if it is not ours
        #[arg(value_name = "PEER", required_unless_present = "replace")]
        peers: Vec<String>,
    },
    /// Connect no more to peers
    Forget {
        /// As they were given to `connect`
        #[arg(value_name = "PEER", required = true)]
        peers: Vec<String>,
    },
    /// Forget peers that are dead, at once instead of after half an hour
    Rmpeer {
        /// Name or nickname of a peer that will not come back
        #[arg(value_name = "PEER", required = true)]
        peers: Vec<String>,
    },
    /// Put a network namespace on the switch
    Attach(Place),
    /// Take a network namespace, or addresses of it, off the switch
    Detach(Place),
    /// Give the host an address on the switch
    Expose {
        /// Address with prefix length
        #[arg(value_name = "ADDR/LEN", required = true)]
        addresses: Vec<Cidr>,
    },
    /// Take addresses from the host that `expose` gave it
    Hide {
        /// Address with prefix length
        #[arg(value_name = "ADDR/LEN", required = true)]
        addresses: Vec<Cidr>,
    },
    /// Send Ethernet frames to the gateway of a peer and wait for their echoes
    Ping {
        /// Name or nickname of a peer, or `all`
        #[arg(value_name = "PEER")]
        peer: String,
        /// Frames to each peer
        #[arg(long, short, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
        count: u32,
    },
    /// Show the version of this program and of the running gateway
    Version,
}

#[derive(Debug, Args)]
pub(crate) struct Launch {
    /// Configuration file (TOML); flags and environment take precedence
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) flags: FileConfig,
}

#[derive(Debug, Args)]
pub(crate) struct Reset {
    /// Go on when the gateway cannot be stopped
    #[arg(long)]
    pub(crate) force: bool,
    /// Name of the bridge to remove
    #[arg(long, default_value = "weave", value_name = "NAME")]
    pub(crate) weave_bridge: String,
    /// Folder of the gateway's state to remove
    #[arg(long, env = "WEAVE_STATE", default_value = "/var/lib/weave", value_name = "DIR")]
    pub(crate) state: PathBuf,
}

/// Addresses and whose they are.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// Addresses with prefix length, then the target: netns:NAME, netns:/PATH or pid:N
    #[arg(value_name = "ADDR/LEN… TARGET", required = true, num_args = 1..)]
    words: Vec<String>,
}

impl Place {
    /// Tells the addresses from the target, which stands last.
    pub(crate) fn parse(&self) -> Result<(Vec<Cidr>, Netns), clap::Error> {
        let usage =
            |text: String| clap::Error::raw(clap::error::ErrorKind::ValueValidation, format!("{text}\n"));
        let Some((target, addresses)) = self.words.split_last() else {
            return Err(usage("no target given: netns:NAME, netns:/PATH or pid:N".to_owned()));
        };
        if target.parse::<Cidr>().is_ok() {
            let text =
                format!("no target stands behind the address '{target}': netns:NAME, netns:/PATH or pid:N");
            return Err(usage(text));
        }
        let target = target.parse().map_err(|e: weave_hostnet::NetnsParseError| usage(e.to_string()))?;
        let addresses =
            addresses.iter().map(|a| a.parse().map_err(|e: weave_model::AddressError| usage(e.to_string())));
        Ok((addresses.collect::<Result<_, _>>()?, target))
    }
}
