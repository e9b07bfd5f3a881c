//! Words reach a real shell unchanged.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::process::Command;

use crate::ssh::quote;

/// What `sh` makes of the words, NUL-terminated each.
fn through_shell(words: &[OsString]) -> Vec<u8> {
    let mut line = b"printf '%s\\0' ".to_vec();
    line.extend(quote::command(words));
    let out = Command::new("sh").arg("-c").arg(OsString::from_vec(line)).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}

fn check(words: Vec<OsString>) {
    let expected: Vec<u8> = words.iter().flat_map(|w| [w.as_encoded_bytes(), b"\0"].concat()).collect();
    assert_eq!(through_shell(&words), expected);
}

#[test]
fn odd_words_arrive_as_they_are() {
    let odd = [
        "", " ", "a b", "'", "''", "\\", "\\'", "\"", "$HOME", "$(id)", "`id`", "*", "?", "[a-z]", "~",
        "~root", "a=b", "!", "!!", "{a,b}", "if", ";", "&", "|", "<", ">", "(", ")", "#", "-n", "--", "\n",
        "a\nb", "\t", "\r", "ä", "%s", "\\n",
    ];
    check(odd.iter().map(OsString::from).collect());
    check(vec![OsString::from_vec((1..=255).collect())]);
}

#[test]
fn every_short_word_over_the_dangerous_letters_arrives() {
    let letters = b"'\\\"$` a\n!*";
    let mut words = vec![Vec::new()];
    let mut all = Vec::new();
    for _ in 0..3 {
        words = words
            .iter()
            .flat_map(|word| letters.iter().map(move |letter| [word.as_slice(), &[*letter]].concat()))
            .collect();
        all.extend(words.iter().cloned().map(OsString::from_vec));
    }
    check(all);
}

#[test]
fn the_first_word_is_never_syntax() {
    assert_eq!(quote::command(&["A=b", "if"]), b"'A=b' 'if'");
    assert_eq!(quote::text("it's"), r"'it'\''s'");
}
