//! Feed formats: bytes in, records and problems out.
//!
//! [`read`] takes any accepted feed; the modules below take one format each. Nothing here trusts a size, a name or a
//! type that a feed claims. gzip and zstd are unpacked on the way.

mod intake;
mod metered;
pub mod epss;
pub mod kev;
pub mod lifecycle;
pub mod osv;
pub mod rpm;
pub mod updateinfo;

pub use metered::Metered;

use crate::model::{Advisory, Severity};
use crate::problem::Problem;
use crate::release::Release;
use crate::signal::Signals;
use crate::version::Order;
use intake::Problems;
use lifecycle::{Lifecycle, List};
use std::fmt;
use std::io::{self, Read, Seek};

/// Bytes from the beginning of a feed that are enough to tell its format.
pub const HEAD_BYTES: usize = 64 << 10;

/// Bytes of an OSV file that is no zip, unpacked.
const OSV_FILE_BYTES_MAX: u64 = 256 << 20;

/// What to do about a feed in no accepted format.
const ACCEPTED: &str = "accepted are OSV (zip, JSON, a list, one record per line), KEV (JSON), EPSS (CSV), \
    updateinfo.xml, debian.csv and ubuntu.csv, security-support-ended and -limited; plain, gzip or zstd";

/// A feed's format. Packing (gzip, zstd) is not part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// OSV in JSON: a record, a list, or a record per line.
    Osv,
    /// A zip of OSV records.
    OsvArchive,
    /// CISA's catalogue.
    Kev,
    /// FIRST's daily scores.
    Epss,
    /// `updateinfo.xml` of an RPM repository.
    Updateinfo,
    /// `debian.csv`, `ubuntu.csv` of distro-info-data.
    Releases,
    /// `security-support-ended` of debian-security-support.
    SupportEnded,
    /// `security-support-limited` of debian-security-support.
    SupportLimited,
}

impl fmt::Display for Format {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Osv => "OSV",
            Self::OsvArchive => "OSV archive",
            Self::Kev => "KEV",
            Self::Epss => "EPSS",
            Self::Updateinfo => "updateinfo",
            Self::Releases => "release dates",
            Self::SupportEnded => "ended security support",
            Self::SupportLimited => "limited security support",
        })
    }
}

impl Format {
    /// The format of a feed called `name` that begins with `head`: by content, and by name only where content does not
    /// tell. [`HEAD_BYTES`] of head are enough, of gzip too; zstd has to be unpacked before.
    pub fn detect(name: &str, head: &[u8]) -> Option<Self> {
        if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
            return Some(Self::OsvArchive);
        }
        let unpacked;
        let head = if intake::is_gzip(head) {
            unpacked = intake::gzip_head(head, HEAD_BYTES as u64);
            &unpacked
        } else {
            head
        };
        let text = String::from_utf8_lossy(&head[..head.len().min(HEAD_BYTES)]);
        let text = text.trim_start_matches('\u{feff}').trim_start();
        let has = |part: &str| text.contains(part);
        if text.starts_with('<') {
            return has("<updates").then_some(Self::Updateinfo);
        }
        if text.starts_with("#model_version") || text.starts_with("cve,epss") {
            return Some(Self::Epss);
        }
        if text.starts_with("version,codename,series") {
            return Some(Self::Releases);
        }
        if text.starts_with(['{', '[']) {
            return match () {
                () if has("\"catalogVersion\"") => Some(Self::Kev),
                () if has("\"schema_version\"") || has("\"affected\"") => Some(Self::Osv),
                () if has("\"id\"") && has("\"modified\"") => Some(Self::Osv),
                () => None,
            };
        }
        let file = name.rsplit('/').next().unwrap_or(name);
        let by_comment = |part: &str| text.starts_with('#') && has(part);
        if by_comment("security support ends") || file.starts_with("security-support-ended") {
            return Some(Self::SupportEnded);
        }
        if by_comment("security support is limited") || file.starts_with("security-support-limited") {
            return Some(Self::SupportLimited);
        }
        None
    }
}

/// What a feed gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Feed {
    /// Its advisories, in its order.
    pub advisories: Vec<Advisory>,
    /// Its signals; with advisories, their CVSS vectors.
    pub signals: Signals,
    /// Its life cycle dates.
    pub lifecycle: Lifecycle,
    /// What could not be read.
    pub problems: Vec<Problem>,
    /// Something stopped the reading before the end: what is here is a part. The problem that says why is among them.
    pub truncated: bool,
}

