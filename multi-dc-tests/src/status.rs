//! What `weave-provision status --json` prints, read strictly: exactly the documented fields, no more and no fewer.

use std::fmt;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Map, Value};

/// The whole answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// By site and number.
    pub gateways: Vec<Gateway>,
    /// Every ordered pair.
    pub pairs: Vec<Pair>,
}

/// One gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// The host.
    pub host: String,
    /// Its site.
    pub site: String,
    /// The gateway's name in the network.
    pub peer: String,
    /// Its version.
    pub version: String,
    /// As systemd says it, or `unreachable`, or `missing`.
    pub state: String,
}

/// How one gateway reaches another.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// The host that pings.
    pub from: String,
    /// The host that is pinged.
    pub to: String,
    /// `direct` or `relay`; absent when the gateway does not know the other.
    pub path: Option<String>,
    /// Through whom.
    pub via: Vec<String>,
    /// The round trip in milliseconds.
    pub rtt_ms: Option<f64>,
    /// The largest frame payload that passes.
    pub mtu: Option<u64>,
    /// Whether the ping came back.
    pub ok: bool,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for gateway in &self.gateways {
            writeln!(f, "{} {}", gateway.host, gateway.state)?;
        }
        for Pair { from, to, path, via, rtt_ms, mtu, ok } in &self.pairs {
            writeln!(f, "{from} → {to}: ok={ok} path={path:?} via={via:?} rtt={rtt_ms:?} mtu={mtu:?}")?;
        }
        Ok(())
    }
}

impl Status {
    /// Reads the one line of JSON.
    pub fn parse(text: &str) -> anyhow::Result<Status> {
        let value: Value = serde_json::from_str(text).context("the status is not JSON")?;
        let [gateways, pairs] = fields(&value, ["gateways", "pairs"])?;
        Ok(Status {
            gateways: list(gateways)?.iter().map(gateway).collect::<anyhow::Result<_>>()?,
            pairs: list(pairs)?.iter().map(pair).collect::<anyhow::Result<_>>()?,
        })
    }

    /// The pair of two hosts.
    pub fn pair(&self, from: &str, to: &str) -> anyhow::Result<&Pair> {
        let found = self.pairs.iter().find(|pair| pair.from == from && pair.to == to);
        found.with_context(|| format!("no pair {from} → {to}"))
    }

    /// Whether every pair works.
    pub fn all_ok(&self) -> bool {
        !self.pairs.is_empty() && self.pairs.iter().all(|pair| pair.ok)
    }

    /// Whether `aws` and `gcp` talk through a host on-prem and everybody else directly.
    pub fn is_partial(&self) -> bool {
        self.pairs.iter().all(|pair| {
            let apart = [pair.from.as_str(), pair.to.as_str()];
            if apart.contains(&"aws-1") && apart.contains(&"gcp-1") {
                let through_onprem = matches!(&*pair.via, [via] if via.starts_with("onprem-"));
                pair.path.as_deref() == Some("relay") && through_onprem
            } else {
                pair.path.as_deref() == Some("direct") && pair.via.is_empty()
            }
        })
    }
}

fn gateway(value: &Value) -> anyhow::Result<Gateway> {
    let [host, site, peer, version, state] = fields(value, ["host", "site", "peer", "version", "state"])?;
    Ok(Gateway {
        host: string(host)?,
        site: string(site)?,
        peer: string(peer)?,
        version: string(version)?,
        state: string(state)?,
    })
}

fn pair(value: &Value) -> anyhow::Result<Pair> {
    let names = ["from", "to", "path", "via", "rtt_ms", "mtu", "ok"];
    let [from, to, path, via, rtt_ms, mtu, ok] = fields(value, names)?;
    Ok(Pair {
        from: string(from)?,
        to: string(to)?,
        path: optional(path, string)?,
        via: list(via)?.iter().map(string).collect::<anyhow::Result<_>>()?,
        rtt_ms: optional(rtt_ms, |value| value.as_f64().context("`rtt_ms` is no number"))?,
        mtu: optional(mtu, |value| value.as_u64().context("`mtu` is no whole number"))?,
        ok: ok.as_bool().context("`ok` is no boolean")?,
    })
}

/// The values of an object that has these fields and no others.
fn fields<'v, const N: usize>(value: &'v Value, names: [&str; N]) -> anyhow::Result<[&'v Value; N]> {
    let object: &Map<String, Value> = value.as_object().with_context(|| format!("no object: {value}"))?;
    if let Some(name) = object.keys().find(|key| !names.contains(&key.as_str())) {
        bail!("unknown field `{name}` in {value}");
    }
    let missing: Vec<_> = names.iter().filter(|name| !object.contains_key(**name)).collect();
    ensure!(missing.is_empty(), "fields {missing:?} are missing in {value}");
    Ok(names.map(|name| &value[name]))
}

fn list(value: &Value) -> anyhow::Result<&Vec<Value>> {
    value.as_array().with_context(|| format!("no list: {value}"))
}

fn string(value: &Value) -> anyhow::Result<String> {
    value.as_str().map(str::to_owned).with_context(|| format!("no text: {value}"))
}

fn optional<T>(value: &Value, read: impl FnOnce(&Value) -> anyhow::Result<T>) -> anyhow::Result<Option<T>> {
    if value.is_null() { Ok(None) } else { read(value).map(Some) }
}
