//! One lab per test.
#![expect(clippy::disallowed_methods, reason = "tests: start an agent")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cloud_core::{Cloud as _, HostSpec, Leftover, Observed, ProviderError, Secret, Site, check_contract};
use russh::keys::HashAlg;

use super::ground::{Ground, keygen, shared, with_agent, with_host_keys};
use crate::OnpremCloud;
use crate::ssh::{Elevation, HostKeys, Login};

fn spec(name: &str) -> HostSpec {
    HostSpec {
        name: name.to_owned(),
        site: "aws".to_owned(),
        index: 1,
        operator_public_key: String::new(),
        host_private_key: Secret::new(""),
        labels: BTreeMap::new(),
    }
}

fn site() -> Site {
    Site { name: "aws".to_owned(), index: 1 }
}

/// Makes a machine the fleet's.
fn adopt(cloud: &OnpremCloud, name: &str) -> Result<String, ProviderError> {
    cloud.ensure_site(&site())?;
    let host = cloud.create_host(&spec(name))?;
    Ok(host.addresses.map(|addresses| addresses.private.to_string()).unwrap_or_default())
}

#[test]
fn keeps_the_contract_through_a_jump_host_and_leaves_nothing() {
    let ground = Ground::new("contract");
    let cloud = ground.cloud("prod", &[("aws-1", ground.machine(1, ground.login("onprem-1")))]);
    ground.as_operator(|| {
        check_contract(&cloud, "", Secret::new("")).unwrap();
        assert_eq!(ground.remains("onprem-1"), "");

        assert_eq!(adopt(&cloud, "aws-1").unwrap(), "10.3.0.11", "the machine told its address");
        ground.install("onprem-1");
        let left = cloud.sweep().unwrap();
        assert_eq!(left.len(), 8, "{left:?}");
        let mark = Leftover { kind: "file".to_owned(), id: "aws-1:/etc/weave/fleet".to_owned() };
        assert!(left.contains(&mark), "{left:?}");
        ground.on("onprem-1", "echo other >/etc/weave/other");
        cloud.destroy_host("aws-1").unwrap();
        assert_eq!(ground.remains("onprem-1"), "/etc/weave\n/etc/weave/other\n", "others' files stay");
        assert_eq!((cloud.sweep().unwrap(), cloud.observe().unwrap().hosts), (vec![], vec![]));
    });
}

#[test]
fn a_gateway_that_a_script_started_is_taken_away_with_all_its_links() {
    let ground = Ground::new("script");
    let cloud = ground.cloud("prod", &[("a", ground.machine(1, ground.login("onprem-1")))]);
    ground.on("onprem-1", "mv /run/systemd/system /run/systemd/elsewhere; mkdir -p /etc/rc2.d");
    ground.as_operator(|| {
        adopt(&cloud, "a").unwrap();
        ground.install_script("onprem-1");
        // Without the mark it is a stranger's, whatever started it.
        ground.on("onprem-1", "mv /etc/weave/fleet /root/");
        let texts: Vec<String> = cloud.obstacles().iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["a: there is a gateway that no fleet put there (file /etc/init.d/weave-gateway)"]);
        cloud.destroy_host("a").unwrap();
        assert!(ground.remains("onprem-1").contains("/etc/runlevels/default/weave-gateway"));
        ground.on("onprem-1", "mv /root/fleet /etc/weave/");
        cloud.destroy_host("a").unwrap();
        assert_eq!(ground.remains("onprem-1"), "");
        // A log alone is no gateway.
        ground.on("onprem-1", "echo >/var/log/weave-gateway.log");
        assert_eq!(cloud.obstacles(), []);
    });
}

#[test]
fn what_does_not_go_away_keeps_the_mark() {
    let ground = Ground::new("stays");
    let cloud = ground.cloud("prod", &[("a", ground.machine(1, ground.login("onprem-1")))]);
    ground.as_operator(|| {
        adopt(&cloud, "a").unwrap();
        ground.install("onprem-1");
        // A program that cannot remove its bridge.
        ground.on("onprem-1", "printf '#!/bin/sh\nexit 0\n' >/usr/local/bin/weave-gateway");
        let error = cloud.destroy_host("a").unwrap_err().to_string();
        assert!(error.contains("it is still there: found interface weave"), "{error}");
        assert_eq!(cloud.sweep().unwrap().len(), 2);
        ground.on("onprem-1", "ip link del weave");
        cloud.destroy_host("a").unwrap();
        assert_eq!(ground.remains("onprem-1"), "");
    });
}

