//! `updateinfo.xml`: the advisories of an RPM repository, read as a stream. Gives advisories.
//!
//! Source of the shape: createrepo_c and dnf's updateinfo, and the files of Fedora, AlmaLinux, Rocky Linux, Amazon Linux
//! and SUSE. A document type declaration stops the reading and no entity is ever expanded but XML's own five.

use super::intake::{self, Problems};
use super::rpm;
use crate::model::{
    Advisory, Channel, Claim, Document, Edge, EdgeKind, Kind, Module, NameKind, Severity, State,
};
use crate::problem::Problem;
use crate::release::Release;
use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesRef, BytesStart, Event};
use sha2::{Digest, Sha256};
use std::io::{self, BufRead, Read};
use std::sync::Arc;

/// Bytes of the file, unpacked. RHEL's largest has some 300 MB; a dozen times that.
pub const TEXT_BYTES_MAX: u64 = 4 << 30;

/// Bytes of one tag or one run of text. Descriptions reach 100 kB; forty times that.
const EVENT_BYTES_MAX: u64 = 4 << 20;

/// Elements within elements; the format needs seven.
const DEPTH_MAX: usize = 32;

/// Packages of one update. Fedora's KDE updates have some 5,000.
const PACKAGES_MAX: usize = 200_000;

/// References of one update.
const REFERENCES_MAX: usize = 20_000;

/// Bytes of id, title, severity, names and versions, each.
const FIELD_BYTES_MAX: usize = 1_024;

const OPERATION: &str = "read updateinfo";

/// Every update of the file, handed to `out` as it ends. `release` is the release the repository is for.
///
/// Updates before a cut are given; the cut, and the update it cuts, are problems.
pub fn read(
    feed: &str,
    xml: impl BufRead,
    release: &Release,
    out: &mut impl FnMut(Advisory),
) -> Vec<Problem> {
    let mut problems = Problems::new(feed);
    read_into(feed, xml, release, out, &mut problems);
    problems.finish()
}

pub(super) fn read_into(
    feed: &str,
    xml: impl BufRead,
    release: &Release,
    out: &mut dyn FnMut(Advisory),
    problems: &mut Problems,
) {
    let mut reader = Reader::from_reader(Metered { inner: xml, left: EVENT_BYTES_MAX });
    let mut walk = Walk { feed, release, path: Vec::new(), update: None, text: String::new(), closed: false };
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        reader.get_mut().left = EVENT_BYTES_MAX;
        let stop = match reader.read_event_into(&mut buffer) {
            Ok(Event::Eof) if walk.closed => return,
            Ok(Event::Eof) => Some("it ends before </updates>".to_owned()),
            Ok(Event::DocType(_)) => {
                Some("it has a document type declaration, which is not accepted".to_owned())
            }
            Ok(event) => walk.event(&event, out, problems).err(),
            Err(error) => Some(format!("it breaks off at byte {}: {error}", reader.error_position())),
        };
        if let Some(reason) = stop {
            let lost =
                walk.update.map_or_else(String::new, |update| format!("; update {:?} is lost", update.id));
            return problems.cut(OPERATION, format_args!("{reason}{lost}"));
        }
    }
}

/// Errors once a single event wants more than its share, so that a tag without an end does not fill the memory.
struct Metered<R> {
    inner: R,
    left: u64,
}

impl<R: BufRead> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self.left.saturating_sub(count as u64);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Metered<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 {
            return Err(io::Error::other(format!("a tag or text of more than {EVENT_BYTES_MAX} bytes")));
        }
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.left = self.left.saturating_sub(count as u64);
        self.inner.consume(count);
    }
}

/// An element that means something to us; all others are `Other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    Updates,
    Update,
    Id,
    Title,
    Summary,
    Severity,
    Issued,
    Updated,
    Reference,
    Collection,
    Module,
    Package,
    Reboot,
    Other,
}

impl Element {
    fn of(start: &BytesStart<'_>) -> Self {
        match start.local_name().as_ref() {
            "updates" => Self::Updates,
            "update" => Self::Update,
            "id" => Self::Id,
            "title" => Self::Title,
            "summary" => Self::Summary,
            "severity" => Self::Severity,
            "issued" => Self::Issued,
            "updated" => Self::Updated,
            "reference" => Self::Reference,
            "collection" => Self::Collection,
            "module" => Self::Module,
            "package" => Self::Package,
            "reboot_suggested" => Self::Reboot,
            _ => Self::Other,
        }
    }
}

/// Where the reading stands.
struct Walk<'a> {
    feed: &'a str,
    release: &'a Release,
    path: Vec<Element>,
    update: Option<Update>,
    /// Text of the innermost element so far.
    text: String,
    /// `</updates>` was read.
    closed: bool,
}

