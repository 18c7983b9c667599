//! Whose certificate it is: read from what the other side of a connection has proven to be its own.

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use uuid::Uuid;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The host on the other side of a connection.
///
/// TLS has checked the authority's signature when the certificate was shown; a resumed session shows it no more, so
/// [`Peer::not_after`] and the serial have to be looked at with every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The host's id.
    pub host: Uuid,
    /// The certificate's serial.
    pub serial: u128,
    /// Until when the certificate is good.
    pub not_after: Timestamp,
}

impl Peer {
    /// Reads a certificate that the authority has signed; `None` if it is not a host's.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let names = certificate.subject_alternative_name().ok()??;
        let host = names.value.general_names.iter().find_map(|name| {
            let GeneralName::URI(uri) = name else { return None };
            Uuid::parse_str(uri.strip_prefix("urn:uuid:")?).ok()
        })?;
        let serial = <[u8; 16]>::try_from(certificate.raw_serial()).ok()?;
        let not_after = Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()?;
        Some(Self { host, serial: u128::from_be_bytes(serial), not_after })
    }
}
