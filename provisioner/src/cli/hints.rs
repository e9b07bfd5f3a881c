//! Commands in texts for people, completed by the flags that say which fleet is meant. Pure, but for one variable.

use clap::CommandFactory as _;

use super::{Cli, Global};
use crate::ssh::quote;

const PROGRAM: &str = "weave-provision ";

/// The flags that say which fleet is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Hints {
    /// Each with its value.
    flags: Vec<(&'static str, String)>,
}

impl Hints {
    /// Those that the operator gave.
    pub(super) fn new(global: &Global) -> Hints {
        let path = |path: &std::path::Path| format!(" {}", word(&path.to_string_lossy()));
        // What the environment says need not be said again.
        let state = global.state.as_ref().filter(|path| std::env::var_os(super::STATE) != Some(path.into()));
        let flags = [
            ("--lab", global.lab.then(String::new)),
            ("--file", global.file.as_deref().map(path)),
            ("--name", global.name.as_ref().map(|name| format!(" {name}"))),
            ("--state", state.map(|state| path(state))),
        ];
        Hints { flags: flags.into_iter().filter_map(|(flag, value)| Some((flag, value?))).collect() }
    }

    /// Puts the flags behind the verb of every command of this program in a text.
    pub(crate) fn complete(&self, text: &str) -> String {
        let program = Cli::command();
        let mut done = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(PROGRAM) {
            let (before, command) = rest.split_at(at + PROGRAM.len());
            done += before;
            let end = command.find(|c: char| !c.is_ascii_lowercase() && c != '-').unwrap_or(command.len());
            let (verb, behind) = command.split_at(end);
            done += verb;
            // These are about no fleet, or make its file.
            let about = !["init", "completions"].contains(&verb);
            if about && program.get_subcommands().any(|known| known.get_name() == verb) {
                let own = &behind[..behind.find(['`', ';', '\n']).unwrap_or(behind.len())];
                let missing = self.flags.iter().filter(|(flag, _)| {
                    !own.split(" -- ").next().unwrap_or_default().split(" ").any(|said| said == *flag)
                });
                missing.for_each(|(flag, value)| done += &format!(" {flag}{value}"));
            }
            rest = behind;
        }
        done + rest
    }
}

/// A word as a shell reads it, quoted where it has to be.
fn word(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) { text.to_owned() } else { quote::text(text) }
}

#[cfg(test)]
impl Hints {
    /// With these flags.
    pub(crate) fn with(flags: &[(&'static str, &str)]) -> Hints {
        Hints { flags: flags.iter().map(|(flag, value)| (*flag, (*value).to_owned())).collect() }
    }
}
