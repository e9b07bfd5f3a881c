//! Containers: attached, found again by another name, detached.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Command};
use std::sync::Arc;

use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket};

use super::{Namespace, attachment, bridge, cidr, cidrs, exchange};
use crate::{Attachment, Change, Host, HostError, Netns, announce};

/// A host with the bridge.
fn host() -> Namespace {
    let host = Namespace::new("host");
    host.host(async |net| net.ensure_bridge(&bridge()).await).expect("made");
    host
}

fn host_ends(host: &Namespace) -> Vec<String> {
    host.interfaces().into_iter().filter(|name| name.starts_with("vethwepl")).collect()
}

#[test]
fn two_containers_reach_each_other() {
    let (host, a, b) = (host(), Namespace::new("a"), Namespace::new("b"));
    host.host(async |net| {
        for (container, addresses) in
            [(&a, ["10.2.1.1/24", "fd00::1/64"]), (&b, ["10.2.1.2/24", "fd00::2/64"])]
        {
            let wanted = attachment(container, &addresses);
            assert_eq!(net.attach(&wanted).await.expect("attached"), Change::Changed);
            assert_eq!(net.attach(&wanted).await.expect("kept"), Change::Unchanged);
            assert_eq!(net.attached(&container.netns()).await.expect("listed"), cidrs(&addresses));
        }
    });
    exchange(&a.socket("10.2.1.1"), &b.socket("10.2.1.2"));
    exchange(&a.socket("fd00::1"), &b.socket("fd00::2"));

    let shown = a.ip("-d link show ethwe");
    for part in ["mtu 1376", ",UP", "alias weave gateway", "veth"] {
        assert!(shown.contains(part), "no '{part}' in {shown}");
    }
    assert_eq!(a.interfaces(), ["ethwe"]);
    assert_eq!(a.ip("route show 224.0.0.0/4").trim_end(), "224.0.0.0/4 dev ethwe proto static scope link");
    let ends = host_ends(&host);
    assert_eq!(ends.len(), 2, "{ends:?}");
    let shown = host.ip(&format!("link show {}", ends[0]));
    for part in ["mtu 1376", "master weave", ",UP", "alias weave gateway: netns:hostnet-"] {
        assert!(shown.contains(part), "no '{part}' in {shown}");
    }
    assert!(host.ip(&format!("-6 address show dev {}", ends[0])).is_empty(), "a port has no address");
}

#[test]
fn multicast_leaves_by_the_interface_and_reaches_the_others() {
    let (host, a, b) = (host(), Namespace::new("a"), Namespace::new("b"));
    host.host(async |net| {
        net.attach(&attachment(&a, &["10.2.1.1/24"])).await.expect("attached");
        net.attach(&attachment(&b, &["10.2.1.2/24"])).await.expect("attached");
    });
    let group = Ipv4Addr::new(239, 1, 2, 3);
    let to = b.socket("0.0.0.0");
    to.join_multicast_v4(&group, &Ipv4Addr::new(10, 2, 1, 2)).expect("joined");
    let port = to.local_addr().expect("bound").port();
    let from = a.socket("0.0.0.0");
    from.send_to(b"all", (group, port)).expect("sent");
    let mut buffer = [0; 16];
    let (length, sender) = to.recv_from(&mut buffer).expect("it arrives");
    assert_eq!((&buffer[..length], sender.ip().to_string()), (&b"all"[..], "10.2.1.1".to_owned()));
}

#[test]
fn the_others_hear_of_a_new_address() {
    let (host, a, b) = (host(), Namespace::new("a"), Namespace::new("b"));
    host.host(async |net| net.attach(&attachment(&b, &["10.2.1.2/24"])).await).expect("attached");
    let ear = Ear::inside(&b);
    host.host(async |net| net.attach(&attachment(&a, &["10.2.1.1/24", "fd00::1/64"])).await)
        .expect("attached");
    let shown = a.ip("-o link show ethwe");
    let mac = shown.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next());
    let mac = mac.and_then(|text| text.parse().ok()).expect("an address in the listing");
    ear.hears(&announce::arp(mac, Ipv4Addr::new(10, 2, 1, 1)));
    ear.hears(&announce::advertisement(mac, "fd00::1".parse().expect("an address")));

    host.host(async |net| {
        net.attach(&attachment(&a, &["10.2.1.9/24"])).await.expect("added");
        net.expose("weave", cidr("10.2.1.200/24")).await.expect("added");
    });
    ear.hears(&announce::arp(mac, Ipv4Addr::new(10, 2, 1, 9)));
    ear.hears(&announce::arp(super::MAC, Ipv4Addr::new(10, 2, 1, 200)));
}

