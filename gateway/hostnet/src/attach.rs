//! Containers on the bridge: a veth pair whose outer end is a port and whose inner end is the container's interface.
//!
//! The outer end is named after the namespace (`vethwepl<tag>`), so that whoever names the namespace differently finds
//! the same pair. Its alias says which container it is for. A pair is born with a working name inside (`vethwepg<tag>`)
//! and is marked and renamed in one step: whatever carries the mark is whole, and what a killed process left half
//! made is recognised by its names and made anew.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::time::Duration;

use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth};
use netlink_packet_route::route::RouteScope;
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use tokio::time::{Instant, sleep};
use weave_model::Cidr;

use crate::host::Host;
use crate::link::{Link, MARK, check_name};
use crate::netlink::Netlink;
use crate::netns::{Netns, OpenNetns};
use crate::wanted::Wanted;
use crate::{Change, HostError, announce, sysctl};

/// A container's place on the bridge as it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The container's network namespace.
    pub netns: Netns,
    /// The bridge to attach to.
    pub bridge: String,
    /// Name of the interface inside, `ethwe` by default.
    pub interface: String,
    /// The overlay's MTU.
    pub mtu: u16,
    /// Addresses to have at least; others that are there stay.
    pub addresses: Vec<Cidr>,
    /// Shown in the alias of the outer end, for those who read `ip link`.
    pub container_id: String,
}

/// Both ends of a pair that is there, and the conversation with the namespace of the inner one.
struct Pair {
    outer: Link,
    inner: Link,
    inside: Netlink,
}

impl Host {
    /// Makes the container have an interface on the bridge with these addresses, the multicast route, and up.
    ///
    /// When it returns, frames pass (unless somebody set the bridge down). When it fails, what this call made is gone again.
    pub async fn attach(&self, attachment: &Attachment) -> Result<Change, HostError> {
        check_name(&attachment.interface)?;
        let _changing = self.changing.lock().await;
        let netns = attachment.netns.open()?;
        if netns.identity == self.here.identity {
            return Err(HostError::HostNamespace { netns: attachment.netns.clone() });
        }
        let bridge = self.our_bridge(&attachment.bridge).await?;
        let inside = Netlink::inside(&netns).await?;
        let (pair, made) = match self.pair(&netns, inside).await? {
            Ok(pair) => (pair, false),
            Err(inside) => (self.make_pair(attachment, &netns, inside).await?, true),
        };
        if !made && pair.inner.name != attachment.interface {
            return Err(HostError::AlreadyAttached {
                netns: attachment.netns.clone(),
                interface: pair.inner.name,
            });
        }
        let mut added = Vec::new();
        match self.finish(attachment, &netns, &bridge, &pair, &mut added).await {
            Ok(change) => Ok(if made { Change::Changed } else { change }),
            Err(error) => {
                self.undo(&pair, made, &added).await;
                Err(error)
            }
        }
    }

