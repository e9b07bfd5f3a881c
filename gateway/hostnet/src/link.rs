//! An interface as the kernel describes it, and the mark that says it is ours.

use netlink_packet_route::link::{
    BridgePortState, InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoPortData, LinkAttribute, LinkFlags,
    LinkInfo, LinkMessage, State,
};
use weave_model::Mac;

use crate::HostError;

/// The alias (`ip link`'s `alias`) of what the gateway made. Without it only what the program names itself, its TAP, is
/// changed or removed.
pub(crate) const MARK: &str = "weave gateway";

/// What the kernel says of one interface.
#[derive(Debug, Clone, Default)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) up: bool,
    /// Up and with a carrier.
    pub(crate) running: bool,
    pub(crate) loopback: bool,
    pub(crate) mtu: u32,
    pub(crate) mac: Option<Mac>,
    pub(crate) alias: Option<String>,
    pub(crate) kind: Option<InfoKind>,
    /// Index of the bridge it is a port of.
    pub(crate) master: Option<u32>,
    /// Index of a veth's other end, in that end's namespace.
    pub(crate) peer: Option<u32>,
    pub(crate) bridge: Vec<InfoBridge>,
    /// Whether it is a bridge port that passes frames.
    pub(crate) forwarding: bool,
}

impl Link {
    pub(crate) fn parse(message: LinkMessage) -> Link {
        let flags = message.header.flags;
        let mut link = Link {
            index: message.header.index,
            up: flags.contains(LinkFlags::Up),
            running: flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
            loopback: flags.contains(LinkFlags::Loopback),
            ..Link::default()
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::IfAlias(alias) => link.alias = Some(alias),
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::Address(mac) => link.mac = <[u8; 6]>::try_from(mac).ok().map(Mac),
                LinkAttribute::Controller(index) => link.master = Some(index),
                LinkAttribute::Link(index) => link.peer = Some(index),
                LinkAttribute::OperState(State::Down | State::LowerLayerDown) => link.running = false,
                LinkAttribute::LinkInfo(infos) => infos.into_iter().for_each(|info| link.parse_info(info)),
                _ => {}
            }
        }
        link
    }

    fn parse_info(&mut self, info: LinkInfo) {
        match info {
            LinkInfo::Kind(kind) => self.kind = Some(kind),
            LinkInfo::Data(InfoData::Bridge(options)) => self.bridge = options,
            LinkInfo::PortData(InfoPortData::BridgePort(port)) => {
                self.forwarding = port.contains(&InfoBridgePort::State(BridgePortState::Forwarding));
            }
            _ => {}
        }
    }

    /// Whether the gateway made it.
    pub(crate) fn is_ours(&self) -> bool {
        self.alias.as_deref().is_some_and(|alias| {
            alias.strip_prefix(MARK).is_some_and(|rest| rest.is_empty() || rest.starts_with(": "))
        })
    }

    pub(crate) fn is_bridge(&self) -> bool {
        self.kind == Some(InfoKind::Bridge)
    }

    pub(crate) fn is_veth(&self) -> bool {
        self.kind == Some(InfoKind::Veth)
    }

    /// The error that refuses to touch it.
    pub(crate) fn foreign(&self, hint: impl Into<String>) -> HostError {
        let kind =
            self.kind.as_ref().map_or_else(|| "device".to_owned(), |kind| format!("{kind:?}").to_lowercase());
        let reason = match &self.alias {
            Some(alias) if self.is_ours() => format!("a {kind} with the alias '{alias}'"),
            Some(alias) => format!("a {kind} with the alias '{alias}' instead of '{MARK}'"),
            None => format!("a {kind} without the alias '{MARK}'"),
        };
        HostError::Foreign { interface: self.name.clone(), reason, hint: hint.into() }
    }
}

/// Refuses what the kernel would refuse (`dev_valid_name`), before it becomes part of a path or a message.
pub(crate) fn check_name(name: &str) -> Result<(), HostError> {
    let plain = (1..=15).contains(&name.len())
        && name != "."
        && name != ".."
        && !name.bytes().any(|b| b == 0 || b == b'/' || b == b':' || b.is_ascii_whitespace() || b == 0x0b);
    if plain { Ok(()) } else { Err(HostError::BadName { name: name.to_owned() }) }
}