#[test]
fn accounts_with_sudo_work_as_root_does() {
    let ground = Ground::new("sudo");
    ground.account("onprem-1", "ops", "ALL=(ALL) NOPASSWD: ALL");
    ground.account("onprem-2", "ops", "ALL=(ALL) ALL");
    let password = |text: &str| Elevation::SudoPassword(Secret::new(text));
    let with = |elevation: [Elevation; 2]| {
        let [one, two] = elevation;
        let machine = |index, elevation| {
            ground.machine(index, ground.login_as(&format!("onprem-{index}"), "ops", elevation))
        };
        ground.cloud("prod", &[("a", machine(1, one)), ("b", machine(2, two))])
    };
    // Input arrives whole whether or not sudo has read the password.
    for (cloud, round) in [
        (with([Elevation::Sudo, password("sesame")]), 1),
        (with([password("unused"), password("sesame")]), 2),
    ] {
        ground.as_operator(|| {
            assert_eq!(cloud.obstacles(), [], "round {round}");
            for (name, host) in [("a", "onprem-1"), ("b", "onprem-2")] {
                adopt(&cloud, name).unwrap();
                ground.install(host);
                assert_eq!(ground.on(host, "stat -c '%U %a' /etc/weave/fleet"), "root 644\n");
                cloud.destroy_host(name).unwrap();
                assert_eq!(ground.remains(host), "");
            }
        });
    }
    let cloud = with([Elevation::None, password("wrong")]);
    ground.as_operator(|| {
        let obstacles = cloud.obstacles();
        let texts: Vec<String> = obstacles.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 2, "{texts:?}");
        assert_eq!(texts[0], "a: commands do not run as root there");
        assert!(texts[1].starts_with("b: asking for its state failed with status 1: "), "{texts:?}");
        assert!(texts[1].contains("incorrect password"), "{texts:?}");
        assert!(obstacles.iter().all(|obstacle| obstacle.hint.contains("sudo")), "{obstacles:?}");
    });
    let cloud = with([Elevation::Sudo, Elevation::Sudo]);
    ground.as_operator(|| {
        let texts: Vec<String> = cloud.obstacles().iter().map(ToString::to_string).collect();
        assert!(texts.len() == 1 && texts[0].contains("a password is required"), "{texts:?}");
    });
}

