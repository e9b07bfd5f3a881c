//! `weave.toml`: what it means, and every mistake in it as the operator sees it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::config::{Config, ConfigError, Outside, TEMPLATE};
use crate::fleet::CloudKind;
use crate::ssh::{Credential, Elevation, HostKeys};

/// A folder with a key, an encrypted key, a known_hosts file and a password.
struct Folder {
    folder: tempfile::TempDir,
    fingerprint: String,
}

impl Folder {
    fn new() -> Folder {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(".ssh")).unwrap();
        for (name, passphrase) in [("id", ""), ("locked", "secret"), (".ssh/id_ed25519", "")] {
            keygen(&["-t", "ed25519", "-C", "", "-N", passphrase, "-f"], &folder.path().join(name));
        }
        let public = std::fs::read_to_string(folder.path().join("id.pub")).unwrap();
        let lines = [
            format!("plain,192.0.2.9 {public}"),
            format!("[odd]:2222 {public}"),
            format!("@revoked * {}", std::fs::read_to_string(folder.path().join("locked.pub")).unwrap()),
            format!("gone {}", std::fs::read_to_string(folder.path().join("locked.pub")).unwrap()),
            format!("secretive {public}"),
        ];
        let known = folder.path().join("known");
        std::fs::write(&known, lines[4].clone()).unwrap();
        let hashed = Command::new("ssh-keygen").arg("-q").arg("-H").arg("-f").arg(&known).output().unwrap();
        assert!(hashed.status.success());
        let hashed = std::fs::read_to_string(&known).unwrap();
        assert!(hashed.starts_with("|1|") && !hashed.contains("secretive"), "{hashed}");
        std::fs::write(&known, [&lines[..4].concat(), hashed.as_str()].concat()).unwrap();
        std::fs::write(folder.path().join("password"), "sesame\n").unwrap();
        std::fs::write(folder.path().join("nothing"), "\n").unwrap();
        let printed =
            Command::new("ssh-keygen").arg("-lf").arg(folder.path().join("id.pub")).output().unwrap();
        let printed = String::from_utf8(printed.stdout).unwrap();
        let fingerprint = printed.split(' ').nth(1).unwrap().to_owned();
        Folder { folder, fingerprint }
    }

    fn outside(&self) -> Outside {
        Outside {
            home: Some(self.folder.path().to_owned()),
            agent: Some(PathBuf::from("/run/agent")),
            ..Outside::default()
        }
    }

    fn parse(&self, text: &str) -> Result<Config, ConfigError> {
        let text = text.replace("FINGERPRINT", &self.fingerprint);
        Config::parse(&self.folder.path().join("weave.toml"), &text, &self.outside())
    }

    /// One error per line, without the folder.
    fn mistakes(&self, text: &str) -> String {
        let error = self.parse(text).unwrap_err().to_string();
        error.replace(&format!("{}/", self.folder.path().display()), "")
    }
}

fn keygen(args: &[&str], path: &Path) {
    assert!(Command::new("ssh-keygen").arg("-q").args(args).arg(path).status().unwrap().success());
}

const GOOD: &str = r#"
[fleet]
name = "prod"
network = "blue"
state = "state"
[onprem]
[[onprem.hosts]]
name = "dc1-a"
address = "192.0.2.10"
key = "~/.ssh/id_ed25519"
host_key = "FINGERPRINT"
site = "dc1"
advertise = ["198.51.100.7", "2001:db8::7"]
[[onprem.hosts]]
name = "dc2-a"
address = "secretive"
user = "ops"
agent = true
known_hosts = "known"
jump = "bastion"
site = "dc2"
[[onprem.hosts]]
name = "dc1-b"
address = "odd"
port = 2222
user = "ops"
sudo = { password_file = "password" }
key = "id"
known_hosts = "known"
site = "dc1"
private = "10.0.0.2"
absent = true
[[onprem.jumps]]
name = "bastion"
address = "plain"
user = "me"
key = "id"
known_hosts = "known"
"#;

