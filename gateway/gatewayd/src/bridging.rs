//! The switch on the host: the bridge with the TAP in it, made at the start and mended as long as the gateway runs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use weave_datapath_user::Tap;
use weave_hostnet::{Bridge, Change, Host, HostError};

use crate::config::Config;
use crate::echo::Echo;

/// The device between bridge and data threads.
pub(crate) const TAP: &str = "vethwe-tap";

/// The overlay's MTU on an underlay of 1,500 bytes, as the original's.
const DEFAULT_MTU: u16 = 1376;
/// What is left between overlay and underlay MTU: 122 bytes of a relayed path over IPv4, rounded up to a multiple of
/// four; an underlay of IPv6 needs 20 more.
const OVERHEAD: u32 = 124;
const OVERHEAD_V6: u32 = 144;

/// How often the bridge is compared with what it should be.
const SWITCH_EVERY: Duration = Duration::from_secs(15);

/// Opens the TAP and puts it into the bridge; takes back what it made when it fails half-way.
pub(crate) async fn open_switch(host: &Host, bridge: &Bridge, workers: usize) -> anyhow::Result<Tap> {
    let there_before = nix::net::if_::if_nametoindex(TAP).is_ok();
    let tap = Tap::open(TAP, workers)?;
    if let Err(error) = join_switch(host, bridge).await {
        if !there_before {
            let _ = host.remove_interface(TAP).await;
        }
        return Err(error.into());
    }
    Ok(tap)
}

/// Makes the bridge as it should be, with the TAP and the containers that lost it; says whether anything was amiss.
async fn join_switch(host: &Host, bridge: &Bridge) -> Result<Change, HostError> {
    let made = host.ensure_bridge(bridge).await?;
    let joined = host.ensure_port(&bridge.name, TAP, bridge.mtu).await?;
    let adopted = host.adopt_ports(&bridge.name).await?;
    Ok(if [made, joined, adopted].contains(&Change::Changed) { Change::Changed } else { Change::Unchanged })
}

/// Mends what others did to the bridge, as long as the gateway runs.
///
/// A TAP that is gone is not mended here: its data thread ends the gateway.
pub(crate) async fn keep_switch(host: Arc<Host>, bridge: Bridge, echo: Echo) {
    loop {
        tokio::time::sleep(SWITCH_EVERY).await;
        let there_before = nix::net::if_::if_nametoindex(bridge.name.as_str()).is_ok();
        match join_switch(&host, &bridge).await {
            Ok(Change::Unchanged) => continue,
            Ok(Change::Changed) if there_before => {
                tracing::warn!(bridge = bridge.name, "the bridge had been changed and was mended")
            }
            Ok(Change::Changed) => tracing::warn!(
                bridge = bridge.name,
                "the bridge had been deleted and was made anew; expose its addresses again"
            ),
            Err(error) => tracing::warn!(bridge = bridge.name, %error, "the bridge cannot be mended"),
        }
        if let Err(error) = echo.rebind(&bridge.name) {
            tracing::warn!(bridge = bridge.name, %error, "`weave ping` does not work");
        }
    }
}

/// What the operator said, else the default, or what the smallest underlay leaves.
pub(crate) async fn overlay_mtu(config: &Config, host: &Host) -> anyhow::Result<u16> {
    if let Some(mtu) = config.mtu {
        return Ok(mtu);
    }
    let v6 = config.advertise.iter().any(SocketAddr::is_ipv6)
        || config.targets.iter().filter_map(|t| t.socket_address(1)).any(|a| a.is_ipv6());
    let overhead = if v6 { OVERHEAD_V6 } else { OVERHEAD };
    let underlay = host.underlay_addresses().await?.into_iter().map(|(_, _, mtu)| mtu).min();
    let room = underlay.map_or(u32::from(DEFAULT_MTU), |mtu| mtu.saturating_sub(overhead));
    Ok(u16::try_from(room).unwrap_or(DEFAULT_MTU).min(DEFAULT_MTU))
}
