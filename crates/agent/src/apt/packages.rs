//! Packages indexes: which versions of the packages we ask about an archive offers.

use std::io::{self, BufRead};

/// Longest line that is kept, bytes; the rest of a longer one is dropped. The longest in Debian 12 (a `Provides`) has
/// 60 kB; of the fields we keep, none has 1 kB.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// Most records that are kept of one index; Debian 12 main has 63,000.
const RECORDS_MAX: usize = 1_000_000;

/// One version of a package as an index offers it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Binary package.
    pub name: String,
    /// Its architecture.
    pub arch: String,
    /// Its version.
    pub version: String,
    /// Source package; the binary name where none is recorded.
    pub source: String,
    /// Source version; the binary version where none is recorded.
    pub source_version: String,
    /// Size of the file, bytes; 0 if not recorded.
    pub size_bytes: u64,
    /// SHA-256 of the file, hex; empty if not recorded.
    pub sha256: String,
    /// Share of hosts that are offered it now, percent (Ubuntu's phased updates).
    pub phased_percent: Option<u8>,
}

/// Reads an index; keeps the records that `wanted(binary, source)` asks for. Errors only if the reader does.
pub fn read(mut index: impl BufRead, wanted: impl Fn(&str, &str) -> bool) -> io::Result<Vec<Record>> {
    let mut records = Vec::new();
    let mut record = Record::default();
    let mut line = Vec::new();
    loop {
        let more = read_line(&mut index, &mut line)?;
        if line.is_empty() {
            let done = complete(std::mem::take(&mut record));
            records.extend(done.filter(|record| wanted(&record.name, &record.source)));
            if !more || records.len() >= RECORDS_MAX {
                return Ok(records);
            }
        } else {
            field(&line, &mut record);
        }
    }
}

/// Reads one line without its end; an empty line and the end of the file give none. Says whether more may follow.
fn read_line(index: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let count = io::Read::take(&mut *index, LINE_BYTES_MAX).read_until(b'\n', line)?;
    if line.last() != Some(&b'\n') && count as u64 == LINE_BYTES_MAX {
        index.skip_until(b'\n')?;
    }
    while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        line.pop();
    }
    Ok(count > 0)
}

fn field(line: &[u8], record: &mut Record) {
    // Most lines are of other fields; deciding that on the first byte keeps the reading of 50 MB cheap.
    let first = line.first().map(u8::to_ascii_uppercase);
    if !matches!(first, Some(b'P' | b'A' | b'V' | b'S')) {
        return;
    }
    let Some(colon) = line.iter().position(|byte| *byte == b':') else { return };
    let value = || String::from_utf8_lossy(&line[colon + 1..]).trim().to_owned();
    match line[..colon].to_ascii_lowercase().as_slice() {
        b"package" => record.name = value(),
        b"architecture" => record.arch = value(),
        b"version" => record.version = value(),
        b"source" => (record.source, record.source_version) = source_of(&value()),
        b"sha256" => record.sha256 = value(),
        b"size" => record.size_bytes = value().parse().unwrap_or(0),
        b"phased-update-percentage" => record.phased_percent = value().parse().ok(),
        _ => {}
    }
}

/// `NAME` or `NAME (VERSION)`.
fn source_of(value: &str) -> (String, String) {
    match value.split_once('(') {
        Some((name, version)) => {
            (name.trim().to_owned(), version.trim().trim_end_matches(')').trim().to_owned())
        }
        None => (value.to_owned(), String::new()),
    }
}

fn complete(mut record: Record) -> Option<Record> {
    if record.source.is_empty() {
        record.source.clone_from(&record.name);
    }
    if record.source_version.is_empty() {
        record.source_version.clone_from(&record.version);
    }
    (!record.name.is_empty() && !record.version.is_empty()).then_some(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_carry_their_source_and_its_version() {
        let text = "Package: libx1\nSource: x (1.0-1)\nVersion: 1.0-1+b2\nArchitecture: amd64\nSize: 12\n\
                    Description: d\n Version: 9\nPhased-Update-Percentage: 10\n\nPackage: other\nVersion: 1\n\n\n\
                    Package: x\nVersion: 2\nArchitecture: all";
        let records = read(text.as_bytes(), |name, _| name != "other").unwrap();
        assert_eq!(records.len(), 2);
        let [first, last] = &records[..] else { unreachable!() };
        assert_eq!((first.source.as_str(), first.source_version.as_str()), ("x", "1.0-1"));
        assert_eq!(
            (first.version.as_str(), first.size_bytes, first.phased_percent),
            ("1.0-1+b2", 12, Some(10))
        );
        assert_eq!(
            (last.source.as_str(), last.source_version.as_str(), last.arch.as_str()),
            ("x", "2", "all")
        );
    }

    #[test]
    fn an_endless_line_and_broken_text_do_no_harm() {
        let mut text = b"Package: a\nProvides: ".to_vec();
        text.resize(text.len() + 200_000, b'x');
        text.extend_from_slice(b"\nVersion: 1\n\n\xff: \xfe\nVersion\nSource: (\n\nPackage: b\nVersion: 2");
        let records = read(&text[..], |_, _| true).unwrap();
        assert_eq!(records.iter().map(|record| record.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    }
}
