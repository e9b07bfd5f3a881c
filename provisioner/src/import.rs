//! Rebuilds what is remembered of a fleet from what clouds and hosts tell. Pure, but for the keys it looks up.
//!
//! Hosts and sites bear the fleet's mark, and a host's certificate says its gateway's name and issue number. The keys
//! exist in the state directory and nowhere else in full: nothing here makes one up or fetches one from a host.

use std::collections::BTreeMap;

use cloud_core::{Observed, Phase};
use weave_model::NetworkName;
use weave_trust::{Trust, TrustError};

use crate::install::{Checksum, IDENTITY};
use crate::remote::RemoteError;
use crate::rotate::Phase as Change;
use crate::ssh::SshError;
use crate::state::{FleetState, HostRecord, StateDir, StateError};
use crate::vault::Vault;

/// The label of the one kind of block that is asked for.
const LABEL: &str = "CERTIFICATE";

/// Asks a host for the certificates of its gateway, which are public, and for the checksum of its identity; the key
/// beside them is not printed.
pub fn question() -> String {
    format!(
        "[ ! -f {IDENTITY} ] || {{ echo identity; sed -n '/-BEGIN {LABEL}-/,/-END {LABEL}-/p' {IDENTITY}; \
         echo \"sum $(sha256sum <{IDENTITY} | cut -c1-64)\"; }}; echo end"
    )
}

/// What cannot be rebuilt, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// What is lost, and why.
    pub what: String,
    /// What brings it back, or how to do without.
    pub remedy: String,
}

/// What could be rebuilt and what not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// The state; hosts that are lost are not in it.
    pub state: FleetState,
    /// Running hosts without a gateway: the next `up` finishes them.
    pub bare: Vec<String>,
    /// Empty when everything that was remembered is again.
    pub lost: Vec<Loss>,
}

/// Puts the answers of the running hosts together and compares them with the keys that are there.
pub fn rebuild(
    mut state: FleetState,
    observed: &Observed,
    answers: &BTreeMap<String, Result<String, RemoteError>>,
    network: &NetworkName,
    (dir, vault): (&StateDir, &Vault),
) -> Result<Rebuilt, StateError> {
    let (mut bare, mut lost) = (Vec::new(), Vec::new());
    let missing = |file: &str| dir.read(file).map(|text| text.is_none());
    let whole = |file: &str| dir.path().join(file).display().to_string();
    if missing("network-ca.pem")? {
        lost.push(Loss {
            what: format!("the network's key {} is lost; it is nowhere else", whole("network-ca.pem")),
            remedy: "without a backup of it, the next `up` makes another, gives every host a new certificate of it and \
                     restarts every gateway"
                .to_owned(),
        });
    }
    // A change of the CA that is under way is as far as the host that is ahead; the others have the phase before.
    let phases = match missing("network-ca.next.pem")? {
        true => vec![None],
        false => vec![Some(Change::Drop), Some(Change::Issue), Some(Change::Trust), None],
    };
    let mut furthest = None;
    for host in observed.hosts.iter().filter(|host| host.phase != Phase::Terminating) {
        let name = &host.name;
        let answer = match answers.get(name) {
            Some(Ok(answer)) => answer,
            Some(Err(RemoteError::Ssh(SshError::UnknownHost(_)))) => {
                let files = ["operator_ed25519".to_owned(), format!("hosts/{name}/ssh_host_ed25519_key")];
                let gone: Vec<String> = files
                    .iter()
                    .filter_map(|file| missing(file).map(|missing| missing.then(|| whole(file))).transpose())
                    .collect::<Result<_, _>>()?;
                lost.push(Loss {
                    what: format!("{name} cannot be reached: {} is lost", gone.join(" and ")),
                    remedy: "without a backup of it nobody can log in there any more: `weave-provision down` removes \
                             the hosts, for which it needs no key, and `up` makes new ones"
                        .to_owned(),
                });
                continue;
            }
            Some(Err(error)) => {
                lost.push(Loss {
                    what: format!("{name} does not tell its certificate: {}", chain(error)),
                    remedy: "import again once it answers; else the next `up` gives it a new certificate"
                        .to_owned(),
                });
                continue;
            }
            None => {
                lost.push(Loss {
                    what: format!("{name} is {} and cannot tell its certificate", host.phase),
                    remedy: "start it and import again; else the next `up` gives it a new certificate"
                        .to_owned(),
                });
                continue;
            }
        };
        let found = match read(network, answer) {
            Ok(None) => {
                bare.push(name.clone());
                continue;
            }
            Ok(Some(found)) => found,
            Err(error) => {
                lost.push(Loss {
                    what: format!("what {name} has in {IDENTITY} is no identity of network {network}: {error}"),
                    remedy: "if the network is called otherwise, say so in [fleet]; else the next `up` replaces it"
                        .to_owned(),
                });
                continue;
            }
        };
        let key = format!("hosts/{name}/gateway-key.pem");
        if missing(&key)? {
            lost.push(Loss {
                what: format!("the gateway's key {} is lost; {name} was {}", whole(&key), found.record.peer),
                remedy: "without a backup of it, the next `up` makes another, under which the gateway has another name"
                    .to_owned(),
            });
            continue;
        }
        if missing("network-ca.pem")? {
            continue;
        }
        state.hosts.insert(name.clone(), found.record);
        let mut given = None;
        for phase in &phases {
            state.epoch.change = *phase;
            let ours = vault.identity(&state, name)?;
            if ours.is_some_and(|ours| Checksum::of(ours.reveal().as_bytes()) == found.sum) {
                given = Some(*phase);
                break;
            }
        }
        if let Some(phase) = given {
            furthest = furthest.max(phase);
        } else {
            state.hosts.remove(name);
            lost.push(Loss {
                what: format!(
                    "the identity of {name} was not made with the keys in {}",
                    dir.path().display()
                ),
                remedy: "if other keys made it, restore those; else the next `up` gives it a new certificate"
                    .to_owned(),
            });
        }
    }
    state.epoch.change = furthest;
    Ok(Rebuilt { state, bare, lost })
}

/// What a certificate on a host says.
#[derive(Debug)]
struct Found {
    record: HostRecord,
    sum: Checksum,
}

/// Reads the answer to [`question`]; `None` when no gateway was installed.
fn read(network: &NetworkName, answer: &str) -> Result<Option<Found>, TrustError> {
    let mut lines = answer.lines().map(str::trim_end);
    // A login script may greet first.
    if !lines.any(|line| line == "identity") {
        return Ok(None);
    }
    let certificates = certificates(answer);
    let [own, anchors @ ..] = certificates.as_slice() else { return Err(TrustError::NoPemBlock(LABEL)) };
    if anchors.is_empty() {
        return Err(TrustError::NoCa);
    }
    let trust = Trust::from_ca_certificates(network.clone(), anchors.iter().map(Vec::as_slice))?;
    let peer = trust.verify(own)?;
    let record = HostRecord { peer: peer.name().to_string(), issue: peer.issue() };
    let sum = answer.lines().find_map(|line| Checksum::parse(line.strip_prefix("sum ")?.trim_end()));
    Ok(Some(Found { record, sum: sum.unwrap_or_else(|| Checksum::of(b"")) }))
}

/// The certificates in a text, in its order.
fn certificates(text: &str) -> Vec<Vec<u8>> {
    let blocks = pem::parse_many(text).unwrap_or_default();
    blocks.into_iter().filter(|block| block.tag() == LABEL).map(pem::Pem::into_contents).collect()
}

fn chain(error: &RemoteError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