#[test]
fn input_arrives_whole_behind_a_password() {
    let ground = Ground::new("input");
    ground.account("onprem-1", "ops", "ALL=(ALL) ALL");
    ground.account("onprem-2", "ops", "ALL=(ALL) NOPASSWD: ALL");
    let clouds = ["onprem-1", "onprem-2"].map(|host| {
        let login = ground.login_as(host, "ops", Elevation::SudoPassword(Secret::new("sesame")));
        let index = host.as_bytes()[7] - b'0';
        (shared(ground.cloud("prod", &[("a", ground.machine(index, login.clone()))])), login)
    });
    ground.as_operator(|| {
        for (cloud, login) in &clouds {
            let stranger = cloud.connect("a", 22).err().unwrap().to_string();
            assert!(stranger.starts_with("a is not the fleet's: "), "{stranger}");
            cloud.ensure_site(&site()).unwrap();
            cloud.create_host(&spec("a")).unwrap();
            let stream = cloud.connect("a", 22).unwrap();
            let handle = tokio::runtime::Handle::current();
            let session = handle.block_on(crate::ssh::Session::open(stream, login)).unwrap();
            let bytes: Vec<u8> =
                (0..3_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
            let line = "cat; id -u >&2; grep -l sesame /proc/*/cmdline >&2";
            let said = handle.block_on(session.exec_as_root(line, &bytes, Duration::from_secs(60))).unwrap();
            assert!(said.stdout == bytes, "{} bytes came back", said.stdout.len());
            let errors = String::from_utf8_lossy(&said.stderr).into_owned();
            // The grep itself has the word in its arguments, and so have the shells that run it.
            let others = errors.lines().skip(1).filter(|line| !line.starts_with("/proc/")).count();
            assert!(errors.starts_with("0\n") && others == 0, "{errors}");
        }
    });
}

#[test]
fn another_key_is_refused_before_anything_is_sent() {
    let ground = Ground::new("pinned");
    let wrong = ground.host_key("onprem-2").fingerprint(HashAlg::Sha256);
    let right = ground.host_key("onprem-1").fingerprint(HashAlg::Sha256);
    let cloud = |fingerprint| {
        let login = with_host_keys(ground.login("onprem-1"), HostKeys::Fingerprint(fingerprint));
        ground.cloud("prod", &[("a", ground.machine(1, login))])
    };
    let logins = || ground.on("onprem-1", "journalctl -u lab-sshd -o cat | grep -c Accepted || true");
    let good = cloud(right);
    let before = logins();
    ground.as_operator(|| {
        let bad = cloud(wrong);
        let obstacles = bad.obstacles();
        assert!(obstacles[0].hint.contains("rebuilt"), "{obstacles:?}");
        let texts: Vec<String> = obstacles.iter().map(ToString::to_string).collect();
        let expected = format!("a: the host key is {right}, expected {wrong}; nothing was sent to it");
        assert_eq!(texts, [expected]);
        assert!(matches!(adopt(&bad, "a"), Err(ProviderError::Other(_))));
        assert!(bad.sweep().is_err() && bad.destroy_host("a").is_err(), "nothing is said to be gone");
        assert_eq!(bad.observe().unwrap().hosts.len(), 1, "what cannot be asked is not forgotten");
        assert_eq!(logins(), before);

        assert_eq!(good.obstacles(), []);
        adopt(&good, "a").unwrap();
        assert_ne!(logins(), before);
    });
}

#[test]
fn a_fleet_leaves_machines_of_others_alone() {
    let ground = Ground::new("others");
    let machines = [1, 2].map(|index| ground.machine(index, ground.login(&format!("onprem-{index}"))));
    let [one, two] = machines;
    let prod = ground.cloud("prod", &[("a", one.clone())]);
    let test = ground.cloud("test", &[("x", one), ("y", two)]);
    ground.on("onprem-2", "mkdir /etc/weave; touch /etc/weave/gateway.toml");
    ground.as_operator(|| {
        adopt(&prod, "a").unwrap();
        ground.install("onprem-1");
        let before = ground.remains("onprem-1");
        let texts: Vec<String> = test.obstacles().iter().map(ToString::to_string).collect();
        let foreign = "y: there is a gateway that no fleet put there (file /etc/weave/gateway.toml)";
        assert_eq!(texts, ["x: it belongs to fleet \"prod\"", foreign]);
        for name in ["x", "y"] {
            assert!(matches!(adopt(&test, name), Err(ProviderError::Invalid(_))), "{name}");
            test.destroy_host(name).unwrap();
        }
        assert_eq!(test.observe().unwrap().hosts, []);
        assert_eq!(test.sweep().unwrap(), []);
        assert_eq!(ground.remains("onprem-1"), before);
        assert_ne!(ground.remains("onprem-2"), "");
    });
}

#[test]
fn an_agent_logs_in_and_hosts_whose_init_starts_no_gateway_are_named() {
    let ground = Ground::new("agent");
    let agent = Agent::start(&ground.file("agent"));
    let with = |login: Login| ground.cloud("prod", &[("a", ground.machine(1, login))]);
    let cloud = with(with_agent(ground.login("onprem-1"), &agent.socket));
    ground.as_operator(|| {
        let texts: Vec<String> = cloud.obstacles().iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["a: the ssh agent holds no key"]);
        agent.add(&keygen(ground.file("operator").parent().unwrap(), "stranger"));
        let texts: Vec<String> = cloud.obstacles().iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["a: the host does not accept the operator's key"]);
        agent.add(&ground.file("operator"));
        assert_eq!(cloud.obstacles(), []);
        adopt(&cloud, "a").unwrap();

        ground.on("onprem-1", "mv /run/systemd/system /run/systemd/elsewhere; mkdir -p /etc/rc2.d");
        assert_eq!(cloud.obstacles(), [], "SysV init does too");
        ground.on("onprem-1", "mv /usr/sbin/start-stop-daemon /root/");
        let obstacles = cloud.obstacles();
        ground.on(
            "onprem-1",
            "mv /root/start-stop-daemon /usr/sbin/; mv /run/systemd/elsewhere /run/systemd/system",
        );
        let [obstacle] = &obstacles[..] else { panic!("{obstacles:?}") };
        assert_eq!(
            obstacle.to_string(),
            "a: its init is none that starts a gateway: systemd, OpenRC, or SysV init with start-stop-daemon"
        );
        assert!(obstacle.hint.contains("weave launch"));

        let gone = with(with_agent(ground.login("onprem-1"), Path::new("/no/agent")));
        let texts: Vec<String> = gone.obstacles().iter().map(ToString::to_string).collect();
        assert!(
            texts.len() == 1 && texts[0].starts_with("a: the ssh agent cannot be reached at "),
            "{texts:?}"
        );
    });
}

