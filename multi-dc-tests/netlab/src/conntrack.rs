//! Forgetting connections, for which `nft` has no word and `conntrack` would be one more package.

use std::os::fd::AsRawFd as _;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use crate::error::Error;

/// linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h: `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE`.
const DELETE: u16 = 0x0102;

/// linux/netlink.h: `NLM_F_REQUEST | NLM_F_ACK`.
const REQUEST_ACK: u16 = 0x0005;

/// Forgets all connections of the calling network namespace.
pub(crate) fn flush() -> Result<(), Error> {
    let failed = || Error::errno("forgetting the connections of a router");
    let flags = SockFlag::SOCK_CLOEXEC;
    let netlink = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkNetFilter);
    let netlink = netlink.map_err(failed())?;
    // The kernel answers before it returns from the request; the limit is for a kernel that does not.
    setsockopt(&netlink, sockopt::ReceiveTimeout, &TimeVal::new(5, 0)).map_err(failed())?;
    send(netlink.as_raw_fd(), &request(), MsgFlags::empty()).map_err(failed())?;
    let mut answer = [0u8; 128];
    let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty()).map_err(failed())?;
    match error_of(&answer[..length]) {
        Some(0) => Ok(()),
        Some(code) => Err(failed()(nix::errno::Errno::from_raw(-code))),
        None => Err(Error::Failed("the kernel answered a flush with something else".to_owned())),
    }
}

/// A `nlmsghdr` and an empty `nfgenmsg`: without a filter all entries go.
fn request() -> [u8; 20] {
    let mut request = [0u8; 20];
    request[0..4].copy_from_slice(&20u32.to_ne_bytes());
    request[4..6].copy_from_slice(&DELETE.to_ne_bytes());
    request[6..8].copy_from_slice(&REQUEST_ACK.to_ne_bytes());
    request[8..12].copy_from_slice(&1u32.to_ne_bytes());
    request
}

/// The code of a `nlmsgerr`, which follows the header.
fn error_of(answer: &[u8]) -> Option<i32> {
    Some(i32::from_ne_bytes(answer.get(16..20)?.try_into().ok()?))
}
