//! Images, instances, elastic addresses, and what instances may leave behind.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::{
    AttributeBooleanValue, BlockDeviceMapping, DomainType, EbsBlockDevice, HttpTokensState, Instance,
    InstanceInterruptionBehavior, InstanceMarketOptionsRequest, InstanceMetadataEndpointState,
    InstanceMetadataOptionsRequest, InstanceNetworkInterfaceSpecification, InstanceType, LocationType,
    MarketType, ResourceType, SpotInstanceType, SpotMarketOptions, VolumeType,
};
use cloud_core::Secret;

use super::{Answer, Api, Only, failure, filters, marked, missing, tags_of, text};
use crate::plan::{ImageQuery, Seen, SeenImage, Tags};

/// What is asked of RunInstances.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    pub(crate) token: &'a str,
    pub(crate) image: &'a SeenImage,
    pub(crate) instance_type: &'a str,
    pub(crate) subnet: &'a str,
    pub(crate) group: &'a str,
    pub(crate) root_gib: u32,
    pub(crate) spot: bool,
    /// In base64.
    pub(crate) user_data: &'a Secret,
    pub(crate) tags: &'a Tags,
}

/// An elastic address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) id: String,
    /// The instance that has it.
    pub(crate) instance: Option<String>,
    pub(crate) association: Option<String>,
    pub(crate) tags: Tags,
}

impl Api {
    /// The zones that have machines of this type.
    pub(crate) async fn offered(&self, instance_type: &str) -> Answer<BTreeSet<String>> {
        let call =
            self.client.describe_instance_type_offerings().location_type(LocationType::AvailabilityZone);
        let call = call.set_filters(filters(&[("instance-type", instance_type)]));
        let pages = call.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
        let offers = pages.map_err(|e| failure("DescribeInstanceTypeOfferings", e))?;
        Ok(offers.iter().filter_map(|offer| offer.location().map(str::to_owned)).collect())
    }

    pub(crate) async fn images(&self, query: &ImageQuery) -> Answer<Vec<SeenImage>> {
        let call = self.client.describe_images();
        let call = match query {
            ImageQuery::Id(id) => call.image_ids(id),
            ImageQuery::Newest { owner, name, architecture } => call.owners(*owner).set_filters(filters(&[
                ("name", name),
                ("architecture", &architecture.to_string()),
                ("virtualization-type", "hvm"),
                ("state", "available"),
            ])),
        };
        let pages = call.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
        let images = pages.map_err(|e| failure("DescribeImages", e))?;
        let image = |image: &aws_sdk_ec2::types::Image| SeenImage {
            id: text(image.image_id()),
            created: text(image.creation_date()),
            architecture: text(image.architecture().map(|word| word.as_str())),
            root: text(image.root_device_name()),
        };
        Ok(images.iter().map(image).collect())
    }

    pub(crate) async fn instances(&self, only: Only<'_>) -> Answer<Vec<Seen>> {
        let call = self.client.describe_instances().set_filters(filters(only));
        let pages = call.into_paginator().page_size(self.page).items().send();
        let all = pages.collect::<Result<Vec<_>, _>>().await.map_err(|e| failure("DescribeInstances", e))?;
        Ok(all.iter().flat_map(|reservation| reservation.instances()).map(seen).collect())
    }

    pub(crate) async fn run(&self, launch: &Launch<'_>) -> Answer<Seen> {
        let disk = EbsBlockDevice::builder()
            .volume_type(VolumeType::Gp3)
            .volume_size(i32::try_from(launch.root_gib).unwrap_or(i32::MAX))
            .encrypted(true)
            .delete_on_termination(true);
        let interface = InstanceNetworkInterfaceSpecification::builder()
            .device_index(0)
            .subnet_id(launch.subnet)
            .groups(launch.group)
            .associate_public_ip_address(true)
            .delete_on_termination(true);
        // One hop: a container on the host, one hop further, cannot read the user-data.
        let metadata = InstanceMetadataOptionsRequest::builder()
            .http_tokens(HttpTokensState::Required)
            .http_endpoint(InstanceMetadataEndpointState::Enabled)
            .http_put_response_hop_limit(1);
        let mut call = self
            .client
            .run_instances()
            .image_id(&launch.image.id)
            .instance_type(InstanceType::from(launch.instance_type))
            .min_count(1)
            .max_count(1)
            .client_token(launch.token)
            .user_data(launch.user_data.reveal())
            .metadata_options(metadata.build())
            .block_device_mappings(
                BlockDeviceMapping::builder().device_name(&launch.image.root).ebs(disk.build()).build(),
            )
            .network_interfaces(interface.build());
        for kind in [ResourceType::Instance, ResourceType::Volume, ResourceType::NetworkInterface] {
            call = call.tag_specifications(marked(kind, launch.tags));
        }
        if launch.spot {
            let spot = SpotMarketOptions::builder()
                .spot_instance_type(SpotInstanceType::OneTime)
                .instance_interruption_behavior(InstanceInterruptionBehavior::Terminate);
            let market = InstanceMarketOptionsRequest::builder().market_type(MarketType::Spot);
            call = call.instance_market_options(market.spot_options(spot.build()).build());
        }
        let made = call.send().await.map_err(|e| failure("RunInstances", e))?;
        made.instances().first().map(seen).ok_or_else(|| missing("RunInstances", "instance"))
    }

