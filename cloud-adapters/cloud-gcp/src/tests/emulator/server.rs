//! The emulator's process: started for one test, ended with it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A running emulator; it ends with this value.
pub(super) struct Server {
    child: Child,
    pub(super) address: SocketAddr,
}

impl Server {
    pub(super) fn start() -> Server {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tests/emulator");
        let mut child = Command::new("python3")
            .args(["-I", "-B"])
            .args([folder.join("compute.py"), folder.join("compute_v1.json")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port: u16 = line.trim().parse().expect("the emulator ended before it listened");
        Server { child, address: (Ipv4Addr::LOCALHOST, port).into() }
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

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
