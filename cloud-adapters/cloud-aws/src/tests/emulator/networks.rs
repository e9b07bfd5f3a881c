//! Sites: which VPC, which rules, and what a sweep finds.

use cloud_core::{Cloud as _, ProviderError, Secret};
use tokio::runtime::Runtime;

use super::{Emulator, brief, site, spec, tuning};
use crate::Aws;
use crate::config::{Access, AwsConfig, Tuning};
use crate::plan::{Rule, Tags};
use emulators::Fault;

#[test]
fn a_second_time_changes_nothing() {
    for emulator in [Emulator::start(), Emulator::start_empty()] {
        let cloud = emulator.cloud();
        cloud.ensure_site(&site()).unwrap();
        let before = emulator.proxy.all().len();
        cloud.ensure_site(&site()).unwrap();
        let again = emulator.proxy.all().split_off(before);
        assert!(again.iter().all(|call| call["Action"].starts_with("Describe")), "{again:?}");
    }
}

fn drifts(cloud: &Aws) -> Vec<String> {
    let drifts = cloud.observe().unwrap().drifts;
    assert!(drifts.iter().all(|drift| drift.site == "aws"), "{drifts:?}");
    drifts.into_iter().map(|drift| drift.what).collect()
}

#[test]
fn a_group_that_is_not_as_wanted_drifts() {
    let emulator = Emulator::start();
    let cloud = emulator.cloud();
    cloud.ensure_site(&site()).unwrap();
    assert_eq!(drifts(&cloud), [""; 0]);
    let moved = AwsConfig { operator_address: Some("203.0.113.9/32".to_owned()), ..emulator.config() };
    let moved = emulator.cloud_with(moved, tuning());
    let there = [
        "security group weave-demo-aws does not let in tcp 22 from 203.0.113.9/32",
        "security group weave-demo-aws lets in tcp 22 from 198.51.100.7/32",
    ];
    assert_eq!(drifts(&moved), there);
    moved.ensure_site(&site()).unwrap();
    assert_eq!(drifts(&moved), [""; 0]);
    assert_eq!(drifts(&cloud).len(), 2);
    let groups = emulator.runtime.block_on(cloud.api.groups(&cloud.mark(&[]))).unwrap();
    let mesh: Vec<Rule> = groups[0].rules.iter().map(|seen| seen.rule.clone()).collect();
    emulator.runtime.block_on(cloud.api.revoke(&groups[0].id, &mesh)).unwrap();
    assert_eq!(drifts(&moved).len(), 3);
    moved.ensure_site(&site()).unwrap();
    assert_eq!(drifts(&moved), [""; 0]);
}

#[test]
fn an_own_network_that_lacks_something_drifts() {
    let emulator = Emulator::start_empty();
    let cloud = emulator.cloud();
    // What the first attempt leaves undone is missing, one thing after the other.
    let attempt = |action: &'static str| {
        emulator.proxy.fail(action, 1, Fault::Error(403, "UnauthorizedOperation"));
        cloud.ensure_site(&site()).unwrap_err();
        drifts(&cloud)
            .into_iter()
            .map(|what| what.replace("vpc-", "").replace(char::is_numeric, "#"))
            .collect()
    };
    let ends = |drifts: Vec<String>, ends: &[&str]| {
        let fits = drifts.iter().zip(ends).all(|(what, end)| what.ends_with(end));
        assert!(fits && drifts.len() == ends.len(), "{drifts:?} {ends:?}");
    };
    let (gateway, route) = ("has no internet gateway", "has no route to the internet");
    let group = "security group weave-demo-aws does not exist";
    let subnets = ["zone eu-west-#a", "zone eu-west-#b", "zone eu-west-#c"];
    ends(attempt("CreateSubnet"), &[subnets[0], subnets[1], subnets[2], gateway, route, group]);
    ends(attempt("AttachInternetGateway"), &[gateway, route, group]);
    ends(attempt("CreateRoute"), &[route, group]);
    ends(attempt("CreateSecurityGroup"), &[group]);
    cloud.ensure_site(&site()).unwrap();
    assert_eq!(drifts(&cloud), [""; 0]);
    // Twins of what a lost answer made.
    let tags = Tags::from([("weave-fleet", "demo"), ("weave-site", "aws"), ("weave-index", "1")].map(pair));
    let twin = emulator.runtime.block_on(async {
        cloud.api.create_gateway(&tags).await.unwrap();
        cloud.api.create_vpc("10.1.0.0/16", &tags).await.unwrap()
    });
    let there = drifts(&cloud);
    assert!(there.contains(&format!("VPC {twin} is one too many")), "{there:?}");
    assert!(there.iter().any(|what| what.ends_with("is attached to nothing")), "{there:?}");
    cloud.ensure_site(&site()).unwrap();
    assert_eq!(drifts(&cloud), [""; 0]);
    // An instance type that is offered nowhere stops neither looking nor removing.
    let unknown = AwsConfig { instance_type: "x9.future".to_owned(), ..emulator.config() };
    assert_eq!(drifts(&emulator.cloud_with(unknown, tuning())), [""; 0]);
}

