//! Stands before the emulator: writes down every call, fails those it is told to, and adds what moto lacks.
//!
//! What moto lacks: one instance for one client token, whatever happened to the first answer.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The parameters of one call, by name.
pub type Call = BTreeMap<String, String>;

/// What happens to a call.
#[derive(Debug, Clone)]
pub enum Fault {
    /// EC2's error of this code and HTTP status.
    Error(u16, &'static str),
    /// This status and body.
    Raw(u16, &'static str),
    /// The connection closes before the call is done.
    Close,
    /// The connection closes after the call is done.
    Lose,
    /// Nothing comes back until the client gives up.
    Hang,
    /// The call is done and the answer altered: the first text becomes the second.
    Alter(&'static str, &'static str),
}

#[derive(Debug, Default)]
struct State {
    calls: Vec<Call>,
    /// Action, how many calls pass before, how many are hit.
    faults: Vec<(&'static str, usize, usize, Fault)>,
    answers: BTreeMap<String, Vec<u8>>,
}

/// A listening proxy.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Proxy {
    /// Stands before an emulator of EC2.
    pub fn start(upstream: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy { address: listener.local_addr().unwrap(), state: Arc::default() };
        let state = proxy.state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, state) = (stream.unwrap(), state.clone());
                std::thread::spawn(move || serve(stream, upstream, &state));
            }
        });
        proxy
    }

    /// Hits the next `times` calls of `action`.
    pub fn fail(&self, action: &'static str, times: usize, fault: Fault) {
        self.fail_after(action, 0, times, fault);
    }

    /// Lets `pass` calls of `action` pass and hits `times` further ones.
    pub fn fail_after(&self, action: &'static str, pass: usize, times: usize, fault: Fault) {
        self.state.lock().unwrap().faults.push((action, pass, times, fault));
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.state.lock().unwrap().faults.clear();
    }

    /// The calls of `action` so far, hit ones included.
    pub fn calls(&self, action: &str) -> Vec<Call> {
        self.all().into_iter().filter(|call| call["Action"] == action).collect()
    }

    /// All calls so far.
    pub fn all(&self) -> Vec<Call> {
        self.state.lock().unwrap().calls.clone()
    }
}

impl State {
    fn fault(&mut self, action: &str) -> Option<Fault> {
        let (_, pass, times, fault) =
            self.faults.iter_mut().find(|(other, _, times, _)| *other == action && *times > 0)?;
        if *pass > 0 {
            *pass -= 1;
            return None;
        }
        *times -= 1;
        Some(fault.clone())
    }
}

/// One request on one connection; the answer says that it is the last.
fn serve(mut client: TcpStream, upstream: SocketAddr, state: &Mutex<State>) -> Option<()> {
    let (head, body) = read_request(&mut client)?;
    let call = parse_form(&body);
    let (action, token) = (call.get("Action")?.clone(), call.get("ClientToken").cloned());
    let (fault, known) = {
        let mut state = state.lock().unwrap();
        state.calls.push(call);
        let known =
            token.as_ref().filter(|_| action == "RunInstances").and_then(|t| state.answers.get(t)).cloned();
        (state.fault(&action), known)
    };
    match fault {
        Some(Fault::Error(status, code)) => {
            let body = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{code}</Code>\
                 <Message>Injected.</Message></Error></Errors><RequestID>r-1</RequestID></Response>"
            );
            return reply(&mut client, status, &body);
        }
        Some(Fault::Raw(status, body)) => return reply(&mut client, status, body),
        Some(Fault::Close) => return client.shutdown(Shutdown::Both).ok(),
        Some(Fault::Hang) => {
            // Ends when the client hangs up.
            let _ = client.read(&mut [0; 1]);
            return None;
        }
        Some(Fault::Lose | Fault::Alter(..)) | None => {}
    }
    let mut answer = match known {
        Some(answer) => answer,
        None => forward(upstream, &head, &body)?,
    };
    if let Some(token) = token.filter(|_| action == "RunInstances" && answer.starts_with(b"HTTP/1.1 200")) {
        state.lock().unwrap().answers.insert(token, answer.clone());
    }
    if let Some(Fault::Alter(from, to)) = fault {
        let text = String::from_utf8(answer).unwrap();
        let (_, body) = text.split_once("\r\n\r\n")?;
        assert!(body.contains(from), "nothing to alter in {body}");
        return reply(&mut client, 200, &body.replace(from, to));
    }
    if matches!(fault, Some(Fault::Lose)) {
        answer.clear();
    }
    client.write_all(&answer).ok()?;
    client.shutdown(Shutdown::Both).ok()
}

fn reply(client: &mut TcpStream, status: u16, body: &str) -> Option<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: text/xml\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    client.write_all(format!("{head}{body}").as_bytes()).ok()?;
    client.shutdown(Shutdown::Write).ok()
}

/// The head's lines and the body of a request with a content length.
fn read_request(client: &mut TcpStream) -> Option<(Vec<String>, Vec<u8>)> {
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

fn forward(upstream: SocketAddr, head: &[String], body: &[u8]) -> Option<Vec<u8>> {
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
fn parse_form(body: &[u8]) -> Call {
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
