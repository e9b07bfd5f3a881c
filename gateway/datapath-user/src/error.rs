//! Why the datapath could not be set up.

use std::io;

/// What failed while the datapath was being set up; nothing in here happens to a running one.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// No TUN/TAP in this kernel or container, or no right to use it.
    #[error("cannot open /dev/net/tun; load the kernel module 'tun' and run with CAP_NET_ADMIN")]
    NoTun {
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The device exists in another shape, or somebody else holds it.
    #[error(
        "cannot attach to the TAP device '{name}'; remove it with 'ip link del {name}' if it is a leftover"
    )]
    Tap {
        /// The device.
        name: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Longer than an interface name may be, or empty.
    #[error("'{name}' is no interface name: it takes 1 to 15 bytes")]
    TapName {
        /// What was asked for.
        name: String,
    },
    /// Another process owns the port.
    #[error(
        "UDP port {port} is in use by another process; stop it ('ss -ulpn sport = :{port}' shows it) or choose another port"
    )]
    PortInUse {
        /// The port.
        port: u16,
    },
    /// A socket could not be made or bound.
    #[error("cannot open a socket on UDP port {port}")]
    Socket {
        /// The port.
        port: u16,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// As many TAP queues as sockets are needed, at least one.
    #[error("{queues} TAP queues and {sockets} sockets: every worker needs one of each")]
    Workers {
        /// Queues of the TAP.
        queues: usize,
        /// Sockets of the port.
        sockets: usize,
    },
    /// A thread or its wake-up could not be made.
    #[error("cannot start the datapath's threads")]
    Threads {
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}
