//! What a repository has of some packages: its `primary.xml`, file by file with its digest.

use super::summary::{attribute, reference};
use crate::observe::rpm::{evr, split_source};
use crate::rehearse::file;
use crate::unpack::{Bytes, Caps};
use advisory::format::Metered;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use rollout::plan::File;
use std::collections::BTreeSet;
use std::io::{BufReader, Read};

/// The largest distributions' metadata unpacks to some 300 MB.
const XML_BYTES_MAX: u64 = 2 << 30;
/// Bytes of one tag or one run of text. Descriptions reach 100 kB; forty times that.
const EVENT_BYTES_MAX: u64 = 4 << 20;
/// Elements within elements; the format needs five.
const DEPTH_MAX: usize = 32;
/// Bytes of a name, an architecture, a digest, a source package, each.
const FIELD_BYTES_MAX: usize = 1_024;
/// Files of the packages that are asked for. A class of hosts has some hundred packages; a repository, some versions of each.
const OFFERED_MAX: usize = 100_000;

/// One file of a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offered {
    /// The package's name.
    pub name: String,
    /// Its architecture.
    pub arch: String,
    /// `epoch:version-release`, a zero epoch left out.
    pub version: String,
    /// Name of its source package.
    pub source: String,
    /// Version of its source package.
    pub source_version: String,
    /// `None`: its digest is of another kind than SHA-256.
    pub file: Option<File>,
    /// Bytes of the file.
    pub size_bytes: u64,
}

/// Which field the text that follows belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Name,
    Arch,
    Sha256,
    Source,
}

/// What is told of one package so far.
#[derive(Debug, Default)]
struct Told {
    name: String,
    arch: String,
    /// `None`: not told, or not to be understood.
    version: Option<String>,
    sha256: String,
    source: String,
    size_bytes: u64,
}

/// Files of packages of these names. One that is not told whole is none of them. Errors, in words, where it cannot be read to
/// its end, or wants more than any repository needs.
pub fn read(xml: Box<dyn Read + Send>, names: &BTreeSet<&str>) -> Result<Vec<Offered>, String> {
    let unpacked = Bytes::of(xml, Caps::OF_LOGS).map_err(|error| error.to_string())?;
    let metered = Metered::new(BufReader::new(unpacked.take(XML_BYTES_MAX)), EVENT_BYTES_MAX);
    let mut reader = Reader::from_reader(metered);
    let (mut offered, mut buffer) = (Vec::new(), Vec::new());
    let (mut told, mut field) = (Told::default(), None);
    let (mut depth, mut is_closed) = (0_usize, false);
    loop {
        buffer.clear();
        reader.get_mut().refill();
        match reader.read_event_into(&mut buffer).map_err(|error| error.to_string())? {
            Event::Start(tag) => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(format!("more than {DEPTH_MAX} elements within each other"));
                }
                field = told.start(&tag);
            }
            Event::Empty(tag) => {
                told.start(&tag);
                field = None;
            }
            Event::Text(text) => told.add(field, &text)?,
            Event::CData(text) => told.add(field, &text)?,
            Event::GeneralRef(name) => told.add(field, &reference(&name))?,
            Event::End(tag) => {
                field = None;
                depth = depth.saturating_sub(1);
                match tag.local_name().as_ref() {
                    "package" if names.contains(told.name.trim()) => {
                        offered.extend(std::mem::take(&mut told).finished());
                        if offered.len() > OFFERED_MAX {
                            return Err(format!("more than {OFFERED_MAX} files of the packages asked for"));
                        }
                    }
                    "metadata" if depth == 0 => is_closed = true,
                    _ => {}
                }
            }
            Event::Eof if is_closed => return Ok(offered),
            Event::Eof => return Err("it ends before </metadata>".to_owned()),
            Event::DocType(_) => return Err("it declares a document type, which is not accepted".to_owned()),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
}

impl Told {
    /// Takes what a tag tells by itself; gives the field that the text after it belongs to.
    fn start(&mut self, tag: &BytesStart<'_>) -> Option<Field> {
        match tag.local_name().as_ref() {
            "package" => *self = Self::default(),
            "name" if self.name.is_empty() => return Some(Field::Name),
            "arch" if self.arch.is_empty() => return Some(Field::Arch),
            "checksum" if self.sha256.is_empty() && attribute(tag, "type") == "sha256" => {
                return Some(Field::Sha256);
            }
            "sourcerpm" if self.source.is_empty() => return Some(Field::Source),
            "version" if self.version.is_none() => self.version = version(tag),
            "size" => self.size_bytes = attribute(tag, "package").parse().unwrap_or(0),
            _ => {}
        }
        None
    }

    fn add(&mut self, field: Option<Field>, text: &str) -> Result<(), String> {
        let value = match field {
            None => return Ok(()),
            Some(Field::Name) => &mut self.name,
            Some(Field::Arch) => &mut self.arch,
            Some(Field::Sha256) => &mut self.sha256,
            Some(Field::Source) => &mut self.source,
        };
        if value.len() + text.len() > FIELD_BYTES_MAX {
            return Err(format!("a field of more than {FIELD_BYTES_MAX} bytes"));
        }
        value.push_str(text);
        Ok(())
    }

