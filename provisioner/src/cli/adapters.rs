//! The adapters of cloud SDKs, which only a build with the feature of their name has.

use std::sync::Arc;

use cloud_core::Cloud;

use super::Failure;
use crate::config::{AwsSection, Config, GcpSection};

/// The adapter for EC2.
#[cfg(feature = "aws")]
pub(super) fn aws(config: &Config, section: &AwsSection) -> Result<Arc<dyn Cloud>, Failure> {
    let mut wanted = cloud_aws::AwsConfig::new(&config.name);
    wanted.region = Some(section.region.clone());
    wanted.endpoint = section.endpoint.clone();
    wanted.vpc = section.vpc.clone();
    wanted.zone = section.zone.clone();
    if let Some(kind) = &section.instance_type {
        wanted.instance_type = kind.clone();
    }
    if let Some(image) = &section.image {
        wanted.image = image.parse().map_err(refused)?;
    }
    wanted.architecture = section.architecture;
    wanted.operator_address = config.operator.map(|block| block.to_string());
    wanted.elastic_ip = section.elastic_ip;
    wanted.spot = section.spot;
    if let Some(size) = section.root_gib {
        wanted.root_gib = size;
    }
    let made = outside_async(|runtime| cloud_aws::Aws::new(wanted, runtime));
    Ok(Arc::new(made.map_err(refused)?))
}

/// The adapter for Compute Engine.
#[cfg(feature = "gcp")]
pub(super) fn gcp(config: &Config, section: &GcpSection) -> Result<Arc<dyn Cloud>, Failure> {
    let mut wanted = cloud_gcp::GcpConfig::new(&config.name, &section.project, &section.region);
    wanted.zones = section.zones.clone();
    wanted.endpoint = section.endpoint.clone();
    wanted.network = section.network.clone();
    for (value, given) in [
        (&mut wanted.machine_type, &section.machine_type),
        (&mut wanted.image_project, &section.image_project),
        (&mut wanted.image_family, &section.image_family),
    ] {
        if let Some(given) = given {
            value.clone_from(given);
        }
    }
    wanted.architecture = section.architecture;
    wanted.operator_address = config.operator.map(|block| block.to_string());
    wanted.static_address = section.static_address;
    wanted.spot = section.spot;
    if let Some(size) = section.disk_gib {
        wanted.disk_gib = size;
    }
    let made = outside_async(|runtime| cloud_gcp::Gcp::new(wanted, runtime));
    Ok(Arc::new(made.map_err(refused)?))
}

/// Adapters wait for their SDK when they are made, which a thread of the runtime may not.
#[cfg(any(feature = "aws", feature = "gcp"))]
fn outside_async<T>(make: impl FnOnce(tokio::runtime::Handle) -> T) -> T {
    let runtime = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| make(runtime))
}

/// What an adapter refuses before it asks its cloud is wrong in the file or missing on this machine.
#[cfg(any(feature = "aws", feature = "gcp"))]
fn refused(error: cloud_core::ProviderError) -> Failure {
    Failure::new(anyhow::Error::new(error)).with_code(2)
}

#[cfg(not(feature = "aws"))]
pub(super) fn aws(_: &Config, _: &AwsSection) -> Result<Arc<dyn Cloud>, Failure> {
    Err(left_out("aws"))
}

#[cfg(not(feature = "gcp"))]
pub(super) fn gcp(_: &Config, _: &GcpSection) -> Result<Arc<dyn Cloud>, Failure> {
    Err(left_out("gcp"))
}

/// A build without an adapter says how to get it.
#[cfg(not(all(feature = "aws", feature = "gcp")))]
pub(super) fn left_out(name: &str) -> Failure {
    Failure::usage(
        format!("this build has no adapter for {name}"),
        "build it with all: cargo build --release -p weave-gatewayd -p weave-provisioner --features \
         weave-provisioner/aws,weave-provisioner/gcp",
    )
}
