//! The adapter against an emulator of the API's REST form: all on the loopback, without credentials.
//!
//! The emulator needs `python3` and nothing else; each test has its own.
#![expect(clippy::disallowed_methods, reason = "tests: start the emulator and talk to it")]

mod document;
mod faults;
mod hosts;
mod matrix;
mod networks;
mod server;

use std::time::Duration;

use cloud_core::{Cloud as _, Secret, Site, check_contract};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::user_data::{PRIVATE, PUBLIC, spec};
use crate::config::Tuning;
use crate::roles::needed;
use crate::{Gcp, GcpConfig};

/// One emulated Google.
struct Emulator {
    server: server::Server,
    runtime: Runtime,
}

impl Emulator {
    fn start() -> Emulator {
        Emulator { server: server::Server::start(), runtime: Runtime::new().unwrap() }
    }

    fn config(&self) -> GcpConfig {
        GcpConfig {
            endpoint: Some(format!("http://{}", self.server.address)),
            operator_address: Some("198.51.100.7/32".to_owned()),
            ..GcpConfig::new("demo", "proj", "europe-west1")
        }
    }

    fn cloud(&self) -> Gcp {
        self.cloud_with(self.config(), tuning())
    }

    fn cloud_with(&self, config: GcpConfig, tuning: Tuning) -> Gcp {
        Gcp::tuned(config, tuning, self.runtime.handle().clone()).unwrap()
    }

    /// A cloud in which the site of the tests stands.
    fn with_site() -> (Emulator, Gcp) {
        let emulator = Emulator::start();
        let cloud = emulator.cloud();
        cloud.ensure_site(&site()).unwrap();
        (emulator, cloud)
    }

    /// Nothing was asked that the API does not have, every insert was marked, and no token went out in clear.
    fn assert_proper(&self) {
        let calls = self.server.all();
        let mut inserts = 0;
        for call in &calls {
            assert!(!needed(text(&call["method"])).is_empty(), "the role knows nothing of {call}");
            assert!(call["method"].is_string() && call["authorization"].is_null(), "{call}");
            let method = call["method"].as_str().unwrap();
            if !method.ends_with(".insert") {
                continue;
            }
            let body = &call["body"];
            let described =
                body["description"].as_str().is_some_and(|text| text.contains(r#""weave-fleet":"demo""#));
            assert!(body["labels"]["weave-fleet"] == "demo" || described, "{call}");
            assert!(body["name"].as_str().unwrap().starts_with("weave-demo-"), "{call}");
            assert!(call["query"]["requestId"].is_string(), "{call}");
            inserts += 1;
        }
        assert!(inserts > 0, "nothing was made");
    }
}

fn site() -> Site {
    Site { name: "gcp".to_owned(), index: 1 }
}

/// Impatient, but not with one call: the machine may be busy.
fn tuning() -> Tuning {
    Tuning {
        attempts: 3,
        backoff: Duration::from_millis(5),
        max_backoff: Duration::from_millis(50),
        attempt: Duration::from_secs(10),
        call: Duration::from_secs(30),
        poll: Duration::from_millis(20),
        network: Duration::from_secs(5),
        visible: Duration::from_secs(1),
        instance: Duration::from_secs(5),
        dial: Duration::from_secs(2),
        page: 3,
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

#[test]
fn keeps_the_contract_in_the_default_network() {
    let emulator = Emulator::start();
    check_contract(&emulator.cloud(), PUBLIC, Secret::new(PRIVATE)).unwrap();
    emulator.assert_proper();
    assert_eq!(emulator.server.calls("networks.insert").len(), 0);
    assert_eq!(emulator.server.calls("instances.insert").len(), 1);
}

#[test]
fn keeps_the_contract_in_an_own_network() {
    let emulator = Emulator::start();
    let config = GcpConfig { project: "bare".to_owned(), ..emulator.config() };
    check_contract(&emulator.cloud_with(config, tuning()), PUBLIC, Secret::new(PRIVATE)).unwrap();
    emulator.assert_proper();
    assert_eq!(emulator.server.calls("networks.insert").len(), 1);
    assert_eq!(emulator.server.calls("subnetworks.insert").len(), 1);
}

#[test]
fn keeps_the_contract_with_static_addresses() {
    let emulator = Emulator::start();
    let config = GcpConfig { static_address: true, ..emulator.config() };
    check_contract(&emulator.cloud_with(config, tuning()), PUBLIC, Secret::new(PRIVATE)).unwrap();
    emulator.assert_proper();
    assert_eq!(emulator.server.calls("addresses.insert").len(), 1);
    assert_eq!(emulator.server.calls("addresses.delete").len(), 1);
}
