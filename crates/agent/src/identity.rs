//! Who the host is: its key, made here and never sent, the certificate for it, and the authority that signs servers.

use jiff::Timestamp;
use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// Certificates in one text; an authority that changes has two.
const CERTIFICATES_MAX: usize = 16;

/// An enrolled host's identity.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The server: `https://HOST:PORT`.
    pub server: String,
    /// The host's id, as the server gave it.
    pub host: String,
    /// Private key, PKCS #8 PEM.
    key: String,
    /// The host's certificate, PEM.
    pub certificate: String,
    /// The certificates that the server's must be signed by, PEM. No other authority is believed.
    pub authority: String,
    /// The group that the host was enrolled into; empty where the server did not tell.
    #[serde(default)]
    pub group: String,
}

impl fmt::Debug for Identity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the key: it may end in a log.
        out.debug_struct("Identity")
            .field("server", &self.server)
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

/// What is wrong with an identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A key that cannot be read or made.
    #[error("the key cannot be used: {0}")]
    Key(String),
    /// A certificate that cannot be read.
    #[error("the {0} cannot be read: {1}")]
    Certificate(&'static str, String),
    /// The certificate is for another key.
    #[error("the certificate does not belong to the key")]
    Mismatch,
}

/// From when until when a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// First moment.
    pub from: Timestamp,
    /// Last moment.
    pub until: Timestamp,
}

impl Validity {
    /// When to ask for the next one: at two thirds of its life.
    pub fn renew_at(&self) -> Timestamp {
        let life = self.until.duration_since(self.from);
        self.from.saturating_add(life / 3 * 2).unwrap_or(self.until)
    }
}

impl Identity {
    /// An identity of what the server answered to `key`'s request. Errors where that does not fit together.
    pub(crate) fn new(
        server: &str,
        host: String,
        key: &Key,
        certificate: String,
        authority: String,
    ) -> Result<Self, Error> {
        let group = String::new();
        let identity =
            Self { server: server.to_owned(), host, key: key.pem(), certificate, authority, group };
        identity.check()?;
        Ok(identity)
    }

    /// Whether key, certificate and authority can be used together.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let key = self.key()?;
        let chain = self.chain()?;
        let first = chain.first().ok_or_else(|| none("certificate"))?;
        if parsed(first)?.public_key != key.public() {
            return Err(Error::Mismatch);
        }
        // What TLS would refuse later, it refuses now: ureq takes for granted that it does not.
        self.tls().map(|_| ())
    }

    /// What a connection to the server believes, and shows.
    pub(crate) fn tls(&self) -> Result<ClientConfig, Error> {
        let mut roots = RootCertStore::empty();
        let (taken, _) = roots.add_parsable_certificates(certificates_of_authority(&self.authority)?);
        if taken == 0 {
            return Err(none("authority's certificate"));
        }
        let refused = |problem: rustls::Error| Error::Certificate("certificate", problem.to_string());
        let private = PrivateKeyDer::from_pem_slice(self.key.as_bytes());
        let private = private.map_err(|problem| Error::Key(problem.to_string()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(refused)?.with_root_certificates(roots);
        config.with_client_auth_cert(self.chain()?, private).map_err(refused)
    }

    /// From when until when the certificate is good.
    pub fn validity(&self) -> Result<Validity, Error> {
        let chain = self.chain()?;
        Ok(parsed(chain.first().ok_or_else(|| none("certificate"))?)?.validity)
    }

    pub(crate) fn key(&self) -> Result<Key, Error> {
        Key::from_pem(&self.key)
    }

    /// The certificate, and those between it and the authority if there are any.
    pub(crate) fn chain(&self) -> Result<Vec<CertificateDer<'static>>, Error> {
        certificates("certificate", &self.certificate)
    }
}

/// A private key: ECDSA on P-256.
pub(crate) struct Key(KeyPair);

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Key")
    }
}

impl Key {
    pub(crate) fn make() -> Result<Self, Error> {
        KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map(Self).map_err(|problem| unusable(&problem))
    }

    pub(crate) fn from_pem(pem: &str) -> Result<Self, Error> {
        KeyPair::from_pem(pem).map(Self).map_err(|problem| unusable(&problem))
    }

    pub(crate) fn pem(&self) -> String {
        self.0.serialize_pem()
    }

    /// Its public half: SubjectPublicKeyInfo, DER.
    pub(crate) fn public(&self) -> Vec<u8> {
        self.0.subject_public_key_info()
    }

    /// A request for a certificate, PEM. It names nobody: the server gives the id.
    pub(crate) fn request(&self) -> Result<String, Error> {
        let mut asked = CertificateParams::default();
        asked.distinguished_name = rcgen::DistinguishedName::new();
        asked
            .serialize_request(&self.0)
            .and_then(|request| request.pem())
            .map_err(|problem| unusable(&problem))
    }
}

fn unusable(problem: &rcgen::Error) -> Error {
    Error::Key(problem.to_string())
}

fn none(what: &'static str) -> Error {
    Error::Certificate(what, "there is none".to_owned())
}

/// The certificates of an authority, from PEM.
pub(crate) fn certificates_of_authority(pem: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    certificates("authority's certificate", pem)
}

fn certificates(what: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = CertificateDer::pem_slice_iter(pem.as_bytes()).take(CERTIFICATES_MAX);
    read.collect::<Result<_, _>>().map_err(|problem| Error::Certificate(what, problem.to_string()))
}

struct Parsed {
    validity: Validity,
    public_key: Vec<u8>,
}

fn parsed(der: &CertificateDer<'_>) -> Result<Parsed, Error> {
    let unreadable = |problem: String| Error::Certificate("certificate", problem);
    let (_, certificate) =
        x509_parser::parse_x509_certificate(der).map_err(|problem| unreadable(problem.to_string()))?;
    let at = |time: x509_parser::time::ASN1Time| {
        Timestamp::from_second(time.timestamp()).map_err(|problem| unreadable(problem.to_string()))
    };
    let validity = certificate.validity();
    Ok(Parsed {
        validity: Validity { from: at(validity.not_before)?, until: at(validity.not_after)? },
        public_key: certificate.public_key().raw.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_tls_would_refuse_is_no_identity() {
        let key = Key::make().unwrap();
        let certificate = CertificateParams::default().self_signed(&key.0).unwrap();
        let identity = |der: &[u8], authority: &str| {
            let pem = pem::encode(&pem::Pem::new("CERTIFICATE", der));
            Identity::new("https://centre:8471", "id".into(), &key, pem, authority.into())
        };
        assert!(identity(certificate.der(), &certificate.pem()).is_ok());
        // Version 1 of X.509 (written 0) instead of 3 (written 2).
        let mut old = certificate.der().to_vec();
        let version = old.windows(5).position(|bytes| bytes == [0xA0, 3, 2, 1, 2]).unwrap();
        old[version + 4] = 0;
        let refused = identity(&old, &certificate.pem()).unwrap_err().to_string();
        assert!(refused.contains("UnsupportedCertVersion"), "{refused}");
        assert!(identity(certificate.der(), "").is_err());
    }
}
