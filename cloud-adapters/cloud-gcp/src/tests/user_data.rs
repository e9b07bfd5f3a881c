//! What a host is told at its first boot.

use std::collections::BTreeMap;

use cloud_core::{HostSpec, ProviderError, Secret};
use serde_json::{Value, json};

use crate::cloud_init::user_data;

/// Made for these tests by `ssh-keygen -t ed25519`; it opens nothing.
pub(super) const PRIVATE: &str = concat!(
    "-----BEGIN OPENSSH PRIVATE KEY-----\n",
    "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW\n",
    "QyNTUxOQAAACBqKPsPfphGjdm4Kwy7+W7XmBIY7BsF8wEjtTBrDB78hAAAAIiCdlG/gnZR\n",
    "vwAAAAtzc2gtZWQyNTUxOQAAACBqKPsPfphGjdm4Kwy7+W7XmBIY7BsF8wEjtTBrDB78hA\n",
    "AAAEAsyjVH3U0AUFaO1MpEH/QnFRYz3yRt1xiX/T2APrYvRGoo+w9+mEaN2bgrDLv5bteY\n",
    "EhjsGwXzASO1MGsMHvyEAAAAAAECAwQF\n",
    "-----END OPENSSH PRIVATE KEY-----\n",
);
pub(super) const PUBLIC: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGoo+w9+mEaN2bgrDLv5bteYEhjsGwXzASO1MGsMHvyE";

pub(super) fn spec(name: &str, index: u8) -> HostSpec {
    HostSpec {
        name: name.to_owned(),
        site: "gcp".to_owned(),
        index,
        operator_public_key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBQ0 operator\n".to_owned(),
        host_private_key: Secret::new(PRIVATE),
        labels: BTreeMap::from([("weave".to_owned(), "test".to_owned())]),
    }
}

#[test]
fn is_a_cloud_config_with_the_keys() {
    let text = user_data(&spec("gcp-1", 1)).unwrap();
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
        "hostname": "gcp-1",
        "preserve_hostname": false,
        "users": [{
            "name": "root",
            "lock_passwd": true,
            "ssh_authorized_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBQ0 operator"],
        }],
        "disable_root": false,
        "ssh_pwauth": false,
        "ssh_deletekeys": true,
        "ssh_keys": { "ed25519_private": PRIVATE, "ed25519_public": format!("{PUBLIC} gcp-1") },
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

#[test]
fn keys_that_are_none_are_refused_without_being_shown() {
    let truncated = PRIVATE.replace("AAAA", "A");
    for key in
        ["", "hunter2", "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n", &truncated]
    {
        let error =
            user_data(&HostSpec { host_private_key: Secret::new(key), ..spec("gcp-1", 1) }).unwrap_err();
        let ProviderError::Invalid(text) = error else { panic!("{error:?}") };
        assert_eq!(text, "the SSH key of host gcp-1: want an OpenSSH PEM");
    }
}

#[test]
fn what_the_metadata_would_not_take_is_refused() {
    let long = HostSpec { operator_public_key: "x".repeat(256 * 1024), ..spec("gcp-1", 1) };
    assert!(user_data(&long).unwrap_err().to_string().contains("Compute Engine takes 262144"));
}
