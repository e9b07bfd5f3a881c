//! What cannot be attached leaves nothing behind, and what a killed gateway left is made anew.

use super::{Namespace, attachment, bridge, cidrs};
use crate::netns::OpenNetns;
use crate::{Attachment, Change, HostError, Netns};

fn host() -> Namespace {
    let host = Namespace::new("host");
    host.host(async |net| net.ensure_bridge(&bridge()).await).expect("made");
    host
}

#[test]
fn a_failure_half_way_leaves_nothing() {
    let (host, a) = (host(), Namespace::new("a"));
    host.host(async |net| {
        // The kernel refuses a multicast address, after the pair and the first address are there.
        let error = net.attach(&attachment(&a, &["10.2.1.1/24", "ff02::9/64"])).await.expect_err("refused");
        assert_eq!(error.to_string(), "cannot add address ff02::9/64 to 'ethwe'");
        assert!(matches!(error, HostError::Kernel { .. }));
        assert_eq!(net.attached(&a.netns()).await.expect("listed"), []);
    });
    assert_eq!(host.interfaces(), ["weave"]);
    assert_eq!(a.interfaces(), [""; 0]);
}

#[test]
fn a_failure_to_add_leaves_what_was_there_before() {
    let (host, a) = (host(), Namespace::new("a"));
    host.host(async |net| {
        net.attach(&attachment(&a, &["10.2.1.1/24"])).await.expect("attached");
        net.attach(&attachment(&a, &["10.2.1.1/24", "10.3.1.1/24", "ff02::9/64"]))
            .await
            .expect_err("refused");
        assert_eq!(net.attached(&a.netns()).await.expect("listed"), cidrs(&["10.2.1.1/24"]));
        let again = net.attach(&attachment(&a, &["10.2.1.1/24"])).await.expect("kept");
        assert_eq!(again, Change::Unchanged);
    });
}

#[test]
fn what_cannot_be_attached_says_why() {
    let (host, a) = (host(), Namespace::new("a"));
    a.ip("link add ethwe address 02:00:00:00:00:99 type veth peer name other");
    let before = a.ip("-d link show");
    let attempt = |attachment: Attachment| {
        let error = host.host(async |net| net.attach(&attachment).await).expect_err("refused");
        assert_eq!(host.interfaces(), ["weave"], "{error}");
        assert_eq!(a.ip("-d link show"), before, "{error}");
        (error.to_string(), error.hint())
    };
    let wanted = attachment(&a, &["10.2.1.1/24"]);

    let (error, hint) = attempt(wanted.clone());
    assert_eq!(error, "interface 'ethwe' exists and is not ours: a veth without the alias 'weave gateway'");
    assert!(hint.is_some());

    let (error, _) = attempt(Attachment { bridge: "none".to_owned(), ..wanted.clone() });
    assert_eq!(error, "there is no interface 'none'");

    let (error, _) = attempt(Attachment { netns: Netns::Named("nowhere".to_owned()), ..wanted.clone() });
    assert_eq!(error, "there is no network namespace 'netns:nowhere'");

    let (error, _) = attempt(Attachment { netns: host.netns(), ..wanted.clone() });
    assert!(error.ends_with("is the host's own network namespace, which cannot be attached"), "{error}");

    let (error, _) = attempt(Attachment { interface: "../all".to_owned(), ..wanted });
    assert!(error.starts_with("'../all' is not an interface name"), "{error}");
}

#[test]
fn an_interface_of_another_gateway_is_refused() {
    let (host, other, a) = (host(), host(), Namespace::new("a"));
    other.host(async |net| net.attach(&attachment(&a, &["10.2.1.1/24"])).await).expect("attached");
    let error =
        host.host(async |net| net.attach(&attachment(&a, &["10.2.1.1/24"])).await).expect_err("taken");
    assert!(matches!(&error, HostError::Foreign { interface, .. } if interface == "ethwe"), "{error}");
    assert_eq!(host.interfaces(), ["weave"]);
    let kept = other.host(async |net| net.attach(&attachment(&a, &["10.2.1.1/24"])).await).expect("kept");
    assert_eq!(kept, Change::Unchanged);
}

