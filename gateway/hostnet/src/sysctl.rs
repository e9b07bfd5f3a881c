//! Per-interface settings that netlink does not offer: `/proc/sys/net/<family>/conf/<interface>/<key>`.
//!
//! The files show the namespace of the thread that opens them. None of these settings is needed for frames to pass,
//! and `/proc/sys` is read-only in many containers, so a refusal is logged and passed over.

use std::fs;

use crate::Change;

/// One setting and its value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) family: &'static str,
    pub(crate) key: &'static str,
    pub(crate) value: &'static str,
}

/// What holds an address of the overlay.
pub(crate) const ADDRESSED: &[Setting] = &[
    // Removing one address leaves the others of its subnet alone.
    Setting { family: "ipv4", key: "promote_secondaries", value: "1" },
    // Set down and up again, it tells its neighbours so.
    Setting { family: "ipv4", key: "arp_notify", value: "1" },
    // A stranger on the overlay must not become anybody's default router.
    Setting { family: "ipv6", key: "accept_ra", value: "0" },
];

/// Container engines switch IPv6 off by default; an address was asked for.
pub(crate) const IPV6: &[Setting] = &[Setting { family: "ipv6", key: "disable_ipv6", value: "0" }];

/// A port of the bridge has nothing to say for itself: no link-local address, no router solicitations.
pub(crate) const PORT: &[Setting] = &[Setting { family: "ipv6", key: "disable_ipv6", value: "1" }];

/// Applies settings in the namespace of the calling thread.
pub(crate) fn apply(interface: &str, settings: &[Setting]) -> Change {
    let mut change = Change::Unchanged;
    for Setting { family, key, value } in settings {
        let path = format!("/proc/sys/net/{family}/conf/{interface}/{key}");
        // Absent where the family is compiled out.
        let Ok(present) = fs::read_to_string(&path) else { continue };
        if present.trim() == *value {
            continue;
        }
        match fs::write(&path, value) {
            Ok(()) => change = Change::Changed,
            Err(error) => tracing::debug!(path, value, %error, "setting refused"),
        }
    }
    change
}
