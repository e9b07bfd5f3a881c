//! From what is wanted and what is there to the steps between. Pure: no clock, no files, no network.

use std::collections::BTreeMap;
use std::fmt;

use cloud_core::{Phase, Site};
use serde::Serialize;

use crate::fleet::{Fleet, Host};
use crate::install::{
    CONFIG, Facts, GATEWAY, IDENTITY, LINK_TARGET, SCRIPT, UNIT, WEAVE, WantedFile, fit, generation, keys_of,
};
use crate::rotate::generation_with;

/// What there is.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Sites and hosts that the cloud knows.
    pub cloud: cloud_core::Observed,
    /// What the hosts said. A host that is missing here has not been asked or did not answer.
    pub facts: BTreeMap<String, Facts>,
}

/// Whether a site or host is the fleet's to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It is made for the fleet and destroyed with it.
    Made,
    /// It was there before the fleet and stays after it; only what the fleet put there comes and goes.
    Found,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Removes a host that is no longer wanted.
    DestroyHost {
        /// Its name.
        host: String,
        /// Whether more than the gateway goes.
        origin: Origin,
    },
    /// Removes a site that is no longer wanted.
    RemoveSite {
        /// Its name.
        site: String,
        /// Whether more than its place in the fleet goes.
        origin: Origin,
    },
    /// Makes a site.
    CreateSite(Site, Origin),
    /// Puts right what differs in a site that is there.
    MendSite {
        /// The site.
        site: Site,
        /// What differs.
        what: String,
    },
    /// Makes a host.
    CreateHost(Host, Origin),
    /// Starts a host that is stopped.
    StartHost(Host),
    /// Changes something on a host.
    Configure {
        /// Its name.
        host: String,
        /// What.
        change: Change,
    },
}

/// One thing to change on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Puts a file in place.
    Put {
        /// Where.
        path: &'static str,
        /// Why.
        why: Why,
    },
    /// Puts the service in place, of which kind the host's init tells.
    PutService(Why),
    /// Makes the `weave` link.
    Link,
    /// Enables the service and starts it.
    Start,
    /// Has the running service started at boot too.
    Enable,
    /// Restarts the service, because it was started from something else.
    Restart,
    /// Puts the renewed identity in place and has the running gateway go on with it.
    Reload,
    /// Has the host's init read the service again; the running gateway goes on.
    ReadService,
    /// Closes the way to the user-data, in which the host's SSH key came.
    HideUserData,
}

/// Why a file is put in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It is not there.
    Missing,
    /// Its contents differ.
    Differs,
    /// Its permissions differ.
    Mode,
    /// The host's state, or the wanted content, is not known yet.
    Unknown,
}

/// Steps in the order in which they are printed; those of different hosts run at the same time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Empty when everything is as wanted.
    pub steps: Vec<Step>,
}

impl Plan {
    /// Computes the steps; `files` are the wanted files by host.
    pub fn new(fleet: &Fleet, files: &BTreeMap<String, Vec<WantedFile>>, observed: &Observed) -> Plan {
        let mut steps = Vec::new();
        let origin = |found| if found { Origin::Found } else { Origin::Made };
        let host_origin = |name: &String| origin(fleet.found.hosts.contains(name));
        let site_origin = |name: &String| origin(fleet.found.sites.contains(name));
        let wanted_host = |name: &str| fleet.hosts.iter().any(|host| host.name == name);
        for host in observed.cloud.hosts.iter().filter(|host| !wanted_host(&host.name)) {
            steps.push(Step::DestroyHost { host: host.name.clone(), origin: host_origin(&host.name) });
        }
        for site in
            observed.cloud.sites.iter().filter(|site| !fleet.sites.iter().any(|s| s.name == site.name))
        {
            steps.push(Step::RemoveSite { site: site.name.clone(), origin: site_origin(&site.name) });
        }
        let missing_sites = fleet.sites.iter().filter(|site| !observed.cloud.sites.contains(site));
        steps.extend(missing_sites.map(|site| Step::CreateSite(site.clone(), site_origin(&site.name))));
        for drift in &observed.cloud.drifts {
            let site = fleet.sites.iter().find(|site| site.name == drift.site);
            steps.extend(site.map(|site| Step::MendSite { site: site.clone(), what: drift.what.clone() }));
        }
        let exists = |name: &str| {
            observed.cloud.hosts.iter().any(|host| host.name == name && host.phase != Phase::Terminating)
        };
        let missing_hosts = fleet.hosts.iter().filter(|host| !exists(&host.name));
        steps.extend(missing_hosts.map(|host| Step::CreateHost(host.clone(), host_origin(&host.name))));
        let seen = |name: &str| observed.cloud.hosts.iter().find(|host| host.name == name);
        let stopped = fleet
            .hosts
            .iter()
            .filter(|host| seen(&host.name).is_some_and(|seen| seen.phase == Phase::Stopped));
        steps.extend(stopped.cloned().map(Step::StartHost));
        for host in &fleet.hosts {
            let facts = observed.facts.get(&host.name).filter(|_| exists(&host.name));
            let empty = Vec::new();
            let wanted = files.get(&host.name).unwrap_or(&empty);
            let fitted = facts.map(|facts| fit(wanted, facts));
            let mut changes = changes(fitted.as_ref().unwrap_or(wanted), facts, exists(&host.name));
            if facts.is_none() && host_origin(&host.name) == Origin::Found {
                changes.iter_mut().for_each(Change::forget_init);
            }
            let shown = seen(&host.name).is_some_and(|seen| seen.shows_user_data && exists(&host.name));
            steps.extend(
                changes
                    .into_iter()
                    .chain(shown.then_some(Change::HideUserData))
                    .map(|change| Step::Configure { host: host.name.clone(), change }),
            );
        }
        Plan { steps }
    }

