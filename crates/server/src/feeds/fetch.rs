//! A feed's bytes. Takes a location; gives a file to read, or that nothing changed. Waits for the network, so it is called
//! off the threads that answer.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use flate2::read::MultiGzDecoder;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::http::{HeaderMap, StatusCode};
use ureq::tls::{RootCerts, TlsConfig};

/// Redirects that are followed; never from https to http.
const REDIRECTS_MAX: u32 = 5;
/// Bytes read at once.
const CHUNK_BYTES: usize = 64 << 10;
/// Characters of what a failed request is told with.
const REASON_CHARS_MAX: usize = 300;

/// What a feed may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of its file, as sent and unpacked for the way: 2 GiB, four times the largest feed (Ubuntu's, 515 MB).
    pub bytes_max: u64,
    /// Time for all of it.
    pub deadline: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes_max: 2 << 30, deadline: Duration::from_secs(15 * 60) }
    }
}

/// Where a feed is. [`Display`](fmt::Display) shows neither password nor query: they may be secret.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Location {
    Path(PathBuf),
    Web {
        /// Without user and password.
        url: String,
        /// `user:password`, as sent.
        credentials: Option<String>,
    },
}

impl Location {
    pub(super) fn parse(text: &str) -> Self {
        let Some((scheme, rest)) =
            text.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"))
        else {
            return Self::Path(PathBuf::from(text));
        };
        let (authority, path) = rest.find(['/', '?', '#']).map_or((rest, ""), |at| rest.split_at(at));
        let (credentials, host) =
            authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        // What follows a '#' is nobody's business but a browser's.
        let path = path.split('#').next().unwrap_or_default();
        Self::Web { url: format!("{scheme}://{host}{path}"), credentials: credentials.map(unescaped) }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(out),
            Self::Web { url, .. } => match url.split_once('?') {
                Some((url, _)) => write!(out, "{url}?…"),
                None => out.write_str(url),
            },
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "\"{self}\"")
    }
}

/// `%40` is `@`.
fn unescaped(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut plain, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        let code = (byte == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        let escaped = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        plain.push(escaped.unwrap_or(byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// What is known of the bytes that were read last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) etag: String,
    pub(super) modified: String,
    pub(super) sha256: String,
}

/// What was got.
#[derive(Debug)]
pub(super) enum Fetched {
    /// The same as last time.
    Unchanged,
    /// A file.
    File(File, Marks),
    /// A directory of files, sorted.
    Files(Vec<PathBuf>, Marks),
}

/// Gets a feed, if it is another than `before`. `room`: where a download may lie.
pub(super) fn fetch(
    location: &Location,
    before: &Marks,
    limits: Limits,
    room: &Path,
) -> Result<Fetched, String> {
    match location {
        Location::Path(path) => local(path, before, limits),
        Location::Web { url, credentials } => {
            let told = |reason: String| {
                // A query may be a secret, and errors quote addresses.
                let reason = match url.split_once('?') {
                    Some((_, query)) if !query.is_empty() => reason.replace(query, "…"),
                    _ => reason,
                };
                reason.chars().filter(|c| !c.is_control()).take(REASON_CHARS_MAX).collect()
            };
            web(url, credentials.as_deref(), before, limits, room).map_err(told)
        }
    }
}

fn local(path: &Path, before: &Marks, limits: Limits) -> Result<Fetched, String> {
    let kind = fs::metadata(path).map_err(|error| error.to_string())?;
    if kind.is_dir() {
        let files = files(path)?;
        let mut digest = Sha256::new();
        for (path, mark) in &files {
            digest.update(format!("{} {mark}\n", path.display()));
        }
        let marks = Marks { etag: advisory::digest::hex(&digest.finalize()), ..Marks::default() };
        if marks.etag == before.etag {
            return Ok(Fetched::Unchanged);
        }
        return Ok(Fetched::Files(files.into_iter().map(|(path, _)| path).collect(), marks));
    }
    if !kind.is_file() {
        return Err("it is neither a file nor a directory".to_owned());
    }
    if kind.len() > limits.bytes_max {
        return Err(format!("it has {} bytes, over {}", kind.len(), limits.bytes_max));
    }
    let modified = mark(&kind);
    if modified == before.modified {
        return Ok(Fetched::Unchanged);
    }
    let mut file = File::open(path).map_err(|error| error.to_string())?;
    let sha256 = digest(&mut file).map_err(|error| error.to_string())?;
    // A file that was written to while it was read is read again next time.
    let after = file.metadata().map_err(|error| error.to_string())?;
    let modified = if mark(&after) == modified { modified } else { String::new() };
    Ok(Fetched::File(file, Marks { etag: String::new(), modified, sha256 }))
}

/// Changes when a file does, as far as its size and times tell.
fn mark(file: &fs::Metadata) -> String {
    use std::os::unix::fs::MetadataExt as _;
    format!("{} {}.{:09} {}", file.len(), file.mtime(), file.mtime_nsec(), file.ino())
}

/// Files of a directory and its folders, with their marks. Links are not followed: a feed is a tree.
fn files(path: &Path) -> Result<Vec<(PathBuf, String)>, String> {
    let mut files = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        let told = |error: io::Error| format!("{}: {error}", folder.display());
        for entry in fs::read_dir(&folder).map_err(told)? {
            let entry = entry.map_err(told)?;
            let kind = entry.metadata().map_err(told)?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                files.push((entry.path(), mark(&kind)));
            }
        }
        if files.len() > super::FILES_MAX {
            return Err(format!("it holds more than {} files", super::FILES_MAX));
        }
    }
    files.sort();
    Ok(files)
}

fn digest(file: &mut File) -> io::Result<String> {
    let mut digest = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk)? {
            0 => break,
            count => digest.update(&chunk[..count]),
        }
    }
    file.rewind()?;
    Ok(advisory::digest::hex(&digest.finalize()))
}

