//! What a gateway host carries: the wanted files, the facts a host reports about them, and the shell text for both.
//!
//! Nothing here connects to anything. Secret contents travel on standard input, never in a command.

pub mod log;
pub mod service;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use cloud_core::Secret;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::doctor::machine::{self, Machine};
use crate::fleet::GATEWAY_PORT;
use crate::ssh::quote;

pub use service::{Init, SCRIPT, TRACES, UNIT, Verb, fit, on_any, service_file, service_path};

/// The gateway's program on the host.
pub const GATEWAY: &str = "/usr/local/bin/weave-gateway";
/// The command people type.
pub const WEAVE: &str = "/usr/local/bin/weave";
/// Key, certificate and trust anchors of the host's gateway.
pub const IDENTITY: &str = "/etc/weave/identity.pem";
/// The gateway's configuration.
pub const CONFIG: &str = "/etc/weave/gateway.toml";
/// The checksum of everything that was in place when the service was last (re)started by the provisioner. Without it
/// a crash between writing a file and restarting would leave the old settings running unnoticed.
pub const APPLIED: &str = "/etc/weave/applied";

/// SHA-256 in lower-case hex.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Checksum(String);

impl Checksum {
    /// Computes it.
    pub fn of(bytes: &[u8]) -> Checksum {
        Checksum(Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Reads 64 hex digits.
    pub fn parse(text: &str) -> Option<Checksum> {
        let hex = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        hex.then(|| Checksum(text.to_owned()))
    }

    /// All 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Enough digits for people.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

/// What is in a file, with its checksum computed once; the gateway's program is large and goes to every host.
#[derive(Clone, PartialEq, Eq)]
pub struct Content {
    bytes: Arc<[u8]>,
    sum: Checksum,
}

impl Content {
    /// Takes the bytes of a file.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Content {
        let bytes = bytes.into();
        Content { sum: Checksum::of(&bytes), bytes }
    }

    /// The bytes.
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    /// Their checksum.
    pub fn checksum(&self) -> &Checksum {
        &self.sum
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Contents may be secret.
        self.sum.fmt(f)
    }
}

/// A file that a host shall have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedFile {
    /// Where.
    pub path: &'static str,
    /// Permission bits.
    pub mode: u32,
    /// What is in it; `None` while that depends on addresses that do not exist yet.
    pub content: Option<Content>,
}

impl WantedFile {
    /// The checksum of the content, once it is known.
    pub fn checksum(&self) -> Option<&Checksum> {
        self.content.as_ref().map(Content::checksum)
    }
}

/// The `gateway.toml` of one host; the field names are the gateway's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GatewayConfig {
    nickname: String,
    site: String,
    network: String,
    port: u16,
    identity: &'static str,
    state: &'static str,
    http: &'static str,
    peers: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    advertise: Vec<String>,
}

impl GatewayConfig {
    /// Configures the gateway of `nickname`.
    pub fn new(
        nickname: &str,
        site: &str,
        network: &str,
        peers: &[IpAddr],
        advertise: &[IpAddr],
    ) -> GatewayConfig {
        GatewayConfig {
            nickname: nickname.to_owned(),
            site: site.to_owned(),
            network: network.to_owned(),
            port: GATEWAY_PORT,
            identity: IDENTITY,
            state: "/var/lib/weave",
            http: "127.0.0.1:6784",
            peers: peers.iter().map(|address| endpoint(*address)).collect(),
            advertise: advertise.iter().map(|address| endpoint(*address)).collect(),
        }
    }

    /// Renders the file.
    pub fn render(&self) -> String {
        let body = toml::to_string(self).expect("strings, numbers and lists of strings are TOML");
        format!("# Written by weave-provision; `weave-provision up` replaces it.\n{body}")
    }
}

fn endpoint(address: IpAddr) -> String {
    std::net::SocketAddr::new(address, GATEWAY_PORT).to_string()
}

/// The files of a host, in the order in which they are put there. The service is that for systemd; [`fit`] exchanges it
/// once the host has said what its init is.
pub fn wanted_files(
    gateway: &Content,
    identity: Option<&Secret>,
    config: Option<&GatewayConfig>,
) -> Vec<WantedFile> {
    let identity = identity.map(|pem| Content::new(pem.reveal().as_bytes()));
    let config = config.map(|config| Content::new(config.render().into_bytes()));
    vec![
        WantedFile { path: GATEWAY, mode: 0o755, content: Some(gateway.clone()) },
        WantedFile { path: IDENTITY, mode: 0o600, content: identity },
        WantedFile { path: CONFIG, mode: 0o600, content: config },
        service_file(Init::Systemd),
    ]
}

/// One checksum over all files, to compare with what the running service was started from; `None` while a content is
/// unknown.
pub fn generation(files: &[WantedFile]) -> Option<Checksum> {
    let sums: Option<Vec<&Checksum>> = files.iter().map(WantedFile::checksum).collect();
    let text: String = sums?.iter().map(|sum| format!("{}\n", sum.as_str())).collect();
    Some(Checksum::of(text.as_bytes()))
}

/// The checksum of what in an identity a gateway can only be started with: all but its certificates, which can be renewed
/// while it runs. The keys are random and too long to be guessed from it.
pub fn keys_of(identity: &[u8]) -> Checksum {
    let mut keys = Vec::new();
    let mut inside = false;
    for line in identity.split_inclusive(|byte| *byte == b'\n') {
        let text = String::from_utf8_lossy(line);
        let begins = !inside && text.contains(CERTIFICATE_BEGINS);
        if !inside && !begins {
            keys.extend_from_slice(line);
        }
        inside = begins || (inside && !text.contains(CERTIFICATE_ENDS));
    }
    Checksum::of(&keys)
}

