//! The host: the namespace the gateway stands in.

use tokio::sync::Mutex;

use crate::HostError;
use crate::netlink::Netlink;
use crate::netns::OpenNetns;

/// Networking of the namespace the process stands in.
///
/// Desired state goes in, and is compared with what is there: applying twice changes nothing. Changes are made one at
/// a time, so that two of them never see each other half done.
#[derive(Debug)]
pub struct Host {
    pub(crate) netlink: Netlink,
    pub(crate) here: OpenNetns,
    pub(crate) changing: Mutex<()>,
}

impl Host {
    /// Opens the namespace of the calling thread; has to run inside a tokio runtime with I/O and time.
    pub fn new() -> Result<Host, HostError> {
        let here =
            OpenNetns::current().map_err(|e| HostError::from_io("open the host's network namespace", e))?;
        Ok(Host { netlink: Netlink::here()?, here, changing: Mutex::new(()) })
    }

    /// Removes an interface of the gateway's by name, such as a persistent TAP; one that is gone already is fine.
    pub async fn remove_interface(&self, name: &str) -> Result<(), HostError> {
        crate::link::check_name(name)?;
        let _changing = self.changing.lock().await;
        match self.netlink.link(name).await? {
            Some(link) => self.netlink.delete_link(&link).await,
            None => Ok(()),
        }
    }
}

/// Whether applying changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Something was not as declared.
    Changed,
    /// Everything was as declared.
    Unchanged,
}

impl Change {
    /// Remembers that something changed, in a sequence of steps.
    pub(crate) fn add(&mut self, step: Change) {
        if step == Change::Changed {
            *self = Change::Changed;
        }
    }
}
