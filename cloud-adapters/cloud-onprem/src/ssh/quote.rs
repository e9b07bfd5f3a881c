//! Words for a POSIX shell on the other side.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

/// Quotes one word so that a POSIX shell reads exactly these bytes.
///
/// Every word is quoted, plain ones too: an unquoted first word may be an assignment, a keyword or an alias
/// (POSIX.1-2024, Shell Command Language, §2.2.2 and §2.10.2).
pub fn word(bytes: &[u8]) -> Vec<u8> {
    let mut quoted = vec![b'\''];
    for byte in bytes {
        if *byte == b'\'' {
            quoted.extend_from_slice(br"'\''");
        } else {
            quoted.push(*byte);
        }
    }
    quoted.push(b'\'');
    quoted
}

/// Quotes the words of a command and joins them.
pub fn command<S: AsRef<OsStr>>(words: &[S]) -> Vec<u8> {
    let words: Vec<Vec<u8>> = words.iter().map(|each| word(each.as_ref().as_bytes())).collect();
    words.join(&b' ')
}

/// Quotes one word of text.
pub fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