    fn finished(self) -> Option<Offered> {
        let word = |text: String| text.trim().to_owned();
        let (name, arch, version) = (word(self.name), word(self.arch), self.version?);
        if name.is_empty() || arch.is_empty() {
            return None;
        }
        let (source, source_version) = match split_source(self.source.trim()) {
            Some((source, version, release)) => (source.to_owned(), evr(0, version, release)),
            None => (name.clone(), version.clone()),
        };
        let file = file(Some(self.sha256.trim()), self.size_bytes);
        Some(Offered { name, arch, version, source, source_version, file, size_bytes: self.size_bytes })
    }
}

/// The version of a package's tag; `None` where part of it is missing or too long, or its epoch is no number.
fn version(tag: &BytesStart<'_>) -> Option<String> {
    let [epoch, version, release] = ["epoch", "ver", "rel"].map(|name| attribute(tag, name));
    if version.len() + release.len() > FIELD_BYTES_MAX {
        return None;
    }
    let epoch = if epoch.is_empty() { 0 } else { epoch.parse().ok()? };
    (!version.is_empty() && !release.is_empty()).then(|| evr(epoch, &version, &release))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollout::plan::Digest;
    use std::io::Cursor;

    #[test]
    fn a_file_is_found_by_its_name_with_its_digest_and_a_cut_is_no_answer() {
        let digest = Digest::of(b"lamp").to_string();
        let package = |name: &str, kind: &str| {
            format!(
                "<package type=\"rpm\"><name>{name}</name><arch>noarch</arch><version epoch=\"1\" ver=\"1.0\" rel=\"2\"/>\
                 <checksum type=\"{kind}\" pkgid=\"YES\">{digest}</checksum><size package=\"4711\" installed=\"6\"/>\
                 <format><rpm:sourcerpm>{name}-src-1.0-2.src.rpm</rpm:sourcerpm><rpm:provides>\
                 <rpm:entry name=\"x\"/></rpm:provides></format></package>"
            )
        };
        let packages =
            [package("lamp", "sha256"), package("other", "sha256"), package("wick", "sha")].concat();
        let xml =
            format!("<?xml version=\"1.0\"?><metadata xmlns=\"c\" xmlns:rpm=\"r\">{packages}</metadata>");
        let ask = |xml: &str| read(Box::new(Cursor::new(xml.as_bytes().to_vec())), &["lamp", "wick"].into());
        let offered = ask(&xml).unwrap();
        let lamp = &offered[0];
        assert_eq!((offered.len(), lamp.version.as_str(), lamp.source.as_str()), (2, "1:1.0-2", "lamp-src"));
        assert_eq!(lamp.file, Some(File { sha256: Digest::of(b"lamp"), size_bytes: 4711 }));
        assert_eq!(offered[1].file, None, "SHA-1 proves nothing");
        assert!(ask(&xml[..xml.len() - 20]).is_err());
    }

    /// A repository of one package, whose tags after its name are these.
    fn of_lamp(tags: &str) -> String {
        format!("<metadata><package><name>lamp</name><arch>any</arch>{tags}</package></metadata>")
    }

    fn lamps(xml: &str) -> Result<Vec<Offered>, String> {
        read(Box::new(Cursor::new(xml.as_bytes().to_vec())), &["lamp"].into())
    }

    #[test]
    fn a_package_that_is_not_told_whole_is_not_offered() {
        let whole = "<version epoch=\"0\" ver=\"1\" rel=\"2\"/>";
        assert_eq!(lamps(&of_lamp(whole)).unwrap()[0].version, "1-2");
        for tags in ["", "<version ver=\"1\"/>", "<version epoch=\"x\" ver=\"1\" rel=\"2\"/>"] {
            assert_eq!(lamps(&of_lamp(tags)), Ok(Vec::new()), "{tags:?}");
        }
    }

    #[test]
    fn what_wants_more_than_any_repository_needs_is_refused() {
        let long = format!("<!-- {} -->", "x".repeat(usize::try_from(EVENT_BYTES_MAX).unwrap() * 2));
        let deep = "<a>".repeat(DEPTH_MAX);
        let named = format!("<format><rpm:sourcerpm>{}</rpm:sourcerpm></format>", "x".repeat(2_000));
        for (tags, why) in [(long, "tag or text"), (deep, "within each other"), (named, "a field of")] {
            assert!(lamps(&of_lamp(&tags)).unwrap_err().contains(why), "{why}");
        }
        let many = of_lamp("<version ver=\"1\" rel=\"2\"/>");
        let (head, package) = many.trim_end_matches("</metadata>").split_at("<metadata>".len());
        let many = format!("{head}{}</metadata>", package.repeat(OFFERED_MAX + 1));
        assert!(lamps(&many).unwrap_err().contains("files of the packages"));
    }
}
