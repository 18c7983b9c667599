//! Talks to a server's API as any other client would: HTTPS, the server's own authority pinned, a token.

use crate::home;
use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use ureq::http::{Method, Request, Response};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};
use ureq::{Agent, Body};

/// Longest time for one request; exports stream for longer.
const DEADLINE: Duration = Duration::from_secs(60);
/// What goes wrong where an access file holds no certificate.
const UNREADABLE: &str = "read the server's authority from the access file";
/// Bytes of one answer that is read whole: a page of a thousand findings takes one.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Where the server is and who we are there.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Access {
    /// `https://HOST:8470`.
    pub(crate) server: String,
    /// The server's authority, PEM; the system's authorities if empty.
    #[serde(default)]
    pub(crate) authority: String,
    /// An API token.
    pub(crate) token: String,
}

impl Access {
    /// Reads an access file; one that others may read is refused.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let doing = || format!("read access to the server from {}", path.display());
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
                "no access to a server: {} is not there; run \"palisade up\" here, or \"palisade login\" to a server",
                path.display()
            ),
            read => read.with_context(doing)?,
        };
        let mode = std::fs::metadata(path).with_context(doing)?.permissions().mode();
        if mode & 0o077 != 0 {
            bail!("{}: others may read it (mode {:o}); run \"chmod 600\" on it", doing(), mode & 0o777);
        }
        toml::from_str(&text).with_context(doing)
    }

    /// Writes an access file that only its owner may read.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let doing = || format!("write access to the server to {}", path.display());
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).with_context(doing)?;
        }
        let new = path.with_extension("new");
        let mut options = std::fs::OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(&new).with_context(doing)?;
        file.write_all(toml::to_string(self)?.as_bytes()).with_context(doing)?;
        file.sync_all().with_context(doing)?;
        std::fs::rename(&new, path).with_context(doing)
    }
}

/// `--access`, `PALISADE_ACCESS`, or the user's own file.
pub(crate) fn access_path(stated: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = stated {
        return Ok(path.to_owned());
    }
    Ok(home::directory("XDG_CONFIG_HOME", ".config")
        .context("find the access file: HOME is not set; name the file with --access")?
        .join("palisade/access.toml"))
}

/// A server's API. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    agent: Agent,
    server: String,
    token: String,
}

/// What the server refused, in its words.
#[derive(Debug, Deserialize, thiserror::Error)]
#[error("{}", self.told())]
pub(crate) struct Problem {
    #[serde(default)]
    pub(crate) status: u16,
    #[serde(default)]
    title: String,
    #[serde(default)]
    detail: String,
    /// Every fault of what was asked for, where there are several.
    #[serde(default)]
    faults: Vec<String>,
}

impl Problem {
    fn told(&self) -> String {
        let told = if self.detail.is_empty() { &self.title } else { &self.detail };
        if self.faults.len() < 2 {
            return told.clone();
        }
        self.faults.iter().fold(format!("{}:", self.title), |told, fault| format!("{told}\n  {fault}"))
    }
}

