//! A report as a picture: sites, hosts, and how each pair of gateways talks, as text, for Mermaid and for Graphviz. Pure.
//!
//! What hosts say of themselves goes through here; no name can draw on a terminal or leave its quotes.

use std::fmt::Write as _;

use serde::Serialize;

use crate::verify::{Pair, Report};

/// Sites and the links between their hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Graph {
    /// In the order of the report.
    pub sites: Vec<Group>,
    /// Every unordered pair of hosts.
    pub links: Vec<Link>,
}

/// A site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// The gateways in it.
    pub hosts: Vec<Node>,
}

/// A host with a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// As systemd says it, or `unreachable`, or `missing`.
    pub state: String,
}

/// How two hosts talk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// The host that comes first in the report.
    pub from: String,
    /// The other.
    pub to: String,
    /// From the first to the other.
    pub there: Way,
    /// From the other to the first.
    pub back: Way,
}

/// How frames go from one host to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// Straight.
    Direct,
    /// Through these.
    Relay(Vec<String>),
    /// They do not.
    None,
}

impl Graph {
    /// Puts the two directions of each pair together.
    pub fn new(report: &Report) -> Graph {
        let mut sites: Vec<Group> = Vec::new();
        for row in &report.gateways {
            let node = Node { name: clean(&row.host), state: clean(&row.state) };
            let name = clean(&row.site);
            match sites.iter_mut().find(|site| site.name == name) {
                Some(site) => site.hosts.push(node),
                None => sites.push(Group { name, hosts: vec![node] }),
            }
        }
        let mut links: Vec<Link> = Vec::new();
        for pair in &report.pairs {
            let (from, to) = (clean(&pair.from), clean(&pair.to));
            match links.iter_mut().find(|link| link.from == to && link.to == from) {
                Some(link) => link.back = Way::of(pair),
                None => links.push(Link { from, to, there: Way::of(pair), back: Way::None }),
            }
        }
        Graph { sites, links }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for site in &self.sites {
            let _ = writeln!(text, "{}", site.name);
            for host in &site.hosts {
                let _ = writeln!(text, "  {}", label(host));
            }
        }
        let ends: Vec<(String, String)> = self.links.iter().flat_map(ends).collect();
        let width = ends.iter().map(|(ends, _)| ends.chars().count()).max().unwrap_or(0);
        if !ends.is_empty() {
            text.push('\n');
        }
        for (ends, way) in ends {
            let _ = writeln!(text, "{ends:width$}  {way}");
        }
        text
    }

    /// For <https://mermaid.js.org>, as Markdown viewers draw it.
    pub fn mermaid(&self) -> String {
        let mut text = "flowchart LR\n".to_owned();
        for (number, site) in (1..).zip(&self.sites) {
            let _ = writeln!(text, "  subgraph s{number}[\"{}\"]", mermaid(&site.name));
            for host in &site.hosts {
                let id = self.id(&host.name);
                let _ = writeln!(text, "    {id}[\"{}\"]", mermaid(&label(host)));
            }
            text.push_str("  end\n");
        }
        for link in &self.links {
            let (from, to) = (self.id(&link.from), self.id(&link.to));
            let words = mermaid(&link.words());
            let _ = match link.worst() {
                Way::Direct => writeln!(text, "  {from} --- {to}"),
                Way::Relay(_) => writeln!(text, "  {from} -. \"{words}\" .- {to}"),
                Way::None => writeln!(text, "  {from} x-- \"{words}\" --x {to}"),
            };
        }
        text
    }

    /// For <https://graphviz.org>.
    pub fn dot(&self) -> String {
        let mut text = "graph weave {\n".to_owned();
        for (number, site) in (1..).zip(&self.sites) {
            let _ = writeln!(text, "  subgraph cluster_{number} {{\n    label=\"{}\";", dot(&site.name));
            for host in &site.hosts {
                let id = self.id(&host.name);
                let _ = writeln!(text, "    {id} [shape=box, label=\"{}\"];", dot(&label(host)));
            }
            text.push_str("  }\n");
        }
        for link in &self.links {
            let (from, to) = (self.id(&link.from), self.id(&link.to));
            let words = dot(&link.words());
            let _ = match link.worst() {
                Way::Direct => writeln!(text, "  {from} -- {to};"),
                Way::Relay(_) => writeln!(text, "  {from} -- {to} [style=dashed, label=\"{words}\"];"),
                Way::None => writeln!(text, "  {from} -- {to} [style=dotted, color=red, label=\"{words}\"];"),
            };
        }
        text.push_str("}\n");
        text
    }

    /// A host's name in a drawing, which no word of the language can be.
    fn id(&self, host: &str) -> String {
        let mut hosts = self.sites.iter().flat_map(|site| &site.hosts);
        match hosts.position(|node| node.name == host) {
            Some(at) => format!("h{}", at + 1),
            None => "unknown".to_owned(),
        }
    }
}

impl Link {
    /// Both ways in words.
    fn words(&self) -> String {
        if self.there == self.back {
            return self.there.words();
        }
        let Link { from, to, there, back } = self;
        format!("{from} to {to}: {}, back: {}", there.words(), back.words())
    }

    fn worst(&self) -> &Way {
        match (&self.there, &self.back) {
            (Way::None, _) | (_, Way::None) => &Way::None,
            (Way::Direct, back) => back,
            (there, _) => there,
        }
    }
}

impl Way {
    fn of(pair: &Pair) -> Way {
        match (pair.ok, &pair.path) {
            (true, Some(path)) if path == "direct" => Way::Direct,
            (true, Some(_)) => Way::Relay(pair.via.iter().map(|name| clean(name)).collect()),
            _ => Way::None,
        }
    }

    fn words(&self) -> String {
        match self {
            Way::Direct => "direct".to_owned(),
            Way::Relay(via) if via.is_empty() => "relay".to_owned(),
            Way::Relay(via) => format!("relay via {}", via.join(", ")),
            Way::None => "none".to_owned(),
        }
    }
}

/// One line where both directions are alike, else two.
fn ends(link: &Link) -> Vec<(String, String)> {
    let Link { from, to, there, back } = link;
    if there == back {
        return vec![(format!("{from} ─ {to}"), there.words())];
    }
    vec![(format!("{from} → {to}"), there.words()), (format!("{to} → {from}"), back.words())]
}

fn label(host: &Node) -> String {
    if host.state == "active" { host.name.clone() } else { format!("{} ({})", host.name, host.state) }
}

/// What fits on a line of a terminal.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(60).collect()
}

/// Inside the quotes of Mermaid: everything that means something there becomes its number.
fn mermaid(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '"' | '#' | '&' | '<' | '>' | '`' | ';' | '\\' => {
                let _ = write!(escaped, "#{};", u32::from(c));
            }
            c => escaped.push(c),
        }
    }
    escaped
}

/// Inside the quotes of Graphviz.
fn dot(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