    pub(crate) async fn start(&self, id: &str) -> Answer<()> {
        let call = self.client.start_instances().instance_ids(id);
        call.send().await.map(drop).map_err(|e| failure("StartInstances", e))
    }

    pub(crate) async fn terminate(&self, id: &str) -> Answer<()> {
        let call = self.client.terminate_instances().instance_ids(id);
        call.send().await.map(drop).map_err(|e| failure("TerminateInstances", e))
    }

    /// Lets the instance send and get packets that are not its own.
    pub(crate) async fn disable_source_check(&self, id: &str) -> Answer<()> {
        let no = AttributeBooleanValue::builder().value(false).build();
        let call = self.client.modify_instance_attribute().instance_id(id).source_dest_check(no);
        call.send().await.map(drop).map_err(|e| failure("ModifyInstanceAttribute", e))
    }

    pub(crate) async fn disable_metadata(&self, id: &str) -> Answer<()> {
        let call = self.client.modify_instance_metadata_options().instance_id(id);
        let call = call.http_endpoint(InstanceMetadataEndpointState::Disabled);
        call.send().await.map(drop).map_err(|e| failure("ModifyInstanceMetadataOptions", e))
    }

    pub(crate) async fn addresses(&self, only: Only<'_>) -> Answer<Vec<Address>> {
        let call = self.client.describe_addresses().set_filters(filters(only));
        let found = call.send().await.map_err(|e| failure("DescribeAddresses", e))?;
        let some = |value: Option<&str>| value.filter(|text| !text.is_empty()).map(str::to_owned);
        let address = |address: &aws_sdk_ec2::types::Address| Address {
            id: text(address.allocation_id()),
            instance: some(address.instance_id()),
            association: some(address.association_id()),
            tags: tags_of(address.tags()),
        };
        Ok(found.addresses().iter().map(address).collect())
    }

    pub(crate) async fn allocate(&self, tags: &Tags) -> Answer<String> {
        let call = self.client.allocate_address().domain(DomainType::Vpc);
        let call = call.tag_specifications(marked(ResourceType::ElasticIp, tags));
        let made = call.send().await.map_err(|e| failure("AllocateAddress", e))?;
        made.allocation_id.ok_or_else(|| missing("AllocateAddress", "allocation"))
    }

    pub(crate) async fn associate(&self, address: &str, instance: &str) -> Answer<()> {
        let call = self.client.associate_address().allocation_id(address).instance_id(instance);
        let call = call.allow_reassociation(false);
        call.send().await.map(drop).map_err(|e| failure("AssociateAddress", e))
    }

    pub(crate) async fn disassociate(&self, association: &str) -> Answer<()> {
        let call = self.client.disassociate_address().association_id(association);
        call.send().await.map(drop).map_err(|e| failure("DisassociateAddress", e))
    }

    pub(crate) async fn release(&self, address: &str) -> Answer<()> {
        let call = self.client.release_address().allocation_id(address);
        call.send().await.map(drop).map_err(|e| failure("ReleaseAddress", e))
    }

    pub(crate) async fn volumes(&self, only: Only<'_>) -> Answer<Vec<String>> {
        let pages = self.client.describe_volumes().set_filters(filters(only)).into_paginator().items().send();
        let found = pages.collect::<Result<Vec<_>, _>>().await.map_err(|e| failure("DescribeVolumes", e))?;
        Ok(found.iter().map(|volume| text(volume.volume_id())).collect())
    }

    pub(crate) async fn delete_volume(&self, id: &str) -> Answer<()> {
        self.client
            .delete_volume()
            .volume_id(id)
            .send()
            .await
            .map(drop)
            .map_err(|e| failure("DeleteVolume", e))
    }

    pub(crate) async fn interfaces(&self, only: Only<'_>) -> Answer<Vec<String>> {
        let call = self.client.describe_network_interfaces().set_filters(filters(only));
        let pages = call.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
        let found = pages.map_err(|e| failure("DescribeNetworkInterfaces", e))?;
        Ok(found.iter().map(|interface| text(interface.network_interface_id())).collect())
    }

    pub(crate) async fn delete_interface(&self, id: &str) -> Answer<()> {
        let call = self.client.delete_network_interface().network_interface_id(id);
        call.send().await.map(drop).map_err(|e| failure("DeleteNetworkInterface", e))
    }
}

fn seen(instance: &Instance) -> Seen {
    // On unless it is said to be off.
    let metadata = instance.metadata_options().and_then(|options| options.http_endpoint());
    Seen {
        id: text(instance.instance_id()),
        state: text(instance.state().and_then(|state| state.name()).map(|name| name.as_str())),
        private: instance.private_ip_address().and_then(|text| text.parse().ok()),
        public: instance.public_ip_address().and_then(|text| text.parse().ok()),
        tags: tags_of(instance.tags()),
        shows_user_data: metadata != Some(&InstanceMetadataEndpointState::Disabled),
        reason: instance.state_reason().map(|reason| (text(reason.code()), text(reason.message()))),
    }
}
