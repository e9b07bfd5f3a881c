//! What `weave-provision init` writes.

/// A file that explains itself and is right as soon as its hosts are.
pub const TEMPLATE: &str = r#"# What `weave-provision up` makes true. `weave-provision plan` shows what that would change.
# Environment (WEAVE_PROVISION_NAME, _NETWORK, _STATE, _RANGE, _OPERATOR) and flags take precedence over [fleet].

[fleet]
name = "prod"       # marks what is the fleet's; 1 to 32 lower-case letters, digits, hyphens
network = "weave"   # networks of different names never merge
# state = "state"   # keys and state; back it up [default: /var/lib/weave-provision/NAME]
# range = "10.32.0.0/12"          # addresses of the overlay: no network under it may overlap them
# operator = "198.51.100.7/32"    # from where you reach hosts in clouds; SSH is let in from there alone

# [aws]                           # Amazon EC2; credentials as for its command line
# region = "eu-west-1"
# hosts = 1                       # aws-1 and so on; or their numbers, e.g. [1, 3]; 0 leaves the cloud
# zone = "eu-west-1a"             # [default: any with room]
# vpc = "vpc-0123456789abcdef0"   # [default: the region's default VPC, else one of its own]
# instance_type = "t3.small"
# image = "debian-12"             # or "ubuntu-24.04", or an id "ami-…" with cloud-init
# architecture = "arm64"          # with an instance type such as "t4g.small" and a gateway built for it
# elastic_ip = true               # addresses that survive stopping a host
# spot = true                     # cheaper, and taken away at any time
# root_gib = 8

# [gcp]                           # Google Compute Engine; application default credentials
# project = "my-project-123"
# region = "europe-west1"
# hosts = 1
# zones = ["europe-west1-b"]      # [default: all of the region]
# network = "default"             # [default: "default", else one of its own]
# machine_type = "e2-small"
# image_project = "ubuntu-os-cloud"
# image_family = "ubuntu-2404-lts-amd64"
# architecture = "arm64"          # with a machine type such as "t2a-standard-1" and an image for it
# static_address = true
# spot = true
# disk_gib = 10

# Machines that exist already and run systemd, OpenRC or SysV init. Nothing is downloaded there.
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
