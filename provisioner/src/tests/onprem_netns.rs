//! Whole runs without `--lab`: a lab plays machines that exist already, `weave.toml` lists them, and the programs are
//! the built ones.
//!
//! ```text
//!   op ── internet ──┬── r-aws ── aws-1: `dc2-a`, root, key, known_hosts, can be dialled
//!                    └── r-onprem ─┬─ onprem-3: the jump host `bastion`, no part of the fleet
//!                                  ├─ onprem-1: `dc1-a`, root, agent, fingerprint
//!                                  └─ onprem-2: `dc1-b`, user ops with sudo and its password
//! ```
//!
//! Root only. Needs sudo and the OpenSSH programs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use netlab::{HostConfig, Lab, Place, Topology};

const HOSTS: [(&str, &str, u8); 4] =
    [("aws-1", "aws", 1), ("onprem-3", "onprem", 3), ("onprem-1", "onprem", 1), ("onprem-2", "onprem", 2)];

/// A lab, keys, an agent and a `weave.toml` that end with the test.
struct Ground {
    lab: Lab,
    folder: tempfile::TempDir,
    agent: Child,
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
        netlab::down(self.lab.name()).unwrap();
    }
}

/// What a run of the program said.
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Said {
    #[track_caller]
    fn expect(self, code: i32, texts: &[&str]) -> Said {
        let all = format!("{}{}", self.stdout, self.stderr);
        assert_eq!(self.code, Some(code), "{all}");
        for text in texts {
            assert!(all.contains(text), "{text:?} is not in {all}");
        }
        self
    }
}

