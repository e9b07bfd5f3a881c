//! The sections `[aws]` and `[gcp]`: read whether or not this build has the adapter.

use std::collections::BTreeSet;

use cloud_core::Architecture;

use super::page::Table;

/// A site's hosts are numbered by one byte.
const MOST_HOSTS: u32 = 255;

/// What the operator says about Amazon EC2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsSection {
    /// The numbers of the hosts wanted there.
    pub hosts: BTreeSet<u8>,
    /// The region, e.g. `eu-west-1`.
    pub region: String,
    /// The availability zone; `None` for any with room.
    pub zone: Option<String>,
    /// An existing VPC to stand in.
    pub vpc: Option<String>,
    /// The instance type, if not the adapter's default.
    pub instance_type: Option<String>,
    /// The image, if not the adapter's default.
    pub image: Option<String>,
    /// The processor of the hosts.
    pub architecture: Architecture,
    /// Whether hosts get addresses that survive stopping them.
    pub elastic_ip: bool,
    /// Whether hosts are spot instances.
    pub spot: bool,
    /// The size of the root disk in GiB.
    pub root_gib: Option<u32>,
    /// Where the API is, if not where AWS has it.
    pub endpoint: Option<String>,
}

/// What the operator says about Google Compute Engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcpSection {
    /// The numbers of the hosts wanted there.
    pub hosts: BTreeSet<u8>,
    /// The project's id.
    pub project: String,
    /// The region, e.g. `europe-west1`.
    pub region: String,
    /// The zones to use; empty for all of the region.
    pub zones: Vec<String>,
    /// An existing network to stand in.
    pub network: Option<String>,
    /// The machine type, if not the adapter's default.
    pub machine_type: Option<String>,
    /// The project that publishes the image, if not the adapter's default.
    pub image_project: Option<String>,
    /// The image's family, if not the adapter's default.
    pub image_family: Option<String>,
    /// The processor of the hosts.
    pub architecture: Architecture,
    /// Whether hosts get addresses that survive stopping them.
    pub static_address: bool,
    /// Whether hosts are spot instances.
    pub spot: bool,
    /// The size of the boot disk in GiB.
    pub disk_gib: Option<u32>,
    /// Where the API is, if not where Google has it.
    pub endpoint: Option<String>,
}

/// Reads `[aws]`.
pub(super) fn aws(root: &Table<'_, '_>) -> Option<AwsSection> {
    const KEYS: [&str; 11] = [
        "region",
        "hosts",
        "zone",
        "vpc",
        "instance_type",
        "image",
        "architecture",
        "elastic_ip",
        "spot",
        "root_gib",
        "endpoint",
    ];
    let section = root.table("aws", "[aws]", &KEYS)?;
    let region = section.required("region");
    let text = |key| section.string(key).map(|text| text.value);
    let read = AwsSection {
        hosts: section.numbers("hosts", MOST_HOSTS),
        region: region.map(|region| region.value).unwrap_or_default(),
        zone: text("zone"),
        vpc: text("vpc"),
        instance_type: text("instance_type"),
        image: text("image"),
        architecture: architecture(&section),
        elastic_ip: section.flag("elastic_ip").unwrap_or_default(),
        spot: section.flag("spot").unwrap_or_default(),
        // The largest gp3 volume, EBS user guide; the image's size is the least.
        root_gib: section.number("root_gib", 16_384),
        endpoint: url(&section, "endpoint"),
    };
    Some(read)
}

/// Reads `[gcp]`.
pub(super) fn gcp(root: &Table<'_, '_>) -> Option<GcpSection> {
    const KEYS: [&str; 13] = [
        "project",
        "region",
        "hosts",
        "zones",
        "network",
        "machine_type",
        "image_project",
        "image_family",
        "architecture",
        "static_address",
        "spot",
        "disk_gib",
        "endpoint",
    ];
    let section = root.table("gcp", "[gcp]", &KEYS)?;
    let (project, region) = (section.required("project"), section.required("region"));
    let text = |key| section.string(key).map(|text| text.value);
    let read = GcpSection {
        hosts: section.numbers("hosts", MOST_HOSTS),
        project: project.map(|project| project.value).unwrap_or_default(),
        region: region.map(|region| region.value).unwrap_or_default(),
        zones: section.strings("zones"),
        network: text("network"),
        machine_type: text("machine_type"),
        image_project: text("image_project"),
        image_family: text("image_family"),
        architecture: architecture(&section),
        spot: section.flag("spot").unwrap_or_default(),
        static_address: section.flag("static_address").unwrap_or_default(),
        // The largest persistent disk, Compute Engine documentation.
        disk_gib: section.number("disk_gib", 65_536),
        endpoint: url(&section, "endpoint"),
    };
    Some(read)
}

fn architecture(section: &Table<'_, '_>) -> Architecture {
    let Some(text) = section.string("architecture") else { return Architecture::default() };
    text.value.parse().unwrap_or_else(|_| {
        section.mistake(
            "architecture",
            format!("`architecture` must be \"x86_64\" or \"arm64\", not {:?}", text.value),
        );
        Architecture::default()
    })
}

fn url(section: &Table<'_, '_>, key: &str) -> Option<String> {
    let text = section.string(key)?.value;
    if text.starts_with("http://") || text.starts_with("https://") {
        return Some(text);
    }
    section.mistake(key, format!("`{key}` must be a URL that begins with http:// or https://, not {text:?}"));
    None
}
