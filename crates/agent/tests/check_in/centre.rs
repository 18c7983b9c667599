//! A small server that speaks version 1 of the wire over real TLS, does what it is told, and remembers what it heard.

use flate2::read::GzDecoder;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, DnType, IsCa,
    KeyPair,
};
use rollout::order;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use time::{Duration, OffsetDateTime};
use traffic::census::Key;
use wire::v1::census::{CENSUS_PATH, Counted, Taken, Terms};
use wire::v1::{
    CHECK_IN_PATH, ENROL_PATH, HINT_PATH, Hint, Noted, REHEARSAL_PATH, RENEW_PATH, REPORT_PATH, Rehearse,
    Report, TRUST_PATH, Told, hash,
};

/// The id that every host gets.
pub(crate) const HOST: &str = "0192c4f8-7d1e-7c3a-9f60-3b1a5c7d9e21";

/// What is answered to a check-in's job.
pub(crate) type Desk = Box<dyn FnMut(&order::CheckIn) -> Told + Send>;

/// One request, as it was heard.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) at: Instant,
    pub(crate) path: String,
    /// Bytes of head and body, as sent.
    pub(crate) bytes: (usize, usize),
    pub(crate) body: Value,
    /// The certificate it was sent with, DER.
    pub(crate) certificate: Option<Vec<u8>>,
    pub(crate) resumed: bool,
}

/// An answer that a test has prepared.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: &'static str,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn refusal(status: u16, kind: &str, headers: &'static str) -> Self {
        Self { status, headers, body: json!({ "type": kind, "detail": format!("{kind}, says the centre") }) }
    }
}

#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) heard: Vec<Heard>,
    /// Answers to the next requests to a path; without any it does its work.
    pub(crate) answers: BTreeMap<&'static str, VecDeque<Answer>>,
    /// Hash of the inventory it has, and every body.
    pub(crate) inventory: String,
    pub(crate) bodies: BTreeMap<String, String>,
    /// Age of the certificates that it gives, days of 30.
    pub(crate) age_days: i64,
    /// When the next check-in is wanted, seconds.
    pub(crate) next_seconds: u32,
    /// What approvers have signed, by the path below [`TRUST_PATH`].
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) desk: Option<Desk>,
    pub(crate) rehearse: Option<Rehearse>,
    /// Given at enrolment.
    pub(crate) root: Option<String>,
    /// How hosts are to count; `None`: it takes no censuses.
    pub(crate) terms: Option<Terms>,
    /// What hosts counted, in the order of messages.
    pub(crate) counted: Vec<Counted>,
    /// `None`: it keeps nobody waiting for hints.
    pub(crate) hint: Option<Hint>,
}

pub(crate) struct Centre {
    pub(crate) port: u16,
    pub(crate) authority: Arc<CertifiedIssuer<'static, KeyPair>>,
    pub(crate) memory: Arc<Mutex<Memory>>,
    pub(crate) down: Arc<AtomicBool>,
}

impl Centre {
    pub(crate) fn start() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "the centre's authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = Arc::new(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap());
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let own = own.signed_by(&key, &authority).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.allow_unauthenticated().build().unwrap())
            .with_single_cert(
                vec![own.der().clone(), authority.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let centre = Self {
            port: listener.local_addr().unwrap().port(),
            authority,
            memory: Arc::default(),
            down: Arc::default(),
        };
        let (authority, memory, down) =
            (centre.authority.clone(), centre.memory.clone(), centre.down.clone());
        let config = Arc::new(config);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if !down.load(Ordering::Relaxed) {
                    let (config, authority, memory) = (config.clone(), authority.clone(), memory.clone());
                    // A connection that breaks off is the agent's matter.
                    std::thread::spawn(move || serve(stream, &config, &authority, &memory));
                }
            }
        });
        centre
    }

    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    pub(crate) fn token(&self) -> String {
        format!("secret.{}", advisory::digest::sha256(self.authority.der()))
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::Relaxed);
    }

    pub(crate) fn answer(&self, path: &'static str, answer: Answer) {
        self.memory.lock().unwrap().answers.entry(path).or_default().push_back(answer);
    }

    /// What was heard on a path.
    pub(crate) fn heard(&self, path: &str) -> Vec<Heard> {
        let memory = self.memory.lock().unwrap();
        memory.heard.iter().filter(|heard| heard.path == path).cloned().collect()
    }

    pub(crate) fn reports(&self) -> Vec<Report> {
        let reports = self.heard(REPORT_PATH);
        reports.into_iter().map(|heard| serde_json::from_value(heard.body).unwrap()).collect()
    }
}

