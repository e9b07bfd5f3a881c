//! What a gateway is told: a file, the environment and flags, checked as a whole before anything happens.
//!
//! Precedence: file < environment < flags. The environment variables stand at the flags in `cli/args.rs`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use figment::Figment;
use figment::providers::{Format as _, Serialized, Toml};
use serde::{Deserialize, Deserializer, Serialize};
use weave_model::{NetworkName, PeerName, Target};

/// A setting as the file or a flag says it; absent is "not said".
#[derive(Clone, Debug, Default, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileConfig {
    /// Name of the network; gateways of other networks are strangers [default: weave]
    #[arg(long, env = "WEAVE_NETWORK", value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) network: Option<String>,
    /// Lasting name of this peer, like a MAC address [default: follows from its key]
    #[arg(long, value_name = "MAC")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// Name of this peer for people [default: the host name]
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nickname: Option<String>,
    /// The site this peer stands in, for people
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) site: Option<String>,
    /// UDP port of links and data [default: 6783]
    #[arg(long, env = "WEAVE_PORT", value_name = "PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<u16>,
    /// Password that all gateways of the network share; without one everybody may join
    #[arg(long, env = "WEAVE_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) password: Option<Password>,
    /// File with key, certificates and pre-shared key of a provisioned gateway; instead of a password
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) identity: Option<PathBuf>,
    /// Address at which others reach this gateway; may be repeated [default: the host's addresses]
    #[arg(long, value_name = "IP[:PORT]")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) advertise: Option<Vec<String>>,
    /// Most links this gateway keeps, 0 for no limit [default: 200]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) conn_limit: Option<usize>,
    /// Dial only the peers given, not those learned of from others
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) no_discovery: Option<bool>,
    /// Largest packet of the overlay in bytes [default: 1376, less on an underlay below 1500]
    #[arg(long, env = "WEAVE_MTU", value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mtu: Option<u16>,
    /// Name of the bridge [default: weave]
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) weave_bridge: Option<String>,
    /// Where the HTTP API listens [default: 127.0.0.1:6784]
    #[arg(long = "http-addr", env = "WEAVE_HTTP_ADDR", value_name = "IP:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) http: Option<String>,
    /// Folder for what outlives a restart [default: /var/lib/weave]
    #[arg(long, env = "WEAVE_STATE", value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<PathBuf>,
    /// error, warn, info, debug or trace [default: info]
    #[arg(long, env = "WEAVE_LOG", value_name = "LEVEL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log_level: Option<String>,
    /// Peers to connect to: IP or name, with a port if it is not ours
    #[arg(value_name = "PEER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) peers: Option<Vec<String>>,
}

/// A password; shows itself as `***`.
#[derive(Clone, Serialize, PartialEq, Eq)]
#[serde(transparent)]
pub(crate) struct Password(String);

impl<'de> Deserialize<'de> for Password {
    /// By hand: the error that serde writes for a value of another type shows the value.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Password, D::Error> {
        match Secret::deserialize(deserializer) {
            Ok(Secret::Text(text)) => Ok(Password(text)),
            Ok(Secret::Other(_)) | Err(_) => {
                Err(serde::de::Error::custom("a password is text: put it between quotation marks"))
            }
        }
    }
}

/// What stands where a password belongs.
#[derive(Deserialize)]
#[serde(untagged)]
enum Secret {
    Text(String),
    Other(serde::de::IgnoredAny),
}

impl Password {
    /// The text, for the one place that derives the network from it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Password {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Password, Self::Err> {
        Ok(Password(text.to_owned()))
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// How the gateway comes to be a member of its network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// By a file that the provisioner wrote.
    Provisioned(PathBuf),
    /// By knowing the password.
    Password(Password),
    /// By knowing the network's name.
    Open,
}

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) network: NetworkName,
    pub(crate) name: Option<PeerName>,
    pub(crate) nickname: String,
    pub(crate) site: String,
    pub(crate) port: u16,
    pub(crate) admission: Admission,
    pub(crate) advertise: Vec<SocketAddr>,
    pub(crate) connection_limit: usize,
    pub(crate) discovery: bool,
    pub(crate) mtu: Option<u16>,
    pub(crate) bridge: String,
    pub(crate) http: SocketAddr,
    pub(crate) state: PathBuf,
    pub(crate) log_level: String,
    pub(crate) targets: Vec<Target>,
}

/// Every IPv6 packet of 1,280 bytes fits (RFC 8200 §5); jumbo frames up to what a session carries in one packet.
const MTU_RANGE: std::ops::RangeInclusive<u16> = 1280..=8_900;

