//! OSV: one record, a list of records, or a zip of them. Takes bytes; gives advisories.
//!
//! A record is pure and alone: [`record`] may run on many threads, one entry each. [`archive()`] walks a zip in order
//! with one buffer.

mod archive;
mod claims;
pub mod ecosystem;
mod wire;

pub(super) use archive::read_into as read_archive_into;
pub use archive::{ENTRIES_MAX, RATIO_MAX, TEXT_BYTES_MAX, archive};

use crate::format::intake::{self, Problems};
use crate::format::rpm;
use crate::model::{Advisory, Document, Edge, EdgeKind, Kind, Severity};
use crate::problem::Problem;
use claims::Context;
use jiff::Timestamp;
use serde::de::{Deserialize, DeserializeSeed, Deserializer as _, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use std::sync::Arc;
use wire::{Affected, Outline, RawAffected, RawRecord, Record, Text};

/// Bytes of one record, unpacked. The largest known are kernel records of all Ubuntu releases, some 5 MB; room for six.
pub const RECORD_BYTES_MAX: u64 = 32 << 20;

/// Bytes of a summary; one line for a person.
const SUMMARY_BYTES_MAX: usize = 1_024;

/// Bytes of a reference; browsers give up before.
const REFERENCE_BYTES_MAX: usize = 4_096;

/// Problems told of one record.
const RECORD_PROBLEMS_MAX: usize = 100;

const OPERATION: &str = "read OSV record";

/// One OSV record. `feed` and `entry` say where it stands and become its [`Document`].
///
/// Errors where nothing can be used: not JSON, no id, too long. Anything less is a problem beside the advisory: a field
/// of a wrong type is left out, an `affected` entry that cannot be read becomes a claim that is *undetermined* if at
/// least its package can.
pub fn record(feed: &str, entry: &str, json: &[u8]) -> Result<(Advisory, Vec<Problem>), Problem> {
    let object = || if entry.is_empty() { feed.to_owned() } else { format!("{feed}: {entry}") };
    let lost = |reason: &dyn fmt::Display, remedy: &str| {
        Problem::new(OPERATION, object(), reason).remedy(remedy.to_owned())
    };
    if json.len() as u64 > RECORD_BYTES_MAX {
        let reason = format!("{} bytes; a record has at most {RECORD_BYTES_MAX}", json.len());
        return Err(lost(&reason, "the record is not used; ask its vendor"));
    }
    let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
    let mut notes = Notes { object: object(), list: Vec::new() };
    let (record, unread) = match serde_json::from_slice::<Record<'_>>(json) {
        Ok(record) => (record, Vec::new()),
        // Only now, because nearly every record is well-formed: field by field.
        Err(error) => field_by_field(json, &mut notes)
            .map_err(|()| lost(&error, "the record is not used; fetch the feed again"))?,
    };
    let Some(id) = record.id.as_ref().map(|id| &*id.0).filter(|id| !id.is_empty()) else {
        return Err(lost(&"it has no usable \"id\"", "OSV records are accepted; see the OSV schema"));
    };
    let document =
        Document { feed: feed.to_owned(), entry: entry.to_owned(), sha256: crate::digest::sha256(json) };
    let mut advisory = Advisory::new(id, Kind::Security, Arc::new(document));
    let summary = record.summary.as_ref().map_or("", |text| &*text.0);
    advisory.summary = intake::one_line(summary, SUMMARY_BYTES_MAX);
    advisory.published = timestamp("published", record.published.as_ref(), &mut notes);
    advisory.modified = timestamp("modified", record.modified.as_ref(), &mut notes);
    advisory.withdrawn = timestamp("withdrawn", record.withdrawn.as_ref(), &mut notes);
    if record.withdrawn.is_some() && advisory.withdrawn.is_none() {
        // Taken back at a time we cannot read is not taken back: it goes on counting, and says so.
        notes.add("\"withdrawn\" cannot be read, so the advisory still counts", "ask its vendor");
    }
    let edges = [
        (EdgeKind::Alias, &record.aliases),
        (EdgeKind::Upstream, &record.upstream),
        (EdgeKind::Related, &record.related),
    ];
    for (kind, ids) in edges {
        advisory.edges.extend(ids.0.iter().map(|id| Edge { kind, id: id.0.clone().into_owned() }));
    }
    let mut severities = severities(&record, &advisory.summary);
    severities.sort();
    severities.dedup();
    advisory.severities = severities;
    advisory.kind = kind(id, &advisory, &record);
    let context = Context::new(&advisory);
    advisory.claims = claims::claims(&context, &record.affected.0, &unread, &mut notes);
    advisory.references = record
        .references
        .0
        .iter()
        .filter_map(|reference| reference.url.as_ref())
        .map(|url| intake::one_line(&url.0, REFERENCE_BYTES_MAX))
        .collect();
    Ok((advisory, notes.list))
}