fn pair((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

#[test]
fn the_rules_follow_the_operator_and_leave_others_alone() {
    let emulator = Emulator::start();
    emulator.cloud().ensure_site(&site()).unwrap();
    let rules = |cloud: &Aws| {
        let groups = emulator.runtime.block_on(cloud.api.groups(&cloud.mark(&[]))).unwrap();
        let [group] = groups.as_slice() else { panic!("{groups:?}") };
        let mut rules: Vec<String> = group
            .rules
            .iter()
            .map(|seen| {
                format!("{} {}-{} {}", seen.rule.protocol, seen.rule.from, seen.rule.to, seen.rule.block)
            })
            .collect();
        rules.sort();
        rules
    };
    let mesh = ["tcp 6783-6783 0.0.0.0/0", "udp 6783-6784 0.0.0.0/0"];
    let with = |ssh: &str| [format!("tcp 22-22 {ssh}"), mesh[0].to_owned(), mesh[1].to_owned()];
    assert_eq!(rules(&emulator.cloud()), with("198.51.100.7/32"));
    let moved = AwsConfig { operator_address: Some("203.0.113.9/32".to_owned()), ..emulator.config() };
    let cloud = emulator.cloud_with(moved, tuning());
    cloud.ensure_site(&site()).unwrap();
    assert_eq!(rules(&cloud), with("203.0.113.9/32"));
    let closed = emulator.cloud_with(AwsConfig { operator_address: None, ..emulator.config() }, tuning());
    closed.ensure_site(&site()).unwrap();
    assert_eq!(rules(&closed), mesh);
}

#[test]
fn an_own_network_leads_to_the_internet() {
    let emulator = Emulator::start_empty();
    let cloud = emulator.cloud();
    cloud.ensure_site(&site()).unwrap();
    let (api, mark) = (&cloud.api, cloud.mark(&[]));
    let (vpcs, subnets, gateways) = emulator.runtime.block_on(async {
        (
            api.vpcs(&mark).await.unwrap(),
            api.subnets(&mark).await.unwrap(),
            api.gateways(&mark).await.unwrap(),
        )
    });
    let (zones, blocks): (Vec<_>, Vec<_>) =
        subnets.iter().map(|subnet| (subnet.zone.as_str(), subnet.block.as_str())).unzip();
    assert_eq!(zones, ["eu-west-1a", "eu-west-1b", "eu-west-1c"]);
    assert_eq!(blocks, ["10.1.0.0/24", "10.1.1.0/24", "10.1.2.0/24"]);
    assert_eq!((vpcs.len(), gateways.len()), (1, 1));
    assert_eq!(gateways[0].vpc.as_ref(), Some(&vpcs[0].id));
    let tables = emulator.runtime.block_on(api.tables(&vpcs[0].id)).unwrap();
    assert!(subnets.iter().all(|subnet| crate::plan::is_public(&subnet.id, &tables)), "{tables:?}");
}

#[test]
fn the_networks_of_a_site_are_all_blocks_of_its_vpc() {
    let networks = |cloud: &Aws| -> Vec<String> {
        cloud.networks(&site()).unwrap().iter().map(ToString::to_string).collect()
    };
    // The same before the site is made and after, and without a change.
    let empty = Emulator::start_empty();
    let cloud = empty.cloud();
    assert_eq!(networks(&cloud), ["10.1.0.0/16"]);
    assert!(empty.proxy.calls("CreateVpc").is_empty());
    cloud.ensure_site(&site()).unwrap();
    let own = empty.runtime.block_on(cloud.api.vpcs(&cloud.mark(&[]))).unwrap().remove(0).id;
    let associate = |more: &str| {
        let form = format!("Action=AssociateVpcCidrBlock&Version=2016-11-15&VpcId={own}&{more}");
        let answer = empty.ask(&form);
        let end = answer.split_once("<associationId>").unwrap().1;
        end.split_once('<').unwrap().0.to_owned()
    };
    associate("CidrBlock=100.64.0.0/20");
    let gone = associate("CidrBlock=100.65.0.0/20");
    empty.ask(&format!("Action=DisassociateVpcCidrBlock&Version=2016-11-15&AssociationId={gone}"));
    assert_eq!(networks(&cloud), ["10.1.0.0/16", "100.64.0.0/20"]);
    associate("AmazonProvidedIpv6CidrBlock=true");
    assert!(networks(&cloud).iter().any(|block| block.contains("::/56")), "{:?}", networks(&cloud));

    let emulator = Emulator::start();
    let cloud = emulator.cloud();
    assert_eq!(networks(&cloud), ["172.31.0.0/16"]);
    let tags = Tags::from([pair(("mine", "1"))]);
    let vpc = emulator.runtime.block_on(cloud.api.create_vpc("10.99.0.0/16", &tags)).unwrap();
    let named = emulator.cloud_with(AwsConfig { vpc: Some(vpc), ..emulator.config() }, tuning());
    for _ in 0..2 {
        assert_eq!(networks(&named), ["10.99.0.0/16"]);
        named.ensure_site(&site()).unwrap();
    }
    // A site goes on to stand where it stands.
    assert_eq!(networks(&cloud), ["10.99.0.0/16"]);
    let unknown = AwsConfig { vpc: Some("vpc-0123".to_owned()), ..emulator.config() };
    let other = cloud_core::Site { name: "other".to_owned(), index: 2 };
    let error = emulator.cloud_with(unknown, tuning()).networks(&other).unwrap_err();
    assert!(matches!(error, ProviderError::NotFound(_)), "{error:?}");
}

#[test]
fn a_named_vpc_is_used_and_never_removed() {
    let emulator = Emulator::start();
    let api = emulator.cloud();
    let vpc = emulator.runtime.block_on(async {
        let vpc = api
            .api
            .create_vpc("10.99.0.0/16", &Tags::from([("mine".to_owned(), "1".to_owned())]))
            .await
            .unwrap();
        let tags = Tags::from([("mine".to_owned(), "1".to_owned())]);
        api.api.create_subnet(&vpc, "eu-west-1a", "10.99.1.0/24", &tags).await.unwrap();
        vpc
    });
    let cloud = emulator.cloud_with(AwsConfig { vpc: Some(vpc.clone()), ..emulator.config() }, tuning());
    cloud.ensure_site(&site()).unwrap();
    let error = cloud.create_host(&spec("aws-1", 1)).unwrap_err();
    assert!(error.to_string().contains("no subnet with a route to the internet"), "{error:?}");
    emulator.runtime.block_on(async {
        let gateway =
            api.api.create_gateway(&Tags::from([("mine".to_owned(), "1".to_owned())])).await.unwrap();
        api.api.attach_gateway(&gateway, &vpc).await.unwrap();
        let tables = api.api.tables(&vpc).await.unwrap();
        api.api.create_route(&tables[0].id, &gateway).await.unwrap();
    });
    cloud.create_host(&spec("aws-1", 1)).unwrap();
    cloud.destroy_host("aws-1").unwrap();
    // Another VPC for a site that stands is a mistake, not a move.
    let other =
        emulator.cloud_with(AwsConfig { vpc: Some("vpc-0123".to_owned()), ..emulator.config() }, tuning());
    let error = other.ensure_site(&site()).unwrap_err();
    assert!(error.to_string().contains("remove the site first"), "{error:?}");
    cloud.remove_site("aws").unwrap();
    assert_eq!(cloud.sweep().unwrap(), []);
    assert!(matches!(other.ensure_site(&site()), Err(ProviderError::NotFound(_))));
    let left = emulator.runtime.block_on(api.api.vpcs(&[("vpc-id", &vpc)])).unwrap();
    assert_eq!(left.len(), 1);
}

#[test]
fn a_sweep_removes_a_whole_fleet_and_names_what_stays() {
    let emulator = Emulator::start_empty();
    let cloud = emulator.cloud_with(AwsConfig { elastic_ip: true, ..emulator.config() }, brief());
    cloud.ensure_site(&site()).unwrap();
    cloud.create_host(&spec("aws-1", 1)).unwrap();
    emulator.proxy.fail("DeleteSecurityGroup", 1000, Fault::Error(400, "DependencyViolation"));
    let left: Vec<String> = cloud.sweep().unwrap().iter().map(ToString::to_string).collect();
    assert!(left.iter().any(|line| line.starts_with("security group sg-")), "{left:?}");
    assert!(!left.iter().any(|line| line.starts_with("host") || line.starts_with("elastic")), "{left:?}");
    emulator.proxy.heal();
    for _ in 0..2 {
        assert_eq!(cloud.sweep().unwrap(), []);
    }
    let vpcs = emulator.runtime.block_on(cloud.api.vpcs(&[])).unwrap();
    assert_eq!(vpcs, []);
}

#[test]
fn addresses_go_on_being_given_back_and_all_that_stay_are_told() {
    let emulator = Emulator::start();
    let cloud = emulator.cloud_with(AwsConfig { elastic_ip: true, ..emulator.config() }, tuning());
    cloud.ensure_site(&site()).unwrap();
    // Of a host that was never there: two twins of a lost answer, and one more.
    let tags =
        Tags::from([("weave-fleet", "demo"), ("weave-site", "aws"), ("weave-host", "aws-1")].map(pair));
    let ids: Vec<String> =
        (0..3).map(|_| emulator.runtime.block_on(cloud.api.allocate(&tags)).unwrap()).collect();
    emulator.proxy.fail("ReleaseAddress", 2, Fault::Error(403, "UnauthorizedOperation"));
    let error = cloud.destroy_host("aws-1").unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, ProviderError::Permission(_)), "{error:?}");
    let left = emulator.runtime.block_on(cloud.api.addresses(&[])).unwrap();
    assert_eq!(left.len(), 2);
    for address in &left {
        assert!(
            ids.contains(&address.id) && text.contains(&format!("elastic address {}: ", address.id)),
            "{text}"
        );
    }
    cloud.destroy_host("aws-1").unwrap();
    assert_eq!(emulator.runtime.block_on(cloud.api.addresses(&[])).unwrap(), []);
}

