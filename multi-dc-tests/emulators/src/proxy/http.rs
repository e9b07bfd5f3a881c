//! HTTP as the proxy needs it: one request, one answer, one connection.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use super::Call;

pub(super) fn reply(client: &mut TcpStream, status: u16, body: &str) -> Option<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: text/xml\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    client.write_all(format!("{head}{body}").as_bytes()).ok()?;
    client.shutdown(Shutdown::Write).ok()
}

/// The head's lines and the body of a request with a content length.
pub(super) fn read_request(client: &mut TcpStream) -> Option<(Vec<String>, Vec<u8>)> {
    client.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        let count = client.read(&mut part).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&part[..count]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head: Vec<String> = String::from_utf8_lossy(&bytes[..end]).lines().map(str::to_owned).collect();
        let length = head.iter().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        if bytes.len() >= end + 4 + length.unwrap_or(0) {
            return Some((head, bytes.split_off(end + 4)));
        }
    }
}

pub(super) fn forward(upstream: SocketAddr, head: &[String], body: &[u8]) -> Option<Vec<u8>> {
    let mut server = TcpStream::connect(upstream).ok()?;
    let kept = head.iter().filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let head: String = kept.map(|line| format!("{line}\r\n")).collect();
    server.write_all(format!("{head}connection: close\r\n\r\n").as_bytes()).ok()?;
    server.write_all(body).ok()?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).ok()?;
    Some(answer)
}

/// `application/x-www-form-urlencoded`, as the URL standard has it.
pub(super) fn parse_form(body: &[u8]) -> Call {
    let decode = |text: &str| {
        let mut bytes = text.bytes();
        let mut plain = Vec::new();
        while let Some(byte) = bytes.next() {
            plain.push(match byte {
                b'+' => b' ',
                b'%' => {
                    let digit = |byte: Option<u8>| char::from(byte.unwrap()).to_digit(16).unwrap() as u8;
                    digit(bytes.next()) << 4 | digit(bytes.next())
                }
                byte => byte,
            });
        }
        String::from_utf8_lossy(&plain).into_owned()
    };
    let text = String::from_utf8_lossy(body).into_owned();
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decode(name), decode(value))).collect()
}
