//! Zones, images, instances and static addresses.

use std::collections::BTreeSet;

use cloud_core::Secret;
use google_cloud_compute_v1::model::{
    self, AccessConfig, AttachedDisk, AttachedDiskInitializeParams, Metadata, NetworkInterface, Scheduling,
    ShieldedInstanceConfig, Tags, access_config, metadata, scheduling,
};
use google_cloud_gax::options::RequestOptionsBuilder as _;
use google_cloud_gax::paginator::ItemPaginator as _;

use super::{Answer, Api, End};
use crate::config::is_name;
use crate::plan::{FLEET, HOST, Labels, Seen, disk_type, last};

/// The key of the metadata under which cloud-init looks for its orders.
const USER_DATA: &str = "user-data";

/// What is asked of `instances.insert`.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    pub(crate) request_id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) zone: &'a str,
    pub(crate) machine_type: &'a str,
    /// The image's URL.
    pub(crate) image: &'a str,
    pub(crate) disk_gib: u32,
    pub(crate) network: &'a str,
    pub(crate) subnet: &'a str,
    pub(crate) tag: &'a str,
    /// The static address; `None` asks for one that lasts as long as the instance runs.
    pub(crate) address: Option<&'a str>,
    pub(crate) spot: bool,
    pub(crate) user_data: &'a Secret,
    pub(crate) labels: &'a Labels,
}

/// A static address of a region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) name: String,
    pub(crate) region: String,
    /// Not there while it is being reserved.
    pub(crate) address: Option<String>,
    pub(crate) labels: Labels,
}

impl Api {
    /// The zones of the region that are up.
    pub(crate) async fn zones(&self) -> Answer<BTreeSet<String>> {
        let call = self.zones.list().set_project(&self.project).set_max_results(self.tuning.page);
        let mut items = call.by_item();
        let mut all = BTreeSet::new();
        while let Some(zone) = self.ask("zones.list", async { items.next().await.transpose() }).await? {
            let up = zone.status.as_ref().and_then(|status| status.name()) == Some("UP");
            if up && zone.region.as_deref().map(last) == Some(&self.region) {
                all.extend(zone.name);
            }
        }
        Ok(all)
    }

    /// The URL of a family's newest image.
    pub(crate) async fn image(&self, project: &str, family: &str) -> Answer<String> {
        let call = self.images.get_from_family().set_project(project).set_family(family);
        Ok(self.ask("images.getFromFamily", call.send()).await?.self_link.unwrap_or_default())
    }

    /// The instances with a label, in all zones of all regions.
    pub(crate) async fn instances(&self, only: &[(&str, &str)]) -> Answer<Vec<Seen>> {
        let Some(filter) = labelled(only) else { return Ok(Vec::new()) };
        let call = self.instances.aggregated_list().set_project(&self.project);
        let call = call.set_max_results(self.tuning.page).set_filter(filter);
        let mut items = call.by_item();
        let mut all = Vec::new();
        while let Some((_, list)) =
            self.ask("instances.aggregatedList", async { items.next().await.transpose() }).await?
        {
            all.extend(list.instances.into_iter().map(seen));
        }
        Ok(all)
    }

    pub(crate) async fn instance(&self, zone: &str, name: &str) -> Answer<Seen> {
        let call = self.instances.get().set_project(&self.project).set_zone(zone).set_instance(name);
        Ok(seen(self.ask("instances.get", call.send()).await?))
    }

    pub(crate) async fn insert_instance(&self, launch: &Launch<'_>) -> Answer<End> {
        let call = self.instances.insert().set_project(&self.project).set_zone(launch.zone);
        let call = call.set_request_id(launch.request_id).set_body(self.body(launch)).with_idempotency(true);
        self.finish("instances.insert", self.tuning.instance, call.poller()).await
    }

    pub(crate) async fn start_instance(&self, zone: &str, name: &str) -> Answer<End> {
        let call = self.instances.start().set_project(&self.project).set_zone(zone).set_instance(name);
        let call = call.with_idempotency(true);
        self.finish("instances.start", self.tuning.instance, call.poller()).await
    }

    pub(crate) async fn delete_instance(&self, zone: &str, name: &str) -> Answer<End> {
        let call = self.instances.delete().set_project(&self.project).set_zone(zone).set_instance(name);
        let call = call.with_idempotency(true);
        self.finish("instances.delete", self.tuning.instance, call.poller()).await
    }

    /// Takes the user-data out of an instance's metadata. The fingerprint lets nothing of another's change be lost.
    pub(crate) async fn forget_user_data(&self, zone: &str, name: &str) -> Answer<()> {
        let call = self.instances.get().set_project(&self.project).set_zone(zone).set_instance(name);
        let there = self.ask("instances.get", call.send()).await?.metadata.unwrap_or_default();
        if !there.items.iter().any(is_user_data) {
            return Ok(());
        }
        let mut left = there;
        left.items.retain(|item| !is_user_data(item));
        let call = self.instances.set_metadata().set_project(&self.project).set_zone(zone).set_instance(name);
        let call = call.set_body(left).with_idempotency(true);
        self.finish("instances.setMetadata", self.tuning.instance, call.poller()).await.map(drop)
    }

