//! What an interface should look like, and the one message that makes it so.

use rtnetlink::LinkUnspec;
use weave_model::Mac;

use crate::link::Link;
use crate::netlink::Netlink;
use crate::{Change, HostError};

/// The properties that somebody cares about; `None` leaves one as it is.
#[derive(Debug, Default)]
pub(crate) struct Wanted<'a> {
    pub(crate) name: Option<&'a str>,
    pub(crate) alias: Option<&'a str>,
    pub(crate) mac: Option<Mac>,
    pub(crate) mtu: Option<u32>,
    pub(crate) master: Option<u32>,
    pub(crate) up: bool,
}

impl Netlink {
    /// Changes what differs, in one message: a process killed meanwhile leaves all of it or nothing.
    pub(crate) async fn ensure_link(
        &self,
        action: &str,
        link: &Link,
        wanted: &Wanted<'_>,
    ) -> Result<Change, HostError> {
        let mut message = LinkUnspec::new_with_index(link.index);
        let mut change = Change::Unchanged;
        if let Some(name) = wanted.name.filter(|&name| name != link.name) {
            message = message.name(name);
            change = Change::Changed;
        }
        if let Some(alias) = wanted.alias.filter(|&alias| Some(alias) != link.alias.as_deref()) {
            message = message.alias(alias);
            change = Change::Changed;
        }
        if let Some(mac) = wanted.mac.filter(|&mac| Some(mac) != link.mac) {
            message = message.address(mac.0.to_vec());
            change = Change::Changed;
        }
        if let Some(mtu) = wanted.mtu.filter(|&mtu| mtu != link.mtu) {
            message = message.mtu(mtu);
            change = Change::Changed;
        }
        if let Some(master) = wanted.master.filter(|&master| Some(master) != link.master) {
            message = message.controller(master);
            change = Change::Changed;
        }
        if wanted.up && !link.up {
            message = message.up();
            change = Change::Changed;
        }
        if change == Change::Changed {
            self.change_link(action, message.build()).await?;
        }
        Ok(change)
    }
}
