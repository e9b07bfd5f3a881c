//! The emulator's process: started for one test, ended with it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use emulators::compute::Addresses;
use serde_json::{Value, json};

/// A running emulator; it ends with this value.
pub(super) struct Server {
    _emulator: emulators::Emulator,
    pub(super) address: SocketAddr,
}

impl Server {
    pub(super) fn start() -> Server {
        let mut command = Command::new("python3");
        emulators::compute::prepare(&mut command, Addresses::Loopback);
        let emulator = emulators::Emulator::start(&mut command).unwrap();
        Server { address: emulator.address, _emulator: emulator }
    }

    /// Lets calls of a method fail: so many, after so many good ones.
    pub(super) fn fail_after(&self, method: &str, skip: usize, times: usize, kind: Value) {
        self.ask(
            "POST",
            "/_fault",
            &json!({ "method": method, "skip": skip, "times": times, "kind": kind }).to_string(),
        );
    }

    pub(super) fn fail(&self, method: &str, times: usize, kind: Value) {
        self.fail_after(method, 0, times, kind);
    }

    /// Lets every call but each `every`-th fail, whatever it asks.
    pub(super) fn plague(&self, every: usize, kind: &Value) {
        self.ask("POST", "/_fault", &json!({ "every": every, "kind": kind }).to_string());
    }

    /// After each change, lets a list that was asked before come so often more as it was.
    pub(super) fn lag(&self, times: usize) {
        self.ask("POST", "/_fault", &json!({ "lag": times }).to_string());
    }

    /// Forgets what should fail.
    pub(super) fn heal(&self) {
        self.ask("POST", "/_fault", "{}");
    }

    /// Puts an instance into a state, as its owner would at the console.
    pub(super) fn set_status(&self, project: &str, path: &str, status: &str) {
        let body = json!({ "project": project, "path": path, "status": status }).to_string();
        self.ask("POST", "/_status", &body);
    }

    /// Waits until something is so.
    pub(super) fn until(&self, mut so: impl FnMut(&Server) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !so(self) {
            assert!(Instant::now() < deadline, "not within 10 s");
        }
    }

    pub(super) fn all(&self) -> Vec<Value> {
        serde_json::from_str(&self.ask("GET", "/_calls", "")).unwrap()
    }

    /// The calls of a method so far.
    pub(super) fn calls(&self, method: &str) -> Vec<Value> {
        self.all().into_iter().filter(|call| call["method"] == method).collect()
    }

    /// A call past the adapter; the answer's body.
    pub(super) fn ask(&self, verb: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let length = body.len();
        let head = format!(
            "{verb} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all((head + body).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }
}
