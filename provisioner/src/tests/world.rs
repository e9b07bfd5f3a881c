//! A cloud and its hosts in memory, with a fuse: the n-th thing asked of them fails, or kills whoever asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use cloud_core::{Cloud, Fake, HostSpec, HostState, Leftover, Observed, ProviderError, Site, Stream};
use tokio::sync::Notify;
use weave_api::{PathKind, PingReport};
use weave_model::NetworkName;
use weave_trust::Membership;

use crate::install::{Checksum, Content, Facts, GATEWAY, IDENTITY, LINK_TARGET, UNIT, WantedFile, keys_of};
use crate::remote::{Remote, RemoteError};
use crate::rotate::STAGED;
use crate::ssh::SshError;
use crate::verify::Gateway;

type Files = BTreeMap<String, (Checksum, u32)>;

type Aside = BTreeMap<(String, &'static str), (Checksum, u32)>;

/// What outlives a run: the cloud and what is on the hosts.
#[derive(Default)]
pub(super) struct World {
    pub(super) cloud: Fake,
    pub(super) hosts: Mutex<BTreeMap<String, Facts>>,
    /// What each service runs from.
    pub(super) running: Mutex<BTreeMap<String, Files>>,
    /// Who was made to forget which peer.
    pub(super) forgotten: Mutex<BTreeSet<(String, String)>>,
    /// How many more times gateways hold for alive what is gone.
    pub(super) missed_after: AtomicUsize,
    /// How often services were started or restarted.
    pub(super) starts: AtomicUsize,
    /// Files of which facts do not tell, by host and path.
    pub(super) aside: Mutex<Aside>,
    /// What every identity that was ever put on a host says.
    pub(super) memberships: Mutex<BTreeMap<Checksum, Membership>>,
    /// A host whose gateway takes no identity while it runs.
    pub(super) refuses: Mutex<Option<String>>,
    /// A program with which the gateway of this host answers no ping.
    bad: Mutex<Option<(Checksum, String)>>,
    specs: Mutex<BTreeMap<String, HostSpec>>,
}

impl World {
    /// Fails unless every service runs from exactly what lies on its host.
    pub(super) fn assert_running_what_is_there(&self) {
        let running = self.running.lock().unwrap();
        let there = self.cloud.observe().unwrap().hosts;
        for (name, facts) in self.hosts.lock().unwrap().iter() {
            if there.iter().all(|host| host.name != *name) {
                assert!(!facts.active, "{name} said goodbye before it went");
                continue;
            }
            assert!(facts.active, "{name} is active");
            assert_eq!(running.get(name), Some(&facts.files), "{name} runs from what is there");
        }
    }

    /// What the gateway of a host runs as, once it has been started from an identity.
    pub(super) fn membership(&self, host: &str) -> Option<Membership> {
        let running = self.running.lock().unwrap();
        let (sum, _) = running.get(host)?.get(IDENTITY)?;
        self.memberships.lock().unwrap().get(sum).cloned()
    }

    /// Whether the gateways of two hosts recognise each other and share the pre-shared key.
    pub(super) fn recognise(&self, one: &str, other: &str) -> bool {
        let (Some(one), Some(other)) = (self.membership(one), self.membership(other)) else { return false };
        let knows = |a: &Membership, b: &Membership| a.trust.verify(b.identity.certificate()).is_ok();
        knows(&one, &other) && knows(&other, &one) && one.psk == other.psk
    }

    /// From here on a program does not suit a host.
    pub(super) fn bad_on(&self, program: Checksum, host: &str) {
        *self.bad.lock().unwrap() = Some((program, host.to_owned()));
    }

    /// Whether the gateway of a host runs from a program that does not suit it.
    fn is_bad(&self, host: &str) -> bool {
        let running = self.running.lock().unwrap();
        let program = running.get(host).and_then(|files| files.get(GATEWAY)).map(|(sum, _)| sum.clone());
        let bad = self.bad.lock().unwrap();
        bad.as_ref().is_some_and(|(sum, on)| on == host && program.as_ref() == Some(sum))
    }

    pub(super) fn forget_service(&self, host: &str) {
        self.hosts.lock().unwrap().get_mut(host).unwrap().active = false;
    }
}

/// What the blown fuse does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blow {
    /// The call fails once, asking for patience; nothing happened.
    Retry,
    /// The same, but it happened: the answer was lost.
    RetryAfter,
    /// The call fails for good; nothing happened.
    Fail,
    /// The same, but it happened.
    FailAfter,
    /// The run ends there, before the call.
    Kill,
    /// The run ends there, after the call.
    KillAfter,
}

impl Blow {
    pub(super) const ALL: [Blow; 6] =
        [Blow::Retry, Blow::RetryAfter, Blow::Fail, Blow::FailAfter, Blow::Kill, Blow::KillAfter];

