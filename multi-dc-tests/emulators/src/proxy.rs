//! Stands before the emulator: writes down every call, fails those it is told to, and adds what moto lacks.
//!
//! What moto lacks: one instance for one client token, whatever happened to the first answer; that what is in use stays;
//! and descriptions that lag behind.

mod http;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use self::http::{forward, parse_form, read_request, reply};

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
    /// The call is done, and from then on nobody answers anything: for the client it is as if it were killed here.
    Die,
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
    dead: bool,
    /// All calls are hit but each of this number.
    plague: Option<(usize, Fault)>,
    asked: usize,
    /// How often a description comes in its old form after a change.
    lag: usize,
    /// The last true answer to each description, and how often it still comes.
    seen: BTreeMap<Vec<u8>, (Vec<u8>, usize)>,
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

    /// Hits every call but each `period`-th, whatever it asks.
    pub fn plague(&self, period: usize, fault: Fault) {
        self.state.lock().unwrap().plague = Some((period, fault));
    }

    /// After each change, lets a description that was asked before come `times` times more as it was.
    pub fn lag(&self, times: usize) {
        self.state.lock().unwrap().lag = times;
    }

    /// Ends all faults, raises the dead and lets descriptions be true.
    pub fn heal(&self) {
        let mut state = self.state.lock().unwrap();
        state.faults.clear();
        state.seen.clear();
        (state.plague, state.dead, state.lag) = (None, false, 0);
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
        self.asked += 1;
        let told = self.faults.iter_mut().find(|(other, _, times, _)| *other == action && *times > 0);
        let Some((_, pass, times, fault)) = told else {
            let plague = self.plague.as_ref().filter(|(period, _)| !self.asked.is_multiple_of(*period));
            return plague.map(|(_, fault)| fault.clone());
        };
        if *pass > 0 {
            *pass -= 1;
            return None;
        }
        *times -= 1;
        self.dead = matches!(fault, Fault::Die);
        Some(fault.clone())
    }

    /// The answer to a description as it was before the last change, where it is to come once more.
    fn old(&mut self, body: &[u8]) -> Option<Vec<u8>> {
        let (answer, left) = self.seen.get_mut(body).filter(|(_, left)| *left > 0)?;
        *left -= 1;
        Some(answer.clone())
    }

    /// Notes a true answer.
    fn note(&mut self, call: &Call, body: &[u8], answer: &[u8]) {
        if !answer.starts_with(b"HTTP/1.1 200") {
            return;
        }
        let action = call["Action"].as_str();
        if action.starts_with("Describe") {
            self.seen.insert(body.to_vec(), (answer.to_vec(), 0));
        } else {
            let lag = self.lag;
            self.seen.values_mut().for_each(|(_, left)| *left = lag);
        }
        if let Some(token) = call.get("ClientToken").filter(|_| action == "RunInstances") {
            self.answers.insert(token.clone(), answer.to_vec());
        }
    }
}

/// One request on one connection; the answer says that it is the last.
fn serve(mut client: TcpStream, upstream: SocketAddr, state: &Mutex<State>) -> Option<()> {
    let (head, body) = read_request(&mut client)?;
    let call = parse_form(&body);
    let action = call.get("Action")?.clone();
    let (fault, known) = {
        let mut state = state.lock().unwrap();
        if state.dead {
            return client.shutdown(Shutdown::Both).ok();
        }
        state.calls.push(call.clone());
        let fault = state.fault(&action);
        let token = call.get("ClientToken").filter(|_| action == "RunInstances");
        (fault, token.and_then(|token| state.answers.get(token)).cloned().or_else(|| state.old(&body)))
    };
    match fault {
        Some(Fault::Error(status, code)) => return refuse(&mut client, status, code, "Injected."),
        Some(Fault::Raw(status, body)) => return reply(&mut client, status, body),
        Some(Fault::Close) => return client.shutdown(Shutdown::Both).ok(),
        Some(Fault::Hang) => {
            // Ends when the client hangs up.
            let _ = client.read(&mut [0; 1]);
            return None;
        }
        Some(Fault::Lose | Fault::Die | Fault::Alter(..)) | None => {}
    }
    if let Some(user) = user_of(&call, upstream, &head) {
        return refuse(&mut client, 400, "DependencyViolation", &format!("It is in use by {user}."));
    }
    let mut answer = match known {
        Some(answer) => answer,
        None => {
            let answer = forward(upstream, &head, &body)?;
            state.lock().unwrap().note(&call, &body, &answer);
            answer
        }
    };
    if let Some(Fault::Alter(from, to)) = fault {
        let text = String::from_utf8(answer).unwrap();
        let (_, body) = text.split_once("\r\n\r\n")?;
        assert!(body.contains(from), "nothing to alter in {body}");
        return reply(&mut client, 200, &body.replace(from, to));
    }
    if matches!(fault, Some(Fault::Lose | Fault::Die)) {
        answer.clear();
    }
    client.write_all(&answer).ok()?;
    client.shutdown(Shutdown::Both).ok()
}

/// An instance that uses what a call would remove; moto would remove it all the same.
fn user_of(call: &Call, upstream: SocketAddr, head: &[String]) -> Option<String> {
    let (filter, id) = match call["Action"].as_str() {
        "DeleteSecurityGroup" => ("instance.group-id", call.get("GroupId")?),
        "DeleteSubnet" => ("subnet-id", call.get("SubnetId")?),
        // Its addresses outside hold the gateway.
        "DetachInternetGateway" => ("vpc-id", call.get("VpcId")?),
        _ => return None,
    };
    let states = ["pending", "running", "shutting-down", "stopping", "stopped"].iter().enumerate();
    let states: String = states.map(|(at, state)| format!("&Filter.2.Value.{}={state}", at + 1)).collect();
    let form = format!(
        "Action=DescribeInstances&Version=2016-11-15&Filter.1.Name={filter}&Filter.1.Value.1={id}\
         &Filter.2.Name=instance-state-name{states}"
    );
    let length = |line: &&String| !line.to_ascii_lowercase().starts_with("content-length:");
    let mut head: Vec<String> = head.iter().filter(length).cloned().collect();
    head.push(format!("content-length: {}", form.len()));
    let answer = String::from_utf8(forward(upstream, &head, form.as_bytes())?).ok()?;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let (_, behind) = answer.split_once("<instanceId>")?;
    behind.split('<').next().map(str::to_owned)
}

/// EC2's form of an error.
fn refuse(client: &mut TcpStream, status: u16, code: &str, message: &str) -> Option<()> {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{code}</Code>\
         <Message>{message}</Message></Error></Errors><RequestID>r-1</RequestID></Response>"
    );
    reply(client, status, &body)
}
