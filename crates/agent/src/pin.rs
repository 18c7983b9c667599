//! The first connection to a server that nobody here knows yet, verified by the fingerprint in the token: its chain must
//! end in the very authority that the token names. Nothing is sent over it; it only brings the authority's certificate,
//! and everything after it goes by that one.

use advisory::digest::sha256;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Time for a connection, and for each answer on it.
const DEADLINE: Duration = Duration::from_secs(10);

/// Why the server is not believed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be reached.
    #[error("{0}")]
    Unreachable(io::Error),
    /// It shows another authority than the token names.
    #[error(
        "none of the {shown} certificates that it shows is the authority that the token names: the token is another \
         server's, or somebody stands in between; nothing was sent"
    )]
    Fingerprint {
        /// Certificates of its chain.
        shown: usize,
    },
    /// The authority is right, and the server's certificate is not.
    #[error("its certificate is not good: {0}")]
    Certificate(String),
}

/// The certificate of the server's authority, which has the fingerprint `fingerprint` (SHA-256, lower-case hex), DER.
pub(crate) fn authority(host: &str, port: u16, fingerprint: &str) -> Result<CertificateDer<'static>, Error> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(bare.to_owned());
    let name = name.map_err(|problem| Error::Unreachable(io::Error::other(problem)))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let pin = Arc::new(Pin {
        fingerprint: fingerprint.to_owned(),
        provider: Arc::clone(&provider),
        seen: Mutex::default(),
    });
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|problem| Error::Certificate(problem.to_string()))?;
    let verifier: Arc<dyn ServerCertVerifier> = Arc::<Pin>::clone(&pin);
    let config = config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    let mut client = ClientConnection::new(Arc::new(config), name)
        .map_err(|problem| Error::Certificate(problem.to_string()))?;
    let mut stream = connect(bare, port).map_err(Error::Unreachable)?;
    let shaken = client.complete_io(&mut stream);
    let seen = pin.seen.lock().map(|mut seen| std::mem::take(&mut *seen)).unwrap_or_default();
    match (shaken, seen) {
        (Ok(_), Seen { authority: Some(authority), .. }) => Ok(authority),
        (_, Seen { authority: None, shown: Some(shown) }) => Err(Error::Fingerprint { shown }),
        (Err(problem), Seen { authority: Some(_), .. }) => Err(Error::Certificate(problem.to_string())),
        (Err(problem), Seen { authority: None, shown: None }) => Err(Error::Unreachable(problem)),
        (Ok(_), Seen { authority: None, shown: None }) => Err(Error::Certificate("it shows none".to_owned())),
    }
}

/// A connection to one of the host's addresses, bounded in time.
pub(crate) fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, DEADLINE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(DEADLINE))?;
                stream.set_write_timeout(Some(DEADLINE))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[derive(Debug, Default)]
struct Seen {
    /// Certificates of the chain, the server's own included.
    shown: Option<usize>,
    /// The one that has the fingerprint.
    authority: Option<CertificateDer<'static>>,
}

/// Believes a chain that ends in the authority with this fingerprint, and is good otherwise.
#[derive(Debug)]
struct Pin {
    fingerprint: String,
    provider: Arc<CryptoProvider>,
    seen: Mutex<Seen>,
}

impl Pin {
    fn saw(&self, shown: usize, authority: Option<&CertificateDer<'_>>) {
        if let Ok(mut seen) = self.seen.lock() {
            *seen = Seen { shown: Some(shown), authority: authority.map(|der| der.clone().into_owned()) };
        }
    }
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // Never the server's own certificate: an authority signs, it does not serve.
        let authority = intermediates.iter().find(|der| sha256(der) == self.fingerprint);
        self.saw(1 + intermediates.len(), authority);
        let Some(authority) = authority else {
            return Err(rustls::Error::General("another authority than the token names".to_owned()));
        };
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider));
        let verifier = verifier.build().map_err(|problem| rustls::Error::General(problem.to_string()))?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