    fn happens(self) -> bool {
        matches!(self, Blow::RetryAfter | Blow::FailAfter | Blow::KillAfter)
    }
}

/// Counts what is asked and blows at one of them.
pub(super) struct Fuse {
    asked: AtomicUsize,
    at: usize,
    blow: Blow,
    pub(super) killed: Notify,
}

impl Fuse {
    pub(super) fn new(at: usize, blow: Blow) -> Arc<Fuse> {
        Arc::new(Fuse { asked: AtomicUsize::new(0), at, blow, killed: Notify::new() })
    }

    pub(super) fn never() -> Arc<Fuse> {
        Fuse::new(usize::MAX, Blow::Fail)
    }

    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// What to do with this call; a killed run does nothing more.
    fn check(&self) -> Option<Blow> {
        let now = self.asked.fetch_add(1, Ordering::SeqCst);
        let dead = matches!(self.blow, Blow::Kill | Blow::KillAfter) && now > self.at;
        if dead { Some(Blow::Kill) } else { (now == self.at).then_some(self.blow) }
    }

    fn provider(&self, blow: Blow) -> ProviderError {
        match blow {
            Blow::Retry | Blow::RetryAfter => ProviderError::Retryable("throttled".to_owned()),
            Blow::Fail | Blow::FailAfter => ProviderError::Quota("no more".to_owned()),
            Blow::Kill | Blow::KillAfter => {
                self.killed.notify_one();
                ProviderError::Other("killed".to_owned())
            }
        }
    }

    async fn remote(&self, blow: Blow) -> RemoteError {
        match blow {
            Blow::Retry | Blow::RetryAfter => SshError::Lost.into(),
            Blow::Fail | Blow::FailAfter => {
                RemoteError::Failed { what: "it".to_owned(), status: 1, stderr: "disk full".to_owned() }
            }
            Blow::Kill | Blow::KillAfter => {
                self.killed.notify_one();
                std::future::pending().await
            }
        }
    }
}

/// One run's view of the world.
pub(super) struct Flaky {
    pub(super) world: Arc<World>,
    pub(super) fuse: Arc<Fuse>,
}

impl Flaky {
    fn ask<T>(&self, call: impl FnOnce(&Fake) -> Result<T, ProviderError>) -> Result<T, ProviderError> {
        match self.fuse.check() {
            None => call(&self.world.cloud),
            Some(blow) => {
                if blow.happens() {
                    // Its answer is what gets lost.
                    let _ = call(&self.world.cloud);
                }
                Err(self.fuse.provider(blow))
            }
        }
    }

    pub(super) async fn on_host<T>(
        &self,
        host: &str,
        act: impl FnOnce(&mut Facts) -> Result<T, RemoteError>,
    ) -> Result<T, RemoteError> {
        let blow = self.fuse.check();
        if blow.is_some_and(|blow| !blow.happens()) {
            return Err(self.fuse.remote(blow.unwrap()).await);
        }
        let exists = self.world.cloud.observe().unwrap().hosts.iter().any(|seen| seen.name == host);
        let outcome = if exists {
            act(self.world.hosts.lock().unwrap().entry(host.to_owned()).or_default())
        } else {
            self.world.hosts.lock().unwrap().remove(host);
            Err(SshError::Connect(ProviderError::NotFound(format!("host {host}"))).into())
        };
        match blow {
            Some(blow) => Err(self.fuse.remote(blow).await),
            None => outcome,
        }
    }
}

impl Cloud for Flaky {
    fn name(&self) -> &str {
        "flaky"
    }

    fn ensure_site(&self, site: &Site) -> Result<(), ProviderError> {
        self.ask(|cloud| cloud.ensure_site(site))
    }

    fn observe(&self) -> Result<Observed, ProviderError> {
        self.ask(|cloud| cloud.observe())
    }

    fn create_host(&self, spec: &HostSpec) -> Result<HostState, ProviderError> {
        let first = self.world.specs.lock().unwrap().entry(spec.name.clone()).or_insert(spec.clone()).clone();
        assert_eq!(&first, spec, "asked again, a host is asked for in the same words");
        self.ask(|cloud| {
            let new = cloud.observe()?.hosts.iter().all(|host| host.name != spec.name);
            let host = cloud.create_host(spec)?;
            // As EC2 does.
            cloud.alter(&spec.name, |host| host.shows_user_data |= new && host.site == "aws");
            Ok(host)
        })
    }

    fn hide_user_data(&self, host: &str) -> Result<(), ProviderError> {
        self.ask(|cloud| cloud.hide_user_data(host))
    }

