//! The least an operator must be allowed to do, as a policy of IAM. Pure.

use serde_json::{Value, json};

use crate::plan::FLEET;

/// Looks at everything: descriptions cannot be narrowed.
const LOOK: [&str; 11] = [
    "DescribeAddresses",
    "DescribeImages",
    "DescribeInstanceTypeOfferings",
    "DescribeInstances",
    "DescribeInternetGateways",
    "DescribeNetworkInterfaces",
    "DescribeRouteTables",
    "DescribeSecurityGroups",
    "DescribeSubnets",
    "DescribeVolumes",
    "DescribeVpcs",
];

/// Makes things, which have to bear the fleet's mark from the first moment.
const MAKE: [&str; 6] = [
    "AllocateAddress",
    "CreateInternetGateway",
    "CreateSecurityGroup",
    "CreateSubnet",
    "CreateVpc",
    "RunInstances",
];

/// Changes and removes things that bear the fleet's mark.
const CHANGE: [&str; 17] = [
    "AssociateAddress",
    "AttachInternetGateway",
    "AuthorizeSecurityGroupIngress",
    "DeleteInternetGateway",
    "DeleteNetworkInterface",
    "DeleteSecurityGroup",
    "DeleteSubnet",
    "DeleteVolume",
    "DeleteVpc",
    "DetachInternetGateway",
    "DisassociateAddress",
    "ModifyInstanceAttribute",
    "ModifyInstanceMetadataOptions",
    "ReleaseAddress",
    "RevokeSecurityGroupIngress",
    "StartInstances",
    "TerminateInstances",
];

/// The policy for the operator of `fleet`, in JSON.
pub fn policy(fleet: &str) -> String {
    let made = [
        "elastic-ip",
        "instance",
        "internet-gateway",
        "network-interface",
        "security-group",
        "security-group-rule",
        "subnet",
        "volume",
        "vpc",
    ];
    let statements = [
        statement("Look", &LOOK, &["*"], None),
        statement("MakeMarked", &MAKE, &made, Some(("aws:RequestTag", fleet))),
        statement("RunFrom", &["RunInstances"], &["image", "security-group", "subnet"], None),
        statement("MakeInVpc", &["CreateSecurityGroup", "CreateSubnet"], &["vpc"], None),
        statement("ChangeMarked", &CHANGE, &["*"], Some(("aws:ResourceTag", fleet))),
        statement("MarkRules", &["AuthorizeSecurityGroupIngress"], &["security-group-rule"], None),
        // The main table of an own VPC comes with it, unmarked.
        statement("LeadOut", &["CreateRoute"], &["route-table"], None),
        json!({
            "Sid": "MarkWhileMaking",
            "Effect": "Allow",
            "Action": "ec2:CreateTags",
            "Resource": "*",
            "Condition": { "StringEquals": {
                "ec2:CreateAction": MAKE.iter().chain(&["AuthorizeSecurityGroupIngress"]).collect::<Vec<_>>(),
            } },
        }),
    ];
    let policy = json!({ "Version": "2012-10-17", "Statement": statements });
    serde_json::to_string_pretty(&policy).expect("a value of strings always renders")
}

fn statement(name: &str, actions: &[&str], kinds: &[&str], mark: Option<(&str, &str)>) -> Value {
    let arn = |kind: &&str| if *kind == "*" { "*".to_owned() } else { format!("arn:aws:ec2:*:*:{kind}/*") };
    let mut statement = json!({
        "Sid": name,
        "Effect": "Allow",
        "Action": actions.iter().map(|action| format!("ec2:{action}")).collect::<Vec<_>>(),
        "Resource": kinds.iter().map(arn).collect::<Vec<_>>(),
    });
    if let Some((key, fleet)) = mark {
        statement["Condition"] = json!({ "StringEquals": { format!("{key}/{FLEET}"): fleet } });
    }
    statement
}
