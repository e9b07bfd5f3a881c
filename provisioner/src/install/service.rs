//! The service that runs a gateway, for each init: its file, what is done with it, and what it says of itself. Pure.
//!
//! What is done is shell text that finds out by itself what runs the host, so nobody has to know before he asks. Each
//! text means the same on every host: a start returns when the gateway answers, a stop gives it ten seconds, and its
//! state is one of systemd's words.

pub use cloud_onprem::Init;

use super::{Content, Facts, WantedFile, log};

/// The service for systemd.
pub const UNIT: &str = "/etc/systemd/system/weave-gateway.service";
/// The service for OpenRC and for SysV init.
pub const SCRIPT: &str = "/etc/init.d/weave-gateway";
/// What comes to be beside the files where systemd does not run the gateway, and goes with them.
pub const TRACES: [&str; 5] = [
    log::FILE,
    log::OLD_FILE,
    "/run/weave-gateway.pid",
    "/run/weave-gateway.child",
    "/run/weave-gateway.restarts",
];

/// Restarts at once and for ever: a gateway that is down cuts its host off. `KillMode=mixed` lets the daemon say
/// goodbye to its peers before its workers go.
const UNIT_TEXT: &str = include_str!("weave-gateway.service");
const OPENRC_TEXT: &str = include_str!("weave-gateway.openrc");
const SYSV_TEXT: &str = include_str!("weave-gateway.sysv");

/// Where the service is.
pub fn service_path(init: Init) -> &'static str {
    match init {
        Init::Systemd => UNIT,
        Init::OpenRc | Init::SysV => SCRIPT,
    }
}

/// The service as a host with this init shall have it.
pub fn service_file(init: Init) -> WantedFile {
    let (mode, text) = match init {
        Init::Systemd => (0o644, UNIT_TEXT),
        Init::OpenRc => (0o755, OPENRC_TEXT),
        Init::SysV => (0o755, SYSV_TEXT),
    };
    WantedFile { path: service_path(init), mode, content: Some(Content::new(text.as_bytes())) }
}

/// Wanted files with the service that fits what a host said of its init.
pub fn fit(files: &[WantedFile], facts: &Facts) -> Vec<WantedFile> {
    let fitting = |file: &WantedFile| {
        if [UNIT, SCRIPT].contains(&file.path) { service_file(facts.init()) } else { file.clone() }
    };
    files.iter().map(fitting).collect()
}

/// What is done with the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Has it start at boot.
    Enable,
    /// Starts it unless it runs, and waits until the gateway answers.
    Start,
    /// Stops it if it runs, and does the same.
    Restart,
    /// Ends the gateway, which tells its peers.
    Stop,
    /// Has the gateway read its identity again.
    Reload,
    /// Prints one word: `active`, `activating`, `inactive` or what else systemd says.
    State,
    /// Prints the last so many lines of the gateway's log.
    Tail(u8),
}

/// The shell text for one init.
pub fn command(init: Init, verb: Verb) -> String {
    match (init, verb) {
        (Init::Systemd, Verb::Enable) => {
            "systemctl daemon-reload; systemctl --quiet enable weave-gateway".to_owned()
        }
        (Init::Systemd, Verb::Start) => "timeout 50 systemctl start weave-gateway".to_owned(),
        (Init::Systemd, Verb::Restart) => "timeout 50 systemctl restart weave-gateway".to_owned(),
        (Init::Systemd, Verb::Stop) => "systemctl stop weave-gateway".to_owned(),
        // Without the unit's `ExecReload=`, which a unit of an earlier version does not have.
        (Init::Systemd, Verb::Reload) => "systemctl kill -s HUP --kill-who=main weave-gateway".to_owned(),
        (Init::Systemd, Verb::State) => "systemctl is-active weave-gateway 2>/dev/null".to_owned(),
        (Init::Systemd, Verb::Tail(lines)) => {
            format!("journalctl -u weave-gateway -n {lines} --no-pager -o cat")
        }
        (Init::OpenRc, Verb::Enable) => {
            format!("{{ {} || rc-update -q add weave-gateway default >/dev/null; }}", enabled(init))
        }
        (Init::SysV, Verb::Enable) => format!("{SCRIPT} enable"),
        (Init::OpenRc | Init::SysV, Verb::Start) => started("start"),
        (Init::OpenRc | Init::SysV, Verb::Restart) => started("restart"),
        (Init::OpenRc | Init::SysV, Verb::Stop) => format!("{SCRIPT} stop >/dev/null"),
        (Init::OpenRc | Init::SysV, Verb::Reload) => format!("{SCRIPT} reload >/dev/null"),
        (Init::OpenRc | Init::SysV, Verb::State) => state(),
        (Init::OpenRc | Init::SysV, Verb::Tail(lines)) => {
            format!("if [ -f {0} ]; then tail -n {lines} {0}; fi", log::FILE)
        }
    }
}

/// The shell text for whatever init a host has.
pub fn on_any(verb: Verb) -> String {
    Init::choose(|init| command(init, verb), "echo 'its init does not start gateways' >&2; false")
}

/// The part of the question about a host's facts that is about the service; leaves its state in `$a`.
pub(super) fn question() -> String {
    let systemd = "for l in $(systemctl show -p ActiveState -p UnitFileState -p NRestarts weave-gateway 2>/dev/null); \
                   do case $l in ActiveState=*) a=${l#*=};; UnitFileState=*) b=${l#*=};; NRestarts=*) n=${l#*=};; esac; \
                   done";
    let other = |init: Init, restarts: &str| {
        format!(
            "if [ -x {SCRIPT} ]; then a=$({state}); if {enabled}; then b=enabled; fi; \
             n=$(cat {restarts} 2>/dev/null || echo 0); fi",
            state = state(),
            enabled = enabled(init),
        )
    };
    let each = |init| match init {
        Init::Systemd => systemd.to_owned(),
        Init::OpenRc => other(init, "/run/openrc/options/weave-gateway/start_count"),
        Init::SysV => other(init, "/run/weave-gateway.restarts"),
    };
    format!(
        "a=; b=; n=0; {}; echo \"active $a\"; echo \"enabled $b\"; echo \"machine: restarts $n\"; \
         {}; echo \"machine: init $i\"; ",
        Init::choose(each, ":"),
        Init::probe(),
    )
}

/// A supervisor that runs is no gateway that runs.
fn state() -> String {
    format!(
        "if {SCRIPT} status >/dev/null 2>&1; then if timeout 5 {} report >/dev/null 2>&1; then echo active; \
         else echo activating; fi; else echo inactive; fi",
        super::GATEWAY
    )
}

/// A start as systemd's: it fails when the gateway ends or does not answer in time, and is tried again all the same.
fn started(verb: &str) -> String {
    format!("{{ timeout 50 {SCRIPT} {verb} >/dev/null && [ \"$({})\" = active ]; }}", state())
}

/// Succeeds where the service starts at boot.
fn enabled(init: Init) -> &'static str {
    match init {
        Init::Systemd => "systemctl --quiet is-enabled weave-gateway",
        Init::OpenRc => "[ -e /etc/runlevels/default/weave-gateway ]",
        Init::SysV => {
            "ls /etc/rc[2345].d/S??weave-gateway /etc/rc.d/rc[2345].d/S??weave-gateway /etc/init.d/S??weave-gateway \
             2>/dev/null | grep -q ."
        }
    }
}