/// The update being read.
#[derive(Default)]
struct Update {
    id: String,
    kind: String,
    status: String,
    title: String,
    summary: String,
    severity: String,
    issued: String,
    updated: String,
    reboot: bool,
    edges: Vec<Edge>,
    references: Vec<String>,
    module: Option<Module>,
    packages: Vec<Package>,
    notes: Vec<String>,
    /// Over all that the update says, because a stream keeps no raw text.
    digest: Sha256,
}

struct Package {
    name: String,
    arch: String,
    evr: Option<String>,
    module: Option<Module>,
}

impl Walk<'_> {
    fn event(
        &mut self,
        event: &Event<'_>,
        out: &mut dyn FnMut(Advisory),
        problems: &mut Problems,
    ) -> Result<(), String> {
        if let Some(update) = &mut self.update {
            let said: &str = match event {
                Event::Start(tag) | Event::Empty(tag) => tag,
                Event::Text(text) => text,
                Event::CData(text) => text,
                Event::GeneralRef(name) => name,
                Event::End(tag) => tag,
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) | Event::Eof => "",
            };
            update.digest.update(said.as_bytes());
            update.digest.update([0]);
        }
        match event {
            Event::Start(tag) => {
                self.start(tag)?;
            }
            Event::Empty(tag) => {
                self.start(tag)?;
                self.end(out, problems);
            }
            Event::End(_) => self.end(out, problems),
            Event::Text(text) => self.add_text(text),
            Event::CData(text) => self.add_text(text),
            Event::GeneralRef(name) => self.reference(name),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) | Event::Eof => {}
        }
        Ok(())
    }

    fn add_text(&mut self, text: &str) {
        let room = FIELD_BYTES_MAX.saturating_sub(self.text.len());
        self.text.push_str(&text[..text.floor_char_boundary(room)]);
    }

    /// `&amp;`, `&#x2014;`. An entity of somebody's own is never looked up.
    fn reference(&mut self, name: &BytesRef<'_>) {
        if let Ok(Some(char)) = name.resolve_char_ref() {
            self.add_text(char.encode_utf8(&mut [0; 4]));
        } else if let Some(text) = quick_xml::escape::resolve_predefined_entity(name) {
            self.add_text(text);
        } else if let Some(update) = &mut self.update {
            let name = intake::one_line(name, 64);
            update.note(format!("entity \"&{name};\" is not expanded"));
        }
    }

    fn start(&mut self, tag: &BytesStart<'_>) -> Result<(), String> {
        if self.path.len() == DEPTH_MAX {
            return Err(format!("more than {DEPTH_MAX} elements within each other"));
        }
        let element = Element::of(tag);
        let parent = self.path.last().copied();
        if parent.is_none() && element != Element::Updates {
            return Err(format!(
                "its outermost element is <{}>, not <updates>",
                intake::one_line(tag.name().as_ref(), 64)
            ));
        }
        self.path.push(element);
        self.text.clear();
        if element == Element::Update && parent == Some(Element::Updates) {
            let mut update = Update::default();
            for (name, slot) in [("type", &mut update.kind), ("status", &mut update.status)] {
                *slot = attribute(tag, name).unwrap_or_default().unwrap_or_default();
            }
            update.digest.update(tag.as_bytes());
            self.update = Some(update);
            return Ok(());
        }
        let Some(update) = &mut self.update else { return Ok(()) };
        match element {
            Element::Issued => update.issued = attribute(tag, "date").unwrap_or_default().unwrap_or_default(),
            Element::Updated => {
                update.updated = attribute(tag, "date").unwrap_or_default().unwrap_or_default()
            }
            Element::Reference => update.reference(tag),
            Element::Collection => update.module = None,
            Element::Module => update.module(tag),
            Element::Package => update.package(tag),
            Element::Updates
            | Element::Update
            | Element::Id
            | Element::Title
            | Element::Summary
            | Element::Severity
            | Element::Reboot
            | Element::Other => {}
        }
        Ok(())
    }

    fn end(&mut self, out: &mut dyn FnMut(Advisory), problems: &mut Problems) {
        let Some(element) = self.path.pop() else { return };
        let parent = self.path.last().copied();
        if element == Element::Updates && parent.is_none() {
            self.closed = true;
        }
        if element == Element::Update && parent == Some(Element::Updates) {
            if let Some(update) = self.update.take() {
                update.deliver(self.feed, self.release, out, problems);
            }
            return;
        }
        let Some(update) = &mut self.update else { return };
        let text = || intake::one_line(&self.text, FIELD_BYTES_MAX);
        let of_update = parent == Some(Element::Update);
        match element {
            Element::Id if of_update => update.id = text(),
            Element::Title if of_update => update.title = text(),
            Element::Summary if of_update => update.summary = text(),
            Element::Severity if of_update => update.severity = text(),
            // Empty, `True` or `1`; only an explicit no is a no.
            Element::Reboot => {
                update.reboot |= !["false", "0", "no"].contains(&text().to_ascii_lowercase().as_str());
            }
            Element::Updates
            | Element::Update
            | Element::Id
            | Element::Title
            | Element::Summary
            | Element::Severity
            | Element::Issued
            | Element::Updated
            | Element::Reference
            | Element::Collection
            | Element::Module
            | Element::Package
            | Element::Other => {}
        }
    }
}

