//! The lines of shell that run as root on a machine, and the reading of what they say. Pure.

use crate::init::Init;
use crate::machines::Footprint;
use crate::ssh::quote::text as quoted;

/// The programs that installing and asking needs; all are of coreutils and util-linux, or of BusyBox. Those of the
/// machine's init come on top.
const TOOLS: &str = "sha256sum stat readlink timeout cut head tail ln flock";

/// The exit status of a script that found another at work: EX_TEMPFAIL of sysexits(3).
pub(crate) const BUSY: u8 = 75;

/// Waits until no other script works on the machine: that of a killed run goes on there by itself. The lock is on a
/// folder that every machine has, so it leaves nothing. BusyBox's flock has no limit of its own.
fn lock(kind: &str, seconds: u32) -> String {
    format!(
        "if command -v flock >/dev/null 2>&1; then exec 9</etc; timeout {seconds} flock {kind} 9 || {{ \
         echo 'the command of an earlier run still works there' >&2; exit {BUSY}; }}; fi; "
    )
}

/// Where SysV init, BusyBox and OpenRC keep what starts at boot; patterns for the shell.
fn boot_links(footprint: &Footprint) -> String {
    let service = footprint.service;
    format!(
        "/etc/rc?.d/[SK]??{service} /etc/rc.d/rc?.d/[SK]??{service} /etc/init.d/S??{service} /etc/runlevels/*/{service}"
    )
}

/// Prints what of the footprint is there but the mark, one `found KIND NAME` a line.
fn find(footprint: &Footprint) -> String {
    let files: Vec<String> = own_files(footprint).map(quoted).collect();
    let interfaces: Vec<String> = footprint.interfaces.iter().map(|name| quoted(name)).collect();
    format!(
        "for f in {files}; do for g in \"$f\" \"$f.part\"; do [ ! -e \"$g\" ] || echo \"found file $g\"; done; done; \
         for f in {links}; do [ ! -L \"$f\" ] || echo \"found file $f\"; done; \
         [ \"$(readlink {link})\" != {target} ] || echo found file {link}; \
         for i in {interfaces}; do [ ! -e \"/sys/class/net/$i\" ] || echo \"found interface $i\"; done; \
         for p in /proc/[0-9]*; do e=$(readlink \"$p/exe\" 2>/dev/null) || continue; \
         case $e in {program}|{program}' (deleted)') echo \"found process ${{p#/proc/}}\";; esac; done",
        files = files.join(" "),
        links = boot_links(footprint),
        link = quoted(footprint.link.0),
        target = quoted(footprint.link.1),
        interfaces = interfaces.join(" "),
        program = quoted(footprint.program),
    )
}

/// The files that make a gateway, all but the mark.
fn own_files(footprint: &Footprint) -> impl Iterator<Item = &'static str> {
    let Footprint { unit, script, program, files, .. } = footprint;
    [*unit, *script, *program].into_iter().chain(files.iter().copied())
}

/// Asks a machine about itself; [`Answer::parse`] reads the answer.
pub(crate) fn ask(footprint: &Footprint) -> String {
    format!(
        "{lock}echo \"user $(id -u)\"; echo \"architecture $(uname -m)\"; {probe}; echo \"init $i\"; \
         [ ! -c /dev/net/tun ] || echo tun; \
         {tools}; for t in {TOOLS} $t; do command -v \"$t\" >/dev/null 2>&1 || echo \"lacks $t\"; done; \
         [ ! -e {mark} ] || echo \"mark $(head -c 100 {mark})\"; {find}; echo end",
        lock = lock("-s", 10),
        probe = Init::probe(),
        tools = Init::choose(|init| format!("t='{}'", init.tools()), "t="),
        mark = quoted(&footprint.mark()),
        find = find(footprint),
    )
}

/// Marks a machine as the fleet's, unless it bears another's mark. A mark is there whole or not at all.
pub(crate) fn claim(footprint: &Footprint, fleet: &str) -> String {
    format!(
        "{lock}set -e; umask 022; mkdir -p {folder}; m={mark}; t=\"$m.$$\"; printf '%s\\n' {fleet} >\"$t\"; \
         ln -T \"$t\" \"$m\" 2>/dev/null || true; rm -f \"$t\"; [ \"$(cat \"$m\")\" = {fleet} ] || {{ \
         echo \"it belongs to fleet $(head -c 100 \"$m\")\" >&2; exit 1; }}",
        lock = lock("-x", 10),
        folder = quoted(footprint.folder),
        mark = quoted(&footprint.mark()),
        fleet = quoted(fleet),
    )
}

