//! The fake keeps the contract and fails on demand; the modules test what adapters share.

mod blocks;
mod dial;
mod user_data;

use crate::{Architecture, Cloud, Fake, ProviderError, Secret, Site, all_of, check_contract, one_line};

#[test]
fn the_fake_keeps_the_contract() {
    check_contract(&Fake::new(), "ssh-ed25519 AAAA operator", Secret::new("key")).unwrap();
}

#[test]
fn a_fault_hits_the_next_call_of_its_operation_once() {
    let cloud = Fake::new();
    let site = Site { name: "aws".to_owned(), index: 1 };
    cloud.fail_next("ensure_site", ProviderError::Retryable("throttled".to_owned()));
    assert!(cloud.destroy_host("aws-9").is_ok());
    assert!(cloud.ensure_site(&site).unwrap_err().is_retryable());
    assert!(cloud.ensure_site(&site).is_ok());
    assert_eq!(cloud.calls(), ["destroy_host aws-9", "ensure_site aws", "ensure_site aws"]);
}

#[test]
fn architectures_have_names() {
    for name in ["x86_64", "arm64"] {
        assert_eq!(name.parse::<Architecture>().unwrap().to_string(), name);
    }
    assert!("amd64".parse::<Architecture>().unwrap_err().to_string().contains("want x86_64 or arm64"));
}

#[test]
fn secrets_do_not_show() {
    assert_eq!(format!("{:?}", Secret::new("key")), "***");
}

#[test]
fn text_from_outside_is_cut() {
    assert_eq!(one_line(" said\n  Google.. "), "said Google");
    let long = one_line(&"much\n ".repeat(1000));
    assert!(long.chars().count() == 301 && long.ends_with('…') && !long.contains('\n'), "{long}");
}

#[test]
fn several_failures_are_told_as_the_one_to_look_at_first() {
    let (busy, denied) =
        (ProviderError::Retryable("a is busy".to_owned()), ProviderError::Permission("b".to_owned()));
    assert_eq!(all_of(vec![]), Ok(()));
    assert_eq!(all_of(vec![denied.clone()]), Err(denied.clone()));
    let both = all_of(vec![busy.clone(), denied]).unwrap_err();
    assert_eq!(both.to_string(), "not permitted: b; a is busy");
    let taken = ProviderError::Conflict("c".to_owned());
    let others = all_of(vec![taken, busy]).unwrap_err();
    assert_eq!(others.to_string(), "c exists already and is not ours to change; a is busy");
    assert!(!both.is_retryable() && !others.is_retryable());
}
