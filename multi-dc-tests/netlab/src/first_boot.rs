//! A host as a cloud delivers it: Debian's own sshd and cloud-init, without keys, without a name, and with user-data
//! that cloud-init finds where a provider would put it on a disk (its datasource NoCloud).

use std::path::Path;

use crate::error::Error;
use crate::image::{create, link, remove_any, write};

/// Where links to units lead.
const UNITS: &str = "/usr/lib/systemd/system";

/// The name before cloud-init gives one.
const NAMELESS: &str = "localhost";

/// cloud-init looks nowhere else, leaves the interface to the lab, which plays the cloud's DHCP, and sets no locale, of
/// which images of clouds bring one and this machine perhaps none.
const CLOUD_INIT: &str = "datasource_list: [NoCloud]\nnetwork: {config: disabled}\nlocale: false\n";

/// As Debian delivers it, but for the clients' settings.
const SSHD: &str = "Include /etc/ssh/sshd_config.d/*.conf\nKbdInteractiveAuthentication no\nUsePAM yes\n\
                    PrintMotd no\nUseDNS no\nSubsystem sftp /usr/lib/openssh/sftp-server\n";

/// As Debian's, without what asks for a session of systemd-logind, which hosts of the lab do not run.
const PAM: &str = "auth required pam_deny.so\naccount required pam_nologin.so\naccount required pam_unix.so\n\
                   session required pam_unix.so\nsession required pam_env.so\npassword required pam_deny.so\n";

/// Turns the root mounted at `root` into one that has never booted.
pub(crate) fn prepare(root: &Path, instance_id: &str, user_data: &str) -> Result<(), Error> {
    if !root.join("usr/bin/cloud-init").exists() {
        return Err(Error::Unsupported(
            "this machine has no cloud-init, which hosts run that play instances; hint: touch \
             /etc/cloud/cloud-init.disabled, for this machine's own boot, and apt-get install cloud-init"
                .to_owned(),
        ));
    }
    write(&root.join("etc/hostname"), &format!("{NAMELESS}\n"), 0o644)?;
    write(&root.join("etc/hosts"), &format!("127.0.0.1 {NAMELESS}\n::1 {NAMELESS} ip6-localhost\n"), 0o644)?;

    remove_any(&root.join("etc/cloud/cloud-init.disabled"))?;
    // The last in the alphabet has the last word.
    write(&root.join("etc/cloud/cloud.cfg.d/zz-lab.cfg"), CLOUD_INIT, 0o644)?;
    let seed = root.join("var/lib/cloud/seed/nocloud");
    create(&seed)?;
    // JSON is YAML.
    let about = serde_json::json!({ "instance-id": instance_id });
    write(&seed.join("meta-data"), &format!("{about}\n"), 0o600)?;
    write(&seed.join("user-data"), user_data, 0o600)?;

    create(&root.join("etc/ssh/sshd_config.d"))?;
    write(&root.join("etc/ssh/sshd_config"), SSHD, 0o644)?;
    write(&root.join("etc/pam.d/sshd"), PAM, 0o644)?;
    units(&root.join("etc/systemd/system"))
}

/// Starts what the packages themselves would have enabled.
fn units(folder: &Path) -> Result<(), Error> {
    for ours in ["lab-sshd.service", "multi-user.target.wants/lab-sshd.service", "ssh.service"] {
        remove_any(&folder.join(ours))?;
    }
    // Before the name `sshd` cloud-init orders itself.
    link(&format!("{UNITS}/ssh.service"), &folder.join("sshd.service"))?;
    let wanted: [(&str, &[&str]); 2] = [
        ("multi-user.target", &["ssh.service", "cloud-init.target"]),
        (
            "cloud-init.target",
            &[
                "cloud-init-local.service",
                "cloud-init.service",
                "cloud-config.service",
                "cloud-final.service",
            ],
        ),
    ];
    for (target, names) in wanted {
        let wants = folder.join(format!("{target}.wants"));
        create(&wants)?;
        for name in names {
            link(&format!("{UNITS}/{name}"), &wants.join(name))?;
        }
    }
    Ok(())
}