#[test]
fn removal_goes_from_what_depends_to_what_is_depended_on() {
    let emulator = Emulator::start_empty();
    let cloud = emulator.cloud_with(AwsConfig { elastic_ip: true, ..emulator.config() }, tuning());
    cloud.ensure_site(&site()).unwrap();
    cloud.create_host(&spec("aws-1", 1)).unwrap();
    let before = emulator.proxy.all().len();
    cloud.destroy_host("aws-1").unwrap();
    cloud.remove_site("aws").unwrap();
    let removing = ["Terminate", "Disassociate", "Release", "Delete", "Detach"];
    let mut actions: Vec<String> =
        emulator.proxy.all().split_off(before).iter().map(|c| c["Action"].clone()).collect();
    actions.retain(|action| removing.iter().any(|verb| action.starts_with(verb)));
    actions.dedup();
    let expected = [
        "TerminateInstances",
        "DisassociateAddress",
        "ReleaseAddress",
        "DeleteSecurityGroup",
        "DeleteSubnet",
        "DetachInternetGateway",
        "DeleteInternetGateway",
        "DeleteVpc",
    ];
    // Termination gives the address back by itself, sooner or later.
    let without: Vec<&str> = expected.into_iter().filter(|action| *action != "DisassociateAddress").collect();
    assert!(actions == expected || actions == without, "{actions:?}");
}

