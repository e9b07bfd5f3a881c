//! What is run on machines is shell, says nothing secret, and its answers are read with care.
#![expect(clippy::disallowed_methods, reason = "tests: ask a shell whether it is shell")]

use std::collections::BTreeMap;
use std::process::Command;

use cloud_core::{ProviderError, Secret};

use super::ground::footprint;
use crate::obstacle::{obstacle, reason};
use crate::script::{Answer, ask, claim, remove};
use crate::ssh::Elevation;
use crate::{Config, Init};

#[test]
fn scripts_are_shell_whatever_they_are_wrapped_in() {
    let password = Elevation::SudoPassword(Secret::new("it's $ecret"));
    for line in [ask(&footprint()), claim(&footprint(), "prod"), remove(&footprint(), "prod")] {
        for elevation in [Elevation::None, Elevation::Sudo, password.clone()] {
            let wrapped = elevation.wrap(&line);
            assert!(!wrapped.contains("$ecret"), "{wrapped}");
            let checked = Command::new("sh").args(["-n", "-c", &wrapped]).output().unwrap();
            assert!(checked.status.success(), "{wrapped}: {}", String::from_utf8_lossy(&checked.stderr));
        }
    }
    assert!(!format!("{password:?}{:?}", password.prologue()).contains("$ecret"));
    assert!(password.prologue().reveal().starts_with("it's $ecret\n"));
    assert_eq!(Elevation::Sudo.prologue().reveal(), "");
}

#[test]
fn answers_are_read_to_their_end_or_not_at_all() {
    let text = "Welcome!\nuser 0\narchitecture x86_64\ninit openrc\ntun\nlacks stat\nmark prod\nfound file /a b\nfound interface weave\nend\n";
    let answer = Answer::parse(text).unwrap();
    assert!(
        answer.root && answer.init == Some(Init::OpenRc) && answer.tun && answer.architecture == "x86_64"
    );
    assert_eq!((answer.lacks.as_slice(), answer.mark.as_deref()), (&["stat".to_owned()][..], Some("prod")));
    let found = [("file", "/a b"), ("interface", "weave")];
    assert_eq!(answer.found, found.map(|(kind, name)| (kind.to_owned(), name.to_owned())));
    for broken in ["", "user 0\n", "nonsense", &text[..text.len() - 4]] {
        assert_eq!(Answer::parse(broken), None, "{broken:?}");
    }
}

#[test]
fn words_of_inits_are_read_back_and_others_are_none() {
    for init in Init::ALL {
        assert_eq!(Init::parse(init.word()), Some(init));
    }
    assert_eq!((Init::parse("other"), Init::parse("")), (None, None));
    let text = Init::choose(|init| format!("echo {}", init.word()), "echo other");
    let order =
        ["echo systemd", "echo openrc", "echo sysv", "echo other"].map(|part| text.find(part).unwrap());
    assert!(order.is_sorted(), "{text}");
}

#[test]
fn every_obstacle_has_its_words() {
    let config = Config {
        fleet: "prod".to_owned(),
        machines: BTreeMap::new(),
        jumps: BTreeMap::new(),
        footprint: footprint(),
        architecture: Some("x86_64"),
    };
    let architecture = "x86_64".to_owned();
    let good = Answer { architecture, root: true, init: Some(Init::SysV), tun: true, ..Answer::default() };
    let check = |spoil: fn(&mut Answer), expected: Option<&str>| {
        let mut answer = good.clone();
        spoil(&mut answer);
        assert_eq!(obstacle(&answer, &config).map(|(what, _)| what).as_deref(), expected);
    };
    let file = || ("file".to_owned(), "/f".to_owned());
    check(|_| (), None);
    check(|answer| answer.mark = Some("prod".to_owned()), None);
    check(|answer| answer.root = false, Some("commands do not run as root there"));
    check(|answer| answer.mark = Some("test".to_owned()), Some("it belongs to fleet \"test\""));
    let init = "its init is none that starts a gateway: systemd, OpenRC, or SysV init with start-stop-daemon";
    check(|answer| answer.init = None, Some(init));
    let other = "it is \"aarch64\", and the gateway's program is for x86_64";
    check(|answer| answer.architecture = "aarch64".to_owned(), Some(other));
    check(|answer| answer.tun = false, Some("it has no /dev/net/tun"));
    check(|answer| answer.lacks = vec!["stat".to_owned(), "cut".to_owned()], Some("it lacks stat, cut"));
    let mut foreign = good.clone();
    foreign.found.push(file());
    let (what, _) = obstacle(&foreign, &config).unwrap();
    assert_eq!(what, "there is a gateway that no fleet put there (file /f)");
    foreign.mark = Some("prod".to_owned());
    assert_eq!(obstacle(&foreign, &config), None);
}

#[test]
fn a_reason_does_not_repeat_the_host() {
    let text = || "a: the host key is x".to_owned();
    assert_eq!(reason("a", &ProviderError::Other(text())), "the host key is x");
    assert_eq!(reason("a", &ProviderError::Permission(text())), "the host key is x");
    assert_eq!(reason("b", &ProviderError::Other(text())), text());
}
