//! Commands that change this host: attachments are made here, addresses of the bridge by the gateway.

use std::process::ExitCode;

use weave_api::Report;
use weave_hostnet::{Attachment, Host, Netns};
use weave_model::Cidr;

use super::{PATIENCE, client};

/// `weave attach ADDR… TARGET`: prints the addresses.
pub(super) fn attach((addresses, netns): &(Vec<Cidr>, Netns)) -> anyhow::Result<ExitCode> {
    if addresses.is_empty() {
        return Err(super::Hint::error(
            "no address given, and this gateway does not allocate any",
            format!("name one: weave attach 10.32.1.1/24 {netns}"),
        ));
    }
    let report: Report = client(PATIENCE).value("/report")?;
    runtime()?.block_on(async {
        let attachment = Attachment {
            netns: netns.clone(),
            bridge: report.router.bridge,
            interface: "ethwe".to_owned(),
            mtu: report.router.mtu,
            addresses: addresses.clone(),
            container_id: netns.to_string(),
        };
        Host::new()?.attach(&attachment).await?;
        print_addresses(addresses);
        Ok(ExitCode::SUCCESS)
    })
}

/// `weave detach [ADDR…] TARGET`: prints the addresses that were removed.
pub(super) fn detach((addresses, netns): &(Vec<Cidr>, Netns)) -> anyhow::Result<ExitCode> {
    runtime()?.block_on(async {
        let removed = Host::new()?.detach(netns, addresses).await?;
        print_addresses(&removed);
        Ok(ExitCode::SUCCESS)
    })
}

/// `weave expose ADDR…`: prints the addresses.
pub(super) fn expose(addresses: &[Cidr]) -> anyhow::Result<ExitCode> {
    for address in addresses {
        client(PATIENCE).post(&format!("/expose/{address}"), &[])?;
    }
    print_addresses(addresses);
    Ok(ExitCode::SUCCESS)
}

/// `weave hide ADDR…`: prints the addresses.
pub(super) fn hide(addresses: &[Cidr]) -> anyhow::Result<ExitCode> {
    for address in addresses {
        client(PATIENCE).delete(&format!("/expose/{address}"))?;
    }
    print_addresses(addresses);
    Ok(ExitCode::SUCCESS)
}

pub(super) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn print_addresses(addresses: &[Cidr]) {
    let addresses: Vec<String> = addresses.iter().map(|a| a.address().to_string()).collect();
    println!("{}", addresses.join(" "));
}
