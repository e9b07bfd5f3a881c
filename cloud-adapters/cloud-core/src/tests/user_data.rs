//! What a host is told at its first boot.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{HostSpec, ProviderError, Secret, base64, user_data};

/// Made for tests by `ssh-keygen -t ed25519`; it opens nothing.
const PRIVATE: &str = include_str!("host_key");
const PUBLIC: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGoo+w9+mEaN2bgrDLv5bteYEhjsGwXzASO1MGsMHvyE";

fn spec(name: &str, index: u8) -> HostSpec {
    HostSpec {
        name: name.to_owned(),
        site: "aws".to_owned(),
        index,
        operator_public_key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBQ0 operator\n".to_owned(),
        host_private_key: Secret::new(PRIVATE),
        labels: BTreeMap::from([("weave".to_owned(), "test".to_owned())]),
    }
}

#[test]
fn is_a_cloud_config_with_the_keys() {
    let text = user_data(&spec("aws-1", 1), "EC2", 16_384).unwrap();
    let body = text.reveal().strip_prefix("#cloud-config\n").unwrap();
    let mut config: Value = serde_json::from_str(body).unwrap();
    let sshd = config["write_files"][0]["content"].take();
    let sshd = sshd.as_str().unwrap();
    for line in [
        "HostKey /etc/ssh/ssh_host_ed25519_key",
        "PermitRootLogin prohibit-password",
        "PasswordAuthentication no",
    ] {
        assert!(sshd.lines().any(|other| other == line), "{sshd}");
    }
    let expected = json!({
        "hostname": "aws-1",
        "preserve_hostname": false,
        "users": [{
            "name": "root",
            "lock_passwd": true,
            "ssh_authorized_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBQ0 operator"],
        }],
        "disable_root": false,
        "ssh_pwauth": false,
        "ssh_deletekeys": true,
        "ssh_keys": { "ed25519_private": PRIVATE, "ed25519_public": format!("{PUBLIC} aws-1") },
        "ssh_publish_hostkeys": { "enabled": false },
        "package_update": false,
        "write_files": [{
            "path": "/etc/ssh/sshd_config.d/10-weave.conf",
            "permissions": "0644",
            "content": null,
        }],
    });
    assert_eq!(config, expected);
    assert_eq!(format!("{text:?}"), "***");
}

fn refused(spec: &HostSpec) -> ProviderError {
    user_data(spec, "EC2", 16_384).unwrap_err()
}

#[test]
fn keys_that_are_none_are_refused_without_being_shown() {
    let truncated = PRIVATE.replace("AAAA", "A");
    for key in
        ["", "hunter2", "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n", &truncated]
    {
        let error = refused(&HostSpec { host_private_key: Secret::new(key), ..spec("aws-1", 1) });
        let ProviderError::Invalid(text) = error else { panic!("{error:?}") };
        assert_eq!(text, "the SSH key of host aws-1: want an OpenSSH PEM");
    }
}

#[test]
fn what_the_cloud_would_not_take_is_refused() {
    let length = user_data(&spec("aws-1", 1), "EC2", 16_384).unwrap().reveal().len();
    assert!(user_data(&spec("aws-1", 1), "EC2", length).is_ok());
    let error = user_data(&spec("aws-1", 1), "EC2", length - 1).unwrap_err();
    let ProviderError::Invalid(text) = error else { panic!("{error:?}") };
    let limit = format!("has {length} bytes and EC2 takes {}", length - 1);
    assert!(text.contains(&limit) && text.contains("shorten"), "{text}");
}

#[test]
fn base64_pads() {
    for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
        assert_eq!(base64(plain.as_bytes()), coded);
    }
    assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
}
