//! The shell text with which a host takes another identity, and what its gateway says it knows.

use std::time::Duration;

use serde::Deserialize;

use super::{Adoption, Renew, STAGED, Versions};
use crate::install::{APPLIED, IDENTITY, Verb, on_any};
use crate::remote::{RemoteError, SshRemote};
use crate::ssh::quote;

/// Where a gateway notes which identity it uses.
pub const MARK: &str = "/var/lib/weave/identity.mark";

/// A gateway answers a signal within milliseconds; a host that swaps takes longer.
const ADOPT_LIMIT: Duration = Duration::from_secs(30);
/// A question that a gateway answers from memory.
const ASK_LIMIT: Duration = Duration::from_secs(20);

impl Renew for SshRemote {
    async fn adopt(&self, host: &str, adoption: &Adoption) -> Result<(), RemoteError> {
        let command = adopt_command(adoption);
        self.run(host, "having weave-gateway take its new identity", &command, b"", ADOPT_LIMIT).await?;
        Ok(())
    }

    async fn versions(&self, host: &str) -> Result<Versions, RemoteError> {
        let command = "timeout 10 /usr/local/bin/weave report";
        let answer = self.run(host, "weave report", command, b"", ASK_LIMIT).await?;
        parse_versions(&answer).map_err(RemoteError::Answer)
    }
}

/// Moves, signals, waits and notes in one command: a run that dies leaves either all of it or nothing to a host.
pub(crate) fn adopt_command(adoption: &Adoption) -> String {
    let Adoption { staged, mark, before, after } = adoption;
    let (staging, identity) = (quote::text(STAGED), quote::text(IDENTITY));
    // Asked a second time, because the first answer was lost, it is in place already.
    let place = if *staged {
        format!("[ ! -f {staging} ] || mv -f {staging} {identity}")
    } else {
        format!("rm -f {staging}")
    };
    let note = match (before, after) {
        (Some(before), Some(after)) => format!(
            "; if [ \"$(cat {APPLIED} 2>/dev/null)\" = {before} ]; then \
             echo {after} >{APPLIED}.part; mv -f {APPLIED}.part {APPLIED}; fi",
            before = before.as_str(),
            after = after.as_str(),
        ),
        _ => String::new(),
    };
    let mark = quote::text(mark);
    let (reload, tail) = (on_any(Verb::Reload), on_any(Verb::Tail(5)));
    format!(
        "set -e; [ -s {MARK} ] || {{ echo 'the gateway there cannot reload: \
         bring it up to date with `weave-provision upgrade` first' >&2; rm -f {staging}; exit 1; }}; \
         {place}; n=0; \
         [ \"$(cat {MARK})\" = {mark} ] || {reload}; \
         while [ \"$(cat {MARK})\" != {mark} ]; do n=$((n + 1)); \
         [ $n -le 100 ] || {{ {tail} >&2; exit 1; }}; sleep 0.1; done{note}"
    )
}

/// Reads the versions of the records out of a gateway's report.
pub(crate) fn parse_versions(report: &str) -> Result<Versions, serde_json::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Report {
        router: Router,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Router {
        peers: Vec<Peer>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Peer {
        name: String,
        version: u64,
    }
    let report: Report = serde_json::from_str(report)?;
    Ok(report.router.peers.into_iter().map(|peer| (peer.name, peer.version)).collect())
}
