//! `weave-provision iam`: the least that whoever runs this program must be allowed to do in a cloud.

use std::path::Path;

#[cfg(not(all(feature = "aws", feature = "gcp")))]
use super::adapters;
use super::ground::Ground;
use super::{Failure, Global, IamArgs, IamCloud, print};
use crate::config::FILE;

pub(super) fn run(global: &Global, args: &IamArgs) -> Result<u8, Failure> {
    let name = fleet(global)?;
    let text = match args.cloud {
        IamCloud::Aws => aws(&name),
        IamCloud::Gcp => gcp(&name),
    }?;
    if global.json() {
        let cloud = args.cloud.as_str();
        return print(&format!("{}\n", serde_json::json!({ "cloud": cloud, "fleet": name, "policy": text })))
            .map(|()| 0);
    }
    print(&format!("{}\n", text.trim_end()))?;
    Ok(0)
}

/// The fleet named, else that of the file, else the one that is there without either.
fn fleet(global: &Global) -> Result<String, Failure> {
    match &global.name {
        Some(name) => Ok(name.clone()),
        None if global.file.is_none() && !Path::new(FILE).exists() => Ok("weave".to_owned()),
        None => Ok(Ground::open(global)?.name().to_owned()),
    }
}

#[cfg(feature = "aws")]
fn aws(fleet: &str) -> Result<String, Failure> {
    Ok(cloud_aws::policy(fleet))
}

#[cfg(not(feature = "aws"))]
fn aws(_: &str) -> Result<String, Failure> {
    Err(adapters::left_out("aws"))
}

#[cfg(feature = "gcp")]
fn gcp(fleet: &str) -> Result<String, Failure> {
    Ok(cloud_gcp::roles(fleet))
}

#[cfg(not(feature = "gcp"))]
fn gcp(_: &str) -> Result<String, Failure> {
    Err(adapters::left_out("gcp"))
}
