//! VPCs, subnets, gateways, routes and security groups.

use aws_sdk_ec2::types::{IpPermission, IpRange, ResourceType, VpcCidrBlockState, VpcCidrBlockStateCode};

use super::{Answer, Api, Only, failure, filters, marked, missing, tags_of, text};
use crate::plan::{OURS, Rule, SeenRule, Subnet, Table, Tags};

/// A VPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Vpc {
    pub(crate) id: String,
    /// Its blocks of addresses, of both families.
    pub(crate) blocks: Vec<String>,
    pub(crate) tags: Tags,
}

/// An internet gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gateway {
    pub(crate) id: String,
    /// The VPC that it is attached to.
    pub(crate) vpc: Option<String>,
}

/// A security group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) id: String,
    pub(crate) vpc: String,
    pub(crate) rules: Vec<SeenRule>,
    pub(crate) tags: Tags,
}

impl Api {
    pub(crate) async fn vpcs(&self, only: Only<'_>) -> Answer<Vec<Vpc>> {
        let pages = self.client.describe_vpcs().set_filters(filters(only)).into_paginator().items().send();
        let vpcs = pages.collect::<Result<Vec<_>, _>>().await.map_err(|e| failure("DescribeVpcs", e))?;
        let vpc = |vpc: &aws_sdk_ec2::types::Vpc| Vpc {
            id: text(vpc.vpc_id()),
            blocks: blocks(vpc),
            tags: tags_of(vpc.tags()),
        };
        Ok(vpcs.iter().map(vpc).collect())
    }

    pub(crate) async fn create_vpc(&self, block: &str, tags: &Tags) -> Answer<String> {
        let call =
            self.client.create_vpc().cidr_block(block).tag_specifications(marked(ResourceType::Vpc, tags));
        let made = call.send().await.map_err(|e| failure("CreateVpc", e))?;
        made.vpc.and_then(|vpc| vpc.vpc_id).ok_or_else(|| missing("CreateVpc", "VPC"))
    }

    pub(crate) async fn delete_vpc(&self, id: &str) -> Answer<()> {
        self.client.delete_vpc().vpc_id(id).send().await.map(drop).map_err(|e| failure("DeleteVpc", e))
    }

    pub(crate) async fn subnets(&self, only: Only<'_>) -> Answer<Vec<Subnet>> {
        let pages = self.client.describe_subnets().set_filters(filters(only)).into_paginator().items().send();
        let subnets =
            pages.collect::<Result<Vec<_>, _>>().await.map_err(|e| failure("DescribeSubnets", e))?;
        let subnet = |subnet: &aws_sdk_ec2::types::Subnet| Subnet {
            id: text(subnet.subnet_id()),
            zone: text(subnet.availability_zone()),
            block: text(subnet.cidr_block()),
            default: subnet.default_for_az().unwrap_or_default(),
            tags: tags_of(subnet.tags()),
        };
        Ok(subnets.iter().map(subnet).collect())
    }

    pub(crate) async fn create_subnet(&self, vpc: &str, zone: &str, block: &str, tags: &Tags) -> Answer<()> {
        let call = self.client.create_subnet().vpc_id(vpc).availability_zone(zone).cidr_block(block);
        let call = call.tag_specifications(marked(ResourceType::Subnet, tags));
        call.send().await.map(drop).map_err(|e| failure("CreateSubnet", e))
    }

    pub(crate) async fn delete_subnet(&self, id: &str) -> Answer<()> {
        self.client
            .delete_subnet()
            .subnet_id(id)
            .send()
            .await
            .map(drop)
            .map_err(|e| failure("DeleteSubnet", e))
    }

    pub(crate) async fn gateways(&self, only: Only<'_>) -> Answer<Vec<Gateway>> {
        let call = self.client.describe_internet_gateways().set_filters(filters(only));
        let pages = call.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
        let gateways = pages.map_err(|e| failure("DescribeInternetGateways", e))?;
        let gateway = |gateway: &aws_sdk_ec2::types::InternetGateway| Gateway {
            id: text(gateway.internet_gateway_id()),
            vpc: gateway.attachments().first().and_then(|to| to.vpc_id()).map(str::to_owned),
        };
        Ok(gateways.iter().map(gateway).collect())
    }

    pub(crate) async fn create_gateway(&self, tags: &Tags) -> Answer<String> {
        let call = self.client.create_internet_gateway();
        let call = call.tag_specifications(marked(ResourceType::InternetGateway, tags));
        let made = call.send().await.map_err(|e| failure("CreateInternetGateway", e))?;
        let id = made.internet_gateway.and_then(|gateway| gateway.internet_gateway_id);
        id.ok_or_else(|| missing("CreateInternetGateway", "gateway"))
    }

    pub(crate) async fn attach_gateway(&self, gateway: &str, vpc: &str) -> Answer<()> {
        let call = self.client.attach_internet_gateway().internet_gateway_id(gateway).vpc_id(vpc);
        call.send().await.map(drop).map_err(|e| failure("AttachInternetGateway", e))
    }

    pub(crate) async fn detach_gateway(&self, gateway: &str, vpc: &str) -> Answer<()> {
        let call = self.client.detach_internet_gateway().internet_gateway_id(gateway).vpc_id(vpc);
        call.send().await.map(drop).map_err(|e| failure("DetachInternetGateway", e))
    }

