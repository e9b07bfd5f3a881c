//! Asking the gateway on this host.

use std::time::Duration;

use serde::de::DeserializeOwned;

/// Why the gateway gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no gateway answers on {address}")]
    NotRunning {
        /// Where one was looked for.
        address: String,
        /// What the connection said.
        #[source]
        source: ureq::Error,
    },
    /// The gateway refused; its own words.
    #[error("{reason}")]
    Refused {
        /// The status code of its answer.
        status: u16,
        /// Why.
        reason: String,
    },
    /// The answer is of another shape: another version answers.
    #[error("the answer of the gateway on {address} cannot be read")]
    Unreadable {
        /// Who answered.
        address: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

/// A blocking client of one gateway.
#[derive(Clone, Debug)]
pub struct Client {
    address: String,
    agent: ureq::Agent,
}

/// Reports of a thousand peers with all their links stay below this.
const MAX_ANSWER: u64 = 64 << 20;

impl Client {
    /// Where the API listens unless told otherwise.
    pub const DEFAULT_ADDRESS: &'static str = "127.0.0.1:6784";

    /// A client of the gateway at `host`, `host:port` or an URL; no call takes longer than `limit`.
    pub fn new(address: &str, limit: Duration) -> Client {
        let address = match address {
            url if url.contains("://") => url.trim_end_matches('/').to_owned(),
            pair if pair.contains(':') => format!("http://{pair}"),
            host => format!("http://{host}:6784"),
        };
        let config = ureq::Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(3)))
            .timeout_global(Some(limit))
            .http_status_as_error(false)
            .proxy(None)
            .build();
        Client { address, agent: config.into() }
    }

    /// Reads a text.
    pub fn text(&self, path: &str) -> Result<String, ClientError> {
        let request = self.agent.get(format!("{}{path}", self.address)).header("Accept", "*/*");
        self.finish(request.call())
    }

    /// Reads a value.
    pub fn value<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let request = self.agent.get(format!("{}{path}", self.address)).header("Accept", "application/json");
        let text = self.finish(request.call())?;
        serde_json::from_str(&text)
            .map_err(|source| ClientError::Unreadable { address: self.address.clone(), source })
    }

    /// Sends a form; returns the answer's text.
    pub fn post(&self, path: &str, form: &[(&str, String)]) -> Result<String, ClientError> {
        let form = form.iter().map(|(name, value)| (*name, value.as_str()));
        self.finish(self.agent.post(format!("{}{path}", self.address)).send_form(form))
    }

    /// Takes something back; returns the answer's text.
    pub fn delete(&self, path: &str) -> Result<String, ClientError> {
        self.finish(self.agent.delete(format!("{}{path}", self.address)).call())
    }

    fn finish(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<String, ClientError> {
        let failed = |source| ClientError::NotRunning { address: self.address.clone(), source };
        let mut answer = answer.map_err(failed)?;
        let text = answer.body_mut().with_config().limit(MAX_ANSWER).read_to_string().map_err(failed)?;
        // 503 carries the same body while not all parts are ready.
        if answer.status().is_success() || answer.status() == 503 {
            return Ok(text);
        }
        let text = text.trim();
        let status = answer.status();
        let reason = if text.is_empty() { status.to_string() } else { text.to_owned() };
        Err(ClientError::Refused { status: status.as_u16(), reason })
    }
}
