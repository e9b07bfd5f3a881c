//! Amazon EC2: moto, in a Python environment of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use crate::FOLDER;

/// What the tests were written against.
const PACKAGE: &str = "moto[server,ec2]==5.2.5";

/// What [`python`] has to run: EC2 that knows the images of `amis.json` and accepts no others.
pub fn prepare(python: &mut Command) {
    let file = |name: &str| Path::new(FOLDER).join(name);
    python
        .arg("-B")
        .arg(file("ec2.py"))
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("MOTO_AMIS_PATH", file("amis.json"))
        .env("MOTO_ENABLE_AMI_VALIDATION", "1")
        .env("MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION", "1");
}

/// The Python that has moto: below the target folder, installed by the first test that needs it, with `python3` and
/// `pip`.
pub fn python() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("cannot tell where this program lies")?;
    // target/PROFILE/deps/PROGRAM
    let target = program.ancestors().nth(3).context("this program lies outside of a target folder")?;
    let folder = target.join("cloud-aws-emulator");
    std::fs::create_dir_all(&folder)?;
    let lock = File::create(folder.join("lock"))?;
    lock.lock()?;
    let (ready, venv) = (folder.join("ready"), folder.join("venv"));
    let python = venv.join("bin/python");
    if std::fs::read_to_string(&ready).is_ok_and(|package| package == PACKAGE) {
        return Ok(python);
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
    run(Command::new(venv.join("bin/pip")).args(["install", "--quiet", PACKAGE]))?;
    std::fs::write(ready, PACKAGE)?;
    Ok(python)
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("while starting {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