impl Client {
    pub(crate) fn new(access: &Access) -> Result<Self> {
        let roots = if access.authority.is_empty() {
            RootCerts::PlatformVerifier
        } else {
            RootCerts::Specific(Arc::new(certificates(&access.authority)?))
        };
        let tls = TlsConfig::builder().root_certs(roots).build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .timeout_connect(Some(Duration::from_secs(10)))
            .http_status_as_error(false)
            .https_only(true)
            .user_agent(concat!("palisade/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        let server = access.server.trim_end_matches('/').to_owned();
        Ok(Self { agent, server, token: access.token.clone() })
    }

    /// The server's name or address, as we call it.
    pub(crate) fn host(&self) -> String {
        let authority = self.authority();
        let port =
            authority.rsplit_once(':').filter(|(_, port)| port.bytes().all(|digit| digit.is_ascii_digit()));
        port.map_or(authority, |(host, _)| host).to_owned()
    }

    /// Where the server is: `HOST:PORT` as it was given.
    pub(crate) fn authority(&self) -> &str {
        let (_, rest) = self.server.split_once("://").unwrap_or(("", &self.server));
        rest.split('/').next().unwrap_or_default()
    }

    /// What is answered, as it is.
    pub(crate) fn bytes(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<u8>> {
        let response = self.ask(&Method::GET, path, query, None, Some(DEADLINE))?;
        if !response.status().is_success() {
            answer(response)?;
            bail!("read {path}: the server refused without a reason");
        }
        let mut bytes = Vec::new();
        let mut body = response.into_body().into_reader().take(ANSWER_BYTES_MAX);
        body.read_to_end(&mut bytes).with_context(|| format!("read {path}"))?;
        Ok(bytes)
    }

    pub(crate) fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value> {
        answer(self.ask(&Method::GET, path, query, None, Some(DEADLINE))?)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value> {
        answer(self.ask(&Method::POST, path, &[], Some(body), Some(DEADLINE))?)
    }

    pub(crate) fn patch(&self, path: &str, body: &Value) -> Result<Value> {
        answer(self.ask(&Method::PATCH, path, &[], Some(body), Some(DEADLINE))?)
    }

    pub(crate) fn delete(&self, path: &str, query: &[(&str, &str)]) -> Result<Value> {
        answer(self.ask(&Method::DELETE, path, query, None, Some(DEADLINE))?)
    }

    /// Every item of a list, page by page, until there are `most`.
    pub(crate) fn list(&self, path: &str, query: &[(&str, &str)], most: usize) -> Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut after = String::new();
        loop {
            let mut query = query.to_vec();
            let limit = (most - items.len()).min(1_000).to_string();
            query.push(("limit", &limit));
            if !after.is_empty() {
                query.push(("after", &after));
            }
            let mut page = self.get(path, &query)?;
            let Value::Array(more) = page["items"].take() else {
                bail!("read {path} from {}: the answer has no items; is it a palisade server?", self.server)
            };
            items.extend(more);
            match page["next"].as_str() {
                Some(next) if items.len() < most => next.clone_into(&mut after),
                Some(_) | None => return Ok(items),
            }
        }
    }

    /// The lines of a streamed answer.
    pub(crate) fn lines(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<impl Iterator<Item = std::io::Result<String>>> {
        let response = self.ask(&Method::GET, path, query, None, None)?;
        if !response.status().is_success() {
            answer(response)?;
            bail!("read {path}: the server refused without a reason");
        }
        Ok(BufReader::new(response.into_body().into_reader()).lines())
    }

    /// The lines of the stream of events, after the one last seen if there is one. It does not end by itself.
    pub(crate) fn events(
        &self,
        last: Option<&str>,
    ) -> Result<impl Iterator<Item = std::io::Result<String>> + use<>> {
        let mut request = Request::builder()
            .uri(format!("{}/api/v1/events", self.server))
            .header("authorization", format!("Bearer {}", self.token))
            .header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = self.run(request.body(())?, None)?;
        if !response.status().is_success() {
            answer(response)?;
            bail!("follow events: the server refused without a reason");
        }
        Ok(BufReader::new(response.into_body().into_reader()).lines())
    }

    fn ask(
        &self,
        method: &Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
        deadline: Option<Duration>,
    ) -> Result<Response<Body>> {
        let mut uri = format!("{}/api/v1{path}", self.server);
        for (place, (name, value)) in query.iter().enumerate() {
            uri.push(if place == 0 { '?' } else { '&' });
            uri.push_str(name);
            uri.push('=');
            uri.push_str(&escaped(value));
        }
        let doing = || format!("{method} {path} at {}", self.server);
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("authorization", format!("Bearer {}", self.token))
            .header("accept", "application/json");
        let response = match body {
            Some(body) => {
                let request = request.header("content-type", "application/json").body(body.to_string())?;
                self.run(request, deadline)
            }
            None => self.run(request.body(())?, deadline),
        };
        response.with_context(doing)
    }

    fn run<S: ureq::AsSendBody>(
        &self,
        request: Request<S>,
        deadline: Option<Duration>,
    ) -> Result<Response<Body>> {
        let request = self.agent.configure_request(request).timeout_global(deadline).build();
        self.agent.run(request).map_err(|error| {
            if let ureq::Error::Io(io) = &error
                && io.kind() == std::io::ErrorKind::ConnectionRefused
            {
                return anyhow!("nobody answers; is the server running?");
            }
            error.into()
        })
    }
}

/// The certificates of an access file; an authority that is being replaced has two.
fn certificates(pem: &str) -> Result<Vec<Certificate<'static>>> {
    let mut certificates = Vec::new();
    for item in ureq::tls::parse_pem(pem.as_bytes()) {
        if let PemItem::Certificate(certificate) = item.context(UNREADABLE)? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        bail!("{UNREADABLE}: there is no certificate; get another access file");
    }
    Ok(certificates)
}

/// The JSON of an answer, `Null` if it has none; a problem as an error.
fn answer(response: Response<Body>) -> Result<Value> {
    let status = response.status();
    let mut bytes = Vec::new();
    response
        .into_body()
        .into_reader()
        .take(ANSWER_BYTES_MAX)
        .read_to_end(&mut bytes)
        .context("read the answer")?;
    if status.is_success() {
        return if bytes.is_empty() {
            Ok(Value::Null)
        } else {
            serde_json::from_slice(&bytes).context("read the answer")
        };
    }
    match serde_json::from_slice::<Problem>(&bytes) {
        Ok(problem) => Err(Problem { status: status.as_u16(), ..problem }.into()),
        Err(_) => bail!("the server answered {status}"),
    }
}

/// A part of a path or a query: everything but unreserved characters (RFC 3986) percent-encoded.
pub(crate) fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}
