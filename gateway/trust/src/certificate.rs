//! The shape of the certificates: X.509 v3, Ed25519 (RFC 8410), fixed subjects and a fixed, long validity.
//!
//! The validity is fixed, from 1970 on, so that hosts without a clock still form a network; a peer is removed from a
//! network by revocation or by a new CA, never by letting its certificate run out.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ED25519, SanType, SerialNumber, date_time_ymd,
};
use weave_model::{NetworkName, PeerName};

/// What precedes an Ed25519 seed in PKCS#8 version 1 (RFC 8410 §7).
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// The domain of peer names in certificates. `.internal` is reserved for private use and never in public DNS.
const NAME_SUFFIX: &str = ".weave.internal";

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
pub(crate) fn ca_params(network: &NetworkName) -> CertificateParams {
    let mut params = base(&format!("Weave network CA {network}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(SerialNumber::from_slice(&[1]));
    params
}

/// The parameters of one peer's certificate. The serial number is 1, the issue number and the start of the public key:
/// positive, unique, and within the 20 octets of RFC 5280 §4.1.2.2.
pub(crate) fn peer_params(
    network: &NetworkName,
    name: PeerName,
    public_key: &[u8],
    issue: u64,
) -> CertificateParams {
    let mut params = base("Weave peer");
    let name = dns_name(network, name).as_str().try_into().expect("labels are IA5");
    params.subject_alt_names = vec![SanType::DnsName(name)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let head = [&[1], issue.to_be_bytes().as_slice()].concat();
    let serial: Vec<u8> = head.into_iter().chain(public_key.iter().take(8).copied()).collect();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params
}

/// The issue number in a serial number made by [`peer_params`].
pub(crate) fn issue_number(serial: &[u8]) -> Option<u64> {
    let [1, rest @ ..] = serial else { return None };
    rest.first_chunk().copied().map(u64::from_be_bytes)
}

fn base(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = date_time_ymd(1970, 1, 1);
    // RFC 5280 §4.1.2.5: the value for "no well-defined expiration date".
    params.not_after = date_time_ymd(9999, 12, 31);
    params
}

/// `7a:9f:eb:b6:0c:6e` in network `weave` as `7a9febb60c6e.peer.weave.weave.internal`.
pub(crate) fn dns_name(network: &NetworkName, name: PeerName) -> String {
    let digits: String = name.octets().iter().map(|o| format!("{o:02x}")).collect();
    format!("{digits}.peer.{network}{NAME_SUFFIX}")
}

/// The inverse of [`dns_name`]; `None` for any other spelling.
pub(crate) fn parse_dns_name(dns: &str) -> Option<(NetworkName, PeerName)> {
    let (digits, network) = dns.strip_suffix(NAME_SUFFIX)?.split_once(".peer.")?;
    let network: NetworkName = network.parse().ok()?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    let [_, _, octets @ ..] = number.to_be_bytes();
    let name = PeerName::new(octets);
    (dns_name(&network, name) == dns).then_some((network, name))
}
