//! `weave-provision add` and `remove`: change the file by one host, and the fleet with it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::context::Context;
use super::up::{agree, carry_out};
use super::{AddArgs, Failure, Global, RemoveArgs, Wanted};
use crate::config::edit::{self, EditError, NewMachine};
use crate::config::{Config, FILE, Outside};
use crate::fleet::CloudKind;
use crate::progress::Progress;

pub(super) async fn add(global: &Global, args: &AddArgs) -> Result<u8, Failure> {
    let cloud = args.what.parse::<CloudKind>().ok().filter(|kind| *kind != CloudKind::Onprem);
    let change = |text: &str| match (cloud, &args.address) {
        (Some(kind), None) => edit::add_made(text, kind).map_err(refused),
        (Some(kind), Some(_)) => Err(Failure::usage(
            format!("{kind} gives its hosts their addresses"),
            format!("leave out --address, or name a machine of yours differently than {kind}"),
        )),
        (None, None) => Err(Failure::usage(
            format!("{:?} is no cloud that makes hosts, and nothing says where such a machine is", args.what),
            format!("weave-provision add aws; or weave-provision add {} --address ADDRESS", args.what),
        )),
        (None, Some(address)) => {
            let machine = NewMachine {
                name: args.what.clone(),
                address: address.clone(),
                port: args.port,
                user: args.user.clone(),
                key: args.key.clone(),
                known_hosts: args.known_hosts.clone(),
                host_key: args.host_key.clone(),
                jump: args.jump.clone(),
                site: args.site.clone(),
                advertise: args.advertise.clone(),
            };
            edit::add_machine(text, &machine).map(|text| (text, args.what.clone())).map_err(refused)
        }
    };
    let file = File::open(global)?;
    let context = Context::open(global)?;
    let _lock = context.dir.lock("add")?;
    context.fleet()?;
    let before = file.text()?;
    let (after, host) = change(&before)?;
    file.check(global, &after)?;
    Progress::new(global.quiet).line(&format!("{}: host {host} is added", file.path.display()));
    follow(global, &args.wanted(), args.yes, &file, (&before, &after), "add").await
}

pub(super) async fn remove(global: &Global, args: &RemoveArgs) -> Result<u8, Failure> {
    let file = File::open(global)?;
    let context = Context::open(global)?;
    let _lock = context.dir.lock("remove")?;
    context.fleet()?;
    let made = CloudKind::of_host(&args.host) != CloudKind::Onprem;
    let before = file.text()?;
    let change = if made { edit::remove_made } else { edit::make_absent };
    let after = change(&before, &args.host).map_err(refused)?;
    file.check(global, &after)?;
    Progress::new(global.quiet).line(&format!("{}: host {} leaves", file.path.display(), args.host));
    let code = follow(global, &args.wanted(), args.yes, &file, (&before, &after), "remove").await?;
    if !made {
        // Only now that nothing of the fleet is left there.
        let text = edit::forget_machine(&file.text()?, &args.host).map_err(refused)?;
        match file.check(global, &text) {
            Ok(()) => file.put(&text)?,
            Err(_) => Progress::new(global.quiet).line(&format!(
                "{}: {} stays listed as absent: without it the file would not be right",
                file.path.display(),
                args.host
            )),
        }
    }
    Ok(code)
}

/// Writes the file and has the fleet follow it; the file is as before when the operator does not want that after all.
async fn follow(
    global: &Global,
    wanted: &Wanted,
    yes: bool,
    file: &File,
    (before, after): (&str, &str),
    command: &str,
) -> Result<u8, Failure> {
    file.put(after)?;
    let undo = Undo { file, before, after };
    let agreed = agree(global, wanted, yes, Context::open(global)?).await?;
    std::mem::forget(undo);
    carry_out(global, agreed, command).await
}

/// Puts the file back when dropped, which also happens to a run that is interrupted.
struct Undo<'a> {
    file: &'a File,
    before: &'a str,
    after: &'a str,
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        // What somebody else wrote meanwhile is not ours to undo.
        if self.file.text().is_ok_and(|text| text == self.after)
            && let Err(failure) = self.file.put(self.before)
        {
            tracing::error!("{}", failure.render().trim_end());
        }
    }
}

/// The fleet's file.
struct File {
    path: PathBuf,
}

impl File {
    fn open(global: &Global) -> Result<File, Failure> {
        if global.lab {
            return Err(Failure::usage(
                "a lab has the hosts that its clouds give it",
                "choose the clouds: weave-provision up --lab --clouds aws,gcp,onprem",
            ));
        }
        let path = global.file.clone().unwrap_or_else(|| PathBuf::from(FILE));
        // A link stays one: what it names is replaced.
        let path = fs::canonicalize(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(File { path })
    }

    fn text(&self) -> Result<String, Failure> {
        let text = fs::read_to_string(&self.path);
        Ok(text.with_context(|| format!("cannot read {}", self.path.display()))?)
    }

    /// Refuses a text that would not be a good file.
    fn check(&self, global: &Global, text: &str) -> Result<(), Failure> {
        let outside = Outside::of_process(global.name.clone(), global.state.clone());
        match Config::parse(&self.path, text, &outside) {
            Ok(_) => Ok(()),
            Err(error) => Err(Failure::new(anyhow::Error::new(error).context("the file would not be right"))
                .with_code(2)
                .or_hint("nothing was changed")),
        }
    }

    /// Replaces the file as a whole, with the permissions that it has.
    fn put(&self, text: &str) -> Result<(), Failure> {
        let part = self.path.with_extension("toml.part");
        let write = || -> std::io::Result<()> {
            let mut file = fs::File::create(&part)?;
            file.set_permissions(fs::metadata(&self.path)?.permissions())?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&part, &self.path)?;
            fs::File::open(self.path.parent().unwrap_or(Path::new("/")))?.sync_all()
        };
        Ok(write().with_context(|| format!("cannot write {}", self.path.display()))?)
    }
}

fn refused(error: EditError) -> Failure {
    let hint = match &error {
        EditError::NoHost(_) => "`weave-provision status` lists them",
        EditError::NoSection(_) => {
            "add the section; `weave-provision init --file example.toml` writes one that explains itself"
        }
        EditError::Taken(_) => "`weave-provision up` takes it in if it is not yet",
        EditError::Full(_) => "stand in another region with a fleet of its own",
        EditError::Syntax(_) | EditError::Hosts(_) => "mend it by hand",
    };
    Failure::usage(error.to_string(), hint)
}
