//! `weave-provision plan`: what `up` would do.

use super::context::Context;
use super::{Failure, Global, Wanted, print};
use crate::desired::address_book;
use crate::plan::{Observed, Plan};

pub(super) async fn run(global: &Global, wanted: &Wanted) -> Result<u8, Failure> {
    let context = Context::open(global)?;
    tracing::debug!(state = %context.dir.path().display(), "plan");
    let (clouds, topology) = context.choice(wanted)?;
    let desired = context.desired(wanted, &clouds)?;
    let cloud = context.cloud(topology)?;
    let observed = Observed { cloud: cloud.observe().map_err(anyhow::Error::new)?, ..Observed::default() };
    let files = desired.files(&context.vault, context.saved.as_ref(), &address_book(&observed.cloud))?;
    show(global, &Plan::new(&desired.fleet, &files, &observed))?;
    Ok(0)
}

/// Prints a plan as a result.
pub(super) fn show(global: &Global, plan: &Plan) -> Result<(), Failure> {
    if global.json() {
        let value = serde_json::json!({ "changes": plan.steps.len(), "steps": plan.entries() });
        print(&format!("{value}\n"))
    } else {
        print(&plan.render())
    }
}
