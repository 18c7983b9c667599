//! Feeds that are broken, cut off or meant to hurt.

use advisory::format::{Feed, Format, osv, read, updateinfo};
use advisory::{Family, Release, State};
use flate2::{Compression, write::GzEncoder};
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

fn record(id: &str) -> Vec<u8> {
    format!(
        r#"{{"id":"{id}","schema_version":"1.7.0","affected":[{{"package":{{"ecosystem":"Debian:12","name":"lamp"}},
        "ranges":[{{"type":"ECOSYSTEM","events":[{{"introduced":"0"}},{{"fixed":"1-2"}}]}}]}}]}}"#
    )
    .into_bytes()
}

fn zip(entries: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        writer.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn read_bytes(name: &str, bytes: &[u8]) -> Feed {
    read(None, name, Cursor::new(bytes), Some(&Release::new(Family::AlmaLinux, "9")))
}

fn ids(feed: &Feed) -> Vec<&str> {
    feed.advisories.iter().map(|advisory| advisory.id.as_str()).collect()
}

/// `before`, then `byte` until `len` bytes are read: a huge file that is nowhere.
struct Endless {
    before: &'static [u8],
    byte: u8,
    len: u64,
    at: u64,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.len - self.at).unwrap_or(usize::MAX).min(buffer.len());
        buffer[..room].fill(self.byte);
        let rest = self.before.get(usize::try_from(self.at).unwrap()..).unwrap_or(&[]);
        let count = rest.len().min(room);
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at += room as u64;
        Ok(room)
    }
}

impl Seek for Endless {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        assert_eq!(to, SeekFrom::Start(0), "only rewound");
        self.at = 0;
        Ok(0)
    }
}

#[test]
fn one_bad_record_among_good_ones_hides_none_of_them() {
    let (a, c) = (record("A"), record("C"));
    let deep = [b"[".repeat(1 << 20), b"]".repeat(1 << 20)].concat();
    let entries: [(&str, &[u8]); 8] = [
        ("a.json", &a),
        ("syntax.json", b"{\"id\":"),
        ("empty.json", b""),
        ("nul.json", b"{\"id\":\"A\\u0000B\"}"),
        ("utf8.json", b"{\"id\":\"\xff\xfe\"}"),
        ("deep.json", &deep),
        ("README.md", b"hello"),
        ("c.json", &c),
    ];
    let feed = read_bytes("all.zip", &zip(&entries, CompressionMethod::Deflated));
    assert_eq!(ids(&feed), ["A", "C"]);
    let told = |part: &str| feed.problems.iter().any(|problem| problem.to_string().contains(part));
    for entry in
        ["syntax.json", "empty.json", "nul.json", "utf8.json", "deep.json", "1 entries are not .json"]
    {
        assert!(told(entry), "{entry}: {:?}", feed.problems);
    }
    assert!(feed.problems.iter().all(|problem| !problem.remedy.is_empty()), "{:?}", feed.problems);
    assert!(!feed.truncated);
}

#[test]
fn a_truncated_zip_gives_nothing_and_says_so() {
    let (a, b) = (record("A"), record("B"));
    let whole = zip(&[("a.json", &a), ("b.json", &b)], CompressionMethod::Deflated);
    for cut in [whole.len() - 1, whole.len() / 2, 40, 5] {
        let feed = read_bytes("all.zip", &whole[..cut]);
        assert_eq!((ids(&feed).len(), feed.truncated), (0, true), "cut at {cut}");
        assert!(feed.problems[0].reason.contains("no record is used"), "{:?}", feed.problems);
    }
}

#[test]
fn an_entry_whose_bytes_do_not_match_their_checksum_is_not_used() {
    let (a, b) = (record("A"), record("B"));
    let mut bytes = zip(&[("a.json", &a), ("b.json", &b)], CompressionMethod::Stored);
    let at = bytes.windows(3).position(|window| window == b"1-2").unwrap();
    bytes[at + 2] = b'9';
    let feed = read_bytes("all.zip", &bytes);
    assert_eq!(ids(&feed), ["B"]);
    assert!(feed.problems[0].object.ends_with("a.json"), "{:?}", feed.problems);
}

#[test]
fn a_zip_bomb_costs_only_itself() {
    let (a, bomb) = (record("A"), vec![b' '; 64 << 20]);
    let bytes = zip(&[("bomb.json", &bomb), ("a.json", &a)], CompressionMethod::Deflated);
    assert!(bytes.len() < 100_000, "a small file: {}", bytes.len());
    let feed = read_bytes("all.zip", &bytes);
    assert_eq!(ids(&feed), ["A"]);
    assert!(feed.problems[0].reason.contains("times its size"), "{:?}", feed.problems);
}

