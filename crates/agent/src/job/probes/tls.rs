//! TLS to a service of this very host, to see whether it answers. Whose certificate it shows is not judged: it is often one
//! that only its clients know, nothing secret is sent, and nothing is believed of the answer but whether it comes.

use super::http::Timed;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use std::io;
use std::sync::Arc;

/// Speaks TLS on a connection, asking for this host.
pub(in crate::job) fn open(stream: Timed, host: &str) -> io::Result<StreamOwned<ClientConnection, Timed>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let anybody = Arc::new(Anybody(Arc::clone(&provider)));
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(anybody)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let client = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    Ok(StreamOwned::new(client, stream))
}

/// Whoever has the key of the certificate that is shown.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
pub(in crate::job) mod tests {
    use super::super::http;
    use rollout::plan::Http;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ServerConfig, ServerConnection, StreamOwned};
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::time::Duration;

    /// A service behind TLS, with a certificate of its own for this name, that answers what it is asked; its port.
    pub(in crate::job) fn service(
        name: &str,
        answer: impl Fn(&str) -> String + Send + Sync + 'static,
    ) -> u16 {
        let shown = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(shown.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![shown.cert.der().clone()], key)
            .unwrap();
        let (config, answer) = (Arc::new(config), Arc::new(answer));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, answer) = (Arc::clone(&config), Arc::clone(&answer));
                std::thread::spawn(move || {
                    let mut tls = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
                    let mut asked = [0; 1024];
                    let count = tls.read(&mut asked).unwrap_or(0);
                    if count > 0 {
                        let asked = String::from_utf8_lossy(&asked[..count]);
                        let _ = tls.write_all(answer(&asked).as_bytes());
                        tls.conn.send_close_notify();
                        let _ = tls.flush();
                    }
                });
            }
        });
        port
    }

    #[test]
    fn a_service_is_asked_over_tls_whoever_has_signed_its_certificate() {
        let port = service("shop.example", |asked| {
            let is_named = asked.contains("Host: shop.example:");
            if is_named { "HTTP/1.1 200 OK\r\n\r\nopen" } else { "HTTP/1.1 421 No\r\n\r\n" }.to_owned()
        });
        let wanted = Http { tls: true, host: Some("shop.example".into()), ..Http::path(port, "/") };
        let wanted = Http { contains: Some("open".into()), ..wanted };
        let within = Duration::from_secs(5);
        assert_eq!(http::ask(&wanted, within), Ok(()));
        assert_eq!(http::ask(&Http { host: None, ..wanted.clone() }, within), Err("answers 421".into()));
        let plain = Http { tls: false, ..wanted };
        assert!(http::ask(&plain, Duration::from_millis(500)).is_err(), "it does not speak without TLS");
    }
}
