//! `updateinfo.xml`: the advisories of an RPM repository, read as a stream. Gives advisories.
//!
//! Source of the shape: createrepo_c and dnf's updateinfo, and the files of Fedora, AlmaLinux, Rocky Linux, Amazon Linux
//! and SUSE. A document type declaration stops the reading and no entity is ever expanded but XML's own five.

mod update;

use super::Metered;
use super::intake::{self, Problems};
use crate::model::Advisory;
use crate::problem::Problem;
use crate::release::Release;
use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesRef, BytesStart, Event};
use sha2::Digest;
use std::io::BufRead;
use update::Update;

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
    let mut reader = Reader::from_reader(Metered::new(xml, EVENT_BYTES_MAX));
    let mut walk = Walk { feed, release, path: Vec::new(), update: None, text: String::new(), closed: false };
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        reader.get_mut().refill();
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
        self.text.push_str(intake::cut(text, room));
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
                update.updated = attribute(tag, "date").unwrap_or_default().unwrap_or_default();
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
