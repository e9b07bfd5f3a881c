//! Changes to the text of a file.

use crate::config::edit::{
    EditError, NewMachine, add_machine, add_made, forget_machine, make_absent, remove_made,
};
use crate::fleet::CloudKind;

const TEXT: &str = "# ours\n[aws]\nregion = \"eu-west-1\" # Ireland\nhosts = 2   # two\n\n[gcp]\nproject = \"p\"\n\n\
                    [onprem]\n# the rack\n[[onprem.hosts]]\nname = \"a\"\naddress = \"192.0.2.1\"\n\n\
                    [[onprem.hosts]] # second\nname = \"b\"\naddress = \"192.0.2.2\"\n";

#[test]
fn hosts_of_clouds_come_and_go() {
    let (three, name) = add_made(TEXT, CloudKind::Aws).unwrap();
    assert_eq!(name, "aws-3");
    assert_eq!(three, TEXT.replace("hosts = 2 ", "hosts = 3 "), "nothing else has changed");
    let gap = remove_made(&three, "aws-2").unwrap();
    assert_eq!(gap, TEXT.replace("hosts = 2 ", "hosts = [1, 3] "));
    let (filled, name) = add_made(&gap, CloudKind::Aws).unwrap();
    assert_eq!((filled, name.as_str()), (three, "aws-2"));
    let none = remove_made(&remove_made(TEXT, "aws-2").unwrap(), "aws-1").unwrap();
    assert_eq!(none, TEXT.replace("hosts = 2 ", "hosts = 0 "));
    let (two, name) = add_made(TEXT, CloudKind::Gcp).unwrap();
    assert_eq!((two, name.as_str()), (TEXT.replace("\"p\"\n", "\"p\"\nhosts = 2\n"), "gcp-2"));
}

#[test]
fn machines_come_and_go() {
    let machine = NewMachine {
        name: "c".to_owned(),
        address: "192.0.2.3".to_owned(),
        port: Some(2222),
        host_key: Some("SHA256:x".to_owned()),
        advertise: vec!["198.51.100.7".parse().unwrap()],
        ..NewMachine::default()
    };
    let added = add_machine(TEXT, &machine).unwrap();
    let entry = "\n[[onprem.hosts]]\nname = \"c\"\naddress = \"192.0.2.3\"\nport = 2222\nagent = true\n\
                 host_key = \"SHA256:x\"\nadvertise = [\"198.51.100.7\"]\n";
    assert_eq!(added, [TEXT, entry].concat());
    assert_eq!(add_machine(&added, &machine).unwrap_err(), EditError::Taken("c".to_owned()));
    assert_eq!(forget_machine(&added, "c").unwrap(), TEXT);
    let absent = make_absent(TEXT, "a").unwrap();
    assert_eq!(absent, TEXT.replace("\"192.0.2.1\"\n", "\"192.0.2.1\"\nabsent = true\n"));
    assert_eq!(make_absent(&absent, "a").unwrap(), absent);
    let first = add_machine("[fleet]\nname = \"x\"\n", &machine).unwrap();
    assert!(first.ends_with(entry) && first.starts_with("[fleet]\nname = \"x\"\n"), "{first}");
}

#[test]
fn what_is_not_there_is_named() {
    assert_eq!(remove_made(TEXT, "aws-7").unwrap_err().to_string(), "the file lists no host \"aws-7\"");
    assert_eq!(forget_machine(TEXT, "z").unwrap_err(), EditError::NoHost("z".to_owned()));
    assert_eq!(add_made("", CloudKind::Gcp).unwrap_err().to_string(), "the file has no section [gcp]");
    assert_eq!(add_made("[aws]\nhosts = 'x'", CloudKind::Aws).unwrap_err(), EditError::Hosts(CloudKind::Aws));
    assert_eq!(add_made("[aws]\nhosts = 255", CloudKind::Aws).unwrap_err(), EditError::Full(CloudKind::Aws));
    assert!(matches!(add_made("[aws", CloudKind::Aws), Err(EditError::Syntax(_))));
}
