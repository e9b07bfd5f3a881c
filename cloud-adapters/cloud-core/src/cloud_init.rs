//! The user-data of a host in a cloud: a cloud-config that knows one operator and brings the host's key. Pure.

use serde_json::json;

use crate::error::ProviderError;
use crate::values::{HostSpec, Secret};

/// Overrides whatever the image says, being read first.
const SSHD: &str =
    "HostKey /etc/ssh/ssh_host_ed25519_key\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n";

/// The cloud-config of a host, for a cloud that takes so many bytes; JSON is YAML.
pub fn user_data(spec: &HostSpec, cloud: &str, most_bytes: usize) -> Result<Secret, ProviderError> {
    let private = spec.host_private_key.reveal();
    let public = public_half(private).ok_or_else(|| {
        ProviderError::Invalid(format!("the SSH key of host {}: want an OpenSSH PEM", spec.name))
    })?;
    let config = json!({
        "hostname": spec.name,
        "preserve_hostname": false,
        "users": [{
            "name": "root",
            "lock_passwd": true,
            "ssh_authorized_keys": [spec.operator_public_key.trim()],
        }],
        // Otherwise root's key gets a forced command that refuses the login.
        "disable_root": false,
        "ssh_pwauth": false,
        "ssh_deletekeys": true,
        "ssh_keys": { "ed25519_private": private, "ed25519_public": format!("{public} {}", spec.name) },
        "ssh_publish_hostkeys": { "enabled": false },
        "package_update": false,
        "write_files": [{
            "path": "/etc/ssh/sshd_config.d/10-weave.conf",
            "permissions": "0644",
            "content": SSHD,
        }],
    });
    let text = format!("#cloud-config\n{config}\n");
    if text.len() > most_bytes {
        let name = &spec.name;
        return Err(ProviderError::Invalid(format!(
            "the user-data of host {name} has {} bytes and {cloud} takes {most_bytes}: shorten the operator's key",
            text.len()
        )));
    }
    Ok(Secret::new(text))
}

/// The public half of an OpenSSH private key, as a line without comment: it stands in clear before the private one.
///
/// PROTOCOL.key of OpenSSH: the magic, then strings with their length before them: cipher, KDF, its options; the
/// number of keys; the public key.
fn public_half(private: &str) -> Option<String> {
    let parsed = pem::parse(private).ok().filter(|parsed| parsed.tag() == "OPENSSH PRIVATE KEY")?;
    let mut rest = parsed.contents().strip_prefix(b"openssh-key-v1\0")?;
    for _ in 0..3 {
        string(&mut rest)?;
    }
    rest = rest.get(4..)?;
    let blob = string(&mut rest)?;
    let mut inner = blob;
    let kind = string(&mut inner)?;
    (kind == b"ssh-ed25519").then(|| format!("ssh-ed25519 {}", base64(blob)))
}

/// Takes one string with its length before it.
fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, behind) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (text, behind) = behind.split_at_checked(length)?;
    *rest = behind;
    Some(text)
}

/// RFC 4648 §4, with padding.
pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= group.len() { char::from(letter) } else { '=' });
        }
    }
    text
}
