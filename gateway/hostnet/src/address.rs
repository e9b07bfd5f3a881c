//! Addresses of interfaces: those asked for, and those of the underlay at which peers may reach this host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope};
use rtnetlink::AddressMessageBuilder;
use weave_model::Cidr;

use crate::host::Host;
use crate::link::Link;
use crate::netlink::Netlink;
use crate::{Change, HostError};

impl Host {
    /// Lists the addresses at which peers may dial this host: interface, address and MTU.
    ///
    /// They are the global addresses of interfaces that are up, without loopback, what the gateway made, and the
    /// bridges and host ends of container engines.
    pub async fn underlay_addresses(&self) -> Result<Vec<(String, IpAddr, u32)>, HostError> {
        let links = self.netlink.links().await?;
        let mut found: Vec<_> = self
            .netlink
            .address_messages()
            .await?
            .iter()
            .filter(|message| is_lasting(message))
            .filter_map(|message| {
                let link = links.iter().find(|link| link.index == message.header.index)?;
                let address = parse(message)?.address();
                is_underlay(link, &links).then(|| (link.index, link.name.clone(), address, link.mtu))
            })
            .collect();
        found.sort();
        Ok(found.into_iter().map(|(_, name, address, mtu)| (name, address, mtu)).collect())
    }
}

/// Whether the address is globally valid and will be there tomorrow.
fn is_lasting(message: &AddressMessage) -> bool {
    let flags = message.header.flags;
    let refused =
        AddressHeaderFlags::Tentative | AddressHeaderFlags::Dadfailed | AddressHeaderFlags::Deprecated;
    // For IPv6 the bit of `Secondary` means a temporary privacy address (RFC 8981).
    let temporary = flags.contains(AddressHeaderFlags::Secondary) && parse(message).is_some_and(is_v6);
    message.header.scope == AddressScope::Universe && !flags.intersects(refused) && !temporary
}

/// Whether peers may be reached through the interface. A veth may well be an uplink (a host that is itself a
/// container), so names decide and not kinds.
pub(crate) fn is_underlay(link: &Link, all: &[Link]) -> bool {
    let of_engine = ["docker", "veth", "cni", "cali", "flannel", "podman", "virbr", "lxcbr"]
        .iter()
        .any(|prefix| link.name.starts_with(prefix));
    // Docker calls the bridges of its networks `br-` and 12 digits of their id.
    let of_docker_network = link
        .name
        .strip_prefix("br-")
        .is_some_and(|id| id.len() == 12 && id.bytes().all(|b| b.is_ascii_hexdigit()));
    let port_of_ours = all.iter().any(|bridge| Some(bridge.index) == link.master && bridge.is_ours());
    link.running && !link.loopback && !link.is_ours() && !port_of_ours && !of_engine && !of_docker_network
}

impl Netlink {
    /// The addresses of one interface, without those IPv6 makes for itself.
    pub(crate) async fn addresses(&self, index: u32) -> Result<Vec<Cidr>, HostError> {
        let messages = self.address_messages().await?;
        let mut found: Vec<Cidr> = messages
            .iter()
            .filter(|message| message.header.index == index)
            .filter_map(parse)
            .filter(|cidr| !matches!(cidr.address(), IpAddr::V6(a) if a.is_unicast_link_local()))
            .collect();
        found.sort();
        Ok(found)
    }

    /// Makes the interface have the address.
    pub(crate) async fn ensure_address(&self, link: &Link, address: Cidr) -> Result<Change, HostError> {
        if self.addresses(link.index).await?.contains(&address) {
            return Ok(Change::Unchanged);
        }
        let action = format!("add address {address} to '{}'", link.name);
        self.add_address(&action, message(link.index, address)).await?;
        Ok(Change::Changed)
    }

    /// Makes the interface lack the address, and keep all the others.
    pub(crate) async fn remove_address(&self, link: &Link, address: Cidr) -> Result<Change, HostError> {
        let before = self.addresses(link.index).await?;
        if !before.contains(&address) {
            return Ok(Change::Unchanged);
        }
        let action = format!("remove address {address} from '{}'", link.name);
        self.delete_address(&action, message(link.index, address)).await?;
        // With the first IPv4 address of a subnet the kernel takes the others of that subnet too, unless
        // `promote_secondaries` is set, which the gateway may not have been allowed to do.
        for kept in before.into_iter().filter(|&kept| kept != address) {
            self.ensure_address(link, kept).await?;
        }
        Ok(Change::Changed)
    }
}

fn is_v6(cidr: Cidr) -> bool {
    cidr.address().is_ipv6()
}

fn parse(message: &AddressMessage) -> Option<Cidr> {
    // On point-to-point interfaces `Address` is the other end; `Local` is absent in IPv6 without one.
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    });
    Cidr::new(local.or(address)?, message.header.prefix_len)
}

fn message(index: u32, cidr: Cidr) -> AddressMessage {
    match cidr.address() {
        IpAddr::V4(a) => {
            AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(a, cidr.prefix()).build()
        }
        IpAddr::V6(a) => {
            let mut message =
                AddressMessageBuilder::<Ipv6Addr>::new().index(index).address(a, cidr.prefix()).build();
            // The allocator has seen to it that nobody else has the address: usable at once (RFC 4862 §5.4).
            message.header.flags |= AddressHeaderFlags::Nodad;
            message
        }
    }
}
