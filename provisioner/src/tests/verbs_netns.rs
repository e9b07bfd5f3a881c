//! A whole life in a lab with everything it says collected: no secret in it, control sequences on terminals alone, and
//! a lost state that comes back.
//!
//! Root only. Needs script(1) for a terminal.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use russh::keys::PrivateKey;
use weave_model::NetworkName;
use weave_trust::{IdentityKey, NetworkCa};

const LIMIT: Duration = Duration::from_secs(30);

/// A lab that ends with the test, and every byte that came out of the program.
struct Life {
    name: String,
    folder: tempfile::TempDir,
    said: Vec<u8>,
}

impl Drop for Life {
    fn drop(&mut self) {
        netlab::down(&self.name).unwrap();
    }
}

struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Life {
    fn new(test: &str) -> Life {
        let name = format!("p{}-{test}", std::process::id());
        Life { name, folder: tempfile::tempdir().unwrap(), said: Vec::new() }
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn arguments(&self, args: &[&str]) -> Vec<String> {
        let state = self.state().to_str().unwrap().to_owned();
        // What follows `--` is another's.
        let (own, rest) = args.split_at(args.iter().position(|arg| *arg == "--").unwrap_or(args.len()));
        let lab = ["--lab", "--name", &self.name, "--state", &state];
        own.iter().chain(&lab).chain(rest).map(|arg| (*arg).to_owned()).collect()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program("weave-provision"));
        command.args(self.arguments(args)).stdin(Stdio::null()).env_remove("WEAVE_PROVISION_STATE");
        command
    }

    #[track_caller]
    fn run(&mut self, args: &[&str], code: i32) -> Said {
        let output = self.command(args).output().unwrap();
        self.said.extend([output.stdout.as_slice(), &output.stderr].concat());
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let said =
            Said { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) };
        assert_eq!(said.code, Some(code), "{args:?}: {}{}", said.stdout, said.stderr);
        assert!(!said.stdout.contains('\x1b') && !said.stderr.contains('\x1b'), "{args:?} draws in a pipe");
        said
    }

    /// Runs the program on a terminal; returns what the terminal got.
    #[track_caller]
    fn run_on_terminal(&mut self, args: &[&str]) -> String {
        let words = std::iter::once(program("weave-provision").to_str().unwrap().to_owned());
        let line = crate::ssh::quote::command(&words.chain(self.arguments(args)).collect::<Vec<_>>());
        let mut script = Command::new("script");
        script.args(["-q", "-e", "-c"]).arg(String::from_utf8(line).unwrap()).arg("/dev/null");
        let output = script.env("TERM", "xterm").stdin(Stdio::null()).output().unwrap();
        self.said.extend(&output.stdout);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{args:?}: {text}");
        text
    }
}

/// A program that is built beside this test.
fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not beside {}: build the workspace first", own.display()))
}

/// Every secret of a state directory, in every form in which it could slip out.
fn secrets(state: &Path) -> Vec<(String, Vec<u8>)> {
    let read = |name: &str| std::fs::read_to_string(state.join(name)).unwrap();
    let mut files = vec!["network-ca.pem".to_owned(), "operator_ed25519".to_owned()];
    for host in std::fs::read_dir(state.join("hosts")).unwrap() {
        let host = host.unwrap().file_name().into_string().unwrap();
        files.extend(["ssh_host_ed25519_key", "gateway-key.pem"].map(|key| format!("hosts/{host}/{key}")));
    }
    let mut secrets = Vec::new();
    let mut raw = vec![("the pre-shared key".to_owned(), {
        let ca = NetworkCa::from_pem(NetworkName::default(), &read("network-ca.pem")).unwrap();
        ca.network_psk().to_vec()
    })];
    for file in files {
        let text = read(&file);
        for line in text.lines().filter(|line| !line.starts_with('-')) {
            secrets.push((format!("a line of {file}"), line.trim_end().as_bytes().to_vec()));
        }
        raw.push((
            file,
            match PrivateKey::from_openssh(&text) {
                Ok(key) => key.key_data().ed25519().unwrap().private.to_bytes().to_vec(),
                // A key in PKCS#8 ends with its seed (RFC 8410, section 7).
                Err(_) => IdentityKey::from_pem(&text).unwrap().to_pkcs8_der().split_off(16),
            },
        ));
    }
    for (what, bytes) in raw {
        assert_eq!(bytes.len(), 32, "{what}");
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let listed = bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
        let base64 = cloud_core::base64(&bytes).trim_end_matches('=').to_owned();
        for (form, text) in [("hex", hex), ("a list", listed), ("base64", base64)] {
            secrets.push((format!("{what} as {form}"), text.into_bytes()));
        }
        secrets.push((format!("{what} as it is"), bytes));
    }
    secrets
}