    /// The static addresses with a label, in all regions; global ones are never made and not among them.
    pub(crate) async fn addresses(&self, only: &[(&str, &str)]) -> Answer<Vec<Address>> {
        let Some(filter) = labelled(only) else { return Ok(Vec::new()) };
        let call = self.addresses.aggregated_list().set_project(&self.project);
        let mut items = call.set_max_results(self.tuning.page).set_filter(filter).by_item();
        let mut all = Vec::new();
        while let Some((_, list)) =
            self.ask("addresses.aggregatedList", async { items.next().await.transpose() }).await?
        {
            all.extend(list.addresses.into_iter().filter_map(address));
        }
        Ok(all)
    }

    pub(crate) async fn insert_address(&self, id: &str, name: &str, labels: &Labels) -> Answer<End> {
        let body = model::Address::new().set_name(name).set_labels(labels);
        let call = self.addresses.insert().set_project(&self.project).set_region(&self.region);
        let call = call.set_body(body).set_request_id(id).with_idempotency(true);
        self.finish("addresses.insert", self.tuning.network, call.poller()).await
    }

    pub(crate) async fn delete_address(&self, region: &str, name: &str) -> Answer<End> {
        let call = self.addresses.delete().set_project(&self.project).set_region(region);
        let call = call.set_address(name).with_idempotency(true);
        self.finish("addresses.delete", self.tuning.network, call.poller()).await
    }

    fn body(&self, launch: &Launch<'_>) -> model::Instance {
        let Launch { zone, labels, .. } = launch;
        let disk = AttachedDiskInitializeParams::new()
            .set_source_image(launch.image)
            .set_disk_size_gb(i64::from(launch.disk_gib))
            .set_disk_type(format!("zones/{zone}/diskTypes/{}", disk_type(launch.machine_type)))
            .set_labels([FLEET, HOST].iter().filter_map(|key| labels.get_key_value(*key)));
        let outside = AccessConfig::new().set_name("External NAT").set_type(access_config::Type::OneToOneNat);
        let outside = match launch.address {
            Some(address) => outside.set_nat_ip(address),
            None => outside,
        };
        let subnet =
            format!("projects/{}/regions/{}/subnetworks/{}", self.project, self.region, launch.subnet);
        // Keys of the project and accounts of OS Login would open the host to others than the operator.
        let items = [
            (USER_DATA, launch.user_data.reveal()),
            ("block-project-ssh-keys", "TRUE"),
            ("enable-oslogin", "FALSE"),
            ("serial-port-enable", "FALSE"),
        ];
        model::Instance::new()
            .set_name(launch.name)
            .set_machine_type(format!("zones/{zone}/machineTypes/{}", launch.machine_type))
            .set_labels(labels.iter())
            .set_tags(Tags::new().set_items([launch.tag]))
            .set_can_ip_forward(true)
            .set_or_clear_scheduling(launch.spot.then(spot))
            .set_disks([AttachedDisk::new().set_boot(true).set_auto_delete(true).set_initialize_params(disk)])
            .set_network_interfaces([NetworkInterface::new()
                .set_network(self.network_link(launch.network))
                .set_subnetwork(subnet)
                .set_access_configs([outside])])
            .set_metadata(
                Metadata::new().set_items(
                    items.map(|(key, value)| metadata::Items::new().set_key(key).set_value(value)),
                ),
            )
            .set_shielded_instance_config(
                ShieldedInstanceConfig::new()
                    .set_enable_secure_boot(true)
                    .set_enable_vtpm(true)
                    .set_enable_integrity_monitoring(true),
            )
    }
}

/// `None` is one of no region.
fn address(item: model::Address) -> Option<Address> {
    Some(Address {
        region: last(&item.region?).to_owned(),
        name: item.name.unwrap_or_default(),
        address: item.address.filter(|address| !address.is_empty()),
        labels: item.labels.into_iter().collect(),
    })
}

/// What makes a machine a spot one. It is stopped rather than deleted, and its disk waits for the next start.
fn spot() -> Scheduling {
    Scheduling::new()
        .set_provisioning_model(scheduling::ProvisioningModel::Spot)
        .set_instance_termination_action(scheduling::InstanceTerminationAction::Stop)
        .set_on_host_maintenance(scheduling::OnHostMaintenance::Terminate)
        .set_automatic_restart(false)
}

fn seen(item: model::Instance) -> Seen {
    let interface = item.network_interfaces.into_iter().next().unwrap_or_default();
    let outside = interface.access_configs.into_iter().find_map(|config| config.nat_ip);
    let address = |text: Option<String>| text.and_then(|text| text.parse().ok());
    Seen {
        id: item.id.unwrap_or_default(),
        name: item.name.unwrap_or_default(),
        zone: last(&item.zone.unwrap_or_default()).to_owned(),
        status: item.status.as_ref().and_then(|status| status.name()).unwrap_or_default().to_owned(),
        labels: item.labels.into_iter().collect(),
        private: address(interface.network_ip),
        public: address(outside),
        shows_user_data: item.metadata.unwrap_or_default().items.iter().any(is_user_data),
    }
}

fn is_user_data(item: &metadata::Items) -> bool {
    item.key.as_deref() == Some(USER_DATA)
}

/// The filter for labels. `None`: no label can have such a value, and it might mean something else in a filter.
fn labelled(only: &[(&str, &str)]) -> Option<String> {
    let term = |(key, value): &(&str, &str)| is_name(value).then(|| format!("labels.{key}={value}"));
    Some(only.iter().map(term).collect::<Option<Vec<_>>>()?.join(" AND "))
}
