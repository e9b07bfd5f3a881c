//! The adapter against moto behind a proxy that can fail: all on the loopback, with credentials that open nothing.
//!
//! The first test that needs moto installs it below the target folder, with `python3` and `pip`.
#![expect(clippy::disallowed_methods, reason = "tests: start the emulator and stand before it")]

mod faults;
mod hosts;
mod lost;
mod matrix;
mod networks;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use cloud_core::{Cloud as _, Secret, Site, check_contract};
use emulators::Proxy;
use tokio::runtime::Runtime;

use super::user_data::{PRIVATE, PUBLIC, spec};
use crate::Aws;
use crate::config::{Access, AwsConfig, Tuning};

/// One emulated account.
struct Emulator {
    proxy: Proxy,
    runtime: Runtime,
    _moto: emulators::Emulator,
}

impl Emulator {
    fn start() -> Emulator {
        let mut command = Command::new(emulators::ec2::python().unwrap());
        emulators::ec2::prepare(&mut command);
        let moto = emulators::Emulator::start(&mut command).unwrap();
        let proxy = Proxy::start(moto.address);
        let emulator = Emulator { proxy, runtime: Runtime::new().unwrap(), _moto: moto };
        // The first call makes moto load its model of EC2, which takes seconds.
        emulator.cloud().observe().unwrap();
        emulator
    }

    /// An account whose region has no default VPC.
    fn start_empty() -> Emulator {
        let emulator = Emulator::start();
        let cloud = emulator.cloud();
        emulator.runtime.block_on(async {
            for subnet in cloud.api.subnets(&[]).await.unwrap() {
                cloud.api.delete_subnet(&subnet.id).await.unwrap();
            }
            for vpc in cloud.api.vpcs(&[]).await.unwrap() {
                cloud.api.delete_vpc(&vpc.id).await.unwrap();
            }
        });
        emulator
    }

    /// A call past the adapter, in the form that EC2 has for them; the answer.
    fn ask(&self, form: &str) -> String {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(self.proxy.address).unwrap();
        let length = form.len();
        // The signature's scope tells the region; moto does not look at the rest.
        let head = format!(
            "POST / HTTP/1.1\r\nhost: ec2.eu-west-1.amazonaws.com\r\nauthorization: AWS4-HMAC-SHA256 \
             Credential=test/20261124/eu-west-1/ec2/aws4_request, SignedHeaders=host, Signature=0\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(format!("{head}{form}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer
    }

    fn config(&self) -> AwsConfig {
        AwsConfig {
            region: Some("eu-west-1".to_owned()),
            endpoint: Some(format!("http://{}", self.proxy.address)),
            operator_address: Some("198.51.100.7/32".to_owned()),
            ..AwsConfig::new("demo")
        }
    }

    fn cloud(&self) -> Aws {
        self.cloud_with(self.config(), tuning())
    }

    fn cloud_with(&self, config: AwsConfig, tuning: Tuning) -> Aws {
        let access = Access::Static("test".to_owned(), Secret::new("test"));
        Aws::tuned(config, access, tuning, self.runtime.handle().clone()).unwrap()
    }

    /// The instances of the fleet that are not gone.
    fn instances(&self, cloud: &Aws) -> Vec<crate::plan::Seen> {
        let seen = self.runtime.block_on(cloud.api.instances(&cloud.mark(&[]))).unwrap();
        seen.into_iter().filter(|seen| seen.phase().is_some()).collect()
    }

    /// Everything that was ever made bore the fleet's mark from its first moment.
    fn assert_all_marked(&self) {
        let mut made = BTreeMap::new();
        for call in self.proxy.all() {
            let action = call["Action"].as_str();
            let marks = match action {
                "RunInstances" => 3,
                "CreateRoute" => continue,
                "AllocateAddress" | "AuthorizeSecurityGroupIngress" => 1,
                _ if action.starts_with("Create") => 1,
                _ => continue,
            };
            for specification in 1..=marks {
                let key = |(name, value): (&String, &String)| {
                    name.starts_with(&format!("TagSpecification.{specification}.Tag."))
                        && value == "weave-fleet"
                };
                assert!(call.iter().any(key), "{action} made something without a mark: {call:?}");
            }
            *made.entry(action.to_owned()).or_insert(0) += 1;
        }
        assert!(!made.is_empty(), "nothing was made");
    }
}

fn site() -> Site {
    Site { name: "aws".to_owned(), index: 1 }
}

/// For what never shows, and for an emulator that shows everything at once.
fn brief() -> Tuning {
    Tuning { visible: Duration::from_millis(300), ..tuning() }
}

/// Impatient, but not with one call: moto is slow on a busy machine.
fn tuning() -> Tuning {
    Tuning {
        attempts: 3,
        backoff: Duration::from_millis(5),
        max_backoff: Duration::from_millis(20),
        connect: Duration::from_secs(5),
        attempt: Duration::from_secs(20),
        call: Duration::from_secs(60),
        poll: Duration::from_millis(20),
        visible: Duration::from_secs(3),
        instance: Duration::from_secs(5),
        dial: Duration::from_secs(2),
        page: 5,
    }
}

#[test]
fn keeps_the_contract_in_the_default_vpc() {
    let emulator = Emulator::start();
    let cloud = emulator.cloud_with(emulator.config(), brief());
    check_contract(&cloud, PUBLIC, Secret::new(PRIVATE)).unwrap();
    emulator.assert_all_marked();
    assert_eq!(emulator.proxy.calls("CreateVpc").len(), 0);
}

#[test]
fn keeps_the_contract_in_an_own_network() {
    let emulator = Emulator::start_empty();
    let cloud = emulator.cloud_with(emulator.config(), brief());
    check_contract(&cloud, PUBLIC, Secret::new(PRIVATE)).unwrap();
    emulator.assert_all_marked();
    assert_eq!(emulator.proxy.calls("CreateVpc").len(), 1);
    assert_eq!(emulator.runtime.block_on(cloud.api.vpcs(&[])).unwrap(), []);
}

#[test]
fn keeps_the_contract_with_elastic_addresses() {
    let emulator = Emulator::start();
    let config = AwsConfig { elastic_ip: true, ..emulator.config() };
    let cloud = emulator.cloud_with(config, brief());
    check_contract(&cloud, PUBLIC, Secret::new(PRIVATE)).unwrap();
    emulator.assert_all_marked();
    assert_eq!(emulator.runtime.block_on(cloud.api.addresses(&[])).unwrap(), []);
}