impl Ground {
    fn new(test: &str) -> Ground {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let name = format!("p{}-{test}", std::process::id());
        // The built program is the lab's keeper; that of this test is not made for it.
        let helper = Some(program("weave-provision"));
        let lab = Lab::ensure(&netlab::Config { name, topology: Topology::Partial, helper }).unwrap();
        let agent = Command::new("ssh-agent")
            .arg("-D")
            .arg("-a")
            .arg(file("agent"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let ground = Ground { lab, folder, agent };
        let operator = ground.keygen("operator");
        ground.lab.ensure_site("aws", 1).unwrap();
        ground.lab.ensure_site("onprem", 3).unwrap();
        for (name, site, index) in HOSTS {
            ground.keygen(name);
            let host = HostConfig {
                name: name.to_owned(),
                site: site.to_owned(),
                index,
                authorized_key: operator.clone(),
                host_key_pem: ground.read(name),
                labels: BTreeMap::new(),
            };
            ground.lab.ensure_host(&host).unwrap();
        }
        ground.on(
            "onprem-2",
            "set -e; useradd -m -s /bin/sh ops; echo ops:sesame | chpasswd; chmod a+rx /etc/weave-lab; \
             chmod a+r /etc/weave-lab/authorized_keys; \
             echo 'ops ALL=(ALL) ALL' >/etc/sudoers.d/ops; chmod 440 /etc/sudoers.d/ops",
        );
        let begun = Instant::now();
        while !ground.path("agent").exists() {
            assert!(begun.elapsed() < Duration::from_secs(10), "ssh-agent does not start");
            std::thread::yield_now();
        }
        let added = Command::new("ssh-add")
            .arg("-q")
            .arg(ground.path("operator"))
            .env("SSH_AUTH_SOCK", ground.path("agent"))
            .status();
        assert!(added.unwrap().success());
        std::fs::write(ground.path("password"), "sesame\n").unwrap();
        let known = ["203.0.113.17 ", "10.3.0.12 "].iter().zip(["aws-1.pub", "onprem-2.pub"]);
        let known: String = known.map(|(address, key)| format!("{address}{}", ground.read(key))).collect();
        std::fs::write(ground.path("known_hosts"), known).unwrap();
        let hashed =
            Command::new("ssh-keygen").args(["-q", "-H", "-f"]).arg(ground.path("known_hosts")).output();
        assert!(hashed.unwrap().status.success());
        ground
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Makes a key pair; returns the public line.
    fn keygen(&self, name: &str) -> String {
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
            .arg(self.path(name))
            .status();
        assert!(made.unwrap().success());
        self.read(&format!("{name}.pub"))
    }

    fn fingerprint(&self, name: &str) -> String {
        let said =
            Command::new("ssh-keygen").arg("-lf").arg(self.path(&format!("{name}.pub"))).output().unwrap();
        String::from_utf8(said.stdout).unwrap().split(' ').nth(1).unwrap().to_owned()
    }

    /// Writes `weave.toml`; `first` is the fingerprint of `dc1-a`, `last` goes into the entry of `dc1-b`.
    fn describe(&self, first: &str, last: Option<&str>) {
        let bastion = self.fingerprint("onprem-3");
        let mut text = format!(
            r#"[fleet]
name = "prod"
network = "blue"
state = "state"
[onprem]
[[onprem.jumps]]
name = "bastion"
address = "203.0.113.48"
port = 2203
key = "operator"
host_key = "{bastion}"
[[onprem.hosts]]
name = "dc2-a"
address = "203.0.113.17"
key = "operator"
known_hosts = "known_hosts"
private = "10.1.0.11"
advertise = ["203.0.113.17"]
site = "dc2"
[[onprem.hosts]]
name = "dc1-a"
address = "10.3.0.11"
agent = true
host_key = "{first}"
jump = "bastion"
site = "dc1"
"#
        );
        if let Some(more) = last {
            text += &format!(
                r#"[[onprem.hosts]]
name = "dc1-b"
address = "10.3.0.12"
user = "ops"
sudo = {{ password_file = "password" }}
key = "operator"
known_hosts = "known_hosts"
jump = "bastion"
site = "dc1"
{more}
"#
            );
        }
        std::fs::write(self.path("weave.toml"), text).unwrap();
    }

    /// Runs the program where the operator stands.
    fn provision(&self, args: &[&str]) -> Said {
        self.provision_in(&[], args)
    }

    fn command(&self, args: &[&str]) -> Command {
        let program = program("weave-provision");
        let mut command = self.lab.command(&Place::Operator, program.to_str().unwrap()).unwrap();
        command
            .arg("--file")
            .arg(self.path("weave.toml"))
            .args(args)
            .env("HOME", self.folder.path())
            .env("SSH_AUTH_SOCK", self.path("agent"))
            .stdin(Stdio::null());
        command
    }

    fn provision_in(&self, environment: &[(&str, &str)], args: &[&str]) -> Said {
        let said = self.command(args).envs(environment.iter().copied()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { code: said.status.code(), stdout: text(said.stdout), stderr: text(said.stderr) }
    }

    /// Runs the program and kills it once its journal has this many lines more; tells whether it came to that.
    fn killed(&self, args: &[&str], lines: usize) -> bool {
        let journal = self.path("state/journal.jsonl");
        // There is none before the first step of the first run.
        let count = || std::fs::read_to_string(&journal).map_or(0, |text| text.lines().count());
        let goal = count() + lines;
        let mut child = self.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let begun = Instant::now();
        let ended = loop {
            if count() >= goal {
                child.kill().unwrap();
                break child.wait().unwrap();
            }
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "{args:?} does not end");
            std::thread::yield_now();
        };
        !ended.success()
    }

    /// Runs a line of shell as root on a host, past SSH.
    fn on(&self, host: &str, line: &str) -> String {
        let said = self.lab.exec(&Place::Host(host.to_owned()), &["sh", "-c", line]).unwrap();
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.status.success(), "{host}: {line}: {text}{}", String::from_utf8_lossy(&said.stderr));
        text
    }

    /// Makes a host one that SysV init runs, as far as it shows: systemd goes on and can be asked nothing.
    fn hide_systemd(&self, host: &str) {
        self.on(host, "mv /run/systemd/system /run/systemd/elsewhere; mkdir -p /etc/rc2.d");
    }

    /// Waits until a line of shell succeeds on a host.
    #[track_caller]
    fn until(&self, host: &str, line: &str) {
        let begun = Instant::now();
        while self.on(host, &format!("({line}) >/dev/null 2>&1 && echo yes || true")) != "yes\n" {
            assert!(begun.elapsed() < Duration::from_secs(30), "{host}: {line} does not come true");
        }
    }

    /// Everything of a gateway that is on a host.
    fn remains(&self, host: &str) -> String {
        self.on(
            host,
            "ls -d /etc/weave /etc/weave/* /var/lib/weave /usr/local/bin/weave* /run/weave* \
             /etc/systemd/system/weave-gateway* /etc/systemd/system/*/weave-gateway* \
             /etc/init.d/*weave* /etc/rc*/*weave* /var/log/weave* \
             /sys/class/net/weave /sys/class/net/vethwe* 2>/dev/null; pgrep -a weave; \
             systemctl list-units --all --no-legend 'weave*' 2>/dev/null; ss -Hlnu 'sport = :6783' 2>/dev/null; true",
        )
    }

    fn assert_nothing(&self, hosts: &[&str]) {
        for host in hosts {
            assert_eq!(self.remains(host), "", "{host}");
        }
    }
}

/// A program that is built beside this test.
fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!("{name} is not in the folder above {}: build the workspace first", own.display())
    })
}

