//! Who is who on the wire: the fleet's own authority, which signs the certificates of servers and of hosts.
//!
//! It is made at the first start and kept in the store, so that every server of a fleet signs with the same key; sealed,
//! with a key in a file outside of it. A host makes its own key; the authority sees only its public half. A certificate
//! says nothing but the host's id.

mod key_file;
mod peer;
mod tls;

pub use peer::Peer;

use crate::seal::Seal;
use crate::store::audit::{self, Actor};
use crate::store::{self, Doing, Store, commit};
use advisory::digest::{hex, sha256};
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData, SanType,
    SerialNumber, SubjectPublicKeyInfo,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;
use time::OffsetDateTime;
use uuid::Uuid;
use x509_parser::prelude::{FromDer, X509CertificationRequest};

/// Where the authority lies in the store's settings.
const SETTING: &str = "authority";
/// How long the authority is good: ten years, longer than any host's installation.
const AUTHORITY_DAYS: i64 = 3_650;
/// How long a host's certificate is good at most.
pub const HOST_DAYS_MAX: u32 = 30;
/// Certificates are good from an hour before they were made, for hosts whose clocks are late.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_hours(1);

/// An authority cannot be opened, or cannot sign.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The authority cannot be read back.
    #[error("open the fleet's authority: {0}; restore a backup of the store")]
    Damaged(String),
    /// The authority cannot be opened with the file that holds the key to it.
    #[error(
        "open the fleet's authority with {file}: {reason}; copy the file of the server that made the authority, or the \
         copy that was kept of it, to there"
    )]
    KeyFile {
        /// The file.
        file: String,
        /// Why not.
        reason: String,
    },
    /// A certificate cannot be made.
    #[error("make a certificate for {object}: {reason}")]
    Certificate {
        /// For whom.
        object: String,
        /// Why not.
        reason: String,
    },
    /// TLS cannot be set up.
    #[error("set up TLS: {0}")]
    Tls(String),
    /// A host's request for a certificate is refused.
    #[error(
        "sign a host's certificate: {0}; send a request (PKCS #10, PEM) made with an ECDSA P-256 or Ed25519 key"
    )]
    Request(&'static str),
}

/// What seals the server's secrets in the store: with the key of this file, which is made where there is none.
pub(crate) fn seal(key_file: &Path) -> Result<Seal, Error> {
    key_file::read_or_make(key_file)
}

/// A certificate as signed for a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The certificate.
    pub pem: String,
    /// Its serial, 32 hex digits.
    pub serial: String,
    /// SHA-256 of the public key, hex.
    pub public_key: String,
    /// From when on it is good.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
}

/// The fleet's authority.
pub struct Authority {
    certificate: CertificateDer<'static>,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the key.
        out.debug_struct("Authority").field("fingerprint", &self.fingerprint()).finish_non_exhaustive()
    }
}

/// The authority as it is stored.
#[derive(Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    key: Key,
    certificate: String,
}

/// The authority's private key.
#[derive(Serialize, Deserialize)]
enum Key {
    /// PEM.
    #[serde(rename = "key")]
    Clear(String),
    /// The same, sealed about the certificate.
    #[serde(rename = "sealed")]
    Sealed(String),
}

impl Authority {
    /// Opens the fleet's authority; makes it where there is none. Of several servers that start at once, one makes it. Its
    /// key is sealed with that of `key_file`, which is made with it.
    pub async fn open_sealed(store: &Store, now: Timestamp, key_file: &Path) -> Result<Self, Error> {
        Self::open_with(store, now, Some(key_file)).await
    }

    /// As [`Authority::open_sealed`], with the key in clear in the store: for stores that are thrown away.
    pub async fn open(store: &Store, now: Timestamp) -> Result<Self, Error> {
        Self::open_with(store, now, None).await
    }

