//! Labs by hand, without a gateway: `netlab up NAME aws:1 onprem:2`, look around with `exec`, `down`.
#![expect(clippy::disallowed_methods, reason = "program: runs ssh-keygen and writes keys")]

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::thread;

use anyhow::{Context as _, anyhow, bail};
use netlab::{Cable, Config, HostConfig, Lab, Topology};

const USAGE: &str = "usage: netlab up NAME [--full] [SITE:HOSTS…]   default: aws:1 gcp:1 onprem:2
       netlab down|status NAME
       netlab exec NAME op|internet|r-SITE|HOST PROGRAM [ARG…]
       netlab nat NAME SITE full|address|port|symmetric|blocked
       netlab cut|heal NAME SITE SITE | SITE-OR-HOST";

fn main() -> ExitCode {
    netlab::dispatch_hidden(std::env::args_os());
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[&str]) -> anyhow::Result<ExitCode> {
    match *args {
        ["up", name, ref rest @ ..] => up(name, rest)?,
        ["down", name] => netlab::down(name)?,
        ["status", name] => println!("{}", serde_json::to_string_pretty(&open(name)?.status()?)?),
        ["exec", name, place, program, ref rest @ ..] => {
            let mut command = open(name)?.command(&place.parse()?, program)?;
            let status = command.args(rest).status().with_context(|| format!("while running {program}"))?;
            return Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)));
        }
        ["nat", name, site, kind] => open(name)?.set_nat(site, kind.parse()?)?,
        ["cut", name, ref ends @ ..] => open(name)?.cut(cable(ends)?)?,
        ["heal", name, ref ends @ ..] => open(name)?.heal(cable(ends)?)?,
        _ => bail!("{USAGE}"),
    }
    Ok(ExitCode::SUCCESS)
}

fn open(name: &str) -> anyhow::Result<Lab> {
    Lab::open(name)?.ok_or_else(|| anyhow!("lab {name} is not up\nhint: netlab up {name}"))
}

fn cable(ends: &[&str]) -> anyhow::Result<Cable> {
    match *ends {
        [a, b] => Ok(Cable::between(a, b)),
        [one] => Ok(Cable::of(one)),
        _ => bail!("{USAGE}"),
    }
}

fn up(name: &str, rest: &[&str]) -> anyhow::Result<()> {
    let full = rest.contains(&"--full");
    let mut sites: Vec<&str> = rest.iter().copied().filter(|word| *word != "--full").collect();
    if sites.is_empty() {
        sites = vec!["aws:1", "gcp:1", "onprem:2"];
    }
    let topology = if full { Topology::Full } else { Topology::Partial };
    let lab = Lab::ensure(&Config { name: name.to_owned(), topology, helper: None })?;
    let keys = lab.folder().join("keys");
    fs::create_dir_all(&keys)?;
    let operator = key(&keys, "operator")?.1;
    let mut hosts = Vec::new();
    for (site, index) in sites.iter().zip(1..) {
        let (site, count) = site.split_once(':').unwrap_or((site, "1"));
        let count: u8 = count.parse().with_context(|| format!("`{count}` is no number of hosts"))?;
        lab.ensure_site(site, index)?;
        for index in 1..=count {
            let name = format!("{site}-{index}");
            hosts.push(HostConfig {
                host_key_pem: key(&keys, &name)?.0,
                name,
                site: site.to_owned(),
                index,
                authorized_key: operator.clone(),
                labels: BTreeMap::new(),
            });
        }
    }
    thread::scope(|scope| {
        let booting: Vec<_> = hosts.iter().map(|host| scope.spawn(|| lab.ensure_host(host))).collect();
        booting.into_iter().try_for_each(|host| {
            host.join().map_err(|_| anyhow!("a boot panicked"))?.map(drop).map_err(Into::into)
        })
    })
}

/// The private and the public half of a key in the lab's folder, made once however many commands run.
fn key(folder: &Path, name: &str) -> anyhow::Result<(String, String)> {
    let path = folder.join(name);
    if !path.exists() {
        let new = folder.join(format!("{name}.{}", std::process::id()));
        keygen(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"], &new)?;
        match fs::hard_link(&new, &path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error.into()),
            _ => {}
        }
        fs::remove_file(&new)?;
        fs::remove_file(new.with_extension(format!("{}.pub", std::process::id())))?;
    }
    Ok((fs::read_to_string(&path)?, keygen(["-y", "-f"], &path)?))
}

fn keygen<const N: usize>(args: [&str; N], path: &Path) -> anyhow::Result<String> {
    let output = Command::new("ssh-keygen").args(args).arg(path).stdin(Stdio::null()).output();
    let output = output.context("while running ssh-keygen")?;
    if !output.status.success() {
        bail!("ssh-keygen failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}
