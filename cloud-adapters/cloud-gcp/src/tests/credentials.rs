//! Where credentials are looked for, and what is said when there are none.

use std::ffi::OsString;

use cloud_core::ProviderError;

use crate::adc::{Machine, look};

const FILE: &str = "/home/op/.config/gcloud/application_default_credentials.json";

/// Looks on a machine with these variables and this one readable file.
fn on(variables: &[(&str, &str)], file: &str, product: &str) -> Result<(), ProviderError> {
    look(&Machine {
        variable: &|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        },
        is_readable: &|path| path.to_str() == Some(file),
        product,
    })
}

#[test]
fn they_are_found_in_the_order_of_the_library() {
    let home = ("HOME", "/home/op");
    assert_eq!(on(&[home], FILE, ""), Ok(()));
    assert_eq!(on(&[("GOOGLE_APPLICATION_CREDENTIALS", "/key.json"), home], "/key.json", ""), Ok(()));
    assert_eq!(on(&[], "", "Google Compute Engine\n"), Ok(()));
    // The library would not look further than to the variable either.
    assert!(on(&[("GOOGLE_APPLICATION_CREDENTIALS", "/none.json"), home], FILE, "Google").is_err());
}

#[test]
fn without_any_the_way_out_is_said() {
    for (variables, words) in [
        (vec![("HOME", "/home/op")], FILE),
        (vec![], "no HOME"),
        (vec![("GOOGLE_APPLICATION_CREDENTIALS", "/none.json")], "names /none.json, which cannot be read"),
    ] {
        let Err(ProviderError::Permission(text)) = on(&variables, "", "KVM") else { panic!("{variables:?}") };
        assert!(text.contains(words) && text.contains("gcloud auth application-default login"), "{text}");
        assert!(!text.contains('\n'), "{text}");
    }
}