fn serve(
    stream: TcpStream,
    config: &Arc<ServerConfig>,
    authority: &CertifiedIssuer<'_, KeyPair>,
    memory: &Mutex<Memory>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(std::time::Duration::from_secs(10)))?;
    let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 {
            return Ok(());
        }
        head.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&head).to_lowercase();
    let header =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).map(str::to_owned);
    let mut body = vec![0; header("content-length").map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body)?;
    let mut json = body.clone();
    if header("content-encoding").is_some() {
        json.clear();
        GzDecoder::new(body.as_slice()).read_to_end(&mut json)?;
    }
    let request = Heard {
        at: Instant::now(),
        path: text.split(' ').nth(1).unwrap().to_owned(),
        bytes: (head.len(), body.len()),
        body: if json.is_empty() { Value::Null } else { serde_json::from_slice(&json).unwrap() },
        certificate: stream.conn.peer_certificates().map(|chain| chain[0].to_vec()),
        resumed: stream.conn.handshake_kind() == Some(HandshakeKind::Resumed),
    };
    if let Some(name) = request.path.strip_prefix(TRUST_PATH) {
        let file = memory.lock().unwrap().files.get(name).cloned();
        memory.lock().unwrap().heard.push(request.clone());
        let status = if file.is_some() { 200 } else { 404 };
        return write_answer(&mut stream, status, "", &file.unwrap_or_default());
    }
    if request.path == HINT_PATH {
        // As long as a test has patience; a server keeps hosts waiting for minutes.
        for _ in 0..100 {
            if memory.lock().unwrap().hint.is_none_or(|hint| hint.now) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
    let answer = {
        let mut memory = memory.lock().unwrap();
        memory.heard.push(request.clone());
        let prepared = memory.answers.get_mut(request.path.as_str()).and_then(VecDeque::pop_front);
        prepared.unwrap_or_else(|| work(&request, authority, &mut memory))
    };
    let Answer { status, headers, body } = answer;
    write_answer(&mut stream, status, headers, body.to_string().as_bytes())
}

fn write_answer(
    stream: &mut StreamOwned<ServerConnection, TcpStream>,
    status: u16,
    headers: &str,
    body: &[u8],
) -> std::io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n{headers}connection: close\r\n\r\n",
        body.len()
    )?;
    stream.write_all(body)?;
    stream.conn.send_close_notify();
    stream.flush()
}

fn work(heard: &Heard, authority: &CertifiedIssuer<'_, KeyPair>, memory: &mut Memory) -> Answer {
    let text = |name: &str| heard.body[name].as_str().unwrap();
    let body = match heard.path.as_str() {
        ENROL_PATH => json!({
            "host": HOST,
            "certificate": sign(text("csr"), authority, memory.age_days),
            "authority": authority.pem(),
            "trust_root": memory.root,
        }),
        _ if heard.certificate.is_none() => return Answer::refusal(401, "certificate", ""),
        RENEW_PATH => json!({ "certificate": sign(text("csr"), authority, 0), "authority": authority.pem() }),
        CHECK_IN_PATH => {
            let said = serde_json::from_value(heard.body["job"].clone());
            let told = said.ok().and_then(|said| Some(memory.desk.as_mut()?(&said)));
            json!({
                "next_seconds": memory.next_seconds,
                "report": text("inventory") != memory.inventory,
                "job": told,
                "rehearse": memory.rehearse,
                "hint": memory.hint.is_some(),
            })
        }
        HINT_PATH => match memory.hint {
            Some(hint) => {
                memory.hint = Some(Hint { now: false });
                serde_json::to_value(hint).unwrap()
            }
            None => return Answer::refusal(404, "unknown", ""),
        },
        REHEARSAL_PATH => {
            memory.rehearse = None;
            serde_json::to_value(Noted { wanted: true }).unwrap()
        }
        CENSUS_PATH => {
            let Some(terms) = memory.terms.clone() else { return Answer::refusal(404, "unknown", "") };
            if heard.body.is_null() {
                serde_json::to_value(terms).unwrap()
            } else {
                let counted: Counted = serde_json::from_value(heard.body.clone()).unwrap();
                let key: Vec<u8> = (0..32).map(|at| hex_byte(&terms.key, at)).collect();
                let stored = Key::new(key.try_into().unwrap()).id() == counted.key;
                if stored {
                    memory.counted.push(counted);
                }
                serde_json::to_value(Taken { stored, next_seconds: terms.next_seconds }).unwrap()
            }
        }
        REPORT_PATH => {
            let report: Report = serde_json::from_value(heard.body.clone()).unwrap();
            memory.bodies.extend(report.bodies);
            let missing: Vec<_> =
                report.parts.values().filter(|hash| !memory.bodies.contains_key(*hash)).collect();
            if missing.is_empty() {
                memory.inventory = hash(&report.parts);
            }
            json!({ "missing": missing })
        }
        other => panic!("the agent asks for {other}"),
    };
    Answer { status: 200, headers: "", body }
}

fn sign(request: &str, authority: &CertifiedIssuer<'_, KeyPair>, age_days: i64) -> String {
    let mut request = CertificateSigningRequestParams::from_pem(request).unwrap();
    let from = OffsetDateTime::now_utc() - Duration::days(age_days) - Duration::minutes(5);
    request.params.not_before = from;
    request.params.not_after = from + Duration::days(30);
    request.signed_by(authority).unwrap().pem()
}

fn hex_byte(text: &str, at: usize) -> u8 {
    u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap()
}

/// The public key in a certificate request, DER.
pub(crate) fn public_key_of_request(pem: &str) -> Vec<u8> {
    use rcgen::PublicKeyData;
    CertificateSigningRequestParams::from_pem(pem).unwrap().public_key.subject_public_key_info()
}

/// The public key in a certificate, DER.
pub(crate) fn public_key(der: &[u8]) -> Vec<u8> {
    let der = CertificateDer::from(der);
    x509_parser::parse_x509_certificate(&der).unwrap().1.public_key().raw.to_vec()
}
