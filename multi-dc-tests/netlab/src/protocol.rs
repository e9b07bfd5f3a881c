//! What a command and the keeper say to each other: one request and one reply per connection, JSON, to the end of the
//! stream; the reply to `Enter` carries open namespaces.
//!
//! The socket lies in a folder of mode 0700: who reaches it may do everything anyway.

use std::io::{IoSlice, IoSliceMut, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::cmsg_space;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::order::Order;
use crate::range::Range;
use crate::values::{Cable, Nat, Status, Topology};

/// What the keeper can be asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    Status,
    SetTopology(Topology),
    EnsureSite { name: String, index: u8, lan: Option<Range> },
    RemoveSite { name: String },
    EnsureHost(Box<Order>),
    DestroyHost { name: String },
    SetNat { site: String, nat: Nat },
    Cut(Cable),
    Heal(Cable),
    Enter { place: String },
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Status(Box<Status>),
    /// The namespaces of the place come with it, in the order of [`NAMESPACES`].
    Door {
        /// The leaf below the lab's cgroup that the visitor belongs into.
        cgroup: String,
    },
}

/// The namespaces that make a place, in the order in which they are entered: the mounts late, because the others need
/// no path, and the processes take effect for children only.
pub(crate) const NAMESPACES: [&str; 6] = ["ipc", "uts", "net", "pid", "cgroup", "mnt"];

/// How long the other side may take to read.
const PATIENCE: Duration = Duration::from_secs(5);

/// No message is longer; the longest holds user-data of a few kilobytes.
const LONGEST: u64 = 1 << 20;

/// Sends one value and says that no more follows.
pub(crate) fn send<T: Serialize>(stream: &UnixStream, value: &T, fds: &[RawFd]) -> Result<(), Error> {
    let failed = Error::io("sending to the other side of the lab's socket");
    stream.set_write_timeout(Some(PATIENCE)).map_err(Error::io("limiting a wait"))?;
    let text =
        serde_json::to_vec(value).map_err(|error| Error::Failed(format!("encoding a message: {error}")))?;
    let rights = [ControlMessage::ScmRights(fds)];
    let rights = if fds.is_empty() { &rights[..0] } else { &rights[..] };
    let (first, rest) = text.split_at(1);
    sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(first)], rights, MsgFlags::MSG_NOSIGNAL, None)
        .map_err(Error::errno("sending to the other side of the lab's socket"))?;
    (&mut &*stream).write_all(rest).and_then(|()| stream.shutdown(Shutdown::Write)).map_err(failed)
}

/// Receives what [`send`] sent, within `limit` per read.
pub(crate) fn receive<T: DeserializeOwned>(
    stream: &UnixStream,
    limit: Duration,
) -> Result<(T, Vec<OwnedFd>), Error> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::WouldBlock => {
            Error::Timeout(format!("the lab's keeper did not answer within {} s", limit.as_secs()))
        }
        _ => Error::io("reading from the lab's socket")(error),
    };
    stream.set_read_timeout(Some(limit)).map_err(failed)?;
    let mut first = [0u8; 1];
    let mut fds = Vec::new();
    let mut space = cmsg_space!([RawFd; NAMESPACES.len()]);
    let mut parts = [IoSliceMut::new(&mut first)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), flags)
        .map_err(|errno| failed(errno.into()))?;
    for control in message.cmsgs().map_err(|errno| failed(errno.into()))? {
        if let ControlMessageOwned::ScmRights(received) = control {
            // SAFETY: the kernel has just put these descriptors into this process and nobody else knows them.
            fds.extend(received.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    let mut text = if message.bytes == 0 { Vec::new() } else { first.to_vec() };
    (&mut &*stream).take(LONGEST).read_to_end(&mut text).map_err(failed)?;
    let value = serde_json::from_slice(&text).map_err(|error| {
        Error::Failed(format!(
            "the lab's keeper hung up or is of another version: {error}; hint: take the lab down and up again"
        ))
    })?;
    Ok((value, fds))
}
