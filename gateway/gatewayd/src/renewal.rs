//! What a reload (SIGHUP) does: a renewed identity takes effect while the gateway runs. Nothing else is read again.
//!
//! The file may hold another certificate of the same key, other CAs, or both. Links and sessions stay, but those of peers
//! whose certificate is not of the CAs in force.

use anyhow::bail;
use weave_peering::Peering;
use weave_trust::Membership;

use crate::config::{Admission, Config};
use crate::membership;
use crate::persist::Store;

/// Reads the identity again and passes it on; returns what is in force from here on.
pub(crate) async fn reload(
    config: &Config,
    store: &Store,
    peering: &Peering,
    current: &Membership,
) -> anyhow::Result<Membership> {
    let Admission::Provisioned(path) = &config.admission else {
        bail!("this gateway has no identity file: its certificate follows from the network's password");
    };
    // Provisioned identities do not depend on the time.
    let next = membership::load(config, store, 0)?;
    current.check_renewal(&next).map_err(|error| {
        anyhow::Error::new(error).context(format!("the identity {} cannot be taken", path.display()))
    })?;
    if next.mark() == current.mark() {
        tracing::info!("reloaded: the identity has not changed");
        note(config, store, &next);
        return Ok(next);
    }
    peering.renew(next.clone()).await?;
    note(config, store, &next);
    let certificate = next.identity.certificate() != current.identity.certificate();
    tracing::info!(
        certificate = if certificate { "renewed" } else { "as before" },
        issue = issue(&next),
        cas = next.trust.fingerprints().join(" "),
        cas_before = current.trust.fingerprints().join(" "),
        "reloaded: the identity has changed"
    );
    Ok(next)
}

/// Leaves word of the identity in use for whoever asked for it.
pub(crate) fn note(config: &Config, store: &Store, membership: &Membership) {
    if !matches!(config.admission, Admission::Provisioned(_)) {
        return;
    }
    if let Err(error) = store.mark(&membership.mark()) {
        // Whoever waits for it is told by its absence.
        tracing::error!(error = format!("{error:#}"), "the identity in use cannot be noted");
    }
}

fn issue(membership: &Membership) -> u64 {
    membership.trust.verify(membership.identity.certificate()).map_or(0, |peer| peer.issue())
}
