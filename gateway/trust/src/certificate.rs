//! The shape of the certificates: X.509 v3, Ed25519 (RFC 8410), fixed subjects and a fixed, long validity.
//!
//! The validity is fixed so that hosts with a wrong clock still form a network; a peer is removed from a network by
//! revocation or by a new CA, never by letting its certificate run out.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ED25519, SanType, SerialNumber, date_time_ymd,
};
use weave_model::PeerName;

/// What precedes an Ed25519 seed in PKCS#8 version 1 (RFC 8410 §7).
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// The domain of peer names in certificates. `.internal` is reserved for private use and never in public DNS.
const NAME_SUFFIX: &str = ".peer.weave.internal";

/// Wraps a seed as PKCS#8.
pub(crate) fn pkcs8_from_seed(seed: &[u8; 32]) -> Vec<u8> {
    [&PKCS8_PREFIX[..], &seed[..]].concat()
}

/// Finds the seed in a PKCS#8 Ed25519 key, of version 1 or 2.
pub(crate) fn seed_from_pkcs8(der: &[u8]) -> Option<[u8; 32]> {
    // Version 2 differs by the length, the version and the public key that follows the seed (RFC 5958 §2).
    let (head, rest) = der.split_first_chunk::<16>()?;
    let same = head[0] == 0x30 && head[2..4] == PKCS8_PREFIX[2..4] && head[5..] == PKCS8_PREFIX[5..];
    (same && head[4] <= 1).then(|| rest.first_chunk::<32>().copied())?
}

/// The key as the certificate library wants it.
pub(crate) fn key_pair(seed: &[u8; 32]) -> KeyPair {
    let pkcs8 = pkcs8_from_seed(seed);
    KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8.as_slice().into(), &PKCS_ED25519)
        .expect("every 32-byte string is an Ed25519 seed")
}

/// The parameters of the CA's own certificate.
pub(crate) fn ca_params() -> CertificateParams {
    let mut params = base("Weave network CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(SerialNumber::from_slice(&[1]));
    params
}

/// The parameters of one peer's certificate; its public key makes the serial number unique.
pub(crate) fn peer_params(name: PeerName, public_key: &[u8]) -> CertificateParams {
    let mut params = base("Weave peer");
    let name = dns_name(name).as_str().try_into().expect("hexadecimal digits are IA5");
    params.subject_alt_names = vec![SanType::DnsName(name)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    // RFC 5280 §4.1.2.2: a positive number of at most 20 octets.
    let mut serial: Vec<u8> = public_key.iter().take(16).copied().collect();
    serial.insert(0, 1);
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params
}

fn base(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = date_time_ymd(2000, 1, 1);
    // RFC 5280 §4.1.2.5: the value for "no well-defined expiration date".
    params.not_after = date_time_ymd(9999, 12, 31);
    params
}

/// `7a:9f:eb:b6:0c:6e` as `7a9febb60c6e.peer.weave.internal`.
pub(crate) fn dns_name(name: PeerName) -> String {
    let digits: String = name.octets().iter().map(|o| format!("{o:02x}")).collect();
    digits + NAME_SUFFIX
}

/// The inverse of [`dns_name`]; `None` for any other spelling.
pub(crate) fn peer_name(dns: &str) -> Option<PeerName> {
    let number = u64::from_str_radix(dns.strip_suffix(NAME_SUFFIX)?, 16).ok()?;
    let [_, _, octets @ ..] = number.to_be_bytes();
    let name = PeerName::new(octets);
    (dns_name(name) == dns).then_some(name)
}
