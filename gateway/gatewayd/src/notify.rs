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

/// Says that the gateway does its work.
pub(crate) fn ready() {
    notify("READY=1");
}

/// Says that the configuration is read again; [`ready`] ends it.
pub(crate) fn reloading() {
    // systemd compares it with when it sent the signal, and takes the clock to be this one (systemd.service(5)).
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours, which the call fills in.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    let micros = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000);
    notify(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
}

/// Whether a service manager started this process and would start it again: systemd says so by two variables, the
/// script for other inits by one.
pub(crate) fn supervised() -> bool {
    let said = |variable| std::env::var_os(variable).is_some();
    said("INVOCATION_ID") && said("NOTIFY_SOCKET") || said("WEAVE_SUPERVISED")
}
