//! The log of a gateway that systemd does not run: a file, where it is read from, and its lines. Pure.
//!
//! ```text
//!   question   the last lines, or what is behind a place
//!   answer     `weave-log INODE OFFSET SINCE`, and the bytes from that offset on; twice when the file was changed
//!   place      `file:INODE:OFFSET`
//! ```
//!
//! The file is cut to nothing when it is too large, after it was copied; the offset is then behind its end, and it is
//! read from its beginning.

/// The log.
pub const FILE: &str = "/var/log/weave-gateway.log";
/// What was in it before it was too large.
pub const OLD_FILE: &str = "/var/log/weave-gateway.log.1";

/// How a line is marked that is no line of the log.
const HEAD: &str = "weave-log ";

/// A line with its time, and how grave it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When, in UTC, to the microsecond.
    pub time: String,
    /// As syslog counts.
    pub priority: u8,
    /// The rest.
    pub message: String,
}

/// Asks for the last lines, none of them older than so many seconds.
pub fn last(lines: u32, age: Option<u64>) -> String {
    let since = match age {
        Some(age) => format!("$(date -u -d @$(($(date +%s) - {age})) +%Y-%m-%dT%H:%M:%S)"),
        None => "-".to_owned(),
    };
    format!(
        "if [ -f {FILE} ]; then set -- $(stat -c '%i %s' {FILE}); n=$(head -c $2 {FILE} | tail -n {lines} | wc -c); \
         echo \"{HEAD}$1 $(($2 - n)) {since}\"; tail -c +$(($2 - n + 1)) {FILE} | head -c $n; fi"
    )
}

/// Asks for what is behind a place, at most so many bytes of it; `None` for a place in something else.
pub fn behind(place: &str, most: usize) -> Option<String> {
    let (inode, offset) = place.strip_prefix("file:")?.split_once(':')?;
    let (inode, offset): (u64, u64) = (inode.parse().ok()?, offset.parse().ok()?);
    Some(format!(
        "if [ -f {FILE} ]; then set -- $(stat -c '%i %s' {FILE}); o={offset}; \
         [ $1 = {inode} ] && [ $2 -ge {offset} ] || o=0; echo \"{HEAD}$1 $o -\"; \
         tail -c +$((o + 1)) {FILE} | head -c {most}; fi"
    ))
}

/// Whether an answer is of this kind.
pub fn is_answer(answer: &[u8]) -> bool {
    answer.starts_with(HEAD.as_bytes())
}

/// Reads an answer: its whole lines, and the place behind them. `None` where there is no log.
pub fn parse(answer: &[u8]) -> Option<(Vec<Line>, String)> {
    let end = answer.iter().position(|byte| *byte == b'\n')?;
    let head = std::str::from_utf8(&answer[..end]).ok()?.strip_prefix(HEAD)?;
    let mut fields = head.split(' ');
    let inode: u64 = fields.next()?.parse().ok()?;
    let offset: u64 = fields.next()?.parse().ok()?;
    let since = fields.next().filter(|since| *since != "-").unwrap_or("");
    let body = &answer[end + 1..];
    let whole = body.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let text = String::from_utf8_lossy(&body[..whole]);
    let mut lines: Vec<Line> = Vec::new();
    // Of what a panic or another program says the time is that of the line before.
    let mut time = String::new();
    for line in text.lines() {
        let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (message, priority) = if is_time(first) {
            first.clone_into(&mut time);
            let rest = rest.trim_start();
            (rest, priority(rest))
        } else {
            (line, 6)
        };
        if time.as_str() >= since && !time.is_empty() {
            lines.push(Line { time: time.clone(), priority, message: message.to_owned() });
        }
    }
    let place = offset.saturating_add(whole as u64);
    Some((lines, format!("file:{inode}:{place}")))
}

/// `2026-01-02T03:04:05.678901Z`, as the gateway and its supervisor write it.
fn is_time(word: &str) -> bool {
    let pattern = b"0000-00-00T00:00:00.000000Z";
    let fits = |(byte, wanted): (u8, &u8)| {
        if *wanted == b'0' { byte.is_ascii_digit() } else { byte == *wanted }
    };
    word.len() == pattern.len() && word.bytes().zip(pattern).all(fits)
}

fn priority(message: &str) -> u8 {
    match message.split(' ').next() {
        Some("ERROR") => 3,
        Some("WARN") => 4,
        Some("DEBUG" | "TRACE") => 7,
        _ => 6,
    }
}
