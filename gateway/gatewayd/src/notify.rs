//! Telling the service manager how far we are (sd_notify(3)); without one, nothing happens.

use std::os::unix::net::UnixDatagram;

/// Sends one state, such as `READY=1`.
pub(crate) fn notify(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let send = || -> std::io::Result<usize> {
        use std::os::linux::net::SocketAddrExt as _;
        use std::os::unix::ffi::OsStrExt as _;
        let socket = UnixDatagram::unbound()?;
        // A leading '@' stands for the abstract namespace (unix(7)).
        match path.as_bytes().split_first() {
            Some((b'@', name)) => socket
                .send_to_addr(state.as_bytes(), &std::os::unix::net::SocketAddr::from_abstract_name(name)?),
            _ => socket.send_to(state.as_bytes(), &path),
        }
    };
    if let Err(error) = send() {
        tracing::warn!(%error, "the service manager cannot be told that the gateway is ready");
    }
}

/// Whether a service manager started this process and would start it again.
pub(crate) fn supervised() -> bool {
    std::env::var_os("INVOCATION_ID").is_some() && std::env::var_os("NOTIFY_SOCKET").is_some()
}