fn zero(said: &Said) -> bool {
    said.stdout.lines().any(|line| line == "plan: 0 to change")
}

const ALL: [&str; 4] = ["aws-1", "onprem-1", "onprem-2", "onprem-3"];

#[test]
fn up_on_existing_machines_verifies_and_down_leaves_nothing() {
    let ground = Ground::new("up");
    ground.describe(&ground.fingerprint("onprem-1"), Some(""));
    let up = ground.provision(&["up", "--yes"]).expect(0, &["verified: all 6 pairs"]);
    assert!(up.stdout.contains("dc1-b: write /usr/local/bin/weave-gateway"), "{}", up.stdout);
    let again = ground.provision(&["up", "--yes"]).expect(0, &["verified: all 6 pairs"]);
    assert!(zero(&again), "{}", again.stdout);
    assert_eq!(ground.on("onprem-2", "stat -c '%U %a' /etc/weave/identity.pem"), "root 600\n");
    assert!(ground.on("onprem-1", "cat /etc/weave/gateway.toml").contains("network = \"blue\""));
    ground.assert_nothing(&["onprem-3"]);

    ground.provision(&["status"]).expect(0, &["dc1-a", "active"]);
    ground.provision(&["ssh", "dc1-b", "--", "id", "-un"]).expect(0, &["ops\n"]);
    ground.provision_in(&[("WEAVE_PROVISION_NAME", "test")], &["plan"]).expect(2, &["belongs to fleet prod"]);
    let secrets = ["sesame", "PRIVATE KEY"];
    let journal = std::fs::read_to_string(ground.path("state/journal.jsonl")).unwrap();
    let loud = ground.provision(&["plan", "-vv"]).expect(0, &[]);
    assert!(secrets.iter().all(|secret| !journal.contains(secret) && !loud.stderr.contains(secret)));

    // A stranger to the file is not forgotten; one that shall leave leaves.
    ground.describe(&ground.fingerprint("onprem-1"), None);
    for command in ["plan", "down"] {
        ground.provision(&[command]).expect(2, &["the file no longer lists dc1-b", "absent = true"]);
    }
    ground.describe(&ground.fingerprint("onprem-1"), Some("absent = true"));
    ground.provision(&["up", "--yes"]).expect(0, &["- release host dc1-b", "verified: all 2 pairs"]);
    ground.assert_nothing(&["onprem-2"]);

    ground.provision(&["down", "--yes"]).expect(0, &["nothing is left"]);
    ground.assert_nothing(&ALL);
    assert!(!ground.path("state").exists(), "the keys are forgotten");
    ground.provision(&["down", "--yes"]).expect(0, &["nothing is left"]);
}