/// A packet socket that hears everything in a namespace.
struct Ear(OwnedFd);

impl Ear {
    fn inside(namespace: &Namespace) -> Ear {
        let open = || {
            let all = SockProtocol::EthAll;
            socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, all)
                .expect("opening needs root")
        };
        let fd = namespace.run(open);
        let patience = nix::sys::time::TimeVal::new(5, 0);
        setsockopt(&fd, ReceiveTimeout, &patience).expect("a timeout");
        Ear(fd)
    }

    /// Reads until the frame comes; frames before it are lost.
    fn hears(&self, frame: &[u8]) {
        let mut buffer = [0; 2048];
        loop {
            let length = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()).expect("the frame arrives");
            if &buffer[..length] == frame {
                return;
            }
        }
    }
}

#[test]
fn many_are_attached_at_once_by_tasks_of_a_real_runtime() {
    let host = host();
    let containers: Vec<_> =
        (0..8).map(|n| (Namespace::new("many"), format!("10.2.1.{}/24", n + 1))).collect();
    host.run(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(super::within(async {
            let net = Arc::new(Host::new().expect("opening netlink"));
            let mut tasks = tokio::task::JoinSet::new();
            // Each of them twice: one makes it, the other finds it.
            for (container, address) in containers.iter().chain(&containers) {
                let (net, wanted) = (Arc::clone(&net), attachment(container, &[address]));
                tasks.spawn(async move { net.attach(&wanted).await.expect("attached") });
            }
            let changes = tasks.join_all().await;
            assert_eq!(changes.iter().filter(|&&change| change == Change::Changed).count(), containers.len());
        }));
    });
    exchange(&containers[0].0.socket("10.2.1.1"), &containers[7].0.socket("10.2.1.8"));
}

#[test]
fn a_bridge_that_is_down_delays_nobody() {
    let (host, a) = (host(), Namespace::new("a"));
    host.ip("link set weave down");
    let start = std::time::Instant::now();
    host.host(async |net| net.attach(&attachment(&a, &["10.2.1.1/24"])).await).expect("attached");
    assert!(start.elapsed().as_millis() < 1500, "{:?}", start.elapsed());
}

#[test]
fn addresses_come_and_go_and_the_interface_with_the_last() {
    let (host, a) = (host(), Namespace::new("a"));
    let all = cidrs(&["10.2.1.1/24", "10.2.1.2/24", "10.3.0.1/16", "fd00::1/64"]);
    host.host(async |net| {
        net.attach(&attachment(&a, &["10.2.1.1/24"])).await.expect("attached");
        let more = attachment(&a, &["10.2.1.2/24", "10.3.0.1/16", "fd00::1/64"]);
        assert_eq!(net.attach(&more).await.expect("added"), Change::Changed);
        assert_eq!(net.attach(&more).await.expect("kept"), Change::Unchanged);
        assert_eq!(net.attached(&a.netns()).await.expect("listed"), all);

        let unknown = net.detach(&a.netns(), &[cidr("10.9.9.9/24")]).await.expect("nothing to take");
        assert_eq!(unknown, []);
        let first = net.detach(&a.netns(), &all[..1]).await.expect("taken");
        assert_eq!(first, all[..1]);
        assert_eq!(net.attached(&a.netns()).await.expect("listed"), all[1..]);

        let rest = net.detach(&a.netns(), &[]).await.expect("taken");
        assert_eq!(rest, all[1..]);
        assert_eq!(net.attached(&a.netns()).await.expect("listed"), []);
        assert_eq!(net.detach(&a.netns(), &[]).await.expect("nothing to take"), []);

        net.attach(&attachment(&a, &["10.2.1.1/24"])).await.expect("attached again");
        let last = net.detach(&a.netns(), &all[..1]).await.expect("taken");
        assert_eq!(last, all[..1]);
    });
    assert_eq!(host.interfaces(), ["weave"]);
    assert_eq!(a.interfaces(), [""; 0]);
}

/// A process inside a namespace, killed at the end of the test.
struct Process(Child);

impl Process {
    fn inside(namespace: &Namespace) -> Process {
        Process(namespace.run(|| Command::new("sleep").arg("600").spawn()).expect("started"))
    }

