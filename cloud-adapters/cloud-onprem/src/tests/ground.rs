//! Three systemd hosts behind one router; the third is the jump host in front of the others.
#![expect(clippy::disallowed_methods, reason = "tests: make keys and start programs")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use cloud_core::Cloud;
use netlab::{HostConfig, Lab, Place, Topology};
use russh::keys::{PrivateKey, PublicKey, load_public_key, load_secret_key};

use crate::ssh::{Credential, Elevation, HostKeys, Login};
use crate::{Config, Footprint, Machine, OnpremCloud, Reach};

/// A footprint with a program of three lines of shell.
pub(super) fn footprint() -> Footprint {
    Footprint {
        service: "weave-gateway",
        unit: "/etc/systemd/system/weave-gateway.service",
        script: "/etc/init.d/weave-gateway",
        program: "/usr/local/bin/weave-gateway",
        link: ("/usr/local/bin/weave", "weave-gateway"),
        folder: "/etc/weave",
        files: vec!["/etc/weave/identity.pem", "/etc/weave/gateway.toml"],
        traces: vec!["/var/log/weave-gateway.log", "/run/weave-gateway.pid"],
        interfaces: vec!["weave", "vethwe-tap"],
    }
}

/// Puts a footprint on a host as an installation would.
const INSTALL: &str = r#"set -e
printf '#!/bin/sh\nip link del weave 2>/dev/null\nexit 0\n' >/usr/local/bin/weave-gateway
chmod 755 /usr/local/bin/weave-gateway
ln -s weave-gateway /usr/local/bin/weave
echo secret >/etc/weave/identity.pem; echo >/etc/weave/gateway.toml; echo half >/etc/weave/gateway.toml.part
printf '[Service]\nExecStart=/bin/sleep 1000\n[Install]\nWantedBy=multi-user.target\n' \
  >/etc/systemd/system/weave-gateway.service
systemctl daemon-reload; systemctl --quiet enable --now weave-gateway
ip link add weave type bridge"#;

/// The same where systemd does not run services.
const INSTALL_SCRIPT: &str = r#"set -e
printf '#!/bin/sh\nip link del weave 2>/dev/null\nexit 0\n' >/usr/local/bin/weave-gateway
cat >/etc/init.d/weave-gateway <<'END'
#!/bin/sh
case $1 in
start) start-stop-daemon -S -b -m -p /run/weave-gateway.pid -x /bin/sleep -- 1000 ;;
stop) kill "$(cat /run/weave-gateway.pid)" ;;
esac
END
chmod 755 /usr/local/bin/weave-gateway /etc/init.d/weave-gateway
for d in 0 6; do mkdir -p /etc/rc$d.d; ln -s ../init.d/weave-gateway /etc/rc$d.d/K01weave-gateway; done
mkdir -p /etc/rc2.d /etc/runlevels/default; ln -s ../init.d/weave-gateway /etc/rc2.d/S01weave-gateway
ln -s weave-gateway /etc/init.d/S99weave-gateway; ln -s /etc/init.d/weave-gateway /etc/runlevels/default/
echo secret >/etc/weave/identity.pem; echo >/var/log/weave-gateway.log
/etc/init.d/weave-gateway start
ip link add weave type bridge"#;

/// A lab and keys that end with the test.
pub(super) struct Ground {
    pub(super) lab: Lab,
    folder: tempfile::TempDir,
    pub(super) operator: PrivateKey,
}

impl Drop for Ground {
    fn drop(&mut self) {
        netlab::down(self.lab.name()).unwrap();
    }
}

