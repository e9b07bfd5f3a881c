//! The service of each init: its files, what is done with it, its log.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use super::golden::check;
use crate::footprint::footprint;
use crate::install::{
    Checksum, Content, Facts, Init, SCRIPT, TRACES, UNIT, Verb, facts_command, fit, on_any, parse_facts,
    service::command, service_file, wanted_files,
};
use crate::logs::{self, From};

/// Whether a shell finds no mistake.
#[track_caller]
fn is_shell(text: &str) {
    let checked = Command::new("sh").args(["-n", "-c", text]).output().unwrap();
    assert!(checked.status.success(), "{text}: {}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn services_are_as_their_init_wants_them() {
    for init in Init::ALL {
        let file = service_file(init);
        let text = String::from_utf8(file.content.unwrap().bytes().to_vec()).unwrap();
        assert_eq!(
            (file.path, file.mode),
            if init == Init::Systemd { (UNIT, 0o644) } else { (SCRIPT, 0o755) }
        );
        if init != Init::Systemd {
            assert!(text.starts_with("#!/"));
            is_shell(&text);
        }
        let traces = footprint().traces;
        let written = ["/var/log/weave-gateway.log", "/run/weave-gateway.pid"];
        assert!(
            written.iter().all(|file| init == Init::Systemd || text.contains(file) && traces.contains(file))
        );
    }
    assert_eq!(footprint().traces, TRACES);
}

#[test]
fn what_is_done_is_shell_for_each() {
    let verbs =
        [Verb::Enable, Verb::Start, Verb::Restart, Verb::Stop, Verb::Reload, Verb::State, Verb::Tail(5)];
    let mut table = String::new();
    for verb in verbs {
        is_shell(&on_any(verb));
        for init in Init::ALL {
            let text = command(init, verb);
            table += &format!("{verb:?} {}\n  {text}\n", init.word());
            is_shell(&format!("set -e; {text} || {{ {text}; }}"));
            let of_systemd = ["systemctl", "journalctl"].iter().any(|word| text.contains(word));
            assert_eq!(of_systemd, init == Init::Systemd, "{text}");
        }
    }
    check("service_commands", &table);
    is_shell(&facts_command());
}

#[test]
fn a_host_gets_the_service_that_fits_what_it_said() {
    let files = wanted_files(&Content::new(&b"program"[..]), None, None);
    let said = |word: &str| parse_facts(&format!("machine: init {word}\nend\n")).unwrap();
    let fitted = |facts: &Facts| fit(&files, facts).last().unwrap().clone();
    for init in Init::ALL {
        assert_eq!(fitted(&said(init.word())), service_file(init));
        assert!(!said(init.word()).machine.unfit_init);
    }
    assert_eq!(fitted(&Facts::default()), service_file(Init::Systemd), "nothing was said");
    assert!(said("other").machine.unfit_init && said("other").machine.init.is_none());
    let others = fit(&files, &said("sysv"));
    assert_eq!(others[..3], files[..3], "all else stays");
    let sums: BTreeMap<&str, &Checksum> =
        others.iter().filter_map(|file| Some((file.path, file.checksum()?))).collect();
    assert!(sums.contains_key(SCRIPT) && !sums.contains_key(UNIT));
}

#[test]
fn a_log_file_is_read_as_a_journal_is() {
    let text = "weave-log 7 100 2026-01-02T03:04:05\n\
                2026-01-02T03:04:04.999999Z  INFO too old\n\
                2026-01-02T03:04:05.000001Z  WARN odd: but working\n\
                thread panicked\n\
                2026-01-02T03:04:06.000000Z ERROR \u{1b}broken\n\
                2026-01-02T03:04:06.000001Z  INFO half a li";
    let answer = logs::parse("a", text.as_bytes());
    let seen: Vec<_> =
        answer.entries.iter().map(|e| (e.time.as_str(), e.priority, e.message.as_str())).collect();
    let expected = [
        ("2026-01-02T03:04:05.000001Z", 4, "WARN odd: but working"),
        ("2026-01-02T03:04:05.000001Z", 6, "thread panicked"),
        ("2026-01-02T03:04:06.000000Z", 3, "ERROR \u{1b}broken"),
    ];
    assert_eq!(seen, expected);
    let half = "2026-01-02T03:04:06.000001Z  INFO half a li".len();
    let head = text.find('\n').unwrap() + 1;
    assert_eq!(answer.cursor.as_deref(), Some(&*format!("file:7:{}", 100 + text.len() - head - half)));
    for broken in ["weave-log", "weave-log \n", "weave-log 7\n", "weave-log x 5 -\n", "weave-log 7 5"] {
        assert_eq!(logs::parse("a", broken.as_bytes()), logs::Answer::default(), "{broken:?}");
    }
    let most = logs::parse("a", format!("weave-log 7 {} -\nx\n", u64::MAX).as_bytes());
    assert_eq!(most.cursor, Some(format!("file:7:{}", u64::MAX)));
    for from in [
        From::Last { lines: 5, since: None },
        From::Last { lines: 5, since: Some(Duration::from_secs(9)) },
        From::Cursor("file:7:100".to_owned()),
        From::Cursor("file:7:'; rm -rf /'".to_owned()),
        From::Cursor("s=1;i=2".to_owned()),
    ] {
        let asked = logs::command(&from);
        is_shell(&asked);
        assert!(asked.matches("rm -rf").count() <= 1, "only quoted, for journalctl: {asked}");
    }
}
