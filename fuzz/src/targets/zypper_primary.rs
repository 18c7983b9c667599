//! A repository's `primary.xml`: what is offered was asked for and is whole; what is cut off offers nothing; and a file written of
//! what was read reads the same.

use super::escaped;
use agent::zypper::primary::{Offered, read};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Cursor;

const NAMES: [&str; 3] = ["lamp", "wick", "a"];

pub fn run(bytes: &[u8]) {
    let framed = [b"<metadata>".as_slice(), bytes, b"</metadata>"].concat();
    let packages =
        [b"<metadata><package><name>lamp</name>".as_slice(), bytes, b"</package></metadata>"].concat();
    for xml in [bytes, &framed, &packages] {
        let Ok(offered) = ask(xml) else { continue };
        for it in &offered {
            assert!(NAMES.contains(&it.name.as_str()));
            for field in [&it.arch, &it.version, &it.source, &it.source_version] {
                assert!(!field.is_empty() && field.len() <= 4_096, "{it:?}");
            }
            assert!(
                it.file.as_ref().is_none_or(|file| file.size_bytes == it.size_bytes && file.size_bytes > 0)
            );
        }
        let written = written(&offered);
        assert_eq!(ask(written.as_bytes()).as_ref(), Ok(&offered), "{written}");
        let cut = usize::from(*bytes.first().unwrap_or(&0)) * (written.len() - 2) / 255;
        assert!(ask(&written.as_bytes()[..cut]).is_err(), "{written} cut at {cut}");
    }
}

fn ask(xml: &[u8]) -> Result<Vec<Offered>, String> {
    read(Box::new(Cursor::new(xml.to_vec())), &BTreeSet::from(NAMES))
}

fn written(offered: &[Offered]) -> String {
    let mut text = "<metadata>".to_owned();
    for it in offered {
        let Offered { name, arch, version, source, source_version, file, size_bytes } = it;
        let _ = write!(text, "<package><name>{}</name><arch>{}</arch>", escaped(name), escaped(arch));
        let _ = write!(text, "<version{}/>", evr(version));
        if let Some(file) = file {
            let _ = write!(text, "<checksum type=\"sha256\">{}</checksum>", file.sha256);
        }
        let _ = write!(text, "<size package=\"{size_bytes}\"/>");
        // Without a source package it is its own.
        if (source, source_version) != (name, version) {
            let file = format!("{source}-{source_version}.src.rpm");
            let _ = write!(text, "<format><rpm:sourcerpm>{}</rpm:sourcerpm></format>", escaped(&file));
        }
        text.push_str("</package>");
    }
    text + "</metadata>"
}

/// A version as attributes: where it is parted does not matter, as long as both parts are there.
fn evr(version: &str) -> String {
    let is_hyphen = |place: &usize| version.as_bytes()[*place] == b'-';
    let at = (1..version.len() - 1).find(is_hyphen).expect("it has a version and a release");
    format!(" ver=\"{}\" rel=\"{}\"", escaped(&version[..at]), escaped(&version[at + 1..]))
}
