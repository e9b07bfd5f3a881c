//! What the clouds' own books say: which hosts were ever made, what was asked that changes anything, what stands now.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use netlab::Lab;
use serde_json::{Value, json};

use super::Clouds;
use crate::secrets::from_base64;

/// Verbs of Compute Engine that change nothing.
const READING: [&str; 5] = ["get", "list", "aggregatedList", "getFromFamily", "wait"];

impl Clouds {
    /// How many instances were ever made for each of these hosts, those included that are gone.
    pub fn births(&self, hosts: &[&str]) -> anyhow::Result<BTreeMap<String, usize>> {
        let mut births = BTreeMap::new();
        for host in hosts {
            let only = format!("&Filter.1.Name=tag%3Aweave-host&Filter.1.Value.1={host}");
            births
                .insert((*host).to_owned(), ids(&self.ec2("DescribeInstances", &only)?, "instanceId").len());
        }
        // One request id makes one instance, however often it is heard.
        let mut requests = BTreeSet::new();
        for call in self.compute_ledger()? {
            let id = call["query"]["requestId"].as_str().map(str::to_owned);
            let made = call["method"] == "instances.insert" && call["status"] == 200;
            if !made || id.is_some_and(|id| !requests.insert(id)) {
                continue;
            }
            let host = call["body"]["labels"]["weave-host"].as_str().context("an instance of no host")?;
            *births.entry(host.to_owned()).or_default() += 1;
        }
        Ok(births)
    }

    /// The user-data of every instance that was ever asked for.
    pub fn user_data(&self) -> anyhow::Result<Vec<String>> {
        let ec2 = self.proxy.calls("RunInstances").into_iter().filter_map(|mut call| call.remove("UserData"));
        let mut all: Vec<String> =
            ec2.map(|encoded| String::from_utf8(from_base64(&encoded))).collect::<Result<_, _>>()?;
        for call in self.compute_ledger()?.iter().filter(|call| call["method"] == "instances.insert") {
            let items = call["body"]["metadata"]["items"].as_array().into_iter().flatten();
            let items = items.filter(|item| item["key"] == "user-data");
            all.extend(items.filter_map(|item| item["value"].as_str()).map(str::to_owned));
        }
        Ok(all)
    }

    /// What each call of an EC2 action said of one parameter.
    pub fn ec2_asked(&self, action: &str, parameter: &str) -> Vec<String> {
        self.proxy.calls(action).into_iter().filter_map(|mut call| call.remove(parameter)).collect()
    }

    /// What each call of a method of Compute Engine said of one parameter in its path.
    pub fn compute_asked(&self, method: &str, parameter: &str) -> anyhow::Result<Vec<String>> {
        let calls = self.compute_ledger()?.into_iter().filter(|call| call["method"] == method);
        Ok(calls.filter_map(|call| call["at"][parameter].as_str().map(str::to_owned)).collect())
    }

    /// Ends an instance of Compute Engine at the console and the power of its host at once.
    pub fn kill_compute(&self, lab: &Lab, host: &str) -> anyhow::Result<()> {
        lab.destroy_host(host)?;
        let things = self.compute.ask_json("GET", "/_things", "")?;
        let ours = |path: &&str| path.contains("/instances/") && path.ends_with(&format!("-{host}"));
        let path = things.as_array().into_iter().flatten().filter_map(Value::as_str).find(ours);
        self.compute("DELETE", path.with_context(|| format!("no instance of {host}"))?, &json!({})).map(drop)
    }

    /// The calls that change something, in the order in which each cloud heard them; those of one name are numbered.
    pub fn changes(&self) -> anyhow::Result<Vec<String>> {
        let ec2 = self.proxy.all().into_iter().filter_map(|call| call.get("Action").cloned());
        let ec2 = ec2.filter(|action| !action.starts_with("Describe"));
        let compute = self.compute_ledger()?.into_iter();
        let compute = compute.filter_map(|call| call["method"].as_str().map(str::to_owned));
        let compute =
            compute.filter(|method| !READING.iter().any(|verb| method.ends_with(&format!(".{verb}"))));
        let mut counts = BTreeMap::<String, usize>::new();
        let numbered = |call: String| {
            let count = counts.entry(call.clone()).or_default();
            *count += 1;
            format!("{call} {count}")
        };
        Ok(ec2.chain(compute).map(numbered).collect())
    }

    /// What of a fleet stands in both clouds, by kind; volumes, addresses and interfaces also where they bear no mark.
    pub fn inventory(&self, fleet: &str) -> anyhow::Result<BTreeMap<String, usize>> {
        let mut inventory = BTreeMap::new();
        let mut add = |kind: String, count: usize| {
            if count > 0 {
                *inventory.entry(kind).or_default() += count;
            }
        };
        let alone = [
            ("volumes", "DescribeVolumes", "volumeId"),
            ("addresses", "DescribeAddresses", "allocationId"),
            ("interfaces", "DescribeNetworkInterfaces", "networkInterfaceId"),
        ];
        for (kind, action, id) in alone {
            add(format!("ec2 {kind}"), ids(&self.ec2(action, "")?, id).len());
        }
        for thing in self.remains(fleet)? {
            match thing.split_once(' ') {
                Some((action, _)) if alone.iter().any(|(_, other, _)| *other == action) => {}
                Some((action, _)) => add(format!("ec2 {}", action.trim_start_matches("Describe")), 1),
                None => add(format!("compute {}", thing.rsplit('/').nth(1).unwrap_or_default()), 1),
            }
        }
        let marked = format!("&Filter.1.Name=tag%3Aweave-fleet&Filter.1.Value.1={fleet}");
        let groups = self.ec2("DescribeSecurityGroups", &marked)?;
        add("ec2 rules".to_owned(), groups.matches("<ipProtocol>").count());
        Ok(inventory)
    }

    fn compute_ledger(&self) -> anyhow::Result<Vec<Value>> {
        let calls = self.compute.ask_json("GET", "/_calls", "")?;
        Ok(calls.as_array().context("no list of calls")?.clone())
    }
}

/// The different texts between the tags of this name.
fn ids<'a>(answer: &'a str, tag: &str) -> BTreeSet<&'a str> {
    let opening = format!("<{tag}>");
    answer.split(opening.as_str()).skip(1).filter_map(|rest| rest.split('<').next()).collect()
}
