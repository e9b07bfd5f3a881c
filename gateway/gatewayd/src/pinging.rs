//! `ping`: Ethernet echoes to one peer or to all, with how they get there.

use weave_api::{PathKind, PingReport};
use weave_http_api::Refused;
use weave_model::Mac;

use crate::echo::{Echo, Outcome};
use crate::report::Reporter;

/// Sends `count` frames to each peer meant; all peers at the same time.
pub(crate) async fn ping(
    reporter: &Reporter,
    echo: &Echo,
    peer: &str,
    count: u32,
) -> Result<Vec<PingReport>, Refused> {
    let report = reporter.report().await?;
    let local = report.router.name.clone();
    let meant = |name: &str, nickname: &str| peer == "all" || peer == name || peer == nickname;
    let peers: Vec<_> = report
        .router
        .peers
        .iter()
        .filter(|known| known.name != local && meant(&known.name, &known.nick_name))
        .cloned()
        .collect();
    if peers.is_empty() && peer != "all" {
        return Err(Refused::Invalid(format!("no peer is called '{peer}'; see `weave status peers`")));
    }
    let mut running = tokio::task::JoinSet::new();
    for (at, peer) in peers.iter().enumerate() {
        let (echo, mac, mtu) = (echo.clone(), peer.name.parse::<Mac>(), report.router.mtu);
        running.spawn(async move {
            match mac {
                Ok(mac) => (at, echo.ping(mac, count, mtu).await),
                Err(_) => (at, Outcome::default()),
            }
        });
    }
    let mut outcomes = vec![Outcome::default(); peers.len()];
    while let Some(Ok((at, outcome))) = running.join_next().await {
        outcomes[at] = outcome;
    }
    // How they got there, as it is after the frames: the first ones may have woken a session up.
    let after = reporter.report().await?;
    let lines = peers.into_iter().zip(outcomes).map(|(peer, outcome)| {
        let path = after.router.paths.iter().find(|path| path.peer == peer.name);
        let session = path.and_then(|path| path.session.as_ref());
        PingReport {
            path: path.map_or(PathKind::None, |path| path.kind),
            via: path.map(|path| path.via.clone()).unwrap_or_default(),
            sent: outcome.sent,
            received: outcome.received,
            rtt_ms: outcome.shortest.map(|trip| trip.as_secs_f64() * 1e3),
            mtu: session.and_then(|session| session.mtu),
            ok: outcome.sent > 0 && outcome.sent == outcome.received,
            peer: peer.name,
            nickname: peer.nick_name,
        }
    });
    Ok(lines.collect())
}
