//! One certificate authority: its certificate, and what it signs.

use super::{Error, HOST_DAYS_MAX, Signed};
use advisory::digest::{hex, sha256};
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData, SanType,
    SerialNumber, SubjectPublicKeyInfo,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use std::fmt;
use time::OffsetDateTime;
use uuid::Uuid;
use x509_parser::prelude::{FromDer, X509CertificationRequest};

/// How long an authority is good: ten years, longer than any host's installation.
const AUTHORITY_DAYS: i64 = 3_650;
/// Certificates are good from an hour before they were made, for hosts whose clocks are late.
pub(super) const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_hours(1);

/// One authority, with its key.
pub(super) struct Ca {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    /// A new one: its key and its certificate, PEM.
    pub(super) fn make(now: Timestamp) -> Result<(String, String), Error> {
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
        Ok((key.serialize_pem(), signed.pem()))
    }

    /// Of its key and its certificate, PEM.
    pub(super) fn of(key: &str, pem: String) -> Result<Self, Error> {
        let damaged = |problem: &dyn fmt::Display| Error::Damaged(problem.to_string());
        let key = KeyPair::from_pem(key).map_err(|problem| damaged(&problem))?;
        let certificate =
            CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|problem| damaged(&problem))?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|problem| damaged(&problem))?;
        Ok(Self { certificate, pem, issuer })
    }

    /// SHA-256 of its certificate, hex.
    pub(super) fn fingerprint(&self) -> String {
        sha256(&self.certificate)
    }

    /// See [`Authority::sign_host`](super::Authority::sign_host).
    pub(super) fn sign_host(&self, csr: &str, id: Uuid, now: Timestamp, days: u32) -> Result<Signed, Error> {
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
    pub(super) fn sign_server(
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
