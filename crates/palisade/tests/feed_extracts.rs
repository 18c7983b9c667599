//! A feed that was read before is looked up in an extract: the answer is the same, and an extract is used only for the
//! feed, the release and the reader it was made for.

use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

struct Bed(tempfile::TempDir);

impl Bed {
    /// A Debian 12 root with two packages, and a feed about them and about others.
    fn new() -> Self {
        let bed = Self(tempfile::tempdir().expect("a directory"));
        fs::create_dir_all(bed.path("root/var/lib/dpkg")).expect("a root");
        fs::create_dir_all(bed.path("root/etc")).expect("a root");
        bed.release(12);
        let package = |name: &str, version: &str| {
            format!(
                "Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\n\n"
            )
        };
        let status = package("alder", "1.0-1") + &package("birch", "2.0-1");
        fs::write(bed.path("root/var/lib/dpkg/status"), status).expect("a status file");
        bed.feed("feed.json", &records("1.0-2"));
        bed
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn release(&self, number: u32) {
        let text = format!("ID=debian\nVERSION_ID=\"{number}\"\nPRETTY_NAME=\"Debian {number}\"\n");
        fs::write(self.path("root/etc/os-release"), text).expect("an os-release");
    }

    /// Writes a feed as if it had been lying there for an hour.
    fn feed(&self, name: &str, records: &[Value]) {
        let text = records.iter().fold(String::new(), |mut text, record| {
            let _ = writeln!(text, "{record}");
            text
        });
        fs::write(self.path(name), text).expect("a feed");
        let file = File::options().append(true).open(self.path(name)).expect("the feed");
        file.set_modified(SystemTime::now() - Duration::from_secs(3_600)).expect("an older time");
    }

    /// The answer in JSON, without the time of the look, which differs in every run.
    fn check(&self, cache: &str, feeds: &[&str]) -> String {
        self.check_with(cache, feeds, &["--format", "json"])
    }

    fn check_with(&self, cache: &str, feeds: &[&str], options: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_palisade"));
        command.current_dir(self.0.path()).args(["check", "--offline", "--root", "root"]);
        command.args(options).args(["--cache", cache]);
        for feed in feeds {
            command.args(["--feed", feed]);
        }
        let output = command.output().expect("palisade starts");
        let text = String::from_utf8(output.stdout).expect("the answer is text");
        let answer: Value = serde_json::from_str(&text).expect("the answer is JSON");
        // An explanation tells the time only inside its words, and only if it finds something.
        let seen = || text.split("host seen ").nth(1)?.split('"').next();
        let times = [&answer["observed"], &answer["timestamp"], &answer["metadata"]["timestamp"]];
        match times.iter().find_map(|time| time.as_str()).or_else(seen) {
            Some(time) => text.replace(time, "NOW"),
            None => text,
        }
    }

    fn extracts(&self, cache: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path(cache).join("feeds")).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        files.sort();
        files
    }
}

fn record(id: &str, upstream: &[&str], release: u32, name: &str, fixed: &str) -> Value {
    json!({
        "schema_version": "1.7.0", "id": id, "modified": "2026-01-01T00:00:00Z", "upstream": upstream,
        "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}],
        "affected": [{
            "package": {"ecosystem": format!("Debian:{release}"), "name": name},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": fixed}]}]
        }]
    })
}

/// What a feed says, with everything that reaches from records about other packages and releases into the answer.
fn records(fixed: &str) -> Vec<Value> {
    vec![
        record("DEBIAN-CVE-2026-1001", &["CVE-2026-1001"], 12, "alder", fixed),
        // About two holes; of the second a record of its own says that it is in a package that is not installed.
        record("DSA-9001-1", &["CVE-2026-1002", "CVE-2026-1003"], 12, "birch", "2.0-2"),
        record("DEBIAN-CVE-2026-1003", &["CVE-2026-1003"], 12, "cedar", "3.0-1"),
        // Another release's record brings the vector of a hole of this one.
        record("UBUNTU-CVE-2026-1002", &["CVE-2026-1002"], 11, "birch", "2.0-2"),
        json!({"id": 5, "affected": []}),
    ]
}