#[test]
fn a_pair_that_a_killed_gateway_left_half_made_is_made_anew() {
    let (host, a) = (host(), Namespace::new("a"));
    let tag = a.run(OpenNetns::current).expect("open").identity.tag();
    host.ip(&format!("link add vethwepl{tag} type veth peer name vethwepg{tag} netns {}", a.0));
    host.host(async |net| {
        let change = net.attach(&attachment(&a, &["10.2.1.1/24"])).await.expect("attached");
        assert_eq!(change, Change::Changed);
    });
    assert_eq!(a.interfaces(), ["ethwe"]);

    // Killed later, the outer end is marked already.
    let outer = format!("vethwepl{tag}");
    a.ip("link set ethwe down");
    a.ip(&format!("link set ethwe alias - name vethwepg{tag}"));
    host.host(async |net| {
        let change = net.attach(&attachment(&a, &["10.2.1.1/24"])).await.expect("attached");
        assert_eq!(change, Change::Changed);
    });
    assert_eq!(a.interfaces(), ["ethwe"]);

    host.ip(&format!("link delete {outer}"));
    host.ip(&format!("link add {outer} type veth peer name vethwepg{tag} netns {}", a.0));
    host.host(async |net| net.detach(&a.netns(), &[]).await).expect("removed");
    assert_eq!(host.interfaces(), ["weave"]);

    // The names alone do not make it ours.
    let b = Namespace::new("b");
    let tag = b.run(OpenNetns::current).expect("open").identity.tag();
    host.ip(&format!("link add vethwepl{tag} type veth peer name other"));
    let error =
        host.host(async |net| net.attach(&attachment(&b, &["10.2.1.1/24"])).await).expect_err("foreign");
    assert!(matches!(&error, HostError::Foreign { .. }), "{error}");
    assert_eq!(b.interfaces(), [""; 0]);
}

#[test]
fn a_pair_whose_inner_end_went_elsewhere_is_not_taken_for_this_namespace_s() {
    let (host, a, b) = (host(), Namespace::new("a"), Namespace::new("b"));
    host.host(async |net| net.attach(&attachment(&a, &["10.2.1.1/24"])).await).expect("attached");
    a.ip(&format!("link set ethwe netns {}", b.0));
    let before = host.interfaces();
    let error =
        host.host(async |net| net.attach(&attachment(&a, &["10.2.1.1/24"])).await).expect_err("moved");
    assert!(error.to_string().contains("netns:hostnet-"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.starts_with("remove it with `ip link delete vethwepl")));
    assert_eq!(host.interfaces(), before);
}

#[test]
fn without_privileges_the_error_says_so() {
    let (host, a) = (host(), Namespace::new("a"));
    let (made, attached) = host.run(|| {
        // SAFETY: drops the effective capabilities of this thread alone, which ends here; no memory is shared.
        let dropped = unsafe { libc::syscall(libc::SYS_setresuid, -1, 65534, -1) };
        assert_eq!(dropped, 0);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let net = crate::Host::new().expect("reading is free");
            let wanted = crate::Bridge { name: "weave2".to_owned(), ..bridge() };
            (net.ensure_bridge(&wanted).await, net.attach(&attachment(&a, &["10.2.1.1/24"])).await)
        })
    });
    let error = made.expect_err("not allowed");
    assert_eq!(error.to_string(), "not permitted to create bridge 'weave2'");
    assert!(error.hint().is_some_and(|hint| hint.contains("CAP_NET_ADMIN")));
    let error = attached.expect_err("not allowed");
    assert!(matches!(error, HostError::PermissionDenied { .. }), "{error}");
    assert_eq!(host.interfaces(), ["weave"]);
}
