//! Hosts that play instances of a cloud: addresses from outside, and all else by cloud-init at the first boot.

use std::net::Ipv4Addr;
use std::process::Output;

use netlab::{Error, InstanceConfig, Phase, Place, Topology};
use serde_json::json;

use crate::{TestLab, at_host, host, key, pings, wait_until};

const PRIVATE: Ipv4Addr = Ipv4Addr::new(172, 31, 16, 7);
const PUBLIC: Ipv4Addr = Ipv4Addr::new(54, 214, 3, 9);

fn instance() -> InstanceConfig {
    let (private, public) = key();
    let user_data = json!({
        "hostname": "gateway-1",
        "preserve_hostname": false,
        "users": [{ "name": "root", "lock_passwd": true, "ssh_authorized_keys": [public.trim()] }],
        "disable_root": false,
        "ssh_deletekeys": true,
        "ssh_keys": { "ed25519_private": private, "ed25519_public": public.trim() },
    });
    InstanceConfig {
        name: "i-0123".to_owned(),
        site: "aws".to_owned(),
        index: 1,
        private: PRIVATE,
        public: Some(PUBLIC),
        instance_id: "i-0123456789abcdef0".to_owned(),
        user_data: format!("#cloud-config\n{user_data}\n"),
        labels: [("weave-fleet".to_owned(), "demo".to_owned())].into(),
    }
}