impl Ground {
    pub(super) fn new(test: &str) -> Ground {
        let folder = tempfile::tempdir().unwrap();
        let operator = load_secret_key(keygen(folder.path(), "operator"), None).unwrap();
        let name = format!("t{}-{test}", std::process::id());
        let config = netlab::Config { name, topology: Topology::Partial, helper: None };
        let ground = Ground { lab: Lab::ensure(&config).unwrap(), folder, operator };
        ground.lab.ensure_site("onprem", 3).unwrap();
        for index in [3, 1, 2] {
            let name = format!("onprem-{index}");
            let key = keygen(ground.folder.path(), &name);
            let host = HostConfig {
                name,
                site: "onprem".to_owned(),
                index,
                authorized_key: ground.operator.public_key().to_openssh().unwrap(),
                host_key_pem: std::fs::read_to_string(key).unwrap(),
                labels: BTreeMap::new(),
            };
            ground.lab.ensure_host(&host).unwrap();
        }
        ground
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn host_key(&self, host: &str) -> PublicKey {
        load_public_key(self.file(&format!("{host}.pub"))).unwrap()
    }

    pub(super) fn login(&self, host: &str) -> Login {
        Login::root(self.operator.clone(), self.host_key(host))
    }

    /// A machine behind the jump host, in a site of its own name's first part.
    pub(super) fn machine(&self, index: u8, login: Login) -> Machine {
        let reach =
            Reach { address: format!("10.3.0.1{index}"), port: 22, login, jump: Some("bastion".to_owned()) };
        Machine { site: "aws".to_owned(), reach, private: None, public: None }
    }

    pub(super) fn cloud(&self, fleet: &str, machines: &[(&str, Machine)]) -> OnpremCloud {
        let bastion = Reach {
            address: "203.0.113.48".to_owned(),
            port: 2203,
            login: self.login("onprem-3"),
            jump: None,
        };
        OnpremCloud::new(Config {
            architecture: None,
            fleet: fleet.to_owned(),
            machines: machines.iter().map(|(name, machine)| ((*name).to_owned(), machine.clone())).collect(),
            jumps: BTreeMap::from([("bastion".to_owned(), bastion)]),
            footprint: footprint(),
        })
    }

    /// Runs a function where the operator stands, inside a runtime. Threads of the runtime are born there too.
    pub(super) fn as_operator<T: Send>(&self, run: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
            let runtime = runtime.unwrap();
            let _guard = runtime.enter();
            run()
        };
        self.lab.within(&Place::Operator, inside).unwrap()
    }

    /// Runs a line of shell as root on a host, past SSH.
    pub(super) fn on(&self, host: &str, line: &str) -> String {
        let said = self.lab.exec(&Place::Host(host.to_owned()), &["sh", "-c", line]).unwrap();
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.status.success(), "{host}: {line}: {text}{}", String::from_utf8_lossy(&said.stderr));
        text
    }

    pub(super) fn install(&self, host: &str) {
        self.on(host, INSTALL);
    }

    pub(super) fn install_script(&self, host: &str) {
        self.on(host, INSTALL_SCRIPT);
    }

    /// Everything of a footprint that is on a host, the mark too.
    pub(super) fn remains(&self, host: &str) -> String {
        self.on(
            host,
            "ls -d /etc/weave /etc/weave/* /usr/local/bin/weave* /etc/systemd/system/weave-gateway* \
             /etc/systemd/system/*/weave-gateway* /etc/init.d/*weave* /etc/rc*/*weave* /etc/runlevels/*/weave* \
             /var/log/weave* /run/weave-gateway* /sys/class/net/weave /sys/class/net/vethwe* 2>/dev/null; \
             pgrep -ax sleep; systemctl is-active weave-gateway 2>/dev/null | grep -v inactive; true",
        )
    }

    /// Makes an account that may log in by the operator's key and use sudo as a line of sudoers(5) says.
    pub(super) fn account(&self, host: &str, user: &str, rule: &str) {
        self.on(
            host,
            &format!(
                "set -e; useradd -m -s /bin/sh {user}; echo {user}:sesame | chpasswd; \
                 chmod a+rx /etc/weave-lab; chmod a+r /etc/weave-lab/authorized_keys; \
                 echo '{user} {rule}' >/etc/sudoers.d/{user}; chmod 440 /etc/sudoers.d/{user}"
            ),
        );
    }

    /// The operator's login as another user.
    pub(super) fn login_as(&self, host: &str, user: &str, elevation: Elevation) -> Login {
        Login { user: user.to_owned(), elevation, ..self.login(host) }
    }
}

/// A login that trusts other keys or proves itself otherwise.
pub(super) fn with_host_keys(login: Login, host_keys: HostKeys) -> Login {
    Login { host_keys, ..login }
}

/// A login with the keys of an agent.
pub(super) fn with_agent(login: Login, socket: &Path) -> Login {
    Login { credential: Credential::Agent(socket.to_owned()), ..login }
}

/// Shares an adapter as the provisioner does.
pub(super) fn shared(cloud: OnpremCloud) -> Arc<dyn Cloud> {
    Arc::new(cloud)
}

/// Makes a key pair; returns the private file.
pub(super) fn keygen(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
        .arg(&path)
        .status();
    assert!(made.unwrap().success(), "ssh-keygen is of openssh-client");
    path
}