    pub(crate) async fn delete_gateway(&self, gateway: &str) -> Answer<()> {
        let call = self.client.delete_internet_gateway().internet_gateway_id(gateway);
        call.send().await.map(drop).map_err(|e| failure("DeleteInternetGateway", e))
    }

    pub(crate) async fn tables(&self, vpc: &str) -> Answer<Vec<Table>> {
        let call = self.client.describe_route_tables().set_filters(filters(&[("vpc-id", vpc)]));
        let pages = call.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
        let tables = pages.map_err(|e| failure("DescribeRouteTables", e))?;
        let table = |table: &aws_sdk_ec2::types::RouteTable| Table {
            id: text(table.route_table_id()),
            main: table.associations().iter().any(|a| a.main().unwrap_or_default()),
            subnets: table.associations().iter().filter_map(|a| a.subnet_id().map(str::to_owned)).collect(),
            public: table.routes().iter().any(|route| {
                route.destination_cidr_block() == Some("0.0.0.0/0")
                    && route.gateway_id().is_some_and(|id| id.starts_with("igw-"))
            }),
        };
        Ok(tables.iter().map(table).collect())
    }

    /// Sends everything that is not local to the gateway.
    pub(crate) async fn create_route(&self, table: &str, gateway: &str) -> Answer<()> {
        let call = self.client.create_route().route_table_id(table).gateway_id(gateway);
        let call = call.destination_cidr_block("0.0.0.0/0");
        call.send().await.map(drop).map_err(|e| failure("CreateRoute", e))
    }

    pub(crate) async fn groups(&self, only: Only<'_>) -> Answer<Vec<Group>> {
        let call = self.client.describe_security_groups().set_filters(filters(only));
        let pages = call.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
        let groups = pages.map_err(|e| failure("DescribeSecurityGroups", e))?;
        let group = |group: &aws_sdk_ec2::types::SecurityGroup| Group {
            id: text(group.group_id()),
            vpc: text(group.vpc_id()),
            rules: group.ip_permissions().iter().flat_map(seen_rules).collect(),
            tags: tags_of(group.tags()),
        };
        Ok(groups.iter().map(group).collect())
    }

    pub(crate) async fn create_group(&self, name: &str, vpc: &str, tags: &Tags) -> Answer<()> {
        let call = self.client.create_security_group().group_name(name).vpc_id(vpc);
        let call = call.description("Weave gateways: the mesh, and SSH from the operator");
        let call = call.tag_specifications(marked(ResourceType::SecurityGroup, tags));
        call.send().await.map(drop).map_err(|e| failure("CreateSecurityGroup", e))
    }

    pub(crate) async fn delete_group(&self, id: &str) -> Answer<()> {
        let call = self.client.delete_security_group().group_id(id);
        call.send().await.map(drop).map_err(|e| failure("DeleteSecurityGroup", e))
    }

    pub(crate) async fn authorize(&self, group: &str, rules: &[Rule], tags: &Tags) -> Answer<()> {
        let call = self.client.authorize_security_group_ingress().group_id(group);
        let call = call.set_ip_permissions(Some(rules.iter().map(permission).collect()));
        let call = call.tag_specifications(marked(ResourceType::SecurityGroupRule, tags));
        call.send().await.map(drop).map_err(|e| failure("AuthorizeSecurityGroupIngress", e))
    }

    pub(crate) async fn revoke(&self, group: &str, rules: &[Rule]) -> Answer<()> {
        let call = self.client.revoke_security_group_ingress().group_id(group);
        let call = call.set_ip_permissions(Some(rules.iter().map(permission).collect()));
        call.send().await.map(drop).map_err(|e| failure("RevokeSecurityGroupIngress", e))
    }
}

/// The block that a VPC was made with is among those associated; those on their way out still lead there.
fn blocks(vpc: &aws_sdk_ec2::types::Vpc) -> Vec<String> {
    let stands = |state: Option<&VpcCidrBlockState>| {
        let ended = [VpcCidrBlockStateCode::Disassociated, VpcCidrBlockStateCode::Failed];
        !state.and_then(|state| state.state()).is_some_and(|state| ended.contains(state))
    };
    let four = vpc.cidr_block_association_set().iter();
    let four = four.filter(|one| stands(one.cidr_block_state())).filter_map(|one| one.cidr_block());
    let six = vpc.ipv6_cidr_block_association_set().iter();
    let six = six.filter(|one| stands(one.ipv6_cidr_block_state())).filter_map(|one| one.ipv6_cidr_block());
    vpc.cidr_block().into_iter().chain(four).chain(six).map(str::to_owned).collect()
}

fn permission(rule: &Rule) -> IpPermission {
    IpPermission::builder()
        .ip_protocol(&rule.protocol)
        .from_port(rule.from)
        .to_port(rule.to)
        .ip_ranges(IpRange::builder().cidr_ip(&rule.block).description(OURS).build())
        .build()
}

/// EC2 shows blocks with the same ports as one permission.
fn seen_rules(permission: &IpPermission) -> Vec<SeenRule> {
    let seen = |range: &IpRange| SeenRule {
        rule: Rule {
            protocol: text(permission.ip_protocol()),
            from: permission.from_port().unwrap_or(-1),
            to: permission.to_port().unwrap_or(-1),
            block: text(range.cidr_ip()),
        },
        description: text(range.description()),
    };
    permission.ip_ranges().iter().map(seen).collect()
}