#[test]
fn the_answer_is_the_same_with_an_extract_and_without() {
    let bed = Bed::new();
    bed.feed("other.json", &[record("DEBIAN-CVE-2026-1002", &["CVE-2026-1002"], 12, "cedar", "1")]);
    bed.feed("elsewhere.json", &[record("DEBIAN-CVE-2026-1004", &["CVE-2026-1004"], 11, "alder", "9")]);
    for feeds in
        [&["feed.json"][..], &["feed.json", "other.json"], &["other.json", "feed.json"], &["elsewhere.json"]]
    {
        let cache = format!("cache of {}", feeds.join("+"));
        let cold = bed.check(&cache, feeds);
        assert_eq!(bed.extracts(&cache).len(), feeds.len(), "{feeds:?}");
        assert_eq!(bed.check(&cache, feeds), cold, "{feeds:?}");
    }
    let answer: Value = serde_json::from_str(&bed.check("cache of feed.json", &["feed.json"])).expect("JSON");
    assert_eq!(answer["entries"].as_array().expect("entries").len(), 2, "{answer:#}");
    assert!(!answer.to_string().contains("CVE-2026-1003"), "{answer:#}");
}

/// What records of long fixed holes do to others about the same holes, two records or bulletins of one CVE each.
fn outweighed() -> Vec<Value> {
    let mut unjudged = record("DEBIAN-CVE-2026-2003", &["CVE-2026-2003"], 12, "alder", "9");
    unjudged["affected"][0]["ranges"] = json!(5);
    let mut withdrawn = record("DEBIAN-CVE-2026-2005", &["CVE-2026-2005"], 12, "birch", "1.0-1");
    withdrawn["withdrawn"] = json!("2026-02-01T00:00:00Z");
    let mut twice = record("DEBIAN-CVE-2026-2006", &["CVE-2026-2006"], 12, "birch", "1.0-1");
    let again = record("", &[], 12, "birch", "2.5-1")["affected"][0].clone();
    twice["affected"].as_array_mut().expect("a list").push(again);
    vec![
        // The hole's own record says that it is fixed; the bulletin's later version does not count.
        record("DEBIAN-CVE-2026-2001", &["CVE-2026-2001"], 12, "alder", "0.9-1"),
        record("DSA-9101-1", &["CVE-2026-2001"], 12, "alder", "1.0-5"),
        record("DSA-9102-1", &["CVE-2026-2001", "CVE-2026-2002"], 12, "alder", "1.0-6"),
        // Two bulletins: the worse one counts.
        record("DSA-9103-1", &["CVE-2026-2004"], 12, "birch", "1.9-1"),
        record("DSA-9104-1", &["CVE-2026-2004"], 12, "birch", "2.1-1"),
        // A record that cannot be read, and a bulletin that knows better.
        record("DSA-9105-1", &["CVE-2026-2003"], 12, "alder", "0.5-1"),
        unjudged,
        withdrawn,
        twice,
        // Nothing but fixed: not told at all.
        record("DEBIAN-CVE-2026-2007", &["CVE-2026-2007"], 12, "alder", "1.0-1"),
        record("DSA-9106-1", &["CVE-2026-2008"], 12, "birch", "1:1"),
        record("DSA-9107-1", &[], 12, "alder", "0.1"),
    ]
}

#[test]
fn a_long_fixed_record_still_outweighs_others() {
    let bed = Bed::new();
    bed.feed("whole.json", &outweighed());
    let (one, two): (Vec<Value>, Vec<Value>) = outweighed()
        .into_iter()
        .partition(|record| record["id"].as_str().is_some_and(|id| id.starts_with("DSA")));
    bed.feed("bulletins.json", &one);
    bed.feed("records.json", &two);
    for feeds in
        [&["whole.json"][..], &["bulletins.json", "records.json"], &["records.json", "bulletins.json"]]
    {
        let cache = format!("cache of {}", feeds.join("+"));
        for options in [
            &["--format", "json"][..],
            &["--format", "json", "--explain", "CVE-2026-2007"],
            &["--format", "json", "--explain", "alder"],
            &["--format", "openvex"],
            &["--format", "cyclonedx"],
        ] {
            let fresh = format!("fresh {} {cache}", options.join(""));
            let cold = bed.check_with(&fresh, feeds, options);
            bed.check(&cache, feeds);
            assert_eq!(bed.check_with(&cache, feeds, options), cold, "{feeds:?} {options:?}");
        }
        let answer = bed.check(&cache, feeds);
        for (cve, told) in
            [(2001, false), (2002, true), (2004, true), (2006, true), (2007, false), (2008, true)]
        {
            assert_eq!(answer.contains(&format!("CVE-2026-{cve}")), told, "{cve} {feeds:?} {answer}");
        }
        assert!(!answer.contains("alder (CVE-2026-2003"), "{feeds:?} {answer}");
    }
}

