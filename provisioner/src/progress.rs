//! What people see on stderr while a run goes on: a line per host on a terminal, a line per step in a pipe.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Shows steps as they begin and end.
#[derive(Debug)]
pub struct Progress {
    form: Form,
}

#[derive(Debug)]
enum Form {
    Silent,
    Lines,
    Bars { all: MultiProgress, by_subject: Mutex<BTreeMap<String, ProgressBar>> },
}

impl Progress {
    /// Chooses the form that fits stderr.
    pub fn new(quiet: bool) -> Progress {
        let form = match (quiet, io::stderr().is_terminal()) {
            (true, _) => Form::Silent,
            (false, false) => Form::Lines,
            (false, true) => Form::Bars { all: MultiProgress::new(), by_subject: Mutex::default() },
        };
        Progress { form }
    }

    /// Shows nothing.
    pub fn silent() -> Progress {
        Progress { form: Form::Silent }
    }

    /// A step of `subject` begins.
    pub fn begin(&self, subject: &str, step: &str) {
        if let Form::Bars { all, by_subject } = &self.form {
            let mut bars = by_subject.lock().unwrap_or_else(PoisonError::into_inner);
            let bar = bars.entry(subject.to_owned()).or_insert_with(|| {
                let bar = all.add(ProgressBar::new_spinner());
                if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg}") {
                    bar.set_style(style);
                }
                bar.enable_steady_tick(Duration::from_millis(100));
                bar
            });
            bar.set_message(step.to_owned());
        }
    }

    /// A step of `subject` has ended well.
    pub fn done(&self, subject: &str, step: &str) {
        match &self.form {
            Form::Silent => {}
            Form::Lines => self.line(&format!("  done: {step}")),
            Form::Bars { by_subject, .. } => {
                let bars = by_subject.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(bar) = bars.get(subject) {
                    bar.set_message(format!("{step}: done"));
                }
            }
        }
    }

    /// Says something between the steps.
    pub fn line(&self, text: &str) {
        match &self.form {
            Form::Silent => {}
            // Nobody listens on a broken stderr; the run goes on.
            Form::Lines => drop(writeln!(io::stderr(), "{text}")),
            Form::Bars { all, .. } => all.suspend(|| drop(writeln!(io::stderr(), "{text}"))),
        }
    }

    /// Clears what moves, so that results stand alone.
    pub fn end(&self) {
        if let Form::Bars { all, by_subject } = &self.form {
            for bar in
                std::mem::take(&mut *by_subject.lock().unwrap_or_else(PoisonError::into_inner)).into_values()
            {
                bar.finish_and_clear();
            }
            // A terminal that is gone shows nothing anyway.
            let _ = all.clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}