#[test]
fn a_record_above_the_limit_is_refused_and_the_next_is_read() {
    let mut long = b"{\"id\":\"LONG\",\"details\":\"".to_vec();
    long.resize(usize::try_from(osv::RECORD_BYTES_MAX).unwrap() + 10, b'x');
    let a = record("A");
    let feed =
        read_bytes("all.zip", &zip(&[("long.json", &long), ("a.json", &a)], CompressionMethod::Stored));
    assert_eq!(ids(&feed), ["A"]);
    assert!(feed.problems[0].reason.contains("bytes unpacked"), "{:?}", feed.problems);
    assert!(osv::record("feed", "", &long).is_err());
}

#[test]
fn a_hundred_thousand_bad_entries_are_told_in_a_thousand_problems() {
    let names: Vec<String> = (0..100_000).map(|number| format!("{number}.json")).collect();
    let entries: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    let feed = read_bytes("all.zip", &zip(&entries, CompressionMethod::Stored));
    assert_eq!(feed.problems.len(), 1_001);
    assert!(feed.problems[1_000].reason.starts_with("99000 more problems"), "{:?}", feed.problems[1_000]);
}

#[test]
fn depth_that_nobody_reads_does_no_harm() {
    let deep = format!("{}{}", "[".repeat(1 << 20), "]".repeat(1 << 20));
    for field in ["details", "database_specific"] {
        let json = format!("{{\"id\":\"A\",\"{field}\":{deep}}}");
        assert_eq!(osv::record("feed", "", json.as_bytes()).unwrap().0.id, "A");
    }
    let json = format!("{{\"id\":\"A\",\"affected\":{deep}}}");
    let (advisory, problems) = osv::record("feed", "", json.as_bytes()).unwrap();
    assert_eq!((advisory.claims.len(), problems.len()), (0, 1));
}

