//! Hosts that show another SSH host key than the one in their user-data, as whoever stands in their place does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use super::Clouds;

/// Private and public half by host.
#[derive(Debug, Clone, Default)]
pub(crate) struct HostKeys(Arc<Mutex<BTreeMap<String, (String, String)>>>);

impl HostKeys {
    /// The user-data that the host gets.
    pub(crate) fn replace_in(&self, host: &str, user_data: String) -> String {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let config = user_data.strip_prefix("#cloud-config\n").map(serde_json::from_str::<Value>);
        match (keys.get(host), config) {
            (Some((private, public)), Some(Ok(mut config))) => {
                config["ssh_keys"] = json!({ "ed25519_private": private, "ed25519_public": public });
                format!("#cloud-config\n{config}\n")
            }
            _ => user_data,
        }
    }
}

impl Clouds {
    /// Lets the next instance of this name show this host key, whatever its user-data says.
    pub fn show_host_key(&self, host: &str, (private, public): (String, String)) {
        let mut keys = self.landlord.host_keys().0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.insert(host.to_owned(), (private, public.trim().to_owned()));
    }

    /// Lets instances show the keys of their user-data again.
    pub fn show_own_host_keys(&self) {
        self.landlord.host_keys().0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
