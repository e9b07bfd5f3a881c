//! What keeps a machine from being the fleet's, and what to do about it. Pure.

use cloud_core::ProviderError;

use crate::machines::Config;
use crate::script::Answer;

/// Judges a machine's answer.
pub(crate) fn obstacle(answer: &Answer, config: &Config) -> Option<(String, &'static str)> {
    let fleet = &config.fleet;
    if !answer.root {
        return Some((
            "commands do not run as root there".to_owned(),
            "log in as root, or set `sudo` for the host in weave.toml",
        ));
    }
    if let Some(other) = answer.mark.as_ref().filter(|mark| *mark != fleet) {
        return Some((
            format!("it belongs to fleet {other:.100?}"),
            "`weave-provision down` of that fleet frees it; one machine is in one fleet",
        ));
    }
    if let (None, Some((kind, name))) = (&answer.mark, answer.found.first()) {
        return Some((
            format!("there is a gateway that no fleet put there ({kind} {name})"),
            "`weave reset` there removes what it made; then remove its files",
        ));
    }
    if let Some(wanted) = config.architecture.filter(|wanted| answer.architecture != *wanted) {
        return Some((
            format!("it is {:.40?}, and the gateway's program is for {wanted}", answer.architecture),
            "name a program for it with --gateway",
        ));
    }
    if answer.init.is_none() {
        return Some((
            "its init is none that starts a gateway: systemd, OpenRC, or SysV init with start-stop-daemon"
                .to_owned(),
            "take the host out of weave.toml; `weave launch` runs a gateway there by hand",
        ));
    }
    if !answer.lacks.is_empty() {
        return Some((
            format!("it lacks {}", answer.lacks.join(", ")),
            "install there what has them, e.g. coreutils, util-linux, or the init's own package",
        ));
    }
    if !answer.tun {
        return Some((
            "it has no /dev/net/tun".to_owned(),
            "load the kernel's module tun there; in a container, pass the device in",
        ));
    }
    None
}

/// Why a machine cannot be talked to, without its name in front.
pub(crate) fn reason(host: &str, error: &ProviderError) -> String {
    let text = match error {
        ProviderError::Permission(text) => text.clone(),
        error => error.to_string(),
    };
    text.strip_prefix(&format!("{host}: ")).unwrap_or(&text).to_owned()
}

/// What to do about a machine that cannot be talked to.
pub(crate) fn login_hint(error: &ProviderError) -> &'static str {
    match error {
        ProviderError::Permission(_) => {
            "`user`, `key` and `agent` in weave.toml say how to log in; the host's authorized_keys says who may"
        }
        ProviderError::Invalid(_) => {
            "`sudo` in weave.toml says how the user becomes root; `sudo -l` there lists what it may do"
        }
        _ => {
            "if the host was rebuilt, put its new key into known_hosts or weave.toml (there as the fingerprint of its \
             Ed25519 key); otherwise something stands between you and the host"
        }
    }
}
