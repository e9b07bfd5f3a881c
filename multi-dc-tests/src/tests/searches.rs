//! What is looked for in journals and among secrets.

use std::io::Write as _;

use crate::secrets::from_base64;
use crate::{Journal, Secrets, base64};

#[test]
fn base64_is_read_as_it_is_written() {
    for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
        assert_eq!(base64(bytes.as_bytes()), text);
        assert_eq!(from_base64(text), bytes.as_bytes());
    }
}

/// A key in PKCS#8 whose 32 bytes are 0 to 31 (RFC 8410, section 7).
const KEY: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
cHVibGljLCBwdWJsaWMsIHB1YmxpYw==
-----END CERTIFICATE-----
";

#[test]
fn a_key_is_found_in_each_form_and_a_certificate_is_no_secret() {
    let mut secrets = Secrets::default();
    secrets.add_pem("the key", KEY);
    let seed: Vec<u8> = (0..32).collect();
    let forms: [&[u8]; 5] = [
        b"MC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f",
        b"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        format!("{seed:?}").as_bytes().to_vec().leak(),
        seed.clone().leak(),
        b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    ];
    for form in forms {
        let said = [b"before ", form, b" after"].concat();
        assert!(!secrets.said_in(&said).is_empty(), "{}", String::from_utf8_lossy(form));
        secrets.check(&said).unwrap_err();
    }
    secrets.check(b"MC4CAQAwBQYDK2VwBCIE cHVibGljLCBwdWJsaWMsIHB1YmxpYw==").unwrap();
}

#[test]
fn an_escaped_text_is_found() {
    let mut secrets = Secrets::default();
    secrets.add("a text", b"{\"key\":\n\"x\"}");
    assert_eq!(secrets.said_in(br#"body: "{\"key\":\n\"x\"}""#), ["a text escaped"]);
}

#[test]
fn a_journal_is_read_from_its_end_line_by_line() {
    let path = std::env::temp_dir().join(format!("weave-journal-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let mut none = Journal::follow(path.clone()).unwrap();
    assert_eq!(none.fresh().unwrap(), []);
    let line = |event: &str| format!("{{\"at\":1,\"event\":\"{event}\",\"step\":\"a step\"}}\n");
    std::fs::write(&path, format!("{}{{\"at\":", line("begin"))).unwrap();
    let mut journal = Journal::follow(path.clone()).unwrap();
    assert_eq!(journal.fresh().unwrap(), []);
    // The next run drops what the one before left of a line.
    std::fs::write(&path, line("begin")).unwrap();
    std::fs::File::options().append(true).open(&path).unwrap().write_all(line("done").as_bytes()).unwrap();
    let fresh = journal.fresh().unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(
        fresh.iter().map(|entry| (entry.event.as_str(), entry.step.as_str())).collect::<Vec<_>>(),
        [("done", "a step")]
    );
    assert_eq!(none.fresh().unwrap(), []);
}