#[test]
fn a_file_becomes_a_fleet() {
    let folder = Folder::new();
    let config = folder.parse(GOOD).unwrap();
    assert_eq!((config.name.as_str(), config.network.as_str()), ("prod", "blue"));
    assert_eq!(config.state, Some(folder.folder.path().join("state")));
    assert_eq!(config.clouds, [CloudKind::Onprem]);
    let fleet = config.fleet(&config.clouds);
    let sites: Vec<_> = fleet.sites.iter().map(|site| (site.name.as_str(), site.index)).collect();
    assert_eq!(sites, [("dc1", 1), ("dc2", 2)]);
    let hosts: Vec<_> = fleet.hosts.iter().map(|host| (host.name.as_str(), host.index)).collect();
    assert_eq!(hosts, [("dc1-a", 1), ("dc2-a", 1)]);
    assert_eq!(fleet.hosts[0].advertise.len(), 2);

    let [a, b, c] = &config.onprem.hosts[..] else { panic!("three hosts") };
    assert_eq!((a.reach.login.user.as_str(), a.reach.port), ("root", 22));
    assert_eq!(a.reach.login.elevation, Elevation::None);
    assert!(matches!(a.reach.login.host_keys, HostKeys::Fingerprint(_)));
    assert_eq!(b.reach.login.elevation, Elevation::Sudo);
    assert!(matches!(&b.reach.login.credential, Credential::Agent(path) if path == Path::new("/run/agent")));
    assert!(matches!(&b.reach.login.host_keys, HostKeys::Keys(keys) if keys.len() == 1));
    assert!(matches!(c.reach.login.elevation, Elevation::SudoPassword(_)));
    let shown = format!("{config:?}");
    assert!(!shown.contains("sesame") && !shown.contains("PRIVATE"), "{shown}");

    let machines = crate::footprint::machines(&config).machines;
    assert_eq!(machines["dc1-a"].private, Some("192.0.2.10".parse().unwrap()));
    assert_eq!(machines["dc1-a"].public, Some("198.51.100.7".parse().unwrap()));
    assert_eq!((machines["dc2-a"].private, machines["dc2-a"].public), (None, None));
}

#[test]
fn the_template_is_right_but_for_its_hosts() {
    let folder = Folder::new();
    let known = folder.folder.path().join(".ssh/known_hosts");
    let public = std::fs::read_to_string(folder.folder.path().join("id.pub")).unwrap();
    std::fs::write(known, format!("192.0.2.10 {public}")).unwrap();
    let config = folder.parse(TEMPLATE).unwrap();
    assert_eq!((config.name.as_str(), config.onprem.hosts.len()), ("prod", 1));
    // What is commented out is right too.
    let uncommented: String = TEMPLATE
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.contains(" = ") || rest.starts_with('[') => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    assert!(uncommented.contains("\n[aws]") && uncommented.contains("\nproject ="), "{uncommented}");
    let mistakes = folder.mistakes(&uncommented);
    assert!(mistakes.lines().all(|line| line.contains("host_key") || line.contains("exclude")), "{mistakes}");
}

#[test]
fn all_mistakes_are_told_at_once_with_their_lines() {
    let folder = Folder::new();
    let text = r#"[fleet]
nam = "prod"
network = "Blue!"
[onprem]
[[onprem.hosts]]
name = "A"
adress = "192.0.2.10"
port = 0
key = "locked"
[[onprem.hosts]]
name = "b"
address = "192.0.2.11"
user = "ops"
sudo = "none"
key = "missing"
agent = true
host_key = "MD5:00"
advertise = ["somewhere", "198.51.100.7"]
jump = "nowhere"
[[onprem.hosts]]
name = "c"
address = "192.0.2.12"
key = "id"
known_hosts = "known"
sudo = { password_file = "nothing" }
[[onprem.hosts]]
name = "c"
address = "gone"
agent = "yes"
known_hosts = "known"
absent = 1
site = ""
[aws]
hosts = "three"
"#;
    let expected = r#"weave.toml:2: [fleet] has no key `nam`; did you mean `name`?
weave.toml:3: [fleet]: 'Blue!' cannot name a network: use 1 to 63 lower-case letters, digits and inner hyphens
weave.toml:5: onprem.hosts "A": `address` is missing
weave.toml:5: onprem.hosts "A": nothing says which key the host has: set `host_key` or `known_hosts`; no key is learned on first use
weave.toml:6: onprem.hosts "A": `name` must be 1 to 63 lower-case letters, digits and inner hyphens
weave.toml:7: onprem.hosts "A" has no key `adress`; did you mean `address`?
weave.toml:8: onprem.hosts "A": `port` must be a whole number from 1 to 65535
weave.toml:9: onprem.hosts "A": locked is encrypted and there is no terminal to ask for its passphrase; give it to ssh-agent and use `agent = true`
weave.toml:14: onprem.hosts "b": user "ops" needs sudo: installing a gateway takes root
weave.toml:16: onprem.hosts "b": `key` and `agent` exclude each other
weave.toml:17: onprem.hosts "b": `host_key` must be a fingerprint like "SHA256:…"; on the host, `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` prints it
weave.toml:18: onprem.hosts "b": `advertise` must list IP addresses in quotes
weave.toml:19: onprem.hosts "b": there is no [[onprem.jumps]] called "nowhere"
weave.toml:24: onprem.hosts "c": known has no key of 192.0.2.12; connect once with ssh and compare the fingerprint, or use `host_key`
weave.toml:25: onprem.hosts "c": sudo: nothing holds no password
weave.toml:27: onprem.hosts "c": two hosts are called "c"
weave.toml:29: onprem.hosts "c": `agent` must be true or false
weave.toml:30: onprem.hosts "c": known has no Ed25519 or ECDSA key of gone that is not revoked
weave.toml:31: onprem.hosts "c": `absent` must be true or false
weave.toml:32: onprem.hosts "c": `site` is empty
weave.toml:33: [aws]: `region` is missing
weave.toml:34: [aws]: `hosts` must be how many (0 to 255), or their numbers, e.g. [1, 3]"#;
    assert_eq!(folder.mistakes(text), expected);
}

