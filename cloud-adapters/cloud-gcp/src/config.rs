//! What the operator chooses about this cloud, and how patiently the cloud is asked.

use std::time::Duration;

use cloud_core::{Architecture, ProviderError, is_ipv4_block};

/// One fleet in one region of one project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcpConfig {
    /// The mark on everything made: the label `weave-fleet`, and the beginning of every name.
    pub fleet: String,
    /// The project's id, e.g. `my-project-123`.
    pub project: String,
    /// The region, e.g. `europe-west1`.
    pub region: String,
    /// The zones to use, e.g. `europe-west1-b`; default: all of the region. Hosts spread over them by their number.
    pub zones: Vec<String>,
    /// Where the API is, e.g. an emulator's URL; default: Google itself. An endpoint without TLS is asked without
    /// credentials, which must not cross a network in clear.
    pub endpoint: Option<String>,
    /// An existing network of the project to stand in. Default: the network `default`, or an own 10.N.0.0/16 (N = the
    /// site's index) in a project without one.
    pub network: Option<String>,
    /// The machine type; default `e2-small`, which has the memory that a gateway and its host need.
    pub machine_type: String,
    /// The processor that the gateway's program is made for; default x86-64. Machine type and image have to be for it.
    pub architecture: Architecture,
    /// The project that publishes the image; default `ubuntu-os-cloud`.
    pub image_project: String,
    /// The image's family, whose newest is taken; default `ubuntu-2404-lts-amd64`. It needs cloud-init, which Google's
    /// Debian lacks.
    pub image_family: String,
    /// From where SSH is let in, e.g. `198.51.100.7/32`. `None` lets nobody in.
    pub operator_address: Option<String>,
    /// Whether each host gets an address that survives stopping it.
    pub static_address: bool,
    /// Whether hosts are spot machines: cheaper, and stopped when Google wants them back. A stopped host starts again
    /// when it is made sure of.
    pub spot: bool,
    /// The size of the boot disk in GiB; default 10, the size of the images themselves.
    pub disk_gib: u32,
}

impl GcpConfig {
    /// The defaults for a fleet.
    pub fn new(fleet: impl Into<String>, project: impl Into<String>, region: impl Into<String>) -> GcpConfig {
        GcpConfig {
            fleet: fleet.into(),
            project: project.into(),
            region: region.into(),
            zones: Vec::new(),
            endpoint: None,
            network: None,
            machine_type: "e2-small".to_owned(),
            architecture: Architecture::default(),
            image_project: "ubuntu-os-cloud".to_owned(),
            image_family: "ubuntu-2404-lts-amd64".to_owned(),
            operator_address: None,
            static_address: false,
            spot: false,
            disk_gib: 10,
        }
    }

    /// Tells every mistake that can be seen without asking the cloud.
    pub(crate) fn check(&self) -> Result<(), ProviderError> {
        let mut mistakes = Vec::new();
        if !is_name(&self.fleet) || self.fleet.len() > 30 {
            let fleet = &self.fleet;
            mistakes.push(format!(
                "fleet {fleet:?}: want 1 to 30 lower-case letters, digits or -, a letter first"
            ));
        }
        // Old projects have a domain before a colon.
        let project = self.project.rsplit(':').next().unwrap_or_default();
        if !is_name(project) {
            mistakes.push(format!("project {:?}: want the id of a Google Cloud project", self.project));
        }
        if !is_name(&self.region) {
            mistakes.push(format!("region {:?}: want one such as europe-west1", self.region));
        }
        let outside = |zone: &&String| !is_name(zone) || !zone.starts_with(&format!("{}-", self.region));
        for zone in self.zones.iter().filter(outside) {
            mistakes.push(format!("zone {zone:?} is not in region {}", self.region));
        }
        if let Some(network) = self.network.as_deref().filter(|network| !is_name(network)) {
            mistakes.push(format!("network {network:?}: want the name of a network of the project"));
        }
        for (what, name) in [
            ("machine type", &self.machine_type),
            ("image project", &self.image_project),
            ("image family", &self.image_family),
        ] {
            if !is_name(name) {
                mistakes.push(format!("{what} {name:?}: want lower-case letters, digits and -"));
            }
        }
        let (kind, family, wanted) = (&self.machine_type, &self.image_family, self.architecture);
        if has_arm(kind) != (wanted == Architecture::Arm64) {
            let has = if has_arm(kind) { "an Arm" } else { "no Arm" };
            mistakes.push(format!(
                "machine type {kind} has {has} processor and the gateway's program is for {wanted}: choose another \
                 `machine_type`, or the `architecture` of the program"
            ));
        }
        let other = if wanted == Architecture::Arm64 { "amd64" } else { "arm64" };
        if family.ends_with(other) {
            mistakes.push(format!(
                "image family {family} is for {other} and the hosts are {wanted}: choose another"
            ));
        }
        if let Some(text) = self.operator_address.as_deref().filter(|text| !is_ipv4_block(text)) {
            mistakes.push(format!("operator address {text:?}: want an IPv4 block such as 198.51.100.7/32"));
        }
        if !(10..=65_536).contains(&self.disk_gib) {
            mistakes.push(format!("boot disk of {} GiB: want 10 to 65536", self.disk_gib));
        }
        let is_url = |url: &&str| !(url.starts_with("http://") || url.starts_with("https://"));
        if let Some(endpoint) = self.endpoint.as_deref().filter(is_url) {
            mistakes.push(format!("endpoint {endpoint:?}: want a URL with http:// or https://"));
        }
        if mistakes.is_empty() { Ok(()) } else { Err(ProviderError::Invalid(mistakes.join("; "))) }
    }
}

/// Whether machines of this type have Arm processors; the series says it.
fn has_arm(machine_type: &str) -> bool {
    ["t2a", "c4a", "n4a", "a4x"].contains(&machine_type.split('-').next().unwrap_or_default())
}

/// Whether Compute Engine takes `text` as a name: RFC 1035, in lower case.
pub(crate) fn is_name(text: &str) -> bool {
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.len() <= 63
        && text.chars().all(letters)
        && !text.ends_with('-')
}

/// How long to wait, and how often to ask.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tuning {
    /// Attempts of one call, the first included.
    pub(crate) attempts: u32,
    /// The first pause between attempts; it doubles up to `max_backoff`.
    pub(crate) backoff: Duration,
    pub(crate) max_backoff: Duration,
    /// For one attempt of a call.
    pub(crate) attempt: Duration,
    /// For a call with all its attempts.
    pub(crate) call: Duration,
    /// The first pause between two looks at an operation or at something on its way; for operations it doubles up to
    /// `max_backoff`.
    pub(crate) poll: Duration,
    /// For an operation on a network: mostly ten seconds, at times a minute.
    pub(crate) network: Duration,
    /// For something just made to show in the lists: mostly at once.
    pub(crate) visible: Duration,
    /// For an operation on an instance, and until it runs or is gone.
    pub(crate) instance: Duration,
    /// For a TCP connection to a host: one lost packet is sent again after a second.
    pub(crate) dial: Duration,
    /// Things in one answer.
    pub(crate) page: u32,
}

impl Default for Tuning {
    fn default() -> Tuning {
        let seconds = Duration::from_secs;
        Tuning {
            attempts: 6,
            backoff: Duration::from_millis(300),
            max_backoff: seconds(8),
            attempt: seconds(20),
            call: seconds(60),
            poll: seconds(1),
            network: seconds(180),
            visible: seconds(30),
            instance: seconds(300),
            dial: seconds(5),
            page: 200,
        }
    }
}
