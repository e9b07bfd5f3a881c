//! The small verbs: what `logs` asks and reads, what `completions` prints.

use std::collections::BTreeSet;
use std::time::Duration;

use clap_complete::Shell;

use crate::cli::completions::script;
use crate::logs::{From, age, command, merge, parse};

fn line(seconds: u64, cursor: &str, rest: &str) -> String {
    format!("{{\"__REALTIME_TIMESTAMP\":\"{seconds}000001\",\"__CURSOR\":\"{cursor}\"{rest}}}\n")
}

#[test]
fn an_answer_is_read_line_by_line() {
    let answer = [
        line(0, "a", r#","PRIORITY":"4","MESSAGE":"the beginning""#),
        line(951_782_399, "b", r#","MESSAGE":[104,105,255]"#),
        line(951_782_400, "c", r#","PRIORITY":"x","MESSAGE":null"#),
        "a greeting\n".to_owned(),
        line(4_102_444_800, "d", r#","MESSAGE":"far""#),
        r#"{"__REALTIME_TIMESTAMP":"9","__CURSOR":"e","MESS"#.to_owned(),
    ]
    .concat();
    let read = parse("aws-1", answer.as_bytes());
    assert_eq!(read.cursor.as_deref(), Some("d"), "what was cut off is asked for again");
    let lines: Vec<String> = read.entries.iter().map(|entry| entry.render(8)).collect();
    let expected = [
        "1970-01-01T00:00:00.000001Z  aws-1     the beginning\n",
        "2000-02-28T23:59:59.000001Z  aws-1     hi\u{fffd}\n",
        "2000-02-29T00:00:00.000001Z  aws-1     (a line too long to show; `journalctl -u weave-gateway` on the host has it)\n",
        "2100-01-01T00:00:00.000001Z  aws-1     far\n",
    ];
    assert_eq!(lines, expected);
    assert_eq!(read.entries.iter().map(|entry| entry.priority).collect::<Vec<_>>(), [4, 6, 6, 6]);
    let json = serde_json::to_string(&read.entries[0]).unwrap();
    assert_eq!(
        json,
        r#"{"time":"1970-01-01T00:00:00.000001Z","host":"aws-1","priority":4,"message":"the beginning"}"#
    );
    assert_eq!(parse("aws-1", b"\xff\n\n{}\n[]"), crate::logs::Answer::default());
}

#[test]
fn every_time_is_as_date_says() {
    // From `date -u -d @SECONDS +%FT%T`.
    for (seconds, text) in [
        (68_169_599, "1972-02-28T23:59:59"),
        (68_256_000, "1972-03-01T00:00:00"),
        (1_709_164_799, "2024-02-28T23:59:59"),
        (1_709_251_199, "2024-02-29T23:59:59"),
        (1_735_689_599, "2024-12-31T23:59:59"),
        (1_740_787_200, "2025-03-01T00:00:00"),
        (4_107_542_400, "2100-03-01T00:00:00"),
    ] {
        let read = parse("h", line(seconds, "c", r#","MESSAGE":"""#).as_bytes());
        assert_eq!(read.entries[0].time, format!("{text}.000001Z"));
    }
}

#[test]
fn lines_of_all_hosts_are_in_one_order() {
    let of = |host: &str, seconds: &[u64]| {
        let text: String =
            seconds.iter().map(|at| line(*at, "c", &format!(r#","MESSAGE":"{at}""#))).collect();
        parse(host, text.as_bytes()).entries
    };
    let all = merge(vec![of("b", &[1, 5, 5, 9]), of("a", &[2, 5, 8]), Vec::new()]);
    let order: Vec<String> = all.iter().map(|entry| format!("{}{}", entry.host, entry.message)).collect();
    assert_eq!(order, ["b1", "a2", "a5", "b5", "b5", "a8", "b9"]);
}

#[test]
fn a_gateway_cannot_draw_on_the_terminal() {
    let text = line(1, "c", r#","MESSAGE":"\u001b[2J\u0007one\ttwo\r\nthree\u009b1m""#);
    let shown = parse("h", text.as_bytes()).entries[0].render(1);
    assert_eq!(shown, "1970-01-01T00:00:01.000001Z  h  [2Jone twothree1m\n");
}

#[test]
fn a_cursor_is_passed_as_one_word() {
    let asked = command(&From::Cursor("s=1;i='$(reboot)'".to_owned()));
    assert!(asked.contains(r#"--after-cursor='s=1;i='\''$(reboot)'\'''"#), "{asked}");
    let asked = command(&From::Last { lines: 7, since: Some(Duration::from_secs(600)) });
    assert!(asked.contains("-n 7 --since=-600s"), "{asked}");
}

#[test]
fn ages_are_read() {
    for (text, seconds) in [("0s", 0), ("90s", 90), ("10m", 600), ("2h", 7200), ("3d", 259_200)] {
        assert_eq!(age(text), Ok(Duration::from_secs(seconds)), "{text}");
    }
    for text in ["", "10", "m", "-1m", "+1m", "1.5h", "1w", "1h30m", "10µ", "99999999999999999999s", "4000d"]
    {
        assert!(age(text).is_err(), "{text}");
    }
}

#[test]
fn completions_know_every_verb() {
    let verbs: BTreeSet<String> = crate::cli::help().into_iter().map(|(verb, _)| verb).collect();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let text = script(shell);
        for verb in &verbs {
            assert!(text.contains(verb.as_str()), "{shell}: {verb}");
        }
    }
}