fn web(
    url: &str,
    credentials: Option<&str>,
    before: &Marks,
    limits: Limits,
    room: &Path,
) -> Result<Fetched, String> {
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(limits.deadline))
        .max_redirects(REDIRECTS_MAX)
        .https_only(url.starts_with("https:"))
        .http_status_as_error(false)
        .user_agent(concat!("palisade/", env!("CARGO_PKG_VERSION")))
        .accept_encoding("gzip")
        .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
        .build()
        .new_agent();
    let mut request = agent.get(url);
    if let Some(credentials) = credentials {
        request = request.header("Authorization", format!("Basic {}", BASE64_STANDARD.encode(credentials)));
    }
    if !before.etag.is_empty() {
        request = request.header("If-None-Match", &before.etag);
    }
    if !before.modified.is_empty() {
        request = request.header("If-Modified-Since", &before.modified);
    }
    let mut response = request.call().map_err(|error| error.to_string())?;
    match response.status() {
        StatusCode::NOT_MODIFIED if *before != Marks::default() => return Ok(Fetched::Unchanged),
        StatusCode::OK => {}
        status => return Err(format!("the server answers {status}")),
    }
    let header = |headers: &HeaderMap, name: &str| {
        let text = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        text.to_owned()
    };
    let (etag, modified) = (header(response.headers(), "etag"), header(response.headers(), "last-modified"));
    let is_packed = header(response.headers(), "content-encoding").eq_ignore_ascii_case("gzip");
    let body = response.body_mut().with_config().limit(limits.bytes_max).reader();
    let body: Box<dyn Read + '_> =
        if is_packed { Box::new(MultiGzDecoder::new(body)) } else { Box::new(body) };
    let mut file = tempfile::tempfile_in(room).map_err(|error| format!("make room for it: {error}"))?;
    let sha256 = copy(body, &mut file, limits.bytes_max)?;
    let marks = Marks { etag, modified, sha256 };
    if marks.sha256 == before.sha256 {
        return Ok(Fetched::Unchanged);
    }
    Ok(Fetched::File(file, marks))
}

/// Copies at most so many bytes; gives their SHA-256.
fn copy(from: impl Read, into: &mut File, bytes_max: u64) -> Result<String, String> {
    let mut from = from.take(bytes_max + 1);
    let mut digest = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut bytes = 0;
    loop {
        let count = from.read(&mut chunk).map_err(|error| format!("after {bytes} bytes: {error}"))?;
        if count == 0 {
            break;
        }
        bytes += count as u64;
        if bytes > bytes_max {
            return Err(format!("it has more than {bytes_max} bytes"));
        }
        digest.update(&chunk[..count]);
        into.write_all(&chunk[..count]).map_err(|error| format!("keep it for reading: {error}"))?;
    }
    into.rewind().map_err(|error| error.to_string())?;
    Ok(advisory::digest::hex(&digest.finalize()))
}

/// When the newest record of a reading was changed.
pub(super) fn newest(feed: &advisory::format::Feed) -> Option<Timestamp> {
    let records = feed.advisories.iter().filter_map(|advisory| advisory.modified.or(advisory.published));
    let scores = feed.signals.epss_date.and_then(|date| TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok());
    records.chain(feed.signals.kev_released).chain(scores).max()
}