    /// The plan that removes everything observed of a fleet.
    pub fn down(fleet: &Fleet, observed: &cloud_core::Observed) -> Plan {
        Plan::new(
            &Fleet { found: fleet.found.clone(), ..Fleet::default() },
            &BTreeMap::new(),
            &Observed { cloud: observed.clone(), facts: BTreeMap::new() },
        )
    }

    /// The plan for people; its last line counts.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for step in &self.steps {
            text.push_str(&format!("  {step}\n"));
        }
        text.push_str(&self.summary());
        text.push('\n');
        text
    }

    /// The line that counts the steps. Only an empty plan contains "0 to change".
    pub fn summary(&self) -> String {
        if self.steps.is_empty() {
            return "plan: 0 to change".to_owned();
        }
        let mut counts = [
            (0, "to destroy"),
            (0, "to release"),
            (0, "to create"),
            (0, "to take over"),
            (0, "to mend"),
            (0, "to start"),
            (0, "to configure"),
        ];
        for step in &self.steps {
            let at = match step {
                Step::DestroyHost { origin, .. } | Step::RemoveSite { origin, .. } => *origin as usize,
                Step::CreateSite(_, origin) | Step::CreateHost(_, origin) => 2 + *origin as usize,
                Step::MendSite { .. } => 4,
                Step::StartHost(_) => 5,
                Step::Configure { .. } => 6,
            };
            counts[at].0 += 1;
        }
        let parts: Vec<String> =
            counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        let noun = if self.steps.len() == 1 { "change" } else { "changes" };
        format!("plan: {} {noun} ({})", self.steps.len(), parts.join(", "))
    }

    /// The plan for programs.
    pub fn entries(&self) -> Vec<Entry> {
        self.steps.iter().map(Entry::from).collect()
    }
}

/// A step for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// `destroy`, `release`, `create`, `take over`, `mend`, `start` or `configure`.
    pub action: &'static str,
    /// The site or host.
    pub subject: String,
    /// The step in words.
    pub text: String,
}

impl From<&Step> for Entry {
    fn from(step: &Step) -> Entry {
        let (action, subject) = match step {
            Step::DestroyHost { host, origin: Origin::Made } => ("destroy", host),
            Step::RemoveSite { site, origin: Origin::Made } => ("destroy", site),
            Step::DestroyHost { host: name, .. } | Step::RemoveSite { site: name, .. } => ("release", name),
            Step::CreateSite(site, Origin::Made) => ("create", &site.name),
            Step::CreateHost(host, Origin::Made) => ("create", &host.name),
            Step::CreateSite(site, Origin::Found) => ("take over", &site.name),
            Step::CreateHost(host, Origin::Found) => ("take over", &host.name),
            Step::MendSite { site, .. } => ("mend", &site.name),
            Step::StartHost(host) => ("start", &host.name),
            Step::Configure { host, .. } => ("configure", host),
        };
        Entry { action, subject: subject.clone(), text: step.words() }
    }
}

/// What has to change on one host; `facts` are `None` when it has not answered or does not exist.
pub fn changes(files: &[WantedFile], facts: Option<&Facts>, exists: bool) -> Vec<Change> {
    let mut changes = Vec::new();
    let course = facts.map_or(Course::Start, |facts| course(files, facts));
    for file in files {
        if file.path == IDENTITY && course == Course::Reload {
            changes.push(Change::Reload);
            continue;
        }
        let there = facts.and_then(|facts| facts.files.get(file.path));
        let why = match (there, file.checksum()) {
            (None, _) if facts.is_some() || !exists => Some(Why::Missing),
            (None, _) | (_, None) => Some(Why::Unknown),
            (Some((sum, _)), Some(wanted)) if sum != wanted => Some(Why::Differs),
            (Some((_, mode)), _) => (*mode != file.mode).then_some(Why::Mode),
        };
        changes.extend(why.map(|why| Change::Put { path: file.path, why }));
    }
    if facts.and_then(|facts| facts.link.as_deref()) != Some(LINK_TARGET) {
        changes.push(Change::Link);
    }
    let reread = changes
        .iter()
        .any(|change| matches!(change, Change::Put { path, .. } if [UNIT, SCRIPT].contains(path)));
    changes.extend(match course {
        Course::Start => Some(Change::Start),
        Course::Restart => Some(Change::Restart),
        Course::Stay | Course::Reload if facts.is_some_and(|facts| !facts.enabled) => Some(Change::Enable),
        Course::Stay | Course::Reload => reread.then_some(Change::ReadService),
    });
    changes
}