/// A file of records that is no zip: one record, a JSON list, or one record per line.
///
/// Records before a cut are given; the cut is a problem.
pub fn documents(feed: &str, json: &[u8], out: &mut impl FnMut(Advisory)) -> Vec<Problem> {
    let mut problems = Problems::new(feed);
    read_documents_into(feed, json, out, &mut problems);
    problems.finish()
}

pub(super) fn read_documents_into(
    feed: &str,
    json: &[u8],
    out: &mut dyn FnMut(Advisory),
    problems: &mut Problems,
) {
    let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
    let mut number = 0_u64;
    let mut one = |raw: &RawValue, several: bool, problems: &mut Problems| {
        number += 1;
        let entry = if several { format!("record {number}") } else { String::new() };
        deliver(record(feed, &entry, raw.get().as_bytes()), out, problems);
    };
    let mut reader = serde_json::Deserializer::from_slice(json);
    if json.trim_ascii_start().first() == Some(&b'[') {
        let result = reader.deserialize_seq(EachItem(&mut |raw| one(raw, true, problems)));
        if let Err(error) = result.and_then(|()| reader.end()) {
            problems.cut("read OSV list", error);
        }
        return;
    }
    let mut first = None;
    for raw in reader.into_iter::<&RawValue>() {
        match (raw, first) {
            (Ok(raw), None) => first = Some(raw),
            (Ok(raw), Some(before)) => {
                one(before, true, problems);
                first = Some(raw);
            }
            (Err(error), _) => {
                problems.cut("read OSV records", error);
                break;
            }
        }
    }
    if let Some(raw) = first {
        one(raw, number_is_many(json, raw), problems);
    }
}

/// Whether `last` is not the only value of `json`.
fn number_is_many(json: &[u8], last: &RawValue) -> bool {
    json.trim_ascii().len() > last.get().len()
}

fn deliver(
    result: Result<(Advisory, Vec<Problem>), Problem>,
    out: &mut dyn FnMut(Advisory),
    problems: &mut Problems,
) {
    match result {
        Ok((advisory, found)) => {
            for problem in found {
                problems.push(problem);
            }
            out(advisory);
        }
        Err(problem) => problems.push(problem),
    }
}

/// Problems of one record.
struct Notes {
    object: String,
    list: Vec<Problem>,
}

impl Notes {
    fn add(&mut self, reason: impl fmt::Display, remedy: &str) {
        if self.list.len() < RECORD_PROBLEMS_MAX {
            self.list.push(Problem::new(OPERATION, self.object.clone(), reason).remedy(remedy.to_owned()));
        }
    }
}

/// An `affected` entry that cannot be read, with its package if that can, and why.
struct Unread<'a> {
    outline: Option<Outline<'a>>,
    reason: String,
}