#[test]
fn every_package_of_a_name_decides_which_records_are_read() {
    let bed = Bed::new();
    let package = |name: &str, status: &str, arch: &str, version: &str| {
        format!("Package: {name}\nStatus: install {status}\nArchitecture: {arch}\nVersion: {version}\n\n")
    };
    let status = package("alder", "ok installed", "amd64", "3.0-1")
        + &package("alder", "ok installed", "i386", "1.0-1")
        + &package("birch", "reinstreq half-installed", "amd64", "2.0-1")
        + &package("cedar", "ok installed", "amd64", "4.0-1+fips1");
    fs::write(bed.path("root/var/lib/dpkg/status"), status).expect("a status file");
    let about = |number: u32, name: &str, fixed: &str| {
        let cve = format!("CVE-2026-{number}");
        record(&format!("DEBIAN-{cve}"), &[&cve], 12, name, fixed)
    };
    bed.feed(
        "feed.json",
        &[about(3001, "alder", "2.0-1"), about(3002, "birch", "1.0-1"), about(3003, "cedar", "1.0-1")],
    );
    let cold = bed.check("cache", &["feed.json"]);
    assert_eq!(bed.check("cache", &["feed.json"]), cold);
    for cve in ["CVE-2026-3001", "CVE-2026-3002", "CVE-2026-3003"] {
        assert!(cold.contains(cve), "{cve}: {cold}");
    }
}

#[test]
fn a_changed_feed_is_read_anew() {
    let bed = Bed::new();
    assert!(bed.check("cache", &["feed.json"]).contains("1.0-2"));
    bed.feed("feed.json", &records("1.0-3"));
    assert!(bed.check("cache", &["feed.json"]).contains("1.0-3"));
    assert_eq!(bed.extracts("cache").len(), 1, "the old extract is replaced");
}

#[test]
fn a_damaged_extract_is_ignored_and_replaced() {
    let bed = Bed::new();
    let cold = bed.check("cache", &["feed.json"]);
    let extract = bed.extracts("cache").remove(0);
    let good = fs::read(&extract).expect("an extract");
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let damaged = [
        Vec::new(),
        good[..good.len() / 2].to_vec(),
        flipped(0),
        flipped(20),
        flipped(60),
        flipped(good.len() - 1),
    ];
    for bytes in damaged {
        fs::write(&extract, bytes).expect("damage");
        assert_eq!(bed.check("cache", &["feed.json"]), cold);
        assert_eq!(fs::read(&extract).expect("an extract"), good);
    }
}

#[test]
fn an_extract_for_another_release_is_not_used() {
    let bed = Bed::new();
    let twelve = bed.check("cache", &["feed.json"]);
    bed.release(11);
    let eleven = bed.check("cache", &["feed.json"]);
    assert!(twelve.contains("CVE-2026-1001") && !eleven.contains("CVE-2026-1001"));
    assert_eq!(eleven, bed.check("fresh", &["feed.json"]));
}

#[test]
fn an_extract_that_others_could_have_written_is_not_used() {
    let bed = Bed::new();
    let cold = bed.check("cache", &["feed.json"]);
    let extract = bed.extracts("cache").remove(0);
    let planted =
        |mode: u32, path: &Path| fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode");
    let before = fs::metadata(&extract).expect("an extract").modified().expect("a time");
    planted(0o666, &extract);
    assert_eq!(bed.check("cache", &["feed.json"]), cold);
    let after = fs::metadata(&extract).expect("an extract");
    assert!(after.modified().expect("a time") > before && after.permissions().mode() & 0o777 == 0o600);
    planted(0o777, extract.parent().expect("a directory"));
    fs::remove_file(&extract).expect("no extract");
    assert_eq!(bed.check("cache", &["feed.json"]), cold);
    assert_eq!(bed.extracts("cache"), Vec::<PathBuf>::new());
}
