//! What a repository has of some packages: its `primary.xml`, file by file with its digest.

use super::summary::attribute;
use crate::observe::rpm::{evr, split_source};
use crate::rehearse::file;
use crate::unpack::{Bytes, Caps};
use quick_xml::Reader;
use quick_xml::events::Event;
use rollout::plan::File;
use std::collections::BTreeSet;
use std::io::{BufReader, Read};

/// The largest distributions' metadata unpacks to some 300 MB.
const XML_BYTES_MAX: u64 = 2 << 30;

/// One file of a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offered {
    pub(crate) name: String,
    pub(crate) arch: String,
    /// `epoch:version-release`, a zero epoch left out.
    pub(crate) version: String,
    /// Name of its source package.
    pub(crate) source: String,
    /// Version of its source package.
    pub(crate) source_version: String,
    /// `None`: its digest is of another kind than SHA-256.
    pub(crate) file: Option<File>,
    /// Bytes of the file.
    pub(crate) size_bytes: u64,
}

/// Which field the text that follows belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Name,
    Arch,
    Sha256,
    Source,
    None,
}

/// Files of packages of these names. Errors, in words, where it cannot be read to its end.
pub(crate) fn read(xml: Box<dyn Read + Send>, names: &BTreeSet<&str>) -> Result<Vec<Offered>, String> {
    let unpacked = Bytes::of(xml, Caps::OF_LOGS).map_err(|error| error.to_string())?;
    let mut reader = Reader::from_reader(BufReader::new(unpacked.take(XML_BYTES_MAX)));
    let (mut offered, mut buffer) = (Vec::new(), Vec::new());
    let (mut package, mut sha256, mut source, mut field) =
        (Offered::default(), String::new(), String::new(), Field::None);
    let mut is_closed = false;
    loop {
        buffer.clear();
        match reader.read_event_into(&mut buffer).map_err(|error| error.to_string())? {
            Event::Start(tag) | Event::Empty(tag) => {
                field = Field::None;
                match tag.local_name().as_ref() {
                    "package" => {
                        package = Offered::default();
                        sha256.clear();
                        source.clear();
                    }
                    "name" if package.name.is_empty() => field = Field::Name,
                    "arch" if package.arch.is_empty() => field = Field::Arch,
                    "checksum" if attribute(&tag, "type") == "sha256" => field = Field::Sha256,
                    "sourcerpm" => field = Field::Source,
                    "version" if package.version.is_empty() => {
                        let epoch = attribute(&tag, "epoch").parse().unwrap_or(0);
                        package.version = evr(epoch, &attribute(&tag, "ver"), &attribute(&tag, "rel"));
                    }
                    "size" => package.size_bytes = attribute(&tag, "package").parse().unwrap_or(0),
                    _ => {}
                }
            }
            Event::Text(text) => match field {
                Field::Name => package.name.push_str(text.trim()),
                Field::Arch => package.arch.push_str(text.trim()),
                Field::Sha256 => sha256.push_str(text.trim()),
                Field::Source => source.push_str(text.trim()),
                Field::None => {}
            },
            Event::End(tag) => {
                field = Field::None;
                match tag.local_name().as_ref() {
                    "package" if names.contains(package.name.as_str()) => {
                        offered.push(finished(std::mem::take(&mut package), &sha256, &source));
                    }
                    "metadata" => is_closed = true,
                    _ => {}
                }
            }
            Event::Eof if is_closed => return Ok(offered),
            Event::Eof => return Err("it ends before </metadata>".to_owned()),
            Event::DocType(_) => return Err("it declares a document type, which is not accepted".to_owned()),
            Event::CData(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::GeneralRef(_) => {}
        }
    }
}

fn finished(mut package: Offered, sha256: &str, source: &str) -> Offered {
    package.file = file(Some(sha256), package.size_bytes);
    (package.source, package.source_version) = match split_source(source) {
        Some((name, version, release)) => (name.to_owned(), evr(0, version, release)),
        None => (package.name.clone(), package.version.clone()),
    };
    package
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
}