#[test]
fn hosts_with_sysv_init_and_with_systemd_are_one_fleet() {
    let ground = Ground::new("sysv");
    ground.describe(&ground.fingerprint("onprem-1"), Some(""));
    let all = "find /etc /usr/local /var /run /root /tmp -xdev -name '*weave*' | sort";
    let before = ["onprem-1", "onprem-2"].map(|host| {
        ground.hide_systemd(host);
        ground.on(host, all)
    });
    ground.provision(&["plan"]).expect(0, &["~ dc1-a: write the service for its init\n"]);
    let up = ground.provision(&["up", "--yes"]).expect(0, &["verified: all 6 pairs"]);
    assert!(up.stderr.contains("done: dc1-b: write /etc/init.d/weave-gateway\n"), "{}", up.stderr);
    assert!(
        up.stderr.contains("done: dc2-a: write /etc/systemd/system/weave-gateway.service\n"),
        "{}",
        up.stderr
    );
    assert!(zero(&ground.provision(&["up", "--yes"]).expect(0, &["verified: all 6 pairs"])));
    assert_eq!(
        ground.on("onprem-2", "stat -c '%U %a' /var/log/weave-gateway.log; ls /etc/rc[02].d | grep weave"),
        "root 600\nK01weave-gateway\nS01weave-gateway\n"
    );
    ground.provision(&["status"]).expect(0, &["active"]);
    ground.provision(&["logs", "dc1-a", "--since", "10m"]).expect(0, &["dc1-a", "INFO"]);

    // The gateway dies, and then the one who looks after it.
    let pid = ground.on("onprem-1", "cat /run/weave-gateway.child");
    ground.on("onprem-1", &format!("kill -KILL {pid}"));
    ground.until(
        "onprem-1",
        "/etc/init.d/weave-gateway status | grep runs && [ $(cat /run/weave-gateway.restarts) = 1 ]",
    );
    assert_ne!(ground.on("onprem-1", "cat /run/weave-gateway.child"), pid);
    ground
        .provision(&["doctor"])
        .expect(0, &["dc1-a: its gateway ended by itself and was started again once"]);
    assert!(zero(&ground.provision(&["up", "--yes"]).expect(0, &["verified: all 6 pairs"])));
    ground.on("onprem-2", "kill -KILL $(cat /run/weave-gateway.pid)");
    ground
        .provision(&["up", "--yes"])
        .expect(0, &["dc1-b: enable and start weave-gateway", "verified: all 6 pairs"]);
    assert_eq!(ground.on("onprem-2", "pgrep -cf 'weave-gateway daemo[n]'"), "1\n");
    assert_eq!(
        ground.on("onprem-2", "pgrep -cfx '/bin/sh /etc/init.d/weave-gateway run'"),
        "2\n",
        "with its trimmer"
    );

    // What runs is exchanged and renewed.
    let file = |name: &str| ground.path(name).to_str().unwrap().to_owned();
    std::fs::write(file("bad"), "#!/bin/sh\necho no luck >&2\nexit 1\n").unwrap();
    let bad = ["upgrade", "--yes", "--gateway", &file("bad")];
    ground.provision(&bad).expect(1, &["dc1-a: the new program does not work there; the old one runs again"]);
    let mut other = std::fs::read(program("weave-gateway")).unwrap();
    other.push(0);
    std::fs::write(file("good"), other).unwrap();
    ground
        .provision(&["upgrade", "--yes", "--gateway", &file("good")])
        .expect(0, &["upgraded: 3 of 3 hosts"]);
    let running = ground.on("onprem-1", "cat /run/weave-gateway.child");
    ground.provision(&["rotate-keys", "--yes"]).expect(0, &[]);
    assert_eq!(ground.on("onprem-1", "cat /run/weave-gateway.child"), running, "it went on");
    assert!(zero(&ground.provision(&["up", "--yes", "--gateway", &file("good")]).expect(0, &["verified"])));

    ground.provision(&["down", "--yes"]).expect(0, &["nothing is left"]);
    ground.assert_nothing(&["onprem-1", "onprem-2", "aws-1"]);
    assert_eq!(["onprem-1", "onprem-2"].map(|host| ground.on(host, all)), before);
    for host in ["onprem-1", "onprem-2"] {
        assert_eq!(ground.on(host, "pgrep -af 'init.d/weav[e]|slee[p]' || true"), "");
    }
}