/// Reads a feed. `format` `None` looks for itself; `name` is a path or an address and appears in problems.
///
/// `release` is the release of an updateinfo or of a support list whose name does not tell; elsewhere unused.
pub fn read(
    format: Option<Format>,
    name: &str,
    mut reader: impl Read + Seek,
    release: Option<&Release>,
) -> Feed {
    let mut feed = Feed::default();
    let mut problems = Problems::new(name);
    match format.map_or_else(|| detect(name, &mut reader), |format| Ok(Some(format))) {
        Ok(Some(format)) => {
            if let Err(error) = read_format(format, name, reader, release, &mut feed, &mut problems) {
                problems.cut("read feed", format_args!("{error}"));
            }
        }
        Ok(None) => {
            problems.refuse("read feed", "its format is not known; nothing is used", ACCEPTED);
        }
        Err(error) => problems.cut("read feed", error),
    }
    for advisory in &feed.advisories {
        feed.signals.add_cvss(advisory);
    }
    feed.truncated = problems.truncated;
    feed.problems = problems.finish();
    feed
}

fn detect(name: &str, reader: &mut (impl Read + Seek)) -> io::Result<Option<Format>> {
    let mut head = Vec::new();
    reader.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    reader.rewind()?;
    if intake::is_zstd(&head) {
        // A zstd frame gives its first byte only after a whole window, so its head alone is not enough.
        head.clear();
        intake::plain(&mut *reader, u64::MAX)?.take(HEAD_BYTES as u64).read_to_end(&mut head)?;
        reader.rewind()?;
    }
    Ok(Format::detect(name, &head))
}

fn read_format(
    format: Format,
    name: &str,
    reader: impl Read + Seek,
    release: Option<&Release>,
    feed: &mut Feed,
    problems: &mut Problems,
) -> io::Result<()> {
    let Feed { advisories, signals, lifecycle, .. } = feed;
    let mut keep = |advisory| advisories.push(advisory);
    match format {
        Format::OsvArchive => osv::read_archive_into(name, reader, &mut keep, problems),
        Format::Osv => {
            let json = whole(reader, OSV_FILE_BYTES_MAX, problems)?;
            osv::read_documents_into(name, &json, &mut keep, problems);
        }
        Format::Kev => {
            let json = whole(reader, kev::CATALOGUE_BYTES_MAX, problems)?;
            kev::read_into(name, &json, signals, problems);
        }
        Format::Epss => {
            let mut text = intake::plain(reader, epss::TEXT_BYTES_MAX)?;
            epss::read_into(name, &mut text, signals, problems);
        }
        Format::Updateinfo => {
            let Some(release) = release else {
                let reason = "it does not say for which release it is; nothing is used";
                problems.refuse("read updateinfo", reason, "name the release");
                return Ok(());
            };
            if release.family.order() != Some(Order::Rpm) {
                problems.truncated = true;
                let reason =
                    format!("updateinfo is about RPM packages, and {release} has none; nothing is used");
                problems.push(
                    Problem::new("read updateinfo", name, reason).remedy("give the feed of this release"),
                );
                return Ok(());
            }
            let xml = intake::plain(reader, updateinfo::TEXT_BYTES_MAX)?;
            updateinfo::read_into(name, xml, release, &mut keep, problems);
        }
        Format::Releases => {
            let mut text = intake::plain(reader, lifecycle::TEXT_BYTES_MAX)?;
            lifecycle::read_releases_into(name, &mut text, lifecycle, problems);
        }
        Format::SupportEnded | Format::SupportLimited => {
            let list = if format == Format::SupportEnded { List::Ended } else { List::Limited };
            let mut text = intake::plain(reader, lifecycle::TEXT_BYTES_MAX)?;
            lifecycle::read_list_into(name, list, &mut text, release, lifecycle, problems);
        }
    }
    Ok(())
}

/// All of a text; what stands before a cut or a limit is kept, and the cut is a problem.
fn whole(reader: impl Read, bytes_max: u64, problems: &mut Problems) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    if let Err(error) = intake::plain(reader, bytes_max)?.read_to_end(&mut text) {
        problems.cut("unpack feed", format_args!("cut off after {} bytes of text: {error}", text.len()));
    }
    Ok(text)
}

impl Signals {
    /// Keeps the CVSS vectors of an advisory about exactly one CVE. One about several does not say whose they are.
    pub fn add_cvss(&mut self, advisory: &Advisory) {
        let cves = advisory.cves();
        let [cve] = cves[..] else { return };
        for severity in &advisory.severities {
            if let Severity::Cvss(vector) = severity {
                let vectors = self.cvss.entry(cve.to_owned()).or_default();
                if !vectors.contains(vector) {
                    vectors.push(vector.clone());
                }
            }
        }
    }
}
