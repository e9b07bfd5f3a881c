//! What the operator chooses about this cloud, and how patiently the cloud is asked.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use cloud_core::{Architecture, ProviderError, Secret, is_ipv4_block};

use crate::plan;

/// One fleet in one region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsConfig {
    /// The mark on everything made: the value of the tag `weave-fleet`.
    pub fleet: String,
    /// The region, e.g. `eu-west-1`; default: what the environment or the profile says.
    pub region: Option<String>,
    /// Where the API is, e.g. an emulator's URL; default: AWS itself, or `AWS_ENDPOINT_URL`.
    pub endpoint: Option<String>,
    /// An existing VPC to stand in. Default: the region's default VPC, or an own 10.N.0.0/16 (N = the site's index)
    /// where the region has none.
    pub vpc: Option<String>,
    /// The availability zone; default: whichever offers the instance type and has room for it.
    pub zone: Option<String>,
    /// The instance type; default `t3.small`, the smallest whose processor keeps up with a gateway's cryptography.
    pub instance_type: String,
    /// The processor that the gateway's program is made for; default x86-64. The instance type has to have it, and the
    /// image is chosen by it.
    pub architecture: Architecture,
    /// What the hosts boot.
    pub image: Image,
    /// From where SSH is let in, e.g. `198.51.100.7/32`. `None` lets nobody in from outside the VPC.
    pub operator_address: Option<String>,
    /// Whether each host gets an address that survives stopping it.
    pub elastic_ip: bool,
    /// Whether hosts are spot instances: cheaper, and taken away when AWS wants them back.
    pub spot: bool,
    /// The size of the root disk in GiB; default 8, the size of the images themselves.
    pub root_gib: u32,
}

impl AwsConfig {
    /// The defaults for a fleet.
    pub fn new(fleet: impl Into<String>) -> AwsConfig {
        AwsConfig {
            fleet: fleet.into(),
            region: None,
            endpoint: None,
            vpc: None,
            zone: None,
            instance_type: "t3.small".to_owned(),
            architecture: Architecture::default(),
            image: Image::default(),
            operator_address: None,
            elastic_ip: false,
            spot: false,
            root_gib: 8,
        }
    }

    /// Tells every mistake that can be seen without asking the cloud.
    pub(crate) fn check(&self) -> Result<(), ProviderError> {
        let mut mistakes = Vec::new();
        let word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
        if self.fleet.is_empty() || self.fleet.len() > 60 || !word(&self.fleet) {
            let fleet = &self.fleet;
            mistakes.push(format!("fleet {fleet:?}: want 1 to 60 letters, digits, - or _"));
        }
        if self.operator_address.as_deref().is_some_and(|text| !is_ipv4_block(text)) {
            let text = self.operator_address.as_deref().unwrap_or_default();
            mistakes.push(format!("operator address {text:?}: want an IPv4 block such as 198.51.100.7/32"));
        }
        if !(8..=16_384).contains(&self.root_gib) {
            mistakes.push(format!("root disk of {} GiB: want 8 to 16384", self.root_gib));
        }
        let (kind, has) = (&self.instance_type, plan::architecture_of(&self.instance_type));
        match self.architecture {
            wanted if wanted == has => {}
            Architecture::X86_64 => mistakes.push(format!(
                "instance type {kind} has an Arm processor and the gateway's program is for x86-64: choose one such as \
                 t3.small, or set `architecture` to arm64"
            )),
            Architecture::Arm64 => mistakes.push(format!(
                "instance type {kind} has no Arm processor and `architecture` is arm64: choose one such as t4g.small"
            )),
        }
        if let Image::Ami(id) = &self.image
            && !id.starts_with("ami-")
        {
            mistakes
                .push(format!("image {id:?}: want debian-12, ubuntu-24.04 or an id that starts with ami-"));
        }
        if let (Some(region), Some(zone)) = (&self.region, &self.zone)
            && !zone.starts_with(region.as_str())
        {
            mistakes.push(format!("zone {zone} is not in region {region}"));
        }
        if mistakes.is_empty() { Ok(()) } else { Err(ProviderError::Invalid(mistakes.join("; "))) }
    }
}

/// What a host boots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Image {
    /// The newest Debian 12 of the Debian project.
    #[default]
    Debian12,
    /// The newest Ubuntu 24.04 LTS of Canonical.
    Ubuntu2404,
    /// An image by its id, `ami-…`; it needs cloud-init and an SSH server.
    Ami(String),
}

impl FromStr for Image {
    type Err = ProviderError;

    fn from_str(text: &str) -> Result<Image, ProviderError> {
        match text {
            "debian-12" => Ok(Image::Debian12),
            "ubuntu-24.04" => Ok(Image::Ubuntu2404),
            id if id.starts_with("ami-") => Ok(Image::Ami(id.to_owned())),
            other => Err(ProviderError::Invalid(format!(
                "image {other:?}: want debian-12, ubuntu-24.04 or an id that starts with ami-"
            ))),
        }
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Image::Debian12 => "debian-12",
            Image::Ubuntu2404 => "ubuntu-24.04",
            Image::Ami(id) => id,
        })
    }
}

/// Whence the credentials come.
#[derive(Debug, Clone, Default)]
pub(crate) enum Access {
    /// The SDK's chain: environment, profile, SSO, a process, the instance's role.
    #[default]
    Chain,
    /// A key id and its secret.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests never read the machine's credentials"))]
    Static(String, Secret),
}

/// How long to wait, and how often to ask.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tuning {
    /// Attempts of one call, the first included.
    pub(crate) attempts: u32,
    /// The first pause between attempts; it doubles up to `max_backoff`.
    pub(crate) backoff: Duration,
    pub(crate) max_backoff: Duration,
    /// For the TCP and TLS handshakes.
    pub(crate) connect: Duration,
    /// For one attempt of a call.
    pub(crate) attempt: Duration,
    /// For a call with all its attempts.
    pub(crate) call: Duration,
    /// Between two looks at something that is on its way.
    pub(crate) poll: Duration,
    /// Until something made is visible everywhere: AWS is consistent after seconds, rarely after a minute.
    pub(crate) visible: Duration,
    /// Until an instance runs or is gone: mostly half a minute, with large types some minutes.
    pub(crate) instance: Duration,
    /// For a TCP connection to a host: one lost packet is sent again after a second.
    pub(crate) dial: Duration,
    /// Instances in one answer.
    pub(crate) page: i32,
}

impl Default for Tuning {
    fn default() -> Tuning {
        let seconds = Duration::from_secs;
        Tuning {
            attempts: 5,
            backoff: Duration::from_millis(300),
            max_backoff: seconds(8),
            connect: seconds(5),
            attempt: seconds(20),
            call: seconds(60),
            poll: seconds(2),
            visible: seconds(60),
            instance: seconds(300),
            dial: seconds(5),
            page: 200,
        }
    }
}