#[test]
fn what_is_wrong_with_hosts_is_told_before_anything_changes() {
    let ground = Ground::new("wrong");
    let wrong = ground.fingerprint("onprem-2");
    ground.describe(&wrong, Some(""));
    std::fs::write(ground.path("password"), "guess\n").unwrap();
    ground
        .on("aws-1", "mv /run/systemd/system /run/systemd/elsewhere; mv /usr/sbin/start-stop-daemon /root/");
    let expected = format!("dc1-a: the host key is {}, expected {wrong}", ground.fingerprint("onprem-1"));
    let texts =
        [expected.as_str(), "dc1-b: asking for its state failed", "dc2-a: its init is none that starts"];
    for command in [&["plan"][..], &["up", "--yes"]] {
        let said = ground.provision(command).expect(1, &texts);
        assert!(said.stdout.is_empty() && said.stderr.contains("hint: "), "{}{}", said.stdout, said.stderr);
    }
    ground
        .on("aws-1", "mv /run/systemd/elsewhere /run/systemd/system; mv /root/start-stop-daemon /usr/sbin/");
    ground.assert_nothing(&ALL);
    let logins = ground.on("onprem-1", "journalctl -u lab-sshd -o cat | grep -c Accepted || true");
    assert_eq!(logins, "0\n", "nothing was sent to a host with another key");
    assert!(!Path::new(&ground.path("state")).exists(), "no keys were made");
}

#[test]
fn runs_killed_at_any_step_are_finished_by_the_next() {
    let ground = Ground::new("killed");
    ground.describe(&ground.fingerprint("onprem-1"), Some(""));
    for round in 0..2 {
        // Taking over, the keys, the first file, half the files, the services.
        for lines in [2, 7, 12, 20, 26] {
            let killed = ground.killed(&["up", "--yes"], lines + round);
            assert!(killed || lines > 12, "round {round}, {lines} lines: too late to kill it");
        }
        ground.provision(&["up", "--yes"]).expect(0, &["verified: all 6 pairs"]);
        assert!(zero(&ground.provision(&["up", "--yes"]).expect(0, &[])));
        for lines in [2, 3, 5] {
            ground.killed(&["down", "--yes"], lines + round);
        }
        ground.provision(&["down", "--yes"]).expect(0, &["nothing is left"]);
        ground.assert_nothing(&ALL);
    }
}

#[test]
fn the_doctor_looks_at_machines_that_no_fleet_has_taken_over() {
    let ground = Ground::new("doctor");
    ground.describe(&ground.fingerprint("onprem-1"), Some(""));
    ground.provision(&["doctor"]).expect(1, &["weave.toml --pre` looks at"]);
    ground.provision(&["doctor", "--pre"]).expect(0, &["doctor: nothing found"]);
    // Behind a jump host, and asked through sudo.
    ground
        .on("onprem-2", "ip link add tb0 type bridge; ip addr add 10.40.0.1/16 dev tb0; ip link set tb0 up");
    let overlap =
        "dc1-b: its route 10.40.0.0/16 (tb0) overlaps the overlay's 10.32.0.0/12 [overlay-overlaps]";
    ground.provision(&["doctor", "--pre"]).expect(3, &[overlap, "doctor: 1 error\n"]);
    ground.provision(&["up", "--yes"]).expect(1, &[overlap, "nothing was changed"]);
    ground.assert_nothing(&["aws-1", "onprem-1", "onprem-2"]);
    assert!(!ground.path("state/fleet.json").exists(), "nothing was begun");
}
