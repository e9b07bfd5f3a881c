//! What the machine still shows of a lab, found without the lab's own records.

use std::fs;

use crate::cgroup::Cgroup;
use crate::error::Error;
use crate::folder::{Folder, Process};
use crate::keeper::KEEPER;

/// Lists what is left of a lab on this machine, as kind and name.
pub fn remains(name: &str) -> Result<Vec<(String, String)>, Error> {
    let folder = Folder::of(name)?;
    let mut found = Vec::new();
    let mut note = |kind: &str, id: String| found.push((kind.to_owned(), id));
    for (kind, path) in [("folder", folder.path()), ("lock", &folder.lock_path())] {
        if path.exists() {
            note(kind, path.display().to_string());
        }
    }
    if let Some(cgroup) = Cgroup::of(name).filter(|cgroup| cgroup.path().exists()) {
        note("cgroup", cgroup.path().display().to_string());
    }
    let mounts = fs::read_to_string("/proc/self/mounts").map_err(Error::io("reading the mounts"))?;
    let below = format!("{}/", folder.path().display());
    for target in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
        if format!("{target}/").starts_with(&below) {
            note("mount", target.to_owned());
        }
    }
    for process in processes(name) {
        note("process", process.pid.to_string());
    }
    Ok(found)
}

/// The processes of a lab that are not dead: those in its cgroup, and keepers that have not reached it.
pub(crate) fn processes(name: &str) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let (suffix, inner) = (format!("/weave-lab-{name}"), format!("/weave-lab-{name}/"));
    let belongs = |folder: &std::path::Path| {
        let member = fs::read_to_string(folder.join("cgroup")).unwrap_or_default();
        if member.lines().any(|line| line.ends_with(&suffix) || line.contains(&inner)) {
            return true;
        }
        let command = fs::read(folder.join("cmdline")).unwrap_or_default();
        let mut args = command.split(|byte| *byte == 0).skip(1);
        args.next() == Some(KEEPER.as_bytes()) && args.next() == Some(name.as_bytes())
    };
    let pid = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    // What nobody has reaped yet is dead all the same, hence `running`.
    let members = entries.flatten().filter(|entry| belongs(&entry.path()));
    members.filter_map(pid).filter_map(Process::running).collect()
}
