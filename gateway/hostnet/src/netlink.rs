//! One conversation with the kernel about the interfaces of one namespace.
//!
//! A netlink socket belongs to the namespace of the thread that made it, for ever: one made inside a container may be
//! used from any thread afterwards. Every request has a deadline and an error that names what was tried.

use std::future::Future;
use std::io;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::time::Duration;

use futures_util::TryStreamExt;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::route::RouteMessage;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use rtnetlink::sys::TokioSocket;
use tokio::task::JoinHandle;

use crate::HostError;
use crate::link::Link;
use crate::netns::OpenNetns;

/// How long the kernel may take: it answers in microseconds, but one lock covers all namespaces, and the end of a
/// large namespace holds it for seconds.
const DEADLINE: Duration = Duration::from_secs(20);

/// An open netlink socket and the task that serves it; both end with the value.
#[derive(Debug)]
pub(crate) struct Netlink {
    handle: rtnetlink::Handle,
    task: JoinHandle<()>,
}

impl Netlink {
    /// Talks about the namespace of the calling thread.
    pub(crate) fn here() -> Result<Netlink, HostError> {
        let fd = open().map_err(|e| HostError::from_io("open a netlink socket", e))?;
        Ok(Netlink::serve(fd))
    }

    /// Talks about another namespace.
    pub(crate) async fn inside(netns: &OpenNetns) -> Result<Netlink, HostError> {
        let fd = netns.run(open).await.map_err(|e| HostError::from_io("enter a network namespace", e))?;
        Ok(Netlink::serve(fd))
    }

    fn serve(fd: OwnedFd) -> Netlink {
        // SAFETY: the descriptor is open and owned by nobody else; the socket closes it.
        let socket = unsafe { TokioSocket::from_raw_fd(fd.into_raw_fd()) };
        let (connection, handle, _) = rtnetlink::from_socket(socket);
        Netlink { handle, task: tokio::spawn(connection) }
    }

    /// The interface of that name.
    pub(crate) async fn link(&self, name: &str) -> Result<Option<Link>, HostError> {
        self.one(self.handle.link().get().match_name(name), || format!("look for interface '{name}'")).await
    }

    /// The interface of that name, which has to be there.
    pub(crate) async fn expect_link(&self, name: &str) -> Result<Link, HostError> {
        self.link(name).await?.ok_or_else(|| HostError::NoSuchInterface { name: name.to_owned() })
    }

    /// The interface of that number.
    pub(crate) async fn link_at(&self, index: u32) -> Result<Option<Link>, HostError> {
        self.one(self.handle.link().get().match_index(index), || format!("look for interface {index}")).await
    }

    /// All interfaces.
    pub(crate) async fn links(&self) -> Result<Vec<Link>, HostError> {
        let messages: Vec<_> =
            within("list the interfaces", self.handle.link().get().execute().try_collect()).await?;
        Ok(messages.into_iter().map(Link::parse).collect())
    }

    /// Makes an interface that must not exist yet.
    pub(crate) async fn add_link(&self, action: &str, message: LinkMessage) -> Result<(), HostError> {
        within(action, self.handle.link().add(message).execute()).await
    }

    /// Changes the interface that the message names by index.
    pub(crate) async fn change_link(&self, action: &str, message: LinkMessage) -> Result<(), HostError> {
        within(action, self.handle.link().change(message).execute()).await
    }

    /// Removes an interface; one that is gone already is fine.
    pub(crate) async fn delete_link(&self, link: &Link) -> Result<(), HostError> {
        let action = format!("remove interface '{}'", link.name);
        gone_is_fine(within(&action, self.handle.link().del(link.index).execute()).await)
    }

    /// The addresses of all interfaces.
    pub(crate) async fn address_messages(&self) -> Result<Vec<AddressMessage>, HostError> {
        within("list the addresses", self.handle.address().get().execute().try_collect()).await
    }

    /// Adds an address that must not be there yet.
    pub(crate) async fn add_address(&self, action: &str, message: AddressMessage) -> Result<(), HostError> {
        let mut request = self.handle.address().add(0, std::net::Ipv4Addr::UNSPECIFIED.into(), 0);
        *request.message_mut() = message;
        within(action, request.execute()).await
    }

    /// Removes an address; one that is gone already is fine.
    pub(crate) async fn delete_address(
        &self,
        action: &str,
        message: AddressMessage,
    ) -> Result<(), HostError> {
        gone_is_fine(within(action, self.handle.address().del(message).execute()).await)
    }

    /// Adds a route; returns whether there was none like it.
    pub(crate) async fn add_route(&self, action: &str, message: RouteMessage) -> Result<bool, HostError> {
        match within(action, self.handle.route().add(message).execute()).await {
            Ok(()) => Ok(true),
            Err(e) if e.errno() == Some(libc::EEXIST) => Ok(false),
            Err(e) => Err(e),
        }
    }

    async fn one(
        &self,
        request: rtnetlink::LinkGetRequest,
        action: impl Fn() -> String,
    ) -> Result<Option<Link>, HostError> {
        let found = within(&action(), async { request.execute().try_next().await }).await;
        match found {
            Ok(message) => Ok(message.map(Link::parse)),
            Err(e) if e.errno() == Some(libc::ENODEV) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn open() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?)
}

async fn within<T>(
    action: &str,
    request: impl Future<Output = Result<T, rtnetlink::Error>>,
) -> Result<T, HostError> {
    let source = match tokio::time::timeout(DEADLINE, request).await {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(rtnetlink::Error::NetlinkError(refusal))) => refusal.to_io(),
        Ok(Err(other)) => io::Error::other(other.to_string()),
        Err(_) => io::Error::new(io::ErrorKind::TimedOut, "the kernel did not answer in time"),
    };
    Err(HostError::from_io(action, source))
}

fn gone_is_fine(outcome: Result<(), HostError>) -> Result<(), HostError> {
    match outcome {
        Err(e) if matches!(e.errno(), Some(libc::ENODEV | libc::EADDRNOTAVAIL)) => Ok(()),
        other => other,
    }
}
