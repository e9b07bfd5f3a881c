//! What `weave-provision init` writes.

/// A file that explains itself and is right as soon as its hosts are.
pub const TEMPLATE: &str = r#"# What `weave-provision up` makes true. `weave-provision plan` shows what that would change.
# Environment (WEAVE_PROVISION_NAME, _NETWORK, _STATE) and flags take precedence over [fleet].

[fleet]
name = "prod"       # marks what is the fleet's; 1 to 32 lower-case letters, digits, hyphens
network = "weave"   # networks of different names never merge
# state = "state"   # keys and state; back it up [default: /var/lib/weave-provision/NAME]

# Machines that exist already and run systemd. Nothing is downloaded there.
[onprem]

[[onprem.hosts]]
name = "dc1-a"
address = "192.0.2.10"              # name or address of its SSH, as seen from here or from its jump host
key = "~/.ssh/id_ed25519"           # private key to log in with; or agent = true for those of ssh-agent
known_hosts = "~/.ssh/known_hosts"  # where its key is known; or host_key = "SHA256:…". None is learned on first use
# port = 22
# user = "root"                     # another user needs sudo:
# sudo = "passwordless"             # or { password_file = "FILE" }
# jump = "bastion"                  # a [[onprem.jumps]] that it stands behind
# site = "onprem"                   # hosts of one site reach each other at their own addresses
# private = "10.0.0.10"             # that address [default: `address` if it is one, else the host is asked]
# advertise = ["198.51.100.7"]      # addresses at which other sites reach it, UDP 6783; without, it only dials out
# absent = true                     # take everything of the fleet away from it; then delete the entry

# [[onprem.jumps]]                  # the same keys up to `jump`, but for `sudo`
# name = "bastion"
# address = "bastion.example.com"
# user = "me"
# agent = true
# host_key = "SHA256:…"             # `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` there prints it
"#;
