//! `weave-provision graph`: how every pair of gateways talks, as a picture.

use anyhow::Context as _;

use super::{Failure, Global, GraphArgs, GraphFormat, print, status};
use crate::graph::Graph;

pub(super) async fn run(global: &Global, args: &GraphArgs) -> Result<u8, Failure> {
    let graph = Graph::new(&status::ask(global).await?);
    if global.json() {
        let text = serde_json::to_string(&graph).context("while rendering the graph")?;
        print(&format!("{text}\n"))?;
    } else {
        print(&match args.format {
            GraphFormat::Text => graph.text(),
            GraphFormat::Mermaid => graph.mermaid(),
            GraphFormat::Dot => graph.dot(),
        })?;
    }
    Ok(0)
}