    fn netns(&self) -> Netns {
        Netns::Pid(self.0.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_namespace_has_one_place_whatever_it_is_called() {
    let (host, a) = (host(), Namespace::new("a"));
    let process = Process::inside(&a);
    let path = Netns::Path(format!("/run/netns/{}", a.0).into());
    let by =
        |netns: &Netns, addresses: &[&str]| Attachment { netns: netns.clone(), ..attachment(&a, addresses) };
    host.host(async |net| {
        let first = net.attach(&by(&process.netns(), &["10.2.1.1/24"])).await.expect("attached");
        assert_eq!(first, Change::Changed);
        for netns in [a.netns(), path.clone()] {
            let again = net.attach(&by(&netns, &["10.2.1.1/24"])).await.expect("kept");
            assert_eq!(again, Change::Unchanged);
            assert_eq!(net.attached(&netns).await.expect("listed"), cidrs(&["10.2.1.1/24"]));
        }
        let other = Attachment { interface: "ethwe0".to_owned(), ..by(&path, &["10.2.1.1/24"]) };
        let error = net.attach(&other).await.expect_err("one place");
        assert!(
            matches!(&error, HostError::AlreadyAttached { interface, .. } if interface == "ethwe"),
            "{error}"
        );
        let taken = net.detach(&a.netns(), &[]).await.expect("taken");
        assert_eq!(taken, cidrs(&["10.2.1.1/24"]));
    });
    assert_eq!(host.interfaces(), ["weave"]);
}

#[test]
fn what_a_vanished_namespace_leaves_is_removed() {
    let (host, other) = (host(), Namespace::new("other"));
    let a = Namespace::new("a");
    let process = Process::inside(&a);
    host.host(async |net| {
        net.attach(&attachment(&a, &["10.2.1.1/24"])).await.expect("attached");
        net.attach(&attachment(&other, &["10.2.1.2/24"])).await.expect("attached");
    });
    // The name goes; the process keeps the namespace, and so the pair.
    let netns = a.netns();
    drop(a);
    assert_eq!(host_ends(&host).len(), 2);
    host.host(async |net| {
        let missing = net.attached(&netns).await.expect_err("it is gone");
        assert!(matches!(missing, HostError::NoSuchNetns { .. }), "{missing}");
        assert_eq!(net.detach(&netns, &[]).await.expect("cleaned up"), []);
        assert_eq!(net.detach(&netns, &[]).await.expect("nothing left"), []);
    });
    assert_eq!(host_ends(&host).len(), 1);
    host.host(async |net| net.attached(&other.netns()).await).expect("the other stays");
    drop(process);
}

#[test]
fn a_container_engine_s_ban_on_ipv6_is_lifted_for_the_interface() {
    let (host, a) = (host(), Namespace::new("a"));
    for scope in ["default", "all"] {
        a.run(|| std::fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"), "1"))
            .expect("writable");
    }
    host.host(async |net| {
        net.attach(&attachment(&a, &["fd00::1/64"])).await.expect("attached");
        assert_eq!(net.attached(&a.netns()).await.expect("listed"), cidrs(&["fd00::1/64"]));
    });
}

#[test]
fn removing_the_bridge_removes_host_ends_and_nothing_foreign() {
    let (host, a) = (host(), Namespace::new("a"));
    host.ip("link add vethwepl0000000 type veth peer name vethwepg0000000");
    host.ip("link set vethwepl0000000 master weave");
    host.host(async |net| {
        net.attach(&attachment(&a, &["10.2.1.1/24"])).await.expect("attached");
        net.remove_bridge("weave").await.expect("removed");
        net.remove_bridge("weave").await.expect("gone already");
    });
    let mut left = host.interfaces();
    left.sort();
    assert_eq!(left, ["vethwepg0000000", "vethwepl0000000"]);
    assert_eq!(a.interfaces(), [""; 0]);
}

#[test]
fn host_ends_that_lost_their_bridge_are_taken_back_or_removed() {
    let (host, a, b) = (host(), Namespace::new("a"), Namespace::new("b"));
    host.host(async |net| {
        net.attach(&attachment(&a, &["10.2.1.1/24"])).await.expect("attached");
        net.attach(&attachment(&b, &["10.2.1.2/24"])).await.expect("attached");
    });
    host.ip("link delete weave");
    host.host(async |net| {
        net.ensure_bridge(&bridge()).await.expect("made again");
        for (container, address) in [(&a, "10.2.1.1/24"), (&b, "10.2.1.2/24")] {
            let again = net.attach(&attachment(container, &[address])).await.expect("taken back");
            assert_eq!(again, Change::Changed);
        }
    });
    exchange(&a.socket("10.2.1.1"), &b.socket("10.2.1.2"));
    host.ip("link delete weave");
    host.host(async |net| net.remove_bridge("weave").await).expect("removed");
    assert_eq!(host.interfaces(), [""; 0]);
}
