//! Several clouds as one.

use std::collections::BTreeMap;
use std::sync::Arc;

use cloud_core::{Cloud, Fake, HostSpec, ProviderError, Secret, Site, check_contract};

use crate::clouds::Clouds;
use crate::fleet::CloudKind;

fn joined() -> (Clouds, Arc<Fake>, Arc<Fake>) {
    let (aws, onprem) = (Arc::new(Fake::new()), Arc::new(Fake::new()));
    let members: Vec<(CloudKind, Arc<dyn Cloud>)> =
        vec![(CloudKind::Aws, aws.clone()), (CloudKind::Onprem, onprem.clone())];
    (Clouds::new(members), aws, onprem)
}

fn spec(name: &str, site: &str) -> HostSpec {
    HostSpec {
        name: name.to_owned(),
        site: site.to_owned(),
        index: 1,
        operator_public_key: String::new(),
        host_private_key: Secret::new(""),
        labels: BTreeMap::new(),
    }
}

#[test]
fn several_clouds_keep_the_contract_of_one() {
    let (clouds, ..) = joined();
    check_contract(&clouds, "ssh-ed25519 AAAA operator", Secret::new("key")).unwrap();
}

#[test]
fn each_call_goes_where_its_site_or_host_belongs() {
    let (clouds, aws, onprem) = joined();
    for (name, index) in [("rack", 1), ("aws", 1)] {
        clouds.ensure_site(&Site { name: name.to_owned(), index }).unwrap();
    }
    // `aws-edge` has no number behind its hyphen: a machine of the operator's.
    for (name, site) in [("aws-edge", "rack"), ("aws-12", "aws")] {
        clouds.create_host(&spec(name, site)).unwrap();
    }
    assert_eq!(aws.calls(), ["ensure_site aws", "create_host aws-12"]);
    assert_eq!(onprem.calls(), ["ensure_site rack", "create_host aws-edge"]);
    let seen = clouds.observe().unwrap();
    let names: Vec<&str> = seen.hosts.iter().map(|host| host.name.as_str()).collect();
    assert_eq!(names, ["aws-12", "aws-edge"]);
    assert_eq!(seen.sites.len(), 2);
    aws.drift("aws", "a rule");
    assert_eq!(clouds.observe().unwrap().drifts.len(), 1);
}

#[test]
fn what_belongs_to_a_cloud_that_is_not_there_is_named() {
    let (clouds, ..) = joined();
    let error = clouds.create_host(&spec("gcp-1", "gcp")).unwrap_err();
    assert_eq!(error, ProviderError::NotFound("host gcp-1 in aws, onprem".to_owned()));
}

#[test]
fn an_error_says_which_cloud_it_is_of() {
    let (clouds, aws, _) = joined();
    aws.fail_next("sweep", ProviderError::Permission("ec2:DescribeVolumes".to_owned()));
    assert_eq!(clouds.sweep().unwrap_err(), ProviderError::Permission("aws: ec2:DescribeVolumes".to_owned()));
}
