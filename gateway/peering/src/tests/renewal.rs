//! Certificates and CAs that change while links are up.

use weave_model::{LinkId, NetworkName};
use weave_trust::{IdentityKey, Membership, NetworkCa, Trust};

use super::support::{Node, linked, wait_until};

fn ca(seed: u8) -> NetworkCa {
    NetworkCa::from_seed(NetworkName::default(), [seed; 32])
}

fn both() -> Trust {
    ca(1).trust().joined(&ca(2).trust())
}

/// The membership of the peer whose key is `seed`, issued by CA `by` as number `by`.
fn member(by: u8, seed: u8, trust: Trust) -> Membership {
    let key = IdentityKey::from_seed([seed; 32]);
    let identity = ca(by).issue(key.peer_name(), &key, u64::from(by));
    Membership { identity, trust, psk: [0; 32] }
}

fn ends(a: &Node, b: &Node) -> Option<(LinkId, LinkId, [u8; 16])> {
    let (to_b, to_a) = (a.adjacency(b)?, b.adjacency(a)?);
    Some((to_b.link, to_a.link, to_b.relay_keys.send))
}

/// The sequence of the record of `of`, as `at` knows it.
async fn sequence(at: &Node, of: &Node) -> Option<u64> {
    let records = at.status().await.records;
    records.iter().find(|record| record.peer == of.name).map(|record| record.sequence)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_outlive_a_change_of_the_ca_and_strangers_do_not_get_in() {
    let one = Node::start(1, 1, &[]);
    let other = Node::start(1, 2, &[one.wire.address]);
    let late = Node::start(1, 3, &[one.wire.address]);
    linked(&one, &other).await;
    linked(&one, &late).await;
    let before = ends(&one, &other);
    let renew = async |node: &Node, to: Membership| node.peering.renew(to).await.unwrap();

    renew(&one, member(1, 1, both())).await;
    renew(&other, member(1, 2, both())).await;
    let first = sequence(&other, &other).await;
    renew(&one, member(2, 1, both())).await;
    renew(&other, member(2, 2, both())).await;
    // The certificate travels before the record that follows it.
    wait_until("the new certificate is known", async || {
        let (own, told) = (sequence(&other, &other).await?, sequence(&one, &other).await?);
        (Some(own) > first && told == own).then_some(())
    })
    .await;
    renew(&one, member(2, 1, ca(2).trust())).await;
    wait_until("the late one is out", async || one.adjacency(&late).is_none().then_some(())).await;
    renew(&other, member(2, 2, ca(2).trust())).await;
    assert_eq!(ends(&one, &other), before, "the same link on both ends");
    assert_eq!((one.relays_to(&other), other.relays_to(&one)), (Some(0), Some(0)));

    wait_until("the late one is refused", async || {
        let refusals = one.status().await.refusals;
        refusals.iter().any(|r| r.remote == late.wire.address).then_some(())
    })
    .await;
    let fresh = Node::start(2, 4, &[one.wire.address]);
    linked(&fresh, &one).await;
    renew(&late, member(2, 3, ca(2).trust())).await;
    linked(&late, &one).await;
    assert_eq!(ends(&one, &other), before, "the same link on both ends");
    let wrong = one.peering.renew(member(2, 9, ca(2).trust())).await;
    assert!(wrong.is_err(), "another key is no renewal");
}
