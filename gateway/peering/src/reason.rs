//! The sentence for each way a link or an attempt ends: what the operator reads in the status.

use quinn::ConnectionError;

use crate::tls;

/// Characters of the other side's words that are shown; it could send a datagram full of them.
const MAX_WORDS: usize = 200;

/// TLS alerts as QUIC numbers them (RFC 9001 §4.8).
const TLS_ALERTS: std::ops::RangeInclusive<u64> = 0x100..=0x1ff;

/// QUIC's CONNECTION_REFUSED (RFC 9000 §20.1).
const CONNECTION_REFUSED: u64 = 0x02;

/// Why a connection ended.
pub(crate) fn of_connection(error: &ConnectionError) -> String {
    match error {
        ConnectionError::TransportError(error) if TLS_ALERTS.contains(&error.code.into()) => {
            match tls::refusal(&error.reason) {
                Some(words) => words.to_owned(),
                None => format!("the TLS handshake failed: {}", error.reason),
            }
        }
        ConnectionError::TransportError(error) => format!("the other side breaks the rules of QUIC: {error}"),
        ConnectionError::ConnectionClosed(close) => {
            let code = u64::from(close.error_code);
            let words = words(&close.reason);
            match u8::try_from(code & 0xff) {
                Ok(alert) if TLS_ALERTS.contains(&code) => match tls::refusal(&words) {
                    Some(words) => format!("the other side refused our certificate: {words}"),
                    None => tls::alert_sentence(alert).to_owned(),
                },
                _ if code == CONNECTION_REFUSED => {
                    "the other side has too many handshakes under way".to_owned()
                }
                _ => format!("the other side gave up the connection: {} {words}", close.error_code),
            }
        }
        ConnectionError::ApplicationClosed(close) => match words(&close.reason) {
            words if words.is_empty() => "the other side closed the link without a reason".to_owned(),
            words => format!("the other side closed the link: {words}"),
        },
        ConnectionError::Reset => "the other side has restarted".to_owned(),
        ConnectionError::TimedOut => "nothing was heard from the other side for too long".to_owned(),
        ConnectionError::LocallyClosed => "this side closed the link".to_owned(),
        ConnectionError::VersionMismatch => "the other side speaks another version of QUIC".to_owned(),
        ConnectionError::CidsExhausted => "no connection ids are left".to_owned(),
    }
}

/// Whether an attempt failed because one side refused the other's certificate.
pub(crate) fn is_refusal(error: &ConnectionError) -> bool {
    let code = match error {
        ConnectionError::TransportError(error) => error.code.into(),
        ConnectionError::ConnectionClosed(close) => close.error_code.into(),
        _ => return false,
    };
    TLS_ALERTS.contains(&code)
}

/// The other side's words, made safe to show: one line, bounded, nothing that steers a terminal.
fn words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let shown = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_WORDS);
    shown.collect::<String>().trim().to_owned()
}
