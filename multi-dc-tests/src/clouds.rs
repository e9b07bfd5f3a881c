//! Two clouds on the ground of a lab: their APIs are emulated where the operator stands, and a landlord keeps a host for
//! every instance.
//!
//! ```text
//!            weave-provision                                      the lab's internet
//!                  │                                          ┌──────────┴───────────┐
//!   op   proxy ► moto (EC2)    compute.py (Compute Engine)    r-aws                 r-gcp
//!                  └──────────┬──────────┘                    │ 172.31.0.0/16         │ 10.128.0.0/20
//!                          landlord ─────────────────────► a host per instance: its addresses, its user-data
//! ```
//!
//! Nothing here is outside of the lab's namespaces. Not here: what the provisioner does with it.

mod emulator;
mod ground;
mod impostor;
mod landlord;
mod ledger;
mod trouble;

use std::sync::Arc;

use anyhow::Context as _;
use emulators::Proxy;
use netlab::{Lab, Place};
use serde_json::{Value, json};

use self::emulator::Emulator;
pub use self::ground::{FLEET, Ground, SECRET_ACCESS_KEY};
use self::landlord::{Estate, Landlord};
pub use self::trouble::{Api, Kind, Trouble};

/// The region of Amazon EC2 that hosts stand in.
pub const EC2_REGION: &str = "eu-west-1";

/// The project of Compute Engine.
pub const PROJECT: &str = "weave-test";

/// The region of Compute Engine that hosts stand in.
pub const COMPUTE_REGION: &str = "europe-west1";

/// moto's default VPC, and compute.py's default subnetwork of the region.
const SITES: [(&str, u8, &str); 2] = [("aws", 1, "172.31.0.0/16"), ("gcp", 2, "10.128.0.0/20")];

/// Both clouds; they end with this value.
pub struct Clouds {
    // First of all: it asks the emulators.
    landlord: Landlord,
    proxy: Proxy,
    ec2: Arc<Emulator>,
    compute: Arc<Emulator>,
}

impl Clouds {
    /// Opens both clouds in a lab, which gets the sites `aws` and `gcp`; this befalls calls of their APIs.
    pub fn open(lab: &Lab, troubles: &[Trouble]) -> anyhow::Result<Clouds> {
        for (site, index, range) in SITES {
            lab.ensure_site_with(site, index, range.parse()?)?;
        }
        let ec2 = Arc::new(Emulator::ec2(lab)?);
        let compute = Arc::new(Emulator::gce(lab)?);
        // Threads stand in the network of the thread that starts them, sockets in that of theirs.
        let proxy = lab.within(&Place::Operator, || Proxy::start(ec2.address))?;
        let estate = |site, emulator: &Arc<Emulator>| Estate { site, emulator: emulator.clone() };
        let landlord = Landlord::start(lab, vec![estate("aws", &ec2), estate("gcp", &compute)]);
        let clouds = Clouds { landlord, proxy, ec2, compute };
        // The first call makes moto load its model of EC2.
        clouds.ec2("DescribeVpcs", "").context("while waking EC2")?;
        for trouble in troubles {
            clouds.befall(*trouble)?;
        }
        Ok(clouds)
    }

    /// Where the operator reaches EC2: before the proxy.
    pub fn ec2_endpoint(&self) -> String {
        format!("http://{}", self.proxy.address)
    }

    /// Where the operator reaches Compute Engine.
    pub fn compute_endpoint(&self) -> String {
        format!("http://{}", self.compute.address)
    }

    /// Lets something befall calls from here on.
    pub fn befall(&self, trouble: Trouble) -> anyhow::Result<()> {
        let Trouble { api, call, skip, times, kind } = trouble;
        match api {
            Api::Ec2 => self.proxy.fail_after(call, skip, times, kind.at_ec2()),
            Api::Compute => {
                let fault =
                    json!({ "method": call, "skip": skip, "times": times, "kind": kind.at_compute() });
                self.compute.ask_json("POST", "/_fault", &fault.to_string())?;
            }
        }
        Ok(())
    }

