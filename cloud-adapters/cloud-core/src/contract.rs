//! What every adapter guarantees, as a function that an adapter's tests call.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};

use crate::cloud::Cloud;
use crate::error::ProviderError;
use crate::values::{HostSpec, Observed, Phase, Secret, Site};

/// Walks an empty cloud through a fleet's life and back to empty. Makes one site and one host.
///
/// `host_private_key` and `operator_public_key` reach the host as given; pass real ones where a real sshd reads them.
pub fn check_contract(cloud: &dyn Cloud, operator_public_key: &str, host_private_key: Secret) -> Result<()> {
    let site = Site { name: "aws".to_owned(), index: 1 };
    let spec = HostSpec {
        name: "aws-1".to_owned(),
        site: site.name.clone(),
        index: 1,
        operator_public_key: operator_public_key.to_owned(),
        host_private_key,
        labels: BTreeMap::from([("weave".to_owned(), "contract".to_owned())]),
    };
    ensure!(cloud.observe()? == Observed::default(), "the suite needs an empty cloud");
    ensure!(cloud.sweep()?.is_empty(), "an empty cloud sweeps clean");
    match cloud.create_host(&spec) {
        Err(ProviderError::NotFound(_)) => {}
        other => bail!("a host without a site must be refused as not found, got {other:?}"),
    }

    for _ in 0..2 {
        cloud.ensure_site(&site).context("while ensuring a site, twice")?;
    }
    let observed = cloud.observe()?;
    ensure!(observed.sites == [site.clone()], "the site is there once");
    ensure!(observed.drifts.is_empty(), "a site just ensured is as wanted: {:?}", observed.drifts);

    for _ in 0..2 {
        let host = cloud.create_host(&spec).context("while creating a host, twice")?;
        ensure!(
            (host.name.as_str(), host.site.as_str()) == ("aws-1", "aws"),
            "the host is the one asked for"
        );
    }
    let observed = cloud.observe()?;
    let [host] = observed.hosts.as_slice() else { bail!("one host is expected: {:?}", observed.hosts) };
    ensure!(host.phase != Phase::Running || host.addresses.is_some(), "a running host has an address");
    ensure!(cloud.remove_site("aws").is_err(), "a site with hosts stays");
    ensure!(
        matches!(cloud.connect("nobody", 22), Err(ProviderError::NotFound(_))),
        "unknown hosts are named so"
    );

    for _ in 0..2 {
        cloud.destroy_host("aws-1").context("while destroying a host, twice")?;
    }
    ensure!(cloud.observe()?.hosts.is_empty(), "the host is gone");
    for _ in 0..2 {
        cloud.remove_site("aws").context("while removing a site, twice")?;
    }
    ensure!(cloud.observe()? == Observed::default(), "nothing is left");
    ensure!(cloud.sweep()?.is_empty(), "the sweep agrees");
    Ok(())
}