    fn destroy_host(&self, name: &str) -> Result<(), ProviderError> {
        self.ask(|cloud| {
            // The next of that name is another host.
            self.world.specs.lock().unwrap().remove(name);
            cloud.destroy_host(name)
        })
    }

    fn remove_site(&self, name: &str) -> Result<(), ProviderError> {
        self.ask(|cloud| cloud.remove_site(name))
    }

    fn sweep(&self) -> Result<Vec<Leftover>, ProviderError> {
        self.ask(|cloud| cloud.sweep())
    }

    fn connect(&self, host: &str, port: u16) -> Result<Box<dyn Stream>, ProviderError> {
        self.ask(|cloud| cloud.connect(host, port))
    }
}

impl Remote for Flaky {
    async fn facts(&self, host: &str) -> Result<Facts, RemoteError> {
        self.on_host(host, |facts| Ok(facts.clone())).await
    }

    async fn put(&self, host: &str, file: &WantedFile, content: &Content) -> Result<(), RemoteError> {
        let entry = (content.checksum().clone(), file.mode);
        self.on_host(host, |facts| {
            if let Ok(text) = std::str::from_utf8(content.bytes())
                && let Ok(membership) = Membership::from_pem(NetworkName::default(), text)
            {
                self.world.memberships.lock().unwrap().insert(entry.0.clone(), membership);
            }
            if file.path == STAGED {
                self.world.aside.lock().unwrap().insert((host.to_owned(), file.path), entry);
            } else {
                if file.path == IDENTITY {
                    facts.keys = Some(keys_of(content.bytes()));
                }
                facts.files.insert(file.path.to_owned(), entry);
            }
            Ok(())
        })
        .await
    }

    async fn link(&self, host: &str) -> Result<(), RemoteError> {
        self.on_host(host, |facts| {
            facts.link = Some(LINK_TARGET.to_owned());
            Ok(())
        })
        .await
    }

    async fn service(&self, host: &str, restart: bool, generation: &Checksum) -> Result<(), RemoteError> {
        self.on_host(host, |facts| {
            let mut running = self.world.running.lock().unwrap();
            if restart || !facts.active {
                running.insert(host.to_owned(), facts.files.clone());
                self.world.starts.fetch_add(1, Ordering::SeqCst);
            } else if let Some(running) = running.get_mut(host) {
                running.insert(UNIT.to_owned(), facts.files[UNIT].clone());
            }
            (facts.active, facts.enabled, facts.applied) = (true, true, Some(generation.clone()));
            Ok(())
        })
        .await
    }

    async fn stop(&self, host: &str) -> Result<(), RemoteError> {
        self.on_host(host, |facts| {
            facts.active = false;
            Ok(())
        })
        .await
    }

    async fn disable_cloud_init(&self, host: &str) -> Result<(), RemoteError> {
        self.on_host(host, |_| Ok(())).await
    }

    async fn forget_peer(&self, host: &str, peer: &str) -> Result<(), RemoteError> {
        self.on_host(host, |facts| {
            assert!(facts.active, "{host} has a gateway that can be told");
            for there in self.world.cloud.observe().unwrap().hosts {
                let member = self.world.membership(&there.name);
                let lives = member.is_some_and(|member| member.identity.name().to_string() == peer);
                assert!(!lives, "{} is there, and its gateway lives", there.name);
            }
            if self.world.missed_after.load(Ordering::SeqCst) > 0 {
                self.world.missed_after.fetch_sub(1, Ordering::SeqCst);
                return Err(RemoteError::Alive(format!("{peer} is alive")));
            }
            self.world.forgotten.lock().unwrap().insert((host.to_owned(), peer.to_owned()));
            Ok(())
        })
        .await
    }

    async fn ping(&self, host: &str) -> Result<Vec<PingReport>, RemoteError> {
        self.on_host(host, |_| Ok(())).await?;
        let hosts = self.world.hosts.lock().unwrap();
        let ok = |name: &str| hosts.get(name).is_some_and(|facts| facts.active) && !self.world.is_bad(name);
        let ping = |name: &String| PingReport {
            peer: name.clone(),
            nickname: name.clone(),
            path: PathKind::Direct,
            sent: 3,
            received: 3,
            via: Vec::new(),
            rtt_ms: Some(1.0),
            mtu: Some(1376),
            ok: ok(name) && ok(host) && self.world.recognise(host, name),
        };
        Ok(hosts.keys().filter(|name| *name != host).map(ping).collect())
    }

    async fn gateway(&self, host: &str) -> Result<Gateway, RemoteError> {
        self.on_host(host, |facts| {
            let state = if facts.active { "active" } else { "inactive" };
            Ok(Gateway { state: state.to_owned(), ..Gateway::default() })
        })
        .await
    }
}