fn find<'a>(secrets: &'a [(String, Vec<u8>)], said: &[u8]) -> Vec<&'a str> {
    let holds = |secret: &[u8]| said.windows(secret.len()).any(|window| window == secret);
    secrets.iter().filter(|(_, secret)| holds(secret)).map(|(what, _)| what.as_str()).collect()
}

/// Ends a process that the test started.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_whole_life_says_no_secret_and_a_lost_state_comes_back() {
    let mut life = Life::new("life");
    let up = life.run(&["up", "--clouds", "aws,onprem", "--yes", "-vv"], 0);
    assert!(up.stdout.contains("verified: all 6 pairs") && up.stderr.contains("DEBUG"), "{}", up.stderr);
    let secrets = secrets(&life.state());
    // Three hosts with two keys each, the operator's, the network's and the pre-shared one.
    assert!(secrets.len() >= 9 * 4, "{}", secrets.len());
    life.run(&["plan", "--json"], 0);
    life.run(&["status", "--json", "-vv"], 0);

    // Progress draws on a terminal, and there alone.
    life.run(&["ssh", "aws-1", "--", "systemctl", "stop", "weave-gateway"], 0);
    let drawn = life.run_on_terminal(&["up", "--yes"]);
    assert!(drawn.contains('\x1b') && drawn.contains("verified: all 6 pairs"), "{drawn:?}");
    life.run(&["ssh", "onprem-1", "--", "systemctl", "stop", "weave-gateway"], 0);
    let plain = life.run(&["up", "--yes"], 0);
    assert!(plain.stderr.contains("done: onprem-1: enable and start weave-gateway"), "{}", plain.stderr);

    let logs = life.run(&["logs", "--since", "1h"], 0);
    let times: Vec<&str> = logs.stdout.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(times.is_sorted() && times.len() > 6, "{}", logs.stdout);
    let hosts = ["aws-1", "onprem-1", "onprem-2"];
    assert!(hosts.iter().all(|host| logs.stdout.contains(host)), "{}", logs.stdout);
    let json = life.run(&["logs", "onprem-2", "--json", "-n", "2"], 0);
    let lines: Vec<serde_json::Value> =
        json.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() == 2 && lines.iter().all(|line| line["host"] == "onprem-2"), "{}", json.stdout);
    let unknown = life.run(&["logs", "gcp-1"], 2);
    assert!(unknown.stderr.contains("its hosts are aws-1, onprem-1, onprem-2"), "{}", unknown.stderr);
    let graph = life.run(&["graph"], 0);
    assert!(graph.stdout.contains("aws-1 ─ onprem-1     direct"), "{}", graph.stdout);
    assert!(life.run(&["graph", "--format", "mermaid"], 0).stdout.starts_with("flowchart LR\n"));
    follows_until_interrupted(&life);

    let fleet = life.state().join("fleet.json");
    let before = std::fs::read(&fleet).unwrap();
    life.run(&["import"], 2);
    std::fs::remove_file(&fleet).unwrap();
    let imported = life.run(&["import", "-vv"], 0);
    assert!(imported.stdout.contains("imported fleet"), "{}", imported.stdout);
    assert_eq!(std::fs::read(&fleet).unwrap(), before);
    let again = life.run(&["up", "--yes"], 0);
    assert!(again.stdout.lines().any(|line| line == "plan: 0 to change"), "{}", again.stdout);

    life.said.extend(std::fs::read(life.state().join("journal.jsonl")).unwrap());
    life.run(&["down", "--yes", "-vv"], 0);
    assert!(!life.state().exists());
    assert_eq!(find(&secrets, &life.said), [""; 0]);
    // The search finds what is there, in each form.
    for (what, secret) in &secrets {
        let planted = [life.said.as_slice(), secret, b"\n"].concat();
        assert!(find(&secrets, &planted).contains(&what.as_str()), "{what}");
    }
}

fn follows_until_interrupted(life: &Life) {
    let path = life.folder.path().join("followed");
    let followed = || std::fs::read_to_string(&path).unwrap();
    let mut command = life.command(&["logs", "-f", "-n", "1"]);
    let child = command.stdout(std::fs::File::create(&path).unwrap()).stderr(Stdio::null()).spawn().unwrap();
    let mut running = Running(child);
    let wait = |what: &str, done: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !done() {
            assert!(begun.elapsed() < LIMIT, "{what}: {}", followed());
            std::thread::yield_now();
        }
    };
    wait("the first lines", &|| followed().lines().count() >= 3);
    let restarted = life.command(&["ssh", "aws-1", "--", "systemctl", "restart", "weave-gateway"]).status();
    assert!(restarted.unwrap().success());
    wait("what comes", &|| {
        followed().lines().any(|line| line.contains("aws-1") && line.contains("the gateway stops"))
    });
    let pid = nix::unistd::Pid::from_raw(running.0.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    assert!(running.0.wait().unwrap().success(), "an interruption is how following ends");
}