    /// How often EC2 was asked for an action through the proxy.
    pub fn ec2_calls(&self, action: &str) -> usize {
        self.proxy.calls(action).len()
    }

    /// How often Compute Engine was asked for a method.
    pub fn compute_calls(&self, method: &str) -> anyhow::Result<usize> {
        let calls = self.compute.ask_json("GET", "/_calls", "")?;
        Ok(calls.as_array().into_iter().flatten().filter(|call| call["method"] == method).count())
    }

    /// What the landlord could not do so far.
    pub fn complaints(&self) -> Vec<String> {
        self.landlord.complaints()
    }

    /// Everything of a fleet that the clouds still have, as kind and name.
    pub fn remains(&self, fleet: &str) -> anyhow::Result<Vec<String>> {
        let mut found = self.ec2_remains(fleet)?;
        found.extend(self.compute_remains(fleet)?);
        Ok(found)
    }

    fn ec2_remains(&self, fleet: &str) -> anyhow::Result<Vec<String>> {
        let mut found = Vec::new();
        let marked = format!("&Filter.1.Name=tag%3Aweave-fleet&Filter.1.Value.1={fleet}");
        let alive = "&Filter.2.Name=instance-state-name&Filter.2.Value.1=pending&Filter.2.Value.2=running\
                     &Filter.2.Value.3=stopping&Filter.2.Value.4=stopped&Filter.2.Value.5=shutting-down";
        for (action, more, id) in [
            ("DescribeInstances", alive, "instanceId"),
            ("DescribeVolumes", "", "volumeId"),
            ("DescribeNetworkInterfaces", "", "networkInterfaceId"),
            ("DescribeAddresses", "", "allocationId"),
            ("DescribeSecurityGroups", "", "groupId"),
            ("DescribeSubnets", "", "subnetId"),
            ("DescribeRouteTables", "", "routeTableId"),
            ("DescribeInternetGateways", "", "internetGatewayId"),
            ("DescribeVpcs", "", "vpcId"),
            ("DescribeKeyPairs", "", "keyPairId"),
        ] {
            let answer = self.ec2(action, &format!("{marked}{more}"))?;
            let opening = format!("<{id}>");
            let ids = answer.split(&opening).skip(1).filter_map(|rest| rest.split('<').next());
            found.extend(ids.map(|id| format!("{action} {id}")));
        }
        Ok(found)
    }

    fn compute_remains(&self, fleet: &str) -> anyhow::Result<Vec<String>> {
        // Networks and firewalls have nothing but their names to know them by.
        let prefix = format!("weave-{fleet}-");
        let things = self.compute.ask_json("GET", "/_things", "")?;
        let paths = things.as_array().context("no list of things")?.iter().filter_map(Value::as_str);
        let ours = |path: &&str| path.rsplit('/').next().is_some_and(|name| name.starts_with(&prefix));
        Ok(paths.filter(ours).map(str::to_owned).collect())
    }

    /// A call of Compute Engine, as JSON.
    pub fn compute(&self, verb: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.compute.ask_json(verb, &format!("/compute/v1/projects/{PROJECT}/{path}"), &body.to_string())
    }

    /// A call of EC2 past the proxy, with more parameters as `&Key=value`; the answer's XML.
    pub fn ec2(&self, action: &str, more: &str) -> anyhow::Result<String> {
        // moto takes the region out of the signature, and checks none.
        let head = format!(
            "content-type: application/x-www-form-urlencoded\r\nauthorization: AWS4-HMAC-SHA256 \
             Credential=test/20260101/{EC2_REGION}/ec2/aws4_request, SignedHeaders=host, Signature=0\r\n"
        );
        self.ec2.ask("POST", "/", &head, &format!("Action={action}&Version=2016-11-15{more}"))
    }
}
