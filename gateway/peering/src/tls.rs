//! Who may connect: TLS 1.3 with certificates on both sides, judged by [`Trust`] alone.
//!
//! There is one check, [`Trust::verify`], for whoever dials and whoever listens. The names that TLS knows are not used:
//! a peer's name is in its certificate, and one dials addresses, not names. Nothing is resumed and no ticket is given,
//! so every link starts with the full check.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    PeerIncompatible, ServerConfig, SignatureScheme,
};
use weave_trust::{Identity, Trust, TrustError};

/// The application protocol (RFC 7301) of links.
const ALPN: &[u8] = b"weave/1";

/// The server name that every dialler sends. It says nothing, so that it tells an observer nothing.
pub(crate) const SERVER_NAME: &str = "peer.weave.internal";

/// What rustls puts around a verifier's own words.
const REFUSAL: (&str, &str) = ("invalid peer certificate: Other(OtherError(", "))");

/// What handshakes of both roles prove and ask for. A renewal counts for every handshake that begins after it, and for
/// the judgement of those under way; connections that are up are not touched.
pub(crate) struct Credentials {
    current: RwLock<Arc<Current>>,
    provider: Arc<CryptoProvider>,
}

/// What is in force at one moment.
pub(crate) struct Current {
    trust: Trust,
    certificate: Arc<[u8]>,
    certified: Arc<CertifiedKey>,
}

impl Credentials {
    pub(crate) fn new(identity: &Identity, trust: &Trust) -> Result<Arc<Credentials>, Error> {
        let provider = Arc::new(ring::default_provider());
        let current = RwLock::new(Arc::new(Current::new(identity, trust, &provider)?));
        Ok(Arc::new(Credentials { current, provider }))
    }

    /// Makes what another certificate, or other CAs, come to; [`Credentials::replace`] puts it in force.
    pub(crate) fn prepare(&self, identity: &Identity, trust: &Trust) -> Result<Current, Error> {
        Current::new(identity, trust, &self.provider)
    }

    pub(crate) fn replace(&self, next: Current) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
    }

    /// The certificate that is shown to others.
    pub(crate) fn certificate(&self) -> Arc<[u8]> {
        self.current().certificate.clone()
    }

    fn current(&self) -> Arc<Current> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Current {
    fn new(identity: &Identity, trust: &Trust, provider: &CryptoProvider) -> Result<Current, Error> {
        let chain = vec![CertificateDer::from(identity.certificate().to_vec())];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(identity.key_pkcs8()));
        let certified = Arc::new(CertifiedKey::from_der(chain, key, provider)?);
        Ok(Current { trust: trust.clone(), certificate: identity.certificate().into(), certified })
    }
}

/// The settings of both roles of one peer.
pub(crate) fn configs(credentials: &Arc<Credentials>) -> Result<(ClientConfig, ServerConfig), Error> {
    let provider = credentials.provider.clone();
    let mut client = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(credentials.clone())
        .with_client_cert_resolver(credentials.clone());
    client.alpn_protocols = vec![ALPN.to_vec()];
    client.resumption = Resumption::disabled();
    client.enable_early_data = false;

    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(credentials.clone())
        .with_cert_resolver(credentials.clone());
    server.alpn_protocols = vec![ALPN.to_vec()];
    server.send_tls13_tickets = 0;
    server.max_early_data_size = 0;
    Ok((client, server))
}

/// The verifier's own words in the text of a TLS failure, if it was the verifier who refused.
pub(crate) fn refusal(tls_error: &str) -> Option<&str> {
    tls_error.strip_prefix(REFUSAL.0)?.strip_suffix(REFUSAL.1)
}

/// What an alert of the other side (RFC 8446 §6.2) means to the operator.
pub(crate) fn alert_sentence(alert: u8) -> &'static str {
    match alert {
        42 | 43 | 45 | 46 | 48 | 49 => {
            "the other side refused our certificate: its password or CA differs from ours"
        }
        44 => "the other side refused our certificate: it was revoked",
        51 => "the other side found our signature wrong",
        116 => "the other side wants a certificate and got none",
        120 => "the other side speaks another protocol than weave/1; its version is too old or too new",
        70 | 71 => "the other side and we have no version or cipher of TLS in common",
        _ => "the TLS handshake failed on the other side",
    }
}

/// A verifier's words on their way through rustls, which shows what it carries by `Debug`.
#[derive(thiserror::Error)]
#[error("{0}")]
struct Refusal(TrustError);

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Asks [`Trust`] about the other side's certificate, in either role.
impl Credentials {
    fn judge(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        self.current().trust.verify(certificate).map(drop).map_err(|error| {
            Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Refusal(error)))))
        })
    }

    fn signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({:?})", self.current().trust)
    }
}

impl ResolvesServerCert for Credentials {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current().certified.clone())
    }
}

impl ResolvesClientCert for Credentials {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(self.current().certified.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ServerCertVerifier for Credentials {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls13RequiredForQuic))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl ClientCertVerifier for Credentials {
    /// Empty: a hint would only tell strangers which network listens here.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.judge(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls13RequiredForQuic))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}
