//! The bridge that joins containers, the host and the datapath.

use netlink_packet_route::link::{BridgeStpState, InfoBridge, LinkMessage};
use rtnetlink::{LinkBridge, LinkMessageBuilder};
use weave_model::{Cidr, Mac};

use crate::attach::is_host_end;
use crate::host::Host;
use crate::link::{Link, MARK, check_name};
use crate::wanted::Wanted;
use crate::{Change, HostError, announce, sysctl};

/// The bridge as it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// Name of the interface, `weave` by default.
    pub name: String,
    /// Its Ethernet address, fixed, so that it never follows the ports.
    pub mac: Mac,
    /// The overlay's MTU, fixed as well.
    pub mtu: u16,
}

impl Host {
    /// Makes the bridge exist as wanted and be up; adopts our own and refuses one that is not.
    pub async fn ensure_bridge(&self, bridge: &Bridge) -> Result<Change, HostError> {
        check_name(&bridge.name)?;
        let _changing = self.changing.lock().await;
        if let Some(link) = self.netlink.link(&bridge.name).await? {
            // Without any alias but with our address: made by a gateway that died before it could mark it.
            let unmarked = link.is_bridge() && link.alias.is_none() && link.mac == Some(bridge.mac);
            if !unmarked {
                check_ours(&link)?;
            }
            return self.reconcile(&link, bridge).await;
        }
        let action = format!("create bridge '{}'", bridge.name);
        self.netlink.add_link(&action, creation(bridge)).await?;
        let link = self.netlink.expect_link(&bridge.name).await?;
        if let Err(error) = self.reconcile(&link, bridge).await {
            if let Err(undo) = self.netlink.delete_link(&link).await {
                tracing::warn!(interface = link.name, error = %undo, "cannot undo");
            }
            return Err(error);
        }
        Ok(Change::Changed)
    }

    async fn reconcile(&self, link: &Link, bridge: &Bridge) -> Result<Change, HostError> {
        let mut change = Change::Unchanged;
        let action = format!("set up bridge '{}'", bridge.name);
        for option in options() {
            let differs = |present: &InfoBridge| {
                std::mem::discriminant(present) == std::mem::discriminant(&option) && *present != option
            };
            if link.bridge.iter().any(differs) {
                let message = LinkMessageBuilder::<LinkBridge>::new(&bridge.name).append_info_data(option);
                self.netlink.change_link(&action, message.index(link.index).build()).await?;
                change = Change::Changed;
            }
        }
        change.add(sysctl::apply(&bridge.name, sysctl::ADDRESSED));
        let wanted = Wanted {
            alias: Some(MARK),
            mac: Some(bridge.mac),
            mtu: Some(u32::from(bridge.mtu)),
            up: true,
            ..Wanted::default()
        };
        change.add(self.netlink.ensure_link(&action, link, &wanted).await?);
        Ok(change)
    }