#[test]
fn mistakes_of_the_whole() {
    let folder = Folder::new();
    let check = |text: &str, expected: &str| assert_eq!(folder.mistakes(text), expected, "{text}");
    check("", "weave.toml:1: no section says where to stand: add [onprem], [aws] or [gcp]");
    check("[onprem]", "weave.toml:1: [onprem]: no hosts are listed; each is a table [[onprem.hosts]]");
    check("onprem = 7", "weave.toml:1: the file: `onprem` must be a table: [onprem]");
    check(
        "[onprem]\n[onprem.hosts]\nname = 'a'",
        "weave.toml:2: [onprem]: `hosts` must be a list of tables: [[onprem.hosts]]",
    );
    check(
        "[onprm]\n[gcp]\nproject = 'p'\nregion = 'r'",
        "weave.toml:1: the file has no key `onprm`; did you mean `onprem`?",
    );
    let host = |name: &str, rest: &str| {
        format!(
            "[[onprem.hosts]]\nname = '{name}'\naddress = '192.0.2.1'\nkey = 'id'\nhost_key = 'FINGERPRINT'\n{rest}\n"
        )
    };
    check(
        &[host("a", ""), host("b", "")].concat(),
        "weave.toml:9: onprem.hosts \"b\": the same machine as \"a\"",
    );
    check(
        &[host("a", ""), host("b", "site = 'b'").replace("2.1'", "2.2'")].concat(),
        "weave.toml:1: the file: hosts stand in 2 sites and none has `advertise`: nobody could dial another site; give \
         one an address that all others reach, or put hosts that reach each other into one site",
    );
    let jump = |name: &str, rest: &str| host(name, rest).replace("hosts", "jumps");
    check(
        &[host("a", "jump = 'x'"), jump("x", "jump = 'y'"), jump("y", "jump = 'x'")].concat(),
        "weave.toml:7: onprem.jumps \"x\": its jump hosts lead back to \"x\"\n\
         weave.toml:13: onprem.jumps \"y\": its jump hosts lead back to \"y\"",
    );
    check(
        &host("a", "").replace("'id'", "'id.pub'"),
        "weave.toml:4: onprem.hosts \"a\": id.pub holds no private key of a known kind: Could not read key",
    );
}

const CLOUDS: &str = r#"
[fleet]
name = "prod"
operator = "198.51.100.7/32"
range = "10.40.0.0/16"
[aws]
region = "eu-west-1"
hosts = [3, 1]
spot = true
[gcp]
project = "p"
region = "europe-west1"
zones = ["europe-west1-b"]
endpoint = "http://127.0.0.1:5"
"#;

#[test]
fn clouds_number_their_hosts() {
    let folder = Folder::new();
    let config = folder.parse(&[CLOUDS, &GOOD[GOOD.find("[onprem]").unwrap()..]].concat()).unwrap();
    assert_eq!(config.clouds, CloudKind::ALL);
    assert_eq!(config.operator.map(|block| block.to_string()).as_deref(), Some("198.51.100.7/32"));
    assert_eq!(config.range.to_string(), "10.40.0.0/16");
    let names = |clouds: &[CloudKind]| {
        let fleet = config.fleet(clouds);
        let sites: Vec<String> = fleet.sites.into_iter().map(|site| site.name).collect();
        let hosts: Vec<String> = fleet.hosts.into_iter().map(|host| host.name).collect();
        format!("{} | {}", sites.join(" "), hosts.join(" "))
    };
    assert_eq!(names(&CloudKind::ALL), "aws gcp dc1 dc2 | aws-1 aws-3 gcp-1 dc1-a dc2-a");
    assert_eq!(names(&[CloudKind::Aws]), "aws | aws-1 aws-3");
    assert_eq!(config.fleet(&[CloudKind::Aws]).found.hosts.len(), 3, "machines are found, wanted or not");
    let (aws, gcp) = (config.aws.as_ref().unwrap(), config.gcp.as_ref().unwrap());
    assert!(aws.spot && !aws.elastic_ip && aws.endpoint.is_none());
    assert_eq!(gcp.zones, ["europe-west1-b"]);

    let left = folder.parse(&CLOUDS.replace("[3, 1]", "0")).unwrap();
    assert_eq!(left.fleet(&left.clouds).sites, [CloudKind::Gcp.site()], "nothing is wanted in aws");
    assert!(left.clouds.contains(&CloudKind::Aws), "and it is still looked at");
}

