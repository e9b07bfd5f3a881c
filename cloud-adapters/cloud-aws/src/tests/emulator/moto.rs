//! The emulator itself: moto in a Python environment of its own, one server for each test.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What the tests were written against.
const PACKAGE: &str = "moto[server,ec2]==5.2.5";

/// Runs the server until the thread that started it ends, be it killed (`PR_SET_PDEATHSIG` is 1).
const SERVER: &str = "import ctypes, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
from moto.server import main
main(sys.argv[1:])";

/// A running server; it ends with this value.
pub(super) struct Moto {
    child: Child,
    pub(super) address: SocketAddr,
}

impl Moto {
    /// Starts a server that knows the images of `amis.json` and accepts no others.
    pub(super) fn start() -> Moto {
        let amis = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tests/emulator/amis.json");
        let mut child = Command::new(environment().join("bin/python"))
            .args(["-c", SERVER, "-H", "127.0.0.1", "-p", "0"])
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("MOTO_AMIS_PATH", amis)
            .env("MOTO_ENABLE_AMI_VALIDATION", "1")
            .env("MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stderr.take().unwrap());
        let mut lines = said.lines().map(Result::unwrap);
        let address = lines.find_map(|line| {
            let at = line.split_once("Running on http://")?.1;
            at.trim().parse().ok()
        });
        // The server writes a line for each call and would stop when nobody reads.
        std::thread::spawn(move || lines.for_each(drop));
        Moto { address: address.expect("moto ended before it listened"), child }
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where moto is installed: below the target folder, made by the first test that needs it.
fn environment() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    // target/PROFILE/deps/PROGRAM
    let folder = program.ancestors().nth(3).unwrap().join("cloud-aws-emulator");
    std::fs::create_dir_all(&folder).unwrap();
    let lock = File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let ready = folder.join("ready");
    if std::fs::read_to_string(&ready).is_ok_and(|package| package == PACKAGE) {
        return folder.join("venv");
    }
    let venv = folder.join("venv");
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
    run(Command::new(venv.join("bin/pip")).args(["install", "--quiet", PACKAGE]));
    std::fs::write(ready, PACKAGE).unwrap();
    venv
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