    /// Removes the bridge and the host ends of containers on it; goes on past errors, touches nothing foreign.
    pub async fn remove_bridge(&self, name: &str) -> Result<(), Vec<HostError>> {
        check_name(name).map_err(|e| vec![e])?;
        let _changing = self.changing.lock().await;
        let links = self.netlink.links().await.map_err(|e| vec![e])?;
        let bridge = links.iter().find(|link| link.name == name);
        if let Some(Err(refusal)) = bridge.map(check_ours) {
            return Err(vec![refusal]);
        }
        let mut errors = Vec::new();
        // Those without a bridge lost it when somebody else removed it.
        let index = bridge.map(|bridge| bridge.index);
        let ends = links.iter().filter(|link| link.is_veth() && link.is_ours() && is_host_end(link));
        let ends = ends.filter(|link| link.master.is_none() || link.master == index);
        for link in ends.chain(bridge) {
            if let Err(error) = self.netlink.delete_link(link).await {
                errors.push(error);
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Makes an interface that exists a port of the bridge, with that MTU and up.
    pub async fn ensure_port(&self, bridge: &str, port: &str, mtu: u16) -> Result<Change, HostError> {
        check_name(port)?;
        let _changing = self.changing.lock().await;
        let bridge = self.our_bridge(bridge).await?;
        let link = self.netlink.expect_link(port).await?;
        if let Some(other) = link.master.filter(|&master| master != bridge.index) {
            let other =
                self.netlink.link_at(other).await?.map_or_else(|| other.to_string(), |link| link.name);
            return Err(HostError::Foreign {
                interface: link.name,
                reason: format!("it is a port of '{other}'"),
                hint: format!("`ip link set {port} nomaster` releases it"),
            });
        }
        let mut change = sysctl::apply(port, sysctl::PORT);
        let wanted =
            Wanted { mtu: Some(u32::from(mtu)), master: Some(bridge.index), up: true, ..Wanted::default() };
        let action = format!("make '{port}' a port of '{}'", bridge.name);
        change.add(self.netlink.ensure_link(&action, &link, &wanted).await?);
        Ok(change)
    }

    /// Makes the host ends of containers that lost their bridge ports of this one; says whether there were any.
    pub async fn adopt_ports(&self, bridge: &str) -> Result<Change, HostError> {
        let _changing = self.changing.lock().await;
        let bridge = self.our_bridge(bridge).await?;
        let mut change = Change::Unchanged;
        let action = format!("give containers back to '{}'", bridge.name);
        for link in self.netlink.links().await? {
            if link.is_veth() && link.is_ours() && is_host_end(&link) && link.master.is_none() {
                let wanted = Wanted { master: Some(bridge.index), up: true, ..Wanted::default() };
                change.add(self.netlink.ensure_link(&action, &link, &wanted).await?);
            }
        }
        Ok(change)
    }

    /// Gives the bridge itself an address, through which the host takes part.
    pub async fn expose(&self, bridge: &str, address: Cidr) -> Result<Change, HostError> {
        let _changing = self.changing.lock().await;
        let bridge = self.our_bridge(bridge).await?;
        let change = self.netlink.ensure_address(&bridge, address).await?;
        if let (Change::Changed, Some(mac)) = (change, bridge.mac) {
            announce::send(bridge.index, mac, &[address.address()]);
        }
        Ok(change)
    }

    /// Takes an address from the bridge; one that is not there is fine, and so is no bridge.
    pub async fn hide(&self, bridge: &str, address: Cidr) -> Result<Change, HostError> {
        let _changing = self.changing.lock().await;
        match self.our_bridge(bridge).await {
            Ok(bridge) => self.netlink.remove_address(&bridge, address).await,
            Err(HostError::NoSuchInterface { .. }) => Ok(Change::Unchanged),
            Err(error) => Err(error),
        }
    }

    /// Lists the addresses of the bridge itself.
    pub async fn exposed(&self, bridge: &str) -> Result<Vec<Cidr>, HostError> {
        match self.our_bridge(bridge).await {
            Ok(bridge) => self.netlink.addresses(bridge.index).await,
            Err(HostError::NoSuchInterface { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// The bridge of that name, which has to be there and ours.
    pub(crate) async fn our_bridge(&self, name: &str) -> Result<Link, HostError> {
        check_name(name)?;
        let link = self.netlink.expect_link(name).await?;
        check_ours(&link)?;
        Ok(link)
    }
}

fn check_ours(link: &Link) -> Result<(), HostError> {
    if link.is_bridge() && link.is_ours() {
        return Ok(());
    }
    Err(link.foreign(format!(
        "remove it with `ip link delete {}`, or choose another name for the bridge",
        link.name
    )))
}

/// No spanning tree (the overlay is a tree already) and so no delay before a port passes frames; multicast goes
/// everywhere. The last three keep bridged frames out of the host's firewall only where `net.bridge.bridge-nf-call-*`
/// are 0 as well: the kernel takes either for a yes (`br_nf_pre_routing`), and those belong to all bridges of the host.
fn options() -> [InfoBridge; 6] {
    [
        InfoBridge::StpState(BridgeStpState::Disabled),
        InfoBridge::ForwardDelay(0),
        InfoBridge::MulticastSnooping(false),
        InfoBridge::NfCallIpTables(false),
        InfoBridge::NfCallIp6Tables(false),
        InfoBridge::NfCallArpTables(false),
    ]
}

fn creation(bridge: &Bridge) -> LinkMessage {
    options()
        .into_iter()
        .fold(LinkMessageBuilder::<LinkBridge>::new(&bridge.name), |message, option| {
            message.append_info_data(option)
        })
        .address(bridge.mac.0.to_vec())
        // Not the wanted MTU yet: the kernel lets it follow the ports until it has been *changed* (`br_change_mtu`).
        .mtu(u32::from(bridge.mtu ^ 1))
        .build()
}