impl Update {
    fn note(&mut self, reason: String) {
        // A hundred say enough about one update.
        if self.notes.len() < 100 {
            self.notes.push(reason);
        }
    }

    fn reference(&mut self, tag: &BytesStart<'_>) {
        let value = |name| attribute(tag, name).ok().flatten().unwrap_or_default();
        let (kind, id, href, title) = (value("type"), value("id"), value("href"), value("title"));
        if self.references.len() == REFERENCES_MAX || self.edges.len() >= REFERENCES_MAX {
            return self.note(format!("more than {REFERENCES_MAX} references; the rest is left out"));
        }
        if !href.is_empty() {
            self.references.push(href);
        }
        let mut edge = |kind, id: &str| {
            let edge = Edge { kind, id: id.to_owned() };
            if !self.edges.contains(&edge) && self.edges.len() < 2_000 {
                self.edges.push(edge);
            }
        };
        // An update closes CVEs; it is no other name of one, so they are never aliases.
        if intake::is_cve(&id) {
            edge(EdgeKind::Related, &id);
        } else if ["rhsa", "rhba", "rhea"].contains(&kind.to_ascii_lowercase().as_str()) && !id.is_empty() {
            // A rebuild names the bulletin it follows.
            edge(EdgeKind::Upstream, &id);
        }
        // Fedora names its CVEs only in the titles of its bugs.
        let is_separator = |char: char| !char.is_ascii_alphanumeric() && char != '-';
        title
            .split(is_separator)
            .filter(|word| intake::is_cve(word))
            .for_each(|cve| edge(EdgeKind::Related, cve));
    }

    fn module(&mut self, tag: &BytesStart<'_>) {
        let value = |name| attribute(tag, name).ok().flatten().unwrap_or_default();
        let (name, stream) = (value("name"), value("stream"));
        if name.is_empty() || stream.is_empty() {
            self.note("a module without name or stream; its packages are undetermined".to_owned());
            self.module = Some(rpm::unknown_stream());
        } else {
            self.module = Some(Module { name, stream });
        }
    }

    fn package(&mut self, tag: &BytesStart<'_>) {
        if self.packages.len() == PACKAGES_MAX {
            return self.note(format!("more than {PACKAGES_MAX} packages; the rest is left out"));
        }
        let name = match attribute(tag, "name") {
            Ok(Some(name)) if !name.is_empty() => name,
            Ok(_) => return self.note("a package without a name; it is not judged".to_owned()),
            Err(reason) => return self.note(format!("a package's name cannot be read: {reason}")),
        };
        let value = |name| attribute(tag, name).ok().flatten().filter(|text| !text.is_empty());
        let evr = match (value("epoch"), value("version"), value("release")) {
            // "0" and no epoch are the same epoch; written without, as rpm does.
            (None, Some(version), Some(release)) => Some(format!("{version}-{release}")),
            (Some(epoch), Some(version), Some(release)) if epoch == "0" => {
                Some(format!("{version}-{release}"))
            }
            (Some(epoch), Some(version), Some(release)) => Some(format!("{epoch}:{version}-{release}")),
            (_, None, _) | (_, _, None) => None,
        };
        if evr.is_none() {
            self.note(format!("package {name:?} has no version or release; it shows as undetermined"));
        }
        let arch = value("arch").unwrap_or_default();
        self.packages.push(Package { name, arch, evr, module: self.module.clone() });
    }