/// Reads every field alone, so that one of a wrong type costs only itself. Errs if the bytes are no JSON object.
fn field_by_field<'a>(json: &'a [u8], notes: &mut Notes) -> Result<(Record<'a>, Vec<Unread<'a>>), ()> {
    fn field<'a, T: Deserialize<'a> + Default>(
        name: &str,
        raw: Option<&'a RawValue>,
        notes: &mut Notes,
    ) -> T {
        let Some(raw) = raw else { return T::default() };
        serde_json::from_str(raw.get()).unwrap_or_else(|error| {
            notes.add(format_args!("{name:?} is left out: {error}"), "ask its vendor");
            T::default()
        })
    }
    let raw: RawRecord<'a> = serde_json::from_slice(json).map_err(|_| ())?;
    let mut record = Record {
        id: field("id", raw.id, notes),
        summary: field("summary", raw.summary, notes),
        published: field("published", raw.published, notes),
        modified: field("modified", raw.modified, notes),
        withdrawn: field("withdrawn", raw.withdrawn, notes),
        aliases: field("aliases", raw.aliases, notes),
        related: field("related", raw.related, notes),
        upstream: field("upstream", raw.upstream, notes),
        severity: field("severity", raw.severity, notes),
        affected: wire::List::default(),
        references: field("references", raw.references, notes),
        database_specific: field("database_specific", raw.database_specific, notes),
    };
    let mut unread = Vec::new();
    let entries: RawAffected<'a> = field("affected", raw.affected, notes);
    for entry in entries.0 {
        match serde_json::from_str::<Affected<'a>>(entry.get()) {
            Ok(affected) => record.affected.0.push(affected),
            Err(error) => unread
                .push(Unread { outline: serde_json::from_str(entry.get()).ok(), reason: error.to_string() }),
        }
    }
    Ok((record, unread))
}

fn timestamp(field: &str, text: Option<&Text<'_>>, notes: &mut Notes) -> Option<Timestamp> {
    let text = &*text?.0;
    // A kilobyte of digits is no date; the parser need not see it.
    let parsed = if text.len() > 64 { None } else { text.parse().ok() };
    if parsed.is_none() {
        let shown = intake::one_line(text, 64);
        notes.add(format_args!("{field:?} is no RFC 3339 time: {shown:?}"), "the time is taken as not given");
    }
    parsed
}

/// CVSS vectors and the vendors' words; where a vendor writes its word only into the summary, that one.
fn severities(record: &Record<'_>, summary: &str) -> Vec<Severity> {
    let mut found = Vec::new();
    let mut vendor = |word: &str| {
        let word = intake::one_line(word, wire::ID_MAX);
        if !word.is_empty() {
            found.push(Severity::Vendor(word));
        }
    };
    let specifics = record
        .affected
        .0
        .iter()
        .flat_map(|affected| [&affected.ecosystem_specific, &affected.database_specific])
        .chain([&record.database_specific])
        .flatten();
    for specific in specifics {
        for word in [&specific.urgency, &specific.severity, &specific.ubuntu_priority].into_iter().flatten() {
            vendor(word);
        }
    }
    if let Some(word) = rpm::severity(summary) {
        vendor(word);
    }
    let scores = record.affected.0.iter().flat_map(|affected| &affected.severity.0).chain(&record.severity.0);
    for score in scores {
        let text = score.score.0.clone().into_owned();
        // Not CVSS: `Ubuntu`, the vendor's own scale.
        let is_cvss = score.kind.0.starts_with("CVSS");
        found.push(if is_cvss { Severity::Cvss(text) } else { Severity::Vendor(text) });
    }
    found
}

/// What the record is about, by the prefix of its id and the vendor's words.
fn kind(id: &str, advisory: &Advisory, record: &Record<'_>) -> Kind {
    let vendor = id.split(['-', ':']).next().unwrap_or("");
    let maintenance = ["ALBA", "ALEA", "RHBA", "RHEA", "RLBA", "RLEA", "ELBA", "ELEA"].contains(&vendor);
    // Red Hat closes CVEs in "bug fix" bulletins too; then it is a security bulletin, whatever its name.
    if maintenance && advisory.cves().is_empty() {
        return Kind::Maintenance;
    }
    let words = record
        .affected
        .0
        .iter()
        .filter_map(|affected| affected.database_specific.as_ref()?.informational.as_deref());
    if words.clone().next().is_some() && words.clone().all(|word| word == "unmaintained") {
        return Kind::EndOfLife;
    }
    let regression =
        advisory.summary.contains("regression update") || advisory.summary.ends_with(" regression");
    if regression && ["DSA", "DLA", "ELA", "USN"].contains(&vendor) {
        Kind::Regression
    } else {
        Kind::Security
    }
}

/// Hands each item of a JSON list to a function as it is read, so that items before an error are not lost.
struct EachItem<'f>(&'f mut dyn FnMut(&RawValue));

impl<'de> DeserializeSeed<'de> for EachItem<'_> {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for EachItem<'_> {
    type Value = ();
    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list of OSV records")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(raw) = items.next_element::<&'de RawValue>()? {
            (self.0)(raw);
        }
        Ok(())
    }
}
