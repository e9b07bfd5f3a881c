//! Settings, what is kept on disk, and how errors look.

use std::path::Path;
use std::time::Duration;

use crate::config::{Admission, Config, FileConfig};
use crate::persist::{Memory, Store};
use crate::remembering::Remembering;
use crate::{cli, membership};

fn load(text: &str, flags: &FileConfig) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    std::fs::write(&file, text).unwrap();
    Config::load(Some(&file), flags).map_err(|error| cli::render(&error))
}

#[test]
fn flags_take_precedence_over_the_file() {
    let flags = FileConfig { port: Some(7000), ..FileConfig::default() };
    let config = load("nickname = \"aws-1\"\nport = 6800\npeers = [\"192.0.2.1\"]\n", &flags).unwrap();
    assert_eq!((config.port, config.nickname.as_str(), config.targets.len()), (7000, "aws-1", 1));
    assert_eq!((config.admission, config.bridge.as_str()), (Admission::Open, "weave"));
    let provisioned =
        load("identity = \"/etc/weave/identity.pem\"\nadvertise = [\"192.0.2.1:9\"]\n", &flags).unwrap();
    assert_eq!(provisioned.admission, Admission::Provisioned("/etc/weave/identity.pem".into()));
    assert_eq!(provisioned.advertise, ["192.0.2.1:9".parse().unwrap()]);
}

#[test]
fn all_mistakes_are_named_at_once() {
    let text = "network = \"We ave\"\nmtu = 100\npeers = [\"a b\"]\nadvertise = [\"host.example\"]\nidentity = \"x\"\npassword = \"y\"\n";
    let error = load(text, &FileConfig::default()).unwrap_err();
    for part in [
        "network: 'We ave'",
        "mtu: 100",
        "peers: 'a b'",
        "advertise: 'host.example'",
        "identity and password",
    ] {
        assert!(error.contains(part), "{part} is missing in {error}");
    }
    let unknown = load("nicknam = \"x\"\n", &FileConfig::default()).unwrap_err();
    assert!(unknown.contains("nicknam"), "{unknown}");
    assert!(Config::load(Some(Path::new("/nonexistent/file")), &FileConfig::default()).is_err());
}

#[test]
fn passwords_do_not_show() {
    let config = load("password = \"wfvAwt7sj-9Xk2!pQzR4\"\n", &FileConfig::default()).unwrap();
    assert!(!format!("{config:?}").contains("wfvA"), "{config:?}");
}

#[test]
fn a_password_that_is_no_text_does_not_show_either() {
    for (value, secret) in [
        ("12345678901234", "12345678901234"),
        ("-7345678901234", "7345678901234"),
        ("1234567.5", "1234567"),
        ("true", "true"),
        ("1979-05-27", "1979"),
        ("[\"wfvAwt7sj\"]", "wfvA"),
        ("{ a = \"wfvAwt7sj\" }", "wfvA"),
    ] {
        let error = load(&format!("password = {value}\n"), &FileConfig::default()).unwrap_err();
        assert!(!error.contains(secret), "{error}");
        assert!(error.contains("a password is text: put it between quotation marks"), "{error}");
        assert!(error.contains("password"), "{error}");
    }
}

#[test]
fn a_line_of_the_file_that_cannot_be_read_does_not_show() {
    for text in ["password = wfvAwt7sj\n", "password = \"wfvAwt7sj\n", "port = 1\npassword: wfvAwt7sj\n"] {
        let error = load(text, &FileConfig::default()).unwrap_err();
        assert!(!error.contains("wfvA"), "{error}");
        assert!(error.contains(&format!("line {}", text.lines().count())), "{error}");
    }
}

#[test]
fn the_daemon_is_not_given_the_password_where_everybody_can_read_it() {
    let check = |words: &str, expected: &str| {
        let daemon = cli::daemon_words(words.split(' ').map(Into::into));
        assert_eq!(daemon, expected.split(' ').collect::<Vec<_>>(), "{words}");
    };
    check("launch --port 7 launch", "daemon --port 7 launch");
    check("-o json launch --password secret 192.0.2.1", "-o json daemon 192.0.2.1");
    check("launch --password=secret --site a", "daemon --site a");
}

#[test]
fn paths_do_not_depend_on_the_folder_the_daemon_works_in() {
    let flags = FileConfig { state: Some("state".into()), ..FileConfig::default() };
    let config = load("identity = \"id.pem\"\n", &flags).unwrap();
    let here = std::env::current_dir().unwrap();
    assert_eq!(config.state, here.join("state"));
    assert_eq!(config.admission, Admission::Provisioned(here.join("id.pem")));
}

#[test]
fn a_peer_keeps_its_key_and_its_memory() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let store = Store::open(&state).unwrap();
    let (key, issue) = store.key(1_000).unwrap();
    assert!(Store::open(&state).is_err(), "one gateway a folder");
    let memory = Memory {
        short_id: weave_model::ShortId::new(7),
        sequence: 99,
        targets: vec!["192.0.2.1".parse().unwrap()],
        configured: vec!["192.0.2.2:5".parse().unwrap()],
    };
    assert_eq!(store.memory().unwrap(), Memory::default());
    store.remember(&memory).unwrap();
    drop(store);
    let again = Store::open(&state).unwrap();
    let (same, same_issue) = again.key(2_000).unwrap();
    assert_eq!((same.peer_name(), same_issue, issue), (key.peer_name(), 1_000, 1_000));
    assert_eq!(again.memory().unwrap(), memory);
    std::fs::write(state.join("memory.json"), "{").unwrap();
    assert_eq!(again.memory().unwrap(), Memory::default(), "a damaged file costs its contents only");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(state.join("key.pem")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn what_was_remembered_last_is_on_disk_in_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let remembering = Remembering::start(store.clone());
    let memory = |sequence| Memory { sequence, ..Memory::default() };
    (1..=100).for_each(|sequence| remembering.remember(memory(sequence)));
    let written = async {
        while store.memory().unwrap().sequence < 100 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), written)
        .await
        .expect("it is written while the gateway runs");
    (101..=200).for_each(|sequence| remembering.remember(memory(sequence)));
    remembering.finish(Duration::from_secs(10)).await;
    assert_eq!(store.memory().unwrap(), memory(200));
}

#[test]
fn a_key_that_others_may_read_is_noticed() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for (mode, expected) in [(0o600, None), (0o400, None), (0o644, Some(0o644)), (0o620, Some(0o620))] {
        std::fs::set_permissions(file.path(), std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        assert_eq!(membership::exposed(file.path()), expected, "{mode:o}");
    }
}

#[test]
fn a_password_makes_two_gateways_members_of_one_network() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = load("password = \"wfvAwt7sj-9Xk2!pQzR4\"\n", &FileConfig::default()).unwrap();
    let member = |folder: &Path| membership::load(&config, &Store::open(folder).unwrap(), 5).unwrap();
    let (a, b) = (member(one.path()), member(other.path()));
    assert_ne!(a.identity.name(), b.identity.name());
    assert_eq!(a.psk, b.psk);
    assert!(a.trust.verify(b.identity.certificate()).is_ok());
}