/// Takes everything of the fleet away, and then its mark. A machine without the mark is left alone.
///
/// The program goes after it has removed what it made in the kernel, so a run that was killed is finished by the next.
pub(crate) fn remove(footprint: &Footprint, fleet: &str) -> String {
    let Footprint { service, unit, script, program, folder, traces, .. } = footprint;
    let list =
        |files: &mut dyn Iterator<Item = &'static str>| files.map(quoted).collect::<Vec<_>>().join(" ");
    format!(
        "{lock}[ \"$(cat {mark} 2>/dev/null)\" = {fleet} ] || exit 0; set -e; s=; {systemd} || s=no; \
         if [ -z \"$s\" ]; then if [ -e {unit} ]; then systemctl --quiet disable --now {service}; fi; \
         systemctl stop {service} 2>/dev/null || true; fi; \
         if [ -x {script} ]; then {script} stop >/dev/null 2>&1 || true; fi; \
         if [ -n \"$s\" ]; then for c in 'rc-update -q -a del' 'chkconfig --del'; do \
         if command -v ${{c%% *}} >/dev/null 2>&1; then $c {service} >/dev/null 2>&1 || true; fi; done; fi; \
         if [ -x {program} ]; then {program} reset; fi; \
         for f in {files}; do rm -f \"$f\" \"$f.part\"; done; rm -f {traces}; \
         [ \"$(readlink {link})\" != {target} ] || rm -f {link}; \
         if [ -z \"$s\" ]; then systemctl daemon-reload; systemctl reset-failed {service} 2>/dev/null || true; fi; \
         rm -f {links}; if [ -n \"$s\" ] && command -v update-rc.d >/dev/null 2>&1; then \
         update-rc.d {service} remove >/dev/null 2>&1 || true; fi; \
         left=$({find}); [ -z \"$left\" ] || {{ echo \"it is still there: $left\" >&2; exit 1; }}; \
         rm -f {mark}; rmdir {folder} 2>/dev/null || true",
        lock = lock("-x", 10),
        systemd = Init::Systemd.test(),
        mark = quoted(&footprint.mark()),
        fleet = quoted(fleet),
        files = list(&mut own_files(footprint)),
        traces = list(&mut traces.iter().copied()),
        links = boot_links(footprint),
        link = quoted(footprint.link.0),
        target = quoted(footprint.link.1),
        find = find(footprint),
        service = quoted(service),
        unit = quoted(unit),
        script = quoted(script),
        program = quoted(program),
        folder = quoted(folder),
    )
}

/// What a machine says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Whether the commands run as root.
    pub(crate) root: bool,
    /// Its architecture, as `uname -m` says it.
    pub(crate) architecture: String,
    /// What starts services there, if it can start a gateway.
    pub(crate) init: Option<Init>,
    /// Whether it has TUN/TAP devices.
    pub(crate) tun: bool,
    /// Programs it does not have.
    pub(crate) lacks: Vec<String>,
    /// The fleet whose mark it bears.
    pub(crate) mark: Option<String>,
    /// What of a footprint is there, mark apart: kind and name.
    pub(crate) found: Vec<(String, String)>,
}

impl Answer {
    /// Reads the answer to [`ask`]; `None` when it breaks off.
    pub(crate) fn parse(text: &str) -> Option<Answer> {
        let mut answer = Answer::default();
        for line in text.lines() {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "user" => answer.root = rest == "0",
                "architecture" => answer.architecture = rest.to_owned(),
                "init" => answer.init = Init::parse(rest),
                "tun" => answer.tun = true,
                "lacks" => answer.lacks.push(rest.to_owned()),
                "mark" => answer.mark = Some(rest.to_owned()),
                "found" => {
                    let (kind, name) = rest.split_once(' ').unwrap_or((rest, ""));
                    answer.found.push((kind.to_owned(), name.to_owned()));
                }
                "end" => return Some(answer),
                // A login script that prints a greeting does no harm.
                _ => {}
            }
        }
        None
    }
}
