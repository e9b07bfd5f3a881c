//! Looks at what there is: the cloud's sites and hosts, and one question to every host that runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use cloud_core::{Cloud, Phase, ProviderError};
use tokio::task::JoinSet;

use crate::plan::Observed;
use crate::remote::{Remote, RemoteError};

/// What there is, and the hosts that did not answer.
pub async fn observe<R: Remote>(
    cloud: &Arc<dyn Cloud>,
    remote: &Arc<R>,
) -> Result<(Observed, Vec<(String, RemoteError)>), ProviderError> {
    let seen = call(cloud, |cloud| cloud.observe()).await?;
    let mut asked = JoinSet::new();
    for host in seen.hosts.iter().filter(|host| host.phase == Phase::Running) {
        let (remote, name) = (remote.clone(), host.name.clone());
        asked.spawn(async move { (name.clone(), remote.facts(&name).await) });
    }
    let (mut facts, mut errors) = (BTreeMap::new(), Vec::new());
    for (name, answer) in asked.join_all().await {
        match answer {
            Ok(answer) => drop(facts.insert(name, answer)),
            Err(error) => errors.push((name, error)),
        }
    }
    errors.sort_by(|a, b| a.0.cmp(&b.0));
    Ok((Observed { cloud: seen, facts }, errors))
}

/// Makes one blocking call of a cloud on a thread for such calls.
pub(crate) async fn call<T: Send + 'static>(
    cloud: &Arc<dyn Cloud>,
    ask: impl FnOnce(&dyn Cloud) -> Result<T, ProviderError> + Send + 'static,
) -> Result<T, ProviderError> {
    let cloud = cloud.clone();
    match tokio::task::spawn_blocking(move || ask(cloud.as_ref())).await {
        Ok(outcome) => outcome,
        Err(panic) => Err(ProviderError::Other(format!("the adapter failed: {panic}"))),
    }
}