const CERTIFICATE_BEGINS: &str = "-BEGIN CERTIFICATE-";
const CERTIFICATE_ENDS: &str = "-END CERTIFICATE-";

/// What a host says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Checksum and permission bits of the files that are there.
    pub files: BTreeMap<String, (Checksum, u32)>,
    /// What [`keys_of`] says of the identity that is there.
    pub keys: Option<Checksum>,
    /// Where the `weave` link points.
    pub link: Option<String>,
    /// Whether the service runs.
    pub active: bool,
    /// Whether the service starts at boot.
    pub enabled: bool,
    /// The [`generation`] that the service was last started from.
    pub applied: Option<Checksum>,
    /// The host's clock, unix seconds.
    pub clock: u64,
    /// What carries the gateway.
    pub machine: Machine,
}

impl Facts {
    /// What starts the gateway there; systemd where the host did not tell.
    pub fn init(&self) -> Init {
        self.machine.init.unwrap_or(Init::Systemd)
    }
}

/// A host answered the question about its state with something else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read the host's answer: {0}")]
pub struct BadFacts(String);

/// The one command that asks a host for its [`Facts`]. It runs whatever their init is, and says so.
pub fn facts_command() -> String {
    let files = [GATEWAY, IDENTITY, CONFIG, UNIT, SCRIPT].map(quote::text).join(" ");
    format!(
        "for f in {files}; do if [ -f \"$f\" ] && [ ! -L \"$f\" ]; then \
         echo \"file $(sha256sum <\"$f\" | cut -c1-64) $(stat -c %a \"$f\") $f\"; fi; done; \
         echo \"keys $(sed '/{CERTIFICATE_BEGINS}/,/{CERTIFICATE_ENDS}/d' {identity} 2>/dev/null | sha256sum | cut -c1-64)\"; \
         echo \"link $(readlink {weave})\"; \
         {service}\
         echo \"applied $(cat {applied} 2>/dev/null)\"; \
         echo \"clock $(date +%s)\";{machine}echo end",
        identity = quote::text(IDENTITY),
        weave = quote::text(WEAVE),
        applied = quote::text(APPLIED),
        service = service::question(),
        machine = machine::QUESTION,
    )
}

/// Reads the answer to [`facts_command`].
pub fn parse_facts(answer: &str) -> Result<Facts, BadFacts> {
    let mut facts = Facts::default();
    let mut complete = false;
    for line in answer.lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let bad = || BadFacts(format!("{:.80?}", line));
        match word {
            "file" => {
                let mut fields = rest.splitn(3, ' ');
                let (Some(sum), Some(mode), Some(path)) = (fields.next(), fields.next(), fields.next())
                else {
                    return Err(bad());
                };
                let sum = Checksum::parse(sum).ok_or_else(bad)?;
                let mode = u32::from_str_radix(mode, 8).map_err(|_| bad())?;
                facts.files.insert(path.to_owned(), (sum, mode));
            }
            "keys" => facts.keys = Checksum::parse(rest),
            "link" => facts.link = (!rest.is_empty()).then(|| rest.to_owned()),
            "active" => facts.active = rest == "active",
            "enabled" => facts.enabled = rest == "enabled",
            "applied" => facts.applied = Checksum::parse(rest),
            "clock" => facts.clock = rest.parse().map_err(|_| bad())?,
            "machine:" => facts.machine.take(rest),
            "end" => complete = true,
            // A login script that prints a greeting does no harm.
            _ => {}
        }
    }
    if complete { Ok(facts) } else { Err(BadFacts("it breaks off before its end".to_owned())) }
}

/// Receives a file on standard input, proves its checksum and moves it into place.
pub fn put_command(file: &WantedFile, sum: &Checksum) -> String {
    let path = quote::text(file.path);
    let part = quote::text(&format!("{}.part", file.path));
    format!(
        "set -e; umask 077; mkdir -p -m 755 \"$(dirname {path})\"; cat >{part}; \
         echo {line} | sha256sum -c >/dev/null 2>&1 || {{ echo 'the file arrived damaged' >&2; exit 1; }}; \
         chmod {mode:o} {part}; sync {part}; mv -f {part} {path}",
        line = quote::text(&format!("{}  {}.part", sum.as_str(), file.path)),
        mode = file.mode,
    )
}

/// Makes `weave` another name of the gateway's program.
pub fn link_command() -> String {
    format!("ln -sfn weave-gateway {}", quote::text(WEAVE))
}

/// Where the `weave` link shall point.
pub const LINK_TARGET: &str = "weave-gateway";

/// Enables the service and (re)starts it from what is there, waits until it says that it is ready, and notes the
/// generation. Without `restart` a service that runs is left alone.
pub fn service_command(restart: bool, generation: &Checksum) -> String {
    let verb = if restart { Verb::Restart } else { Verb::Start };
    format!(
        "set -e; {enable}; {start} || {{ {tail} >&2; exit 1; }}; echo {} >{APPLIED}.part; mv -f {APPLIED}.part {APPLIED}",
        generation.as_str(),
        enable = on_any(Verb::Enable),
        start = on_any(verb),
        tail = on_any(Verb::Tail(15)),
    )
}