#[test]
fn mistakes_about_clouds() {
    let folder = Folder::new();
    let bad = CLOUDS
        .replace("\"198.51.100.7/32\"", "\"198.51.100.7\"")
        .replace("10.40.0.0/16", "10.40.0.1/16")
        .replace("[3, 1]", "[0]")
        .replace("[\"europe-west1-b\"]", "\"europe-west1-b\"")
        .replace("http://", "");
    let host = "[[onprem.hosts]]\nname = 'aws-1'\nsite = 'gcp'\naddress = '192.0.2.1'\nkey = 'id'\nhost_key = \
                'FINGERPRINT'\n";
    assert_eq!(
        folder.mistakes(&[&bad, host].concat()),
        r#"weave.toml:4: [fleet]: `operator`: "198.51.100.7" must be an IPv4 block such as 198.51.100.7/32
weave.toml:5: [fleet]: `range`: "10.40.0.1/16" must be an IPv4 block such as 198.51.100.7/32
weave.toml:8: [aws]: `hosts` must be how many (0 to 255), or their numbers, e.g. [1, 3]
weave.toml:13: [gcp]: `zones` must be a list of texts in quotes
weave.toml:14: [gcp]: `endpoint` must be a URL that begins with http:// or https://, not "127.0.0.1:5"
weave.toml:16: onprem.hosts "aws-1": hosts of [aws] are called like "aws-1"
weave.toml:17: onprem.hosts "aws-1": "gcp" is the site of [gcp]; call this one differently"#
    );
    let mistakes = folder.mistakes(&CLOUDS.replace("operator", "# operator"));
    assert!(mistakes.starts_with("[fleet]: `operator` is missing"), "{mistakes}");
    assert!(
        folder
            .parse(
                &CLOUDS
                    .replace("operator", "# operator")
                    .replace("[3, 1]", "0")
                    .replace("region = \"europe-west1\"", "region = \"europe-west1\"\nhosts = 0")
            )
            .is_ok()
    );
}

#[test]
fn syntax_errors_have_lines_too() {
    let folder = Folder::new();
    let mistakes = folder.mistakes("[fleet]\nname = \n[onprem\n");
    let lines: Vec<&str> = mistakes.lines().collect();
    assert!(lines.iter().any(|line| line.starts_with("weave.toml:2: ")), "{mistakes}");
    assert!(lines.iter().any(|line| line.starts_with("weave.toml:3: ")), "{mistakes}");
}

#[test]
fn flags_win_over_the_file() {
    let folder = Folder::new();
    let outside =
        Outside { name: Some("test".to_owned()), state: Some(PathBuf::from("/s")), ..folder.outside() };
    let text = GOOD.replace("FINGERPRINT", &folder.fingerprint);
    let config = Config::parse(&folder.folder.path().join("weave.toml"), &text, &outside).unwrap();
    assert_eq!((config.name.as_str(), config.state), ("test", Some(PathBuf::from("/s"))));
    assert_eq!(config.network.as_str(), "blue");
}

#[test]
fn a_program_tells_what_it_is_for() {
    let own = std::fs::read("/proc/self/exe").unwrap();
    assert_eq!(crate::footprint::architecture(&own), Some(std::env::consts::ARCH));
    assert_eq!(crate::footprint::architecture(b"#!/bin/sh\n"), None);
    assert_eq!(crate::footprint::architecture(b""), None);
    let wants = crate::footprint::needs_glibc(&own);
    let has = Command::new("getconf").arg("GNU_LIBC_VERSION").output().unwrap();
    let has = String::from_utf8(has.stdout).unwrap();
    let has = crate::footprint::glibc(has.trim().strip_prefix("glibc ").unwrap());
    assert!(wants > Some((2, 0)) && wants <= has, "{wants:?} of {has:?}");
    assert_eq!(crate::footprint::needs_glibc(&own[..own.len() / 2]), None);
    assert_eq!(crate::footprint::glibc("2.36.1"), Some((2, 36)));
    assert_eq!(crate::footprint::glibc("musl"), None);
}