    /// Takes addresses from the container, all of them when none is named, and its interface with the last one.
    ///
    /// Returns the addresses taken. A namespace that is gone has none, but what it left on the host is removed.
    pub async fn detach(&self, netns: &Netns, addresses: &[Cidr]) -> Result<Vec<Cidr>, HostError> {
        let _changing = self.changing.lock().await;
        let open = match netns.open() {
            Ok(open) => open,
            Err(HostError::NoSuchNetns { .. }) => {
                self.remove_ends_of(netns).await?;
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        };
        let inside = Netlink::inside(&open).await?;
        let pair = match self.pair(&open, inside).await? {
            Ok(pair) => pair,
            Err(inside) => {
                if let Some(half) = self.half(&open, &inside).await? {
                    self.netlink.delete_link(&half).await?;
                }
                return Ok(Vec::new());
            }
        };
        let present = pair.inside.addresses(pair.inner.index).await?;
        let (taken, left): (Vec<_>, Vec<_>) =
            present.into_iter().partition(|address| addresses.is_empty() || addresses.contains(address));
        let last = left.is_empty() && (addresses.is_empty() || !taken.is_empty());
        if last {
            self.netlink.delete_link(&pair.outer).await?;
            return Ok(taken);
        }
        for &address in &taken {
            pair.inside.remove_address(&pair.inner, address).await?;
        }
        Ok(taken)
    }

    /// Lists the addresses of the container's interface on the bridge; none when it is not attached.
    pub async fn attached(&self, netns: &Netns) -> Result<Vec<Cidr>, HostError> {
        let open = netns.open()?;
        let inside = Netlink::inside(&open).await?;
        match self.pair(&open, inside).await? {
            Ok(pair) => pair.inside.addresses(pair.inner.index).await,
            Err(_) => Ok(Vec::new()),
        }
    }

    /// Finds the namespace's pair, or gives the conversation back when there is no whole one.
    async fn pair(&self, netns: &OpenNetns, inside: Netlink) -> Result<Result<Pair, Netlink>, HostError> {
        let Some(outer) = self.netlink.link(&outer_name(netns)).await? else { return Ok(Err(inside)) };
        let (true, Some(index)) = (outer.is_veth(), outer.peer) else { return Ok(Err(inside)) };
        let inner = inside.link_at(index).await?;
        match inner.filter(|inner| inner.is_veth() && inner.is_ours() && inner.peer == Some(outer.index)) {
            Some(inner) => Ok(Ok(Pair { outer, inner, inside })),
            None => Ok(Err(inside)),
        }
    }

    async fn make_pair(
        &self,
        attachment: &Attachment,
        netns: &OpenNetns,
        inside: Netlink,
    ) -> Result<Pair, HostError> {
        let (outer, inner) = (outer_name(netns), inner_name(netns));
        if let Some(half) = self.half(netns, &inside).await? {
            self.netlink.delete_link(&half).await?;
        } else if let Some(present) = self.netlink.link(&outer).await? {
            return Err(present.foreign(format!("remove it with `ip link delete {outer}`")));
        }
        if let Some(present) = inside.link(&attachment.interface).await? {
            let hint = format!("remove it inside '{}', or choose another interface name", attachment.netns);
            return Err(present.foreign(hint));
        }
        let mtu = u32::from(attachment.mtu);
        let far_end = LinkMessageBuilder::<LinkUnspec>::new()
            .name(inner.as_str())
            .mtu(mtu)
            .setns_by_fd(netns.file.as_raw_fd())
            .build();
        let message = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(outer.as_str())
            .mtu(mtu)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(far_end)))
            .build();
        self.netlink.add_link(&format!("create '{outer}' for '{}'", attachment.netns), message).await?;
        let outer = self.netlink.expect_link(&outer).await?;
        match inside.expect_link(&inner).await {
            Ok(inner) => Ok(Pair { outer, inner, inside }),
            Err(error) => {
                self.netlink.delete_link(&outer).await?;
                Err(error)
            }
        }
    }

    /// What a process killed half-way left of the namespace's pair, known by the names of both ends: outside our name
    /// for this namespace, inside the name that a pair is born with.
    async fn half(&self, netns: &OpenNetns, inside: &Netlink) -> Result<Option<Link>, HostError> {
        let Some(inner) = inside.link(&inner_name(netns)).await? else { return Ok(None) };
        let outer = self.netlink.link(&outer_name(netns)).await?;
        Ok(outer.filter(|outer| outer.is_veth() && inner.peer == Some(outer.index)))
    }

    /// Brings a pair to what is wanted; notes the addresses it added.
    async fn finish(
        &self,
        attachment: &Attachment,
        netns: &OpenNetns,
        bridge: &Link,
        pair: &Pair,
        added: &mut Vec<Cidr>,
    ) -> Result<Change, HostError> {
        let Pair { outer, inner, inside } = pair;
        let name = attachment.interface.as_str();
        let mtu = Some(u32::from(attachment.mtu));
        let action = format!("attach '{}' to '{}'", attachment.netns, bridge.name);

        let mut change = sysctl::apply(&outer.name, sysctl::PORT);
        let alias = alias(&attachment.netns, &attachment.container_id);
        let port =
            Wanted { alias: Some(&alias), mtu, master: Some(bridge.index), up: true, ..Wanted::default() };
        // Attached again by another name of the namespace: the first one stays.
        let port = if outer.is_ours() { Wanted { alias: None, ..port } } else { port };
        change.add(self.netlink.ensure_link(&action, outer, &port).await?);
        let marked = Wanted { name: Some(name), alias: Some(MARK), mtu, ..Wanted::default() };
        change.add(inside.ensure_link(&action, inner, &marked).await?);
        let inner = inside.expect_link(name).await?;

        let (interface, v6) = (name.to_owned(), attachment.addresses.iter().any(|a| a.address().is_ipv6()));
        let set = move || {
            let mut change = sysctl::apply(&interface, sysctl::ADDRESSED);
            if v6 {
                change.add(sysctl::apply(&interface, sysctl::IPV6));
            }
            Ok(change)
        };
        change.add(netns.run(set).await.map_err(|e| HostError::from_io(&action, e))?);
        for &address in &attachment.addresses {
            if inside.ensure_address(&inner, address).await? == Change::Changed {
                added.push(address);
                change = Change::Changed;
            }
        }
        change.add(inside.ensure_link(&action, &inner, &Wanted { up: true, ..Wanted::default() }).await?);

        let multicast = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(Ipv4Addr::new(224, 0, 0, 0), 4)
            .output_interface(inner.index)
            .scope(RouteScope::Link)
            .build();
        // One of another interface stays: the container's owner has decided.
        if inside.add_route(&format!("add the multicast route in '{}'", attachment.netns), multicast).await? {
            change = Change::Changed;
        }
        if !bridge.up {
            tracing::warn!(bridge = bridge.name, "the bridge is down: no frames pass");
        } else if change == Change::Changed {
            self.announce(netns, outer, &inner, added).await;
        }
        Ok(change)
    }

    /// Waits until the bridge passes frames of the new port, then tells the neighbours who came.
    async fn announce(&self, netns: &OpenNetns, outer: &Link, inner: &Link, added: &[Cidr]) {
        let deadline = Instant::now() + Duration::from_secs(2);
        let mut pause = Duration::from_millis(1);
        while !self.netlink.link_at(outer.index).await.ok().flatten().is_some_and(|link| link.forwarding) {
            if Instant::now() >= deadline {
                tracing::warn!(interface = outer.name, "the bridge does not pass frames of this port");
                return;
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(50));
        }
        let addresses: Vec<IpAddr> = added.iter().map(|cidr| cidr.address()).collect();
        let (index, Some(mac)) = (inner.index, inner.mac) else { return };
        let send = move || {
            announce::send(index, mac, &addresses);
            Ok(())
        };
        let sent = netns.run(send).await;
        if let Err(error) = sent {
            tracing::debug!(interface = outer.name, %error, "cannot announce addresses");
        }
    }

    async fn undo(&self, pair: &Pair, made: bool, added: &[Cidr]) {
        let mut failed = None;
        if made {
            failed = self.netlink.delete_link(&pair.outer).await.err();
        } else {
            for &address in added {
                failed = pair.inside.remove_address(&pair.inner, address).await.err().or(failed);
            }
        }
        if let Some(error) = failed {
            tracing::warn!(interface = pair.outer.name, %error, "cannot undo");
        }
    }

    /// Removes the outer ends that were made for a namespace nobody can open any more.
    async fn remove_ends_of(&self, netns: &Netns) -> Result<(), HostError> {
        let prefix = alias(netns, "");
        for link in self.netlink.links().await? {
            let named = link.alias.as_deref().is_some_and(|alias| alias.starts_with(&prefix));
            if named && link.is_veth() && is_host_end(&link) {
                self.netlink.delete_link(&link).await?;
            }
        }
        Ok(())
    }
}

/// Whether the interface is the outer end of a pair, by its name.
pub(crate) fn is_host_end(link: &Link) -> bool {
    link.name.starts_with("vethwepl")
}

fn outer_name(netns: &OpenNetns) -> String {
    format!("vethwepl{}", netns.identity.tag())
}

fn inner_name(netns: &OpenNetns) -> String {
    format!("vethwepg{}", netns.identity.tag())
}

/// The mark and what the end is for, in the 255 bytes that the kernel keeps (`IFALIASZ`).
pub(crate) fn alias(netns: &Netns, container_id: &str) -> String {
    let mut text = format!("{MARK}: {netns} container {container_id}");
    while text.len() > 255 {
        text.pop();
    }
    text
}