impl Config {
    /// Puts file and flags together and checks the result; names every mistake.
    pub(crate) fn load(file: Option<&Path>, flags: &FileConfig) -> anyhow::Result<Config> {
        let mut figment = Figment::new();
        if let Some(file) = file {
            if !file.exists() {
                bail!("the configuration file {} does not exist", file.display());
            }
            figment = figment.merge(Toml::file_exact(file));
        }
        let merged: FileConfig = figment
            .merge(Serialized::defaults(flags))
            .extract()
            .map_err(|error| anyhow::anyhow!("{}", without_excerpt(&error.to_string())))
            .context("the configuration cannot be used")?;
        Config::check(merged).map_err(|mistakes| {
            anyhow::anyhow!("{}", mistakes.join("\n")).context(match file {
                Some(file) => format!("the configuration ({} and flags) cannot be used", file.display()),
                None => "the flags cannot be used".to_owned(),
            })
        })
    }

    fn check(file: FileConfig) -> Result<Config, Vec<String>> {
        let mut mistakes = Vec::new();
        let port = file.port.unwrap_or(6783);
        if port == 0 {
            mistakes.push("port: 0 is not a port; use 1 to 65535".to_owned());
        }
        let network = parsed("network", file.network.as_deref(), &mut mistakes).unwrap_or_default();
        let name = parsed("name", file.name.as_deref(), &mut mistakes);
        let http = file.http.as_deref().unwrap_or(weave_api::Client::DEFAULT_ADDRESS);
        let http = parsed("http", Some(http), &mut mistakes);
        let texts = |texts: Option<Vec<String>>| texts.unwrap_or_default();
        let targets: Vec<Target> =
            texts(file.peers).iter().filter_map(|text| parsed("peers", Some(text), &mut mistakes)).collect();
        let advertised: Vec<Target> = texts(file.advertise)
            .iter()
            .filter_map(|text| parsed("advertise", Some(text), &mut mistakes))
            .collect();
        let address = |target: &Target| {
            target.socket_address(port).ok_or_else(|| format!("advertise: '{target}' is not an IP address"))
        };
        let advertise =
            advertised.iter().map(address).filter_map(|a| a.map_err(|e| mistakes.push(e)).ok()).collect();
        if let Some(mtu) = file.mtu.filter(|mtu| !MTU_RANGE.contains(mtu)) {
            mistakes.push(format!("mtu: {mtu} is not from {} to {}", MTU_RANGE.start(), MTU_RANGE.end()));
        }
        let admission = match (file.identity, file.password.filter(|p| !p.reveal().is_empty())) {
            (Some(_), Some(_)) => {
                mistakes.push(
                    "identity and password exclude each other; a provisioned gateway has no password"
                        .to_owned(),
                );
                Admission::Open
            }
            (Some(identity), None) => Admission::Provisioned(absolute(identity)),
            (None, Some(password)) => Admission::Password(password),
            (None, None) => Admission::Open,
        };
        let log_level = file.log_level.unwrap_or_else(|| "info".to_owned());
        if !["error", "warn", "warning", "info", "debug", "trace"].contains(&log_level.as_str()) {
            mistakes.push(format!("log_level: '{log_level}' is none of error, warn, info, debug, trace"));
        }
        let host_name = || nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        match (http, mistakes.is_empty()) {
            (Some(http), true) => Ok(Config {
                network,
                name,
                nickname: file.nickname.or_else(host_name).unwrap_or_else(|| "gateway".to_owned()),
                site: file.site.unwrap_or_default(),
                port,
                admission,
                advertise,
                connection_limit: file.conn_limit.unwrap_or(200),
                discovery: !file.no_discovery.unwrap_or(false),
                mtu: file.mtu,
                bridge: file.weave_bridge.unwrap_or_else(|| "weave".to_owned()),
                http,
                state: absolute(file.state.unwrap_or_else(|| PathBuf::from("/var/lib/weave"))),
                log_level: log_level.replace("warning", "warn"),
                targets,
            }),
            _ => Err(mistakes),
        }
    }
}

/// An error of the parser without the line of the file that it shows: that may be the password's. Its number stays.
fn without_excerpt(error: &str) -> String {
    let is_excerpt =
        |line: &&str| line.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit()).starts_with('|');
    error.lines().filter(|line| !is_excerpt(line)).collect::<Vec<_>>().join("\n")
}

/// The daemon leaves the folder it was started in.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

fn parsed<T>(field: &str, text: Option<&str>, mistakes: &mut Vec<String>) -> Option<T>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    let parsed = text?.parse();
    parsed.map_err(|error| mistakes.push(format!("{field}: {error}"))).ok()
}