    async fn open_with(store: &Store, now: Timestamp, key_file: Option<&Path>) -> Result<Self, Error> {
        if let Some(kept) = kept(store).await? {
            return Self::of(&kept, key_file);
        }
        let mut made = Kept::make(now)?;
        if let Some(path) = key_file {
            made = made.sealed(&key_file::read_or_make(path)?)?;
        }
        let value = serde_json::to_string(&made).expect("two texts are JSON");
        let mut writing = store.begin().await?;
        let made =
            sqlx::query("INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
                .bind(SETTING)
                .bind(value)
                .execute(&mut *writing)
                .await
                .doing("store the fleet's authority")?;
        if made.rows_affected() == 1 {
            let detail = serde_json::json!({});
            audit::record(&mut writing, now, &Actor::Server, "authority.create", SETTING, detail).await?;
        }
        commit(writing, "store the fleet's authority").await?;
        let kept = kept(store).await?;
        let gone = || Error::Damaged("it is gone as soon as it was stored".to_owned());
        Self::of(&kept.ok_or_else(gone)?, key_file)
    }

    /// Whether the store has an authority whose key lies in it in clear.
    pub async fn is_clear(store: &Store) -> Result<bool, Error> {
        let Some(kept) = kept(store).await? else { return Ok(false) };
        Ok(matches!(Kept::read(&kept)?.key, Key::Clear(_)))
    }

    /// Whether the store's authority, if it has one, can be opened with that file.
    pub async fn verify(store: &Store, key_file: &Path) -> Result<(), Error> {
        match kept(store).await? {
            Some(kept) => Self::of(&kept, Some(key_file)).map(|_| ()),
            None => Ok(()),
        }
    }

    /// Seals the key of an authority that lies in the store in clear.
    pub async fn seal(store: &Store, now: Timestamp, key_file: &Path) -> Result<(), Error> {
        let Some(kept) = kept(store).await? else { return Ok(()) };
        let sealed = Kept::read(&kept)?.sealed(&key_file::read_or_make(key_file)?)?;
        let value = serde_json::to_string(&sealed).expect("two texts are JSON");
        change(store, now, "authority.seal", "UPDATE settings SET value = $2 WHERE name = $1", Some(value))
            .await
    }

    /// Forgets the authority: the next start makes another, and every host has to be enrolled anew.
    pub async fn forget(store: &Store, now: Timestamp) -> Result<(), Error> {
        change(store, now, "authority.forget", "DELETE FROM settings WHERE name = $1", None).await
    }

    fn of(kept: &str, key_file: Option<&Path>) -> Result<Self, Error> {
        let damaged = |problem: &dyn fmt::Display| Error::Damaged(problem.to_string());
        let Kept { key, certificate: pem } = Kept::read(kept)?;
        let key = match key {
            Key::Clear(key) => key,
            Key::Sealed(sealed) => {
                let path = key_file.ok_or_else(|| damaged(&"its key is sealed"))?;
                let wrong = |reason: &str| Error::KeyFile {
                    file: path.display().to_string(),
                    reason: reason.to_owned(),
                };
                let seal = key_file::read(path)?.ok_or_else(|| wrong("it is not there"))?;
                let key = seal.open(pem.as_bytes(), &sealed).and_then(|key| String::from_utf8(key).ok());
                key.ok_or_else(|| wrong("its key is another one"))?
            }
        };
        let key = KeyPair::from_pem(&key).map_err(|problem| damaged(&problem))?;
        let certificate =
            CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|problem| damaged(&problem))?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|problem| damaged(&problem))?;
        Ok(Self { certificate, pem, issuer })
    }

    /// Its certificate, PEM: what agents and people trust.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// SHA-256 of its certificate, hex: what a person compares at the first contact.
    pub fn fingerprint(&self) -> String {
        sha256(&self.certificate)
    }

    /// Signs a certificate for the host `id` over the key of its request (PKCS #10, PEM), good for `days` (1 to
    /// [`HOST_DAYS_MAX`]). The request must be signed by that key; whatever else it asks for is not heeded.
    pub fn sign_host(&self, csr: &str, id: Uuid, now: Timestamp, days: u32) -> Result<Signed, Error> {
        let key = requested_key(csr)?;
        let object = format!("host {id}");
        let certificate = |problem: rcgen::Error| Error::Certificate {
            object: object.clone(),
            reason: problem.to_string(),
        };
        let serial = serial()?;
        let mut params = lasting(now, i64::from(days.clamp(1, HOST_DAYS_MAX)));
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.distinguished_name.push(DnType::CommonName, id.to_string());
        let name = id.urn().to_string().try_into().map_err(certificate)?;
        params.subject_alt_names.push(SanType::URI(name));
        params.key_usages.push(KeyUsagePurpose::DigitalSignature);
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        params.use_authority_key_identifier_extension = true;
        let signed = params.signed_by(&key, &self.issuer).map_err(certificate)?;
        Ok(Signed {
            pem: signed.pem(),
            serial: hex(&serial),
            public_key: sha256(&key.subject_public_key_info()),
            not_before: moment(params.not_before),
            not_after: moment(params.not_after),
        })
    }

    /// Signs a certificate for a server reached by `names` (DNS names and addresses), good for `days`.
    fn sign_server(
        &self,
        names: &[String],
        now: Timestamp,
        days: i64,
    ) -> Result<(CertificateDer<'static>, KeyPair), Error> {
        let object = format!("the server {}", names.join(", "));
        let certificate = |problem: rcgen::Error| Error::Certificate {
            object: object.clone(),
            reason: problem.to_string(),
        };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(certificate)?;
        let mut params = lasting(now, days);
        params.subject_alt_names =
            CertificateParams::new(names.to_vec()).map_err(certificate)?.subject_alt_names;
        params.serial_number = Some(SerialNumber::from_slice(&serial()?));
        params.distinguished_name.push(DnType::CommonName, "Palisade server");
        params.key_usages.push(KeyUsagePurpose::DigitalSignature);
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        params.use_authority_key_identifier_extension = true;
        let signed = params.signed_by(&key, &self.issuer).map_err(certificate)?;
        Ok((signed.der().clone(), key))
    }
}