    fn deliver(self, feed: &str, release: &Release, out: &mut dyn FnMut(Advisory), problems: &mut Problems) {
        if self.id.is_empty() {
            let reason = "an update without an id; it is not used";
            return problems.push(Problem::new(OPERATION, feed, reason).remedy("ask its vendor"));
        }
        let mut notes = self.notes;
        let sha256 = super::osv::hex(&self.digest.finalize());
        let document = Document { feed: feed.to_owned(), entry: self.id.clone(), sha256 };
        let mut advisory = Advisory::new(self.id, Kind::Security, Arc::new(document));
        advisory.kind = match self.kind.as_str() {
            "security" => Kind::Security,
            "bugfix" | "enhancement" | "recommended" | "optional" | "feature" | "newpackage" => {
                Kind::Maintenance
            }
            other => {
                notes.push(format!("its type is {:?}; taken for security", intake::one_line(other, 64)));
                Kind::Security
            }
        };
        advisory.published = time("issued", &self.issued, &mut notes);
        advisory.modified = time("updated", &self.updated, &mut notes);
        if self.status == "retracted" {
            advisory.withdrawn = advisory.modified.or(advisory.published);
            if advisory.withdrawn.is_none() {
                notes.push("retracted without a date, so it still counts".to_owned());
            }
        }
        let severity = Some(self.severity.as_str()).filter(|word| !word.is_empty() && *word != "None");
        advisory.severities = severity
            .or_else(|| rpm::severity(&self.title))
            .map(|word| Severity::Vendor(word.to_owned()))
            .into_iter()
            .collect();
        let streams = rpm::streams(&self.title);
        // Source packages stand beside their binaries; hosts install binaries. Where there are only sources, those.
        let only_sources = self.packages.iter().all(Package::is_source);
        for package in self.packages {
            if !package.is_source() || only_sources {
                package.claims(release, &streams, &mut advisory.claims);
            }
        }
        advisory.summary = if self.title.is_empty() { self.summary } else { self.title };
        advisory.edges = self.edges;
        advisory.references = self.references;
        advisory.reboot = self.reboot;
        for reason in notes {
            problems.push(
                Problem::new(OPERATION, format!("{feed}: {}", advisory.id), reason).remedy("ask its vendor"),
            );
        }
        out(advisory);
    }
}

impl Package {
    fn is_source(&self) -> bool {
        self.arch == "src" || self.arch == "nosrc"
    }

    fn claims(self, release: &Release, streams: &[Module], claims: &mut Vec<Claim>) {
        let name_kind = if self.is_source() { NameKind::Source } else { NameKind::Binary };
        let arch = (!self.arch.is_empty() && self.arch != "noarch" && !self.is_source()).then_some(self.arch);
        let evr = self.evr.as_deref().unwrap_or("");
        let modular = rpm::is_modular(evr);
        let claim = Claim {
            release: release.clone(),
            channel: Channel::Main,
            name_kind,
            name: self.name,
            module: self.module.or_else(|| modular.then(rpm::unknown_stream)),
            flavour: rpm::flavour(evr).map(str::to_owned),
            arch,
            introduced: None,
            state: if self.evr.is_some() { State::Fixed } else { State::Undetermined },
            reason: if self.evr.is_some() { String::new() } else { "the vendor gives no version".to_owned() },
            fixed: self.evr,
            last_affected: None,
            versions: Vec::new(),
        };
        // Where the collection has no module element the title may name the stream.
        if modular && claim.module == Some(rpm::unknown_stream()) && !streams.is_empty() {
            claims
                .extend(streams.iter().map(|stream| Claim { module: Some(stream.clone()), ..claim.clone() }));
        } else {
            claims.push(claim);
        }
    }
}

/// An attribute's value; errors where it cannot be read, as with an entity of somebody's own.
fn attribute(tag: &BytesStart<'_>, name: &str) -> Result<Option<String>, String> {
    let found = tag.try_get_attribute(name).map_err(|error| error.to_string())?;
    let Some(found) = found else { return Ok(None) };
    let value = found.normalized_value(XmlVersion::Implicit1_0).map_err(|error| error.to_string())?;
    if value.len() > FIELD_BYTES_MAX {
        return Err(format!("longer than {FIELD_BYTES_MAX} bytes"));
    }
    Ok(Some(intake::one_line(&value, FIELD_BYTES_MAX)))
}

/// `2025-12-01 18:15:47` (UTC), `2025-12-01`, RFC 3339, or seconds since 1970 (SUSE). Empty is not given.
fn time(field: &str, text: &str, notes: &mut Vec<String>) -> Option<Timestamp> {
    let text = text.trim().trim_end_matches("UTC").trim_end();
    if text.is_empty() {
        return None;
    }
    let short = (text.len() <= 64).then_some(text);
    let utc = |time: DateTime| TimeZone::UTC.to_timestamp(time).ok();
    let parsed = short.and_then(|text| {
        if let Ok(seconds) = text.parse::<i64>() {
            return Timestamp::from_second(seconds).ok();
        }
        let date = || text.parse::<Date>().ok().map(|date| date.at(0, 0, 0, 0));
        text.parse().ok().or_else(|| text.parse().ok().or_else(date).and_then(utc))
    });
    if parsed.is_none() {
        notes.push(format!("{field} is no time: {:?}", intake::one_line(text, 64)));
    }
    parsed
}