#[test]
fn words_longer_than_any_honest_one_are_refused_where_they_stand() {
    let json = format!(
        r#"{{"id":"A","affected":[{{"package":{{"ecosystem":"npm","name":"lamp"}},"versions":["{}"]}},
            {{"package":{{"ecosystem":"npm","name":"{}"}},"versions":["1.0.0"]}}]}}"#,
        "1".repeat(2_000),
        "x".repeat(2_000)
    );
    let (advisory, problems) = osv::record("feed", "", json.as_bytes()).unwrap();
    let found: Vec<_> = advisory.claims.iter().map(|claim| (claim.name.as_str(), claim.state)).collect();
    assert_eq!(found, [("lamp", State::Undetermined)]);
    assert_eq!(problems.len(), 2);
    assert!(osv::record("feed", "", format!(r#"{{"id":"{}"}}"#, "A".repeat(300)).as_bytes()).is_err());
}

#[test]
fn a_gigabyte_without_an_end_stops_at_the_limit() {
    let xml: &[u8] = b"<updates><update type=\"security\"><id>A</id></update><update type=\"security\"><id>";
    let cases: [(&[u8], Format); 4] = [
        (b"{\"id\":\"A\",\"affected\":\"", Format::Osv),
        (b"{\"catalogVersion\":\"", Format::Kev),
        (b"#model_version:v,score_date:2026-01-02\ncve,epss,percentile\nCVE-2026-0001,0,0\n", Format::Epss),
        (xml, Format::Updateinfo),
    ];
    for (before, format) in cases {
        assert_eq!(Format::detect("feed", before), Some(format));
        let reader = Endless { before, byte: b'x', len: (1 << 30) + 1, at: 0 };
        let feed = read(None, "feed", reader, Some(&Release::new(Family::AlmaLinux, "9")));
        assert!(feed.truncated, "{format}: {:?}", feed.problems);
        assert_eq!(feed.advisories.len(), usize::from(format == Format::Updateinfo), "{format}");
    }
}

#[test]
fn a_truncated_gzip_keeps_what_stands_before_the_cut() {
    let lines: String =
        (0..20_000).map(|number| format!("CVE-2026-{number:05},0.{number:05},0.5\n")).collect();
    let scores = format!("#model_version:v,score_date:2026-01-02\ncve,epss,percentile\n{lines}");
    let updates: String = (0..2_000)
        .map(|number| {
            format!("<update type='security'><id>A-{number}</id><title>{number:x}</title></update>")
        })
        .collect();
    let (scores, updates) =
        (gzip(scores.as_bytes()), gzip(format!("<updates>{updates}</updates>").as_bytes()));
    let feed = read_bytes("scores.csv.gz", &scores[..scores.len() / 2]);
    assert!(
        feed.truncated && (1_000..19_999).contains(&feed.signals.epss.len()),
        "{}",
        feed.signals.epss.len()
    );
    assert!(
        feed.problems.iter().any(|problem| problem.reason.contains("cut off at line")),
        "{:?}",
        feed.problems
    );
    let feed = read_bytes("updateinfo.xml.gz", &updates[..updates.len() / 2]);
    assert!(feed.truncated && (100..1_999).contains(&feed.advisories.len()), "{}", feed.advisories.len());
}

#[test]
fn entities_of_somebodys_own_are_never_expanded() {
    let laughs = r#"<?xml version="1.0"?><!DOCTYPE updates [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">
        <!ENTITY file SYSTEM "file:///etc/hostname">]><updates><update type="security"><id>&b;</id></update></updates>"#;
    let feed = read_bytes("updateinfo.xml", laughs.as_bytes());
    assert_eq!((feed.advisories.len(), feed.truncated), (0, true));
    assert!(feed.problems[0].reason.contains("document type declaration"), "{:?}", feed.problems);
    // Without a declaration: named, not expanded, and a package it hides is told.
    let bare = r#"<updates><update type="security"><id>A&file;B</id><pkglist><collection>
        <package name="&file;" version="1" release="1"/></collection></pkglist></update></updates>"#;
    let feed = read_bytes("updateinfo.xml", bare.as_bytes());
    assert_eq!((ids(&feed), feed.advisories[0].claims.len()), (vec!["AB"], 0));
    assert_eq!(feed.problems.len(), 2, "{:?}", feed.problems);
}

#[test]
fn elements_without_end_within_each_other_are_cut() {
    let xml = format!("<updates><update type=\"security\"><id>A</id></update>{}", "<a>".repeat(100_000));
    let feed = read_bytes("updateinfo.xml", xml.as_bytes());
    assert_eq!((feed.advisories.len(), feed.truncated), (1, true));
    let feed =
        read_bytes("updateinfo.xml", b"<updates><update type='security'><id>\xff</id></update></updates>");
    assert!(feed.truncated);
    let mut count = 0;
    let release = Release::new(Family::AlmaLinux, "9");
    let problems = updateinfo::read("x", &b"<html></html>"[..], &release, &mut |_| count += 1);
    assert!(problems[0].reason.contains("<html>") && count == 0, "{problems:?}");
}

#[test]
fn a_feed_in_no_known_format_is_refused_with_what_is_accepted() {
    for bytes in
        [&b""[..], b"<html>", b"\0\0\0\0", b"{\"document\":{\"csaf_version\":\"2.0\"}}", b"PK", b"\x1f\x8b"]
    {
        let feed = read_bytes("feed", bytes);
        assert!(feed.truncated && feed.advisories.is_empty());
        assert_eq!(feed.problems.len(), 1);
        assert!(feed.problems[0].remedy.contains("updateinfo.xml"), "{:?}", feed.problems);
    }
    let feed = read(Some(Format::Kev), "feed", Cursor::new(record("A")), None);
    assert!(feed.truncated && feed.problems[0].remedy.contains("CISA"), "{:?}", feed.problems);
    let feed = read(None, "updateinfo.xml", Cursor::new(b"<updates></updates>"), None);
    assert!(feed.truncated && feed.problems[0].remedy == "name the release");
}

#[test]
fn formats_are_told_by_content_whatever_the_name() {
    let a = record("A");
    let cases: [(&[u8], Format); 6] = [
        (&zip(&[("a.json", &a)], CompressionMethod::Stored), Format::OsvArchive),
        (&gzip(&a), Format::Osv),
        (b"\xef\xbb\xbf {\"title\":\"x\",\"catalogVersion\":\"1\"}", Format::Kev),
        (b"version,codename,series,created,release,eol,eol-lts,eol-elts\n", Format::Releases),
        (b"\n# List of packages whose security support ends before x\n", Format::SupportEnded),
        (b"\n# List of packages where security support is limited\n", Format::SupportLimited),
    ];
    for (bytes, format) in cases {
        assert_eq!(Format::detect("anything.bin", bytes), Some(format));
    }
    assert_eq!(
        Format::detect("/usr/share/x/security-support-limited", b"lamp  why\n"),
        Some(Format::SupportLimited)
    );
}