impl Kept {
    fn make(now: Timestamp) -> Result<Self, Error> {
        let certificate = |problem: rcgen::Error| Error::Certificate {
            object: "the fleet's authority".to_owned(),
            reason: problem.to_string(),
        };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(certificate)?;
        let serial = serial()?;
        let mut params = lasting(now, AUTHORITY_DAYS);
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        // Told apart by name, for people who trust more than one fleet.
        let name = format!("Palisade authority {}", hex(&serial[..4]));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let signed = params.self_signed(&key).map_err(certificate)?;
        Ok(Self { key: Key::Clear(key.serialize_pem()), certificate: signed.pem() })
    }

    fn read(kept: &str) -> Result<Self, Error> {
        serde_json::from_str(kept).map_err(|problem| Error::Damaged(problem.to_string()))
    }

    fn sealed(self, seal: &Seal) -> Result<Self, Error> {
        let Self { key, certificate } = self;
        let key = match key {
            Key::Clear(key) => {
                let sealed = seal.close(certificate.as_bytes(), key.as_bytes());
                Key::Sealed(sealed.map_err(|reason| Error::Certificate {
                    object: "the fleet's authority".to_owned(),
                    reason,
                })?)
            }
            sealed @ Key::Sealed(_) => sealed,
        };
        Ok(Self { key, certificate })
    }
}

async fn change(
    store: &Store,
    now: Timestamp,
    action: &str,
    statement: &'static str,
    value: Option<String>,
) -> Result<(), Error> {
    let mut writing = store.begin().await?;
    let query = sqlx::query(statement).bind(SETTING);
    let query = if let Some(value) = value { query.bind(value) } else { query };
    query.execute(&mut *writing).await.doing("change the fleet's authority")?;
    audit::record(&mut writing, now, &Actor::Server, action, SETTING, serde_json::json!({})).await?;
    Ok(commit(writing, "change the fleet's authority").await?)
}

async fn kept(store: &Store) -> Result<Option<String>, store::Error> {
    sqlx::query_scalar("SELECT value FROM settings WHERE name = $1")
        .bind(SETTING)
        .fetch_optional(store.reader())
        .await
        .doing("read the fleet's authority")
}

/// The key of a request, after the request's own signature was checked.
fn requested_key(csr: &str) -> Result<SubjectPublicKeyInfo, Error> {
    let der = CertificateSigningRequestDer::from_pem_slice(csr.as_bytes())
        .map_err(|_| Error::Request("the request is not a PEM file"))?;
    CertificateSigningRequestParams::from_der(&der)
        .map_err(|_| Error::Request("the request cannot be read, or is not signed by its own key"))?;
    let (_, request) =
        X509CertificationRequest::from_der(&der).map_err(|_| Error::Request("the request cannot be read"))?;
    let key = SubjectPublicKeyInfo::from_der(request.certification_request_info.subject_pki.raw)
        .map_err(|_| Error::Request("the kind of its key is not known"))?;
    // The request's signature algorithm does not tell the curve of its key; the key itself does.
    let kinds = [&PKCS_ECDSA_P256_SHA256, &PKCS_ED25519];
    if !kinds.contains(&key.algorithm()) {
        return Err(Error::Request("its key is of another kind"));
    }
    Ok(key)
}

fn lasting(now: Timestamp, days: i64) -> CertificateParams {
    let until = now.saturating_add(SignedDuration::from_hours(24 * days)).unwrap_or(Timestamp::MAX);
    let date = |at: Timestamp| {
        OffsetDateTime::from_unix_timestamp(at.as_second()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = date(now.saturating_sub(CLOCKS_DIFFER).unwrap_or(now));
    params.not_after = date(until);
    params
}

fn moment(date: OffsetDateTime) -> Timestamp {
    Timestamp::from_second(date.unix_timestamp()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// 16 bytes, 126 of their bits by chance: the two highest are `01`, so that DER neither pads nor shortens it.
fn serial() -> Result<[u8; 16], Error> {
    let mut serial = [0; 16];
    getrandom::fill(&mut serial).map_err(|problem| Error::Certificate {
        object: "a serial number".to_owned(),
        reason: problem.to_string(),
    })?;
    serial[0] = serial[0] & 0x3f | 0x40;
    Ok(serial)
}