#[test]
fn region_and_credentials_are_missed_at_the_start() {
    // SAFETY: nextest gives each test a process of its own, and no thread of it reads the environment yet.
    unsafe {
        for name in
            ["AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
        {
            std::env::remove_var(name);
        }
        std::env::set_var("AWS_EC2_METADATA_DISABLED", "true");
        std::env::set_var("AWS_CONFIG_FILE", "/dev/null");
        std::env::set_var("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
    }
    let runtime = Runtime::new().unwrap();
    let start = |config: AwsConfig| Aws::new(config, runtime.handle().clone()).err().unwrap();
    let nowhere = AwsConfig { endpoint: Some("http://127.0.0.1:1".to_owned()), ..AwsConfig::new("demo") };
    let error = start(nowhere.clone());
    assert!(matches!(&error, ProviderError::Invalid(text) if text.contains("AWS_REGION")), "{error:?}");
    let somewhere = AwsConfig { region: Some("eu-west-1".to_owned()), ..nowhere };
    let error = start(somewhere.clone());
    assert!(
        matches!(&error, ProviderError::Permission(text) if text.contains("AWS_ACCESS_KEY_ID")),
        "{error:?}"
    );
    // With both, what is not there shows at the first call, as a network that does not answer.
    let access = Access::Static("test".to_owned(), Secret::new("test"));
    let tuning = Tuning { attempts: 2, ..tuning() };
    let cloud = Aws::tuned(somewhere, access, tuning, runtime.handle().clone()).unwrap();
    let error = cloud.observe().unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("check the network"), "{error:?}");
}