#[test]
fn a_machine_that_is_off_is_not_forgotten() {
    let ground = Ground::new("off");
    let cloud = ground.cloud("prod", &[("a", ground.machine(7, ground.login("onprem-1")))]);
    ground.as_operator(|| {
        assert_eq!(cloud.obstacles(), [], "it may come back");
        assert_eq!(cloud.observe().unwrap().hosts.len(), 1);
        assert_ne!(cloud.observe().unwrap(), Observed::default());
        let error = cloud.destroy_host("a").unwrap_err();
        assert!(
            error.is_retryable() && error.to_string().starts_with("a: jump host bastion to 10.3.0.17"),
            "{error}"
        );
        assert!(cloud.sweep().is_err());
    });
}

#[test]
fn a_dead_jump_host_holds_nobody_up_twice() {
    let ground = Ground::new("dead");
    let machine = ground.machine(1, ground.login("onprem-1"));
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let cloud = ground.cloud("prod", &names.map(|name| (name, machine.clone())));
    // Lost packets are the worst: nobody says that nobody is there.
    ground.lab.cut(netlab::Cable::of("onprem-3")).unwrap();
    ground.as_operator(|| {
        let begun = Instant::now();
        assert_eq!((cloud.obstacles(), cloud.observe().unwrap().hosts.len()), (vec![], names.len()));
        assert!(begun.elapsed() < Duration::from_secs(16), "one try for all: {:?}", begun.elapsed());
        let error = cloud.connect("c", 22).err().unwrap();
        assert!(error.is_retryable() && error.to_string().contains("jump host bastion"), "{error}");
        ground.lab.heal(netlab::Cable::of("onprem-3")).unwrap();
        let healed = Instant::now();
        while let Err(error) = adopt(&cloud, "a") {
            assert!(error.is_retryable() && healed.elapsed() < Duration::from_secs(20), "{error}");
        }
    });
}

#[test]
fn what_a_killed_run_began_is_waited_for() {
    let ground = Ground::new("busy");
    let cloud = ground.cloud("prod", &[("a", ground.machine(1, ground.login("onprem-1")))]);
    ground.as_operator(|| {
        adopt(&cloud, "a").unwrap();
        ground.install("onprem-1");
        // The gateway ends slowly; whoever asked for it is gone.
        let wait = "while [ -e /run/slow ]; do sleep 0.1; done";
        ground.on("onprem-1", &format!("touch /run/slow; sed -i '1a {wait}' /usr/local/bin/weave-gateway"));
        std::thread::scope(|scope| {
            let removal = scope.spawn(|| ground.as_operator(|| cloud.destroy_host("a")));
            let begun = Instant::now();
            while !ground.on("onprem-1", "pgrep -f 'weave-gateway rese[t]' || true").contains('\n') {
                assert!(begun.elapsed() < Duration::from_secs(20), "the removal does not begin");
            }
            let other = ground.cloud("prod", &[("a", ground.machine(1, ground.login("onprem-1")))]);
            let ground = &ground;
            let seen = scope.spawn(move || ground.as_operator(|| other.observe().unwrap().hosts.len()));
            while !ground.on("onprem-1", "pgrep -x flock || true").contains('\n') {
                assert!(begun.elapsed() < Duration::from_secs(20), "the second run does not wait");
            }
            ground.on("onprem-1", "rm /run/slow");
            removal.join().unwrap().unwrap();
            assert_eq!(
                seen.join().unwrap(),
                0,
                "the second run saw the machine after the removal, not amid it"
            );
        });
        assert_eq!(ground.remains("onprem-1"), "");
    });
}

/// An agent that ends with the test.
struct Agent {
    child: Child,
    socket: std::path::PathBuf,
}

impl Agent {
    fn start(socket: &Path) -> Agent {
        let child = Command::new("ssh-agent").arg("-D").arg("-a").arg(socket).stdout(Stdio::null()).spawn();
        let agent = Agent { child: child.unwrap(), socket: socket.to_owned() };
        let begun = Instant::now();
        while !agent.socket.exists() {
            assert!(begun.elapsed() < Duration::from_secs(10), "ssh-agent does not start");
            std::thread::yield_now();
        }
        agent
    }

    fn add(&self, key: &Path) {
        let added = Command::new("ssh-add").arg("-q").arg(key).env("SSH_AUTH_SOCK", &self.socket).output();
        assert!(added.unwrap().status.success());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
