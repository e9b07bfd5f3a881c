//! What can go wrong on the host, and what to do about it.

use std::io;

use crate::Netns;

/// Why the host's networking could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The process lacks a capability.
    #[error("not permitted to {action}")]
    PermissionDenied {
        /// What was tried.
        action: String,
    },
    /// Something of that name exists and is not the gateway's.
    #[error("interface '{interface}' exists and is not ours: {reason}")]
    Foreign {
        /// The interface in the way.
        interface: String,
        /// How it is known not to be ours.
        reason: String,
        /// What the operator can do.
        hint: String,
    },
    /// There is no interface of that name.
    #[error("there is no interface '{name}'")]
    NoSuchInterface {
        /// The name looked for.
        name: String,
    },
    /// A text that the kernel takes for no interface name.
    #[error("'{name}' is not an interface name: 1 to 15 bytes without '/', ':' or white space")]
    BadName {
        /// The text.
        name: String,
    },
    /// The namespace is gone, or never was.
    #[error("there is no network namespace '{netns}'")]
    NoSuchNetns {
        /// The namespace looked for.
        netns: Netns,
    },
    /// The namespace is the one the gateway itself stands in.
    #[error("'{netns}' is the host's own network namespace, which cannot be attached")]
    HostNamespace {
        /// The namespace asked for.
        netns: Netns,
    },
    /// The namespace has an interface of the gateway's under another name.
    #[error("'{netns}' is attached already, by its interface '{interface}'")]
    AlreadyAttached {
        /// The namespace asked for.
        netns: Netns,
        /// The interface it has.
        interface: String,
    },
    /// The kernel refused a request.
    #[error("cannot {action}")]
    Kernel {
        /// What was tried.
        action: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

impl HostError {
    /// What the operator can do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            HostError::PermissionDenied { .. } => Some(
                "run as root, or with the capabilities CAP_NET_ADMIN, CAP_NET_RAW and CAP_SYS_ADMIN"
                    .to_owned(),
            ),
            HostError::Foreign { hint, .. } => Some(hint.clone()),
            HostError::NoSuchInterface { .. } => Some(
                "see `ip link` for the interfaces there are; the gateway makes its own at launch".to_owned(),
            ),
            HostError::BadName { .. } => Some("choose a shorter name, such as weave".to_owned()),
            HostError::NoSuchNetns { netns } => Some(match netns {
                Netns::Named(_) => "see `ip netns` for the namespaces there are".to_owned(),
                Netns::Path(path) => format!("see `ls -l {}`", path.display()),
                Netns::Pid(pid) => format!("see `ps {pid}`: is the process still running?"),
            }),
            HostError::HostNamespace { .. } => {
                Some("a container on the host's network reaches the others through `expose`".to_owned())
            }
            HostError::AlreadyAttached { .. } => {
                Some("detach it first, or attach it with that interface name".to_owned())
            }
            HostError::Kernel { .. } => None,
        }
    }

    /// Sorts a failed request by whether the process was allowed to make it.
    pub(crate) fn from_io(action: impl Into<String>, source: io::Error) -> HostError {
        let action = action.into();
        match source.raw_os_error() {
            Some(libc::EPERM) => HostError::PermissionDenied { action },
            _ => HostError::Kernel { action, source },
        }
    }

    /// The kernel's error number, when it gave one.
    pub(crate) fn errno(&self) -> Option<i32> {
        match self {
            HostError::Kernel { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}