/// How a gateway comes to run from what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    /// It does not run.
    Start,
    /// It was started from something else.
    Restart,
    /// It runs from what is wanted, but for certificates, which it can take while it runs.
    Reload,
    /// It runs from what is wanted; the service is read by the host's init alone.
    Stay,
}

fn course(files: &[WantedFile], facts: &Facts) -> Course {
    if !facts.active {
        return Course::Start;
    }
    let Some(applied) = &facts.applied else { return Course::Restart };
    if generation(files).as_ref() == Some(applied) {
        return Course::Stay;
    }
    // What it was started from is known as long as that lies there.
    if generation_with(facts, None).as_ref() != Some(applied) {
        return Course::Restart;
    }
    let wanted = |path: &str| files.iter().find(|file| file.path == path);
    let differs =
        |path: &str| wanted(path).and_then(WantedFile::checksum) != facts.files.get(path).map(|(sum, _)| sum);
    let keys = || wanted(IDENTITY)?.content.as_ref().map(|identity| keys_of(identity.bytes()));
    if differs(GATEWAY) || differs(CONFIG) {
        Course::Restart
    } else if !differs(IDENTITY) {
        Course::Stay
    } else if facts.keys.is_some() && facts.keys == keys() {
        Course::Reload
    } else {
        Course::Restart
    }
}

impl Change {
    /// The init of a machine that was there before the fleet is not known before it has answered.
    fn forget_init(&mut self) {
        if let Change::Put { path: UNIT, why } = *self {
            *self = Change::PutService(why);
        }
    }
}

impl Step {
    /// The step in words, as it stands in the plan and in the journal.
    pub fn words(&self) -> String {
        match self {
            Step::DestroyHost { host, origin: Origin::Made } => format!("destroy host {host}"),
            Step::DestroyHost { host, origin: Origin::Found } => {
                format!("release host {host}: remove the gateway and all its files")
            }
            Step::RemoveSite { site, origin: Origin::Made } => format!("remove site {site}"),
            Step::RemoveSite { site, origin: Origin::Found } => format!("release site {site}"),
            Step::CreateSite(site, Origin::Made) => {
                format!("create site {} (number {})", site.name, site.index)
            }
            Step::CreateSite(site, Origin::Found) => format!("take site {} in", site.name),
            Step::CreateHost(host, Origin::Made) => format!("create host {} in {}", host.name, host.site),
            Step::CreateHost(host, Origin::Found) => {
                format!("take over host {} in {}", host.name, host.site)
            }
            Step::MendSite { site, what } => format!("mend site {}: {what}", site.name),
            Step::StartHost(host) => format!("start host {} in {}", host.name, host.site),
            Step::Configure { host, change } => format!("{host}: {change}"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self {
            Step::DestroyHost { .. } | Step::RemoveSite { .. } => '-',
            Step::CreateSite(..) | Step::CreateHost(..) => '+',
            Step::MendSite { .. } | Step::StartHost(_) | Step::Configure { .. } => '~',
        };
        write!(f, "{sign} {}", self.words())
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Put { path, why: Why::Missing } => write!(f, "write {path}"),
            Change::Put { path, why: Why::Differs } => write!(f, "replace {path} (contents differ)"),
            Change::Put { path, why: Why::Mode } => write!(f, "replace {path} (permissions differ)"),
            Change::Put { path, why: Why::Unknown } => {
                write!(f, "write {path} if it differs (not known yet)")
            }
            Change::PutService(Why::Unknown) => {
                f.write_str("write the service for its init if it differs (not known yet)")
            }
            Change::PutService(_) => f.write_str("write the service for its init"),
            Change::Link => write!(f, "link {WEAVE} to {LINK_TARGET}"),
            Change::Start => f.write_str("enable and start weave-gateway"),
            Change::Enable => f.write_str("enable weave-gateway"),
            Change::Restart => f.write_str("restart weave-gateway"),
            Change::Reload => write!(f, "replace {IDENTITY}; weave-gateway goes on with it"),
            Change::ReadService => f.write_str("read the service again; weave-gateway goes on"),
            Change::HideUserData => f.write_str("close the way to its user-data, which holds its SSH key"),
        }
    }
}