/// A login by the key of the user-data, to a host that must have the other key of the user-data.
fn login(lab: &TestLab, script: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let (private, public) = key();
    let mut words = public.split(' ');
    let (kind, blob) = (words.next().unwrap(), words.next().unwrap());
    std::fs::write(file("known_hosts"), format!("{PUBLIC} {kind} {blob}\n")).unwrap();
    std::fs::write(file("key"), private).unwrap();
    std::fs::set_permissions(file("key"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let mut ssh = lab.command(&Place::Operator, "ssh").unwrap();
    ssh.args(["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=5"])
        .arg("-o")
        .arg(format!("UserKnownHostsFile={}", file("known_hosts").display()))
        .arg("-i")
        .arg(file("key"))
        .arg(format!("root@{PUBLIC}"))
        .arg(script)
        .output()
        .unwrap()
}

#[test]
fn an_instance_is_what_its_user_data_says_at_the_addresses_of_its_cloud() {
    let lab = TestLab::new("instance", Topology::Partial);
    lab.ensure_site_with("aws", 1, "172.31.0.0/16".parse().unwrap()).unwrap();
    lab.ensure_site("onprem", 3).unwrap();
    lab.ensure_host(&host("onprem", 1)).unwrap();
    let made = lab.ensure_instance(&instance()).unwrap();
    assert_eq!((made.private, made.public, made.phase), (PRIVATE, Some(PUBLIC), Phase::Running));
    assert_eq!(lab.ensure_instance(&instance()).unwrap(), made);

    // Like all real ones it refuses logins for a moment after sshd answers.
    wait_until("the login succeeds", || login(&lab, "true").status.success());
    let said =
        login(&lab, "hostname; cat /etc/hostname; ls /etc/weave-lab /etc/ssh; ip -4 -o addr show eth0");
    let text = String::from_utf8(said.stdout).unwrap();
    assert!(text.starts_with("gateway-1\ngateway-1\n"), "{text}{}", String::from_utf8_lossy(&said.stderr));
    assert!(text.contains("172.31.16.7/16"), "{text}");
    assert!(!text.contains("hostkey") && !text.contains("ssh_host_rsa_key"), "{text}");
    let said = lab.exec(&at_host("i-0123"), &["cloud-init", "status", "--wait", "--long"]).unwrap();
    let text = String::from_utf8(said.stdout).unwrap();
    assert!(text.contains("status: done") && text.contains("DataSourceNoCloud"), "{text}");

    // Everybody on the internet finds it, also from sites that come later.
    assert!(pings(&lab, &at_host("onprem-1"), "54.214.3.9"));
    assert!(pings(&lab, &at_host("i-0123"), "203.0.113.250"));
    lab.ensure_site("azure", 4).unwrap();
    assert!(pings(&lab, &Place::Router("azure".to_owned()), "54.214.3.9"));

    // Off and on: the same machine, which cloud-init knows already.
    lab.exec(&at_host("i-0123"), &["touch", "/etc/kept"]).unwrap();
    lab.exec(&at_host("i-0123"), &["systemctl", "poweroff", "--force"]).unwrap();
    wait_until("it is off", || lab.status().unwrap().hosts["i-0123"].phase == Phase::Stopped);
    lab.ensure_instance(&instance()).unwrap();
    wait_until("the login succeeds", || login(&lab, "test -e /etc/kept").status.success());

    // While it is off its cloud may give it another public address, and none while it is on.
    let moved = InstanceConfig { public: Some(Ipv4Addr::new(54, 214, 3, 10)), ..instance() };
    assert!(matches!(lab.ensure_instance(&moved), Err(Error::Conflict(_, _))));
    lab.exec(&at_host("i-0123"), &["systemctl", "poweroff", "--force"]).unwrap();
    wait_until("it is off", || lab.status().unwrap().hosts["i-0123"].phase == Phase::Stopped);
    assert_eq!(lab.ensure_instance(&moved).unwrap().public, moved.public);
    assert!(pings(&lab, &at_host("onprem-1"), "54.214.3.10"));
    assert!(!pings(&lab, &at_host("onprem-1"), "54.214.3.9"));

    lab.destroy_host("i-0123").unwrap();
    for place in [Place::Operator, Place::Router("onprem".to_owned()), Place::Router("azure".to_owned())] {
        let routes = lab.exec(&place, &["ip", "route"]).unwrap();
        assert!(!String::from_utf8(routes.stdout).unwrap().contains("54.214"), "{place}");
    }
}

#[test]
fn addresses_that_nobody_can_have_are_refused() {
    let lab = TestLab::new("addresses", Topology::Partial);
    let range = "172.31.0.0/16".parse().unwrap();
    lab.ensure_site_with("aws", 1, range).unwrap();
    lab.ensure_site_with("aws", 1, range).unwrap();
    lab.ensure_site("aws", 1).unwrap();
    let other = lab.ensure_site_with("aws", 1, "172.16.0.0/16".parse().unwrap());
    assert!(matches!(other, Err(Error::Conflict(_, _))));
    lab.ensure_site("onprem", 3).unwrap();
    // Hosts that are numbered stand in the range, too.
    assert_eq!(lab.ensure_host(&host("aws", 2)).unwrap().private, Ipv4Addr::new(172, 31, 0, 12));

    let refused = |change: &dyn Fn(&mut InstanceConfig)| {
        let mut config = instance();
        change(&mut config);
        lab.ensure_instance(&config).unwrap_err()
    };
    let invalid: [&dyn Fn(&mut InstanceConfig); 5] = [
        &|config| config.private = [10, 1, 0, 11].into(),
        &|config| config.private = [172, 31, 0, 1].into(),
        &|config| config.private = [172, 31, 255, 255].into(),
        &|config| config.public = None,
        &|config| (config.site, config.private) = ("onprem".to_owned(), [10, 3, 0, 11].into()),
    ];
    for change in invalid {
        assert!(matches!(refused(change), Error::Invalid(_)));
    }
    let taken: [&dyn Fn(&mut InstanceConfig); 4] = [
        &|config| config.private = [172, 31, 0, 12].into(),
        &|config| config.public = Some([203, 0, 113, 18].into()),
        &|config| config.public = Some([203, 0, 113, 48].into()),
        &|config| config.public = Some([203, 0, 113, 250].into()),
    ];
    for change in taken {
        assert!(matches!(refused(change), Error::Conflict(_, _)));
    }
    assert_eq!(lab.status().unwrap().hosts.len(), 1);
}
