//! A Debian host and its security archive, both made on the spot with the real dpkg, apt-ftparchive and apt: what
//! `palisade check` says before the upgrade, after it, and when something is wrong with the archive or the host.

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Programs the test needs besides dpkg and apt; where one is missing it says so and is skipped.
const NEEDS: [&str; 3] = ["apt-ftparchive", "dpkg-deb", "apt-get"];

struct Host {
    top: tempfile::TempDir,
}

impl Host {
    /// A host with `demo-server` 1.0-1 installed, and an archive with 1.0-1+deb12u2 whose changelog names two CVEs.
    fn new() -> Option<Self> {
        Self::dated("Sat, 21 Nov 2026 00:00:00 UTC", "Mon, 21 Nov 2095 00:00:00 UTC")
    }

    /// The same with an index of these dates. apt takes no older index after a newer one.
    fn dated(date: &str, valid_until: &str) -> Option<Self> {
        let found = |name: &str| {
            std::env::var_os("PATH")
                .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()))
        };
        if let Some(program) = NEEDS.into_iter().find(|name| !found(name)) {
            eprintln!("SKIPPED: needs {program}");
            return None;
        }
        let host = Self { top: tempfile::tempdir().expect("a temporary directory") };
        for folder in [
            "etc/apt",
            "var/lib/dpkg/info",
            "var/lib/dpkg/updates",
            "var/lib/apt/lists/partial",
            "var/cache/apt/archives/partial",
        ] {
            fs::create_dir_all(host.root().join(folder)).expect("make the root");
        }
        fs::create_dir_all(host.archive()).expect("make the archive");
        host.write("root/etc/os-release", "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n");
        host.write("root/etc/hostname", "demo\n");
        host.write(
            "root/etc/apt/sources.list",
            &format!("deb [trusted=yes] file:{} ./\n", host.archive().display()),
        );
        host.write("root/var/lib/dpkg/status", "");
        let first = "demo-server (1.0-1) bookworm; urgency=medium\n\n  * First upload.\n\n -- Demo <demo@invalid>  Mon, 05 Jan 2026 10:00:00 +0000\n";
        let fixes = "demo-server (1.0-1+deb12u2) bookworm-security; urgency=high\n\n  * CVE-2026-90002: do not trust the length.\n\n -- Demo <demo@invalid>  Mon, 02 Nov 2026 10:00:00 +0000\n\n\
                     demo-server (1.0-1+deb12u1) bookworm-security; urgency=high\n\n  * Fix CVE-2026-90001.\n\n -- Demo <demo@invalid>  Mon, 05 Oct 2026 10:00:00 +0000\n\n";
        let old = host.package("1.0-1", first);
        host.package("1.0-1+deb12u2", &(fixes.to_owned() + first));
        host.install(&old);
        fs::remove_file(old).expect("the archive keeps only the new version");
        host.publish(date, valid_until);
        Some(host)
    }

    fn root(&self) -> PathBuf {
        self.top.path().join("root")
    }

    fn archive(&self) -> PathBuf {
        self.top.path().join("archive")
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.top.path().join(path);
        fs::create_dir_all(path.parent().expect("a path in the temporary directory"))
            .expect("make its folder");
        fs::write(path, text).expect("write a file of the test");
    }

    fn run(command: &mut Command) -> String {
        let output =
            command.env("LC_ALL", "C").output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    /// Builds a .deb in the archive and gives its path.
    fn package(&self, version: &str, changelog: &str) -> PathBuf {
        let tree = format!("build-{version}");
        let control = format!(
            "Package: demo-server\nVersion: {version}\nArchitecture: all\nMaintainer: Demo <demo@invalid>\nDescription: demo\n"
        );
        self.write(&format!("{tree}/DEBIAN/control"), &control);
        self.write(&format!("{tree}/usr/share/doc/demo-server/changelog.Debian"), changelog);
        Self::run(
            Command::new("gzip")
                .arg("-9n")
                .arg(self.top.path().join(&tree).join("usr/share/doc/demo-server/changelog.Debian")),
        );
        let deb = self.archive().join(format!("demo-server_{version}_all.deb"));
        Self::run(
            Command::new("dpkg-deb")
                .args(["--root-owner-group", "-b"])
                .arg(self.top.path().join(tree))
                .arg(&deb),
        );
        deb
    }

    fn install(&self, deb: &Path) {
        Self::run(
            Command::new("dpkg")
                .arg(format!("--root={}", self.root().display()))
                .args(["--force-not-root", "--force-bad-path", "--force-script-chrootless", "-i"])
                .arg(deb),
        );
    }

    /// Indexes the archive as Debian's security archive and lets the host fetch the index.
    fn publish(&self, date: &str, valid_until: &str) {
        let archive = self.archive();
        let packages =
            Self::run(Command::new("apt-ftparchive").args(["packages", "."]).current_dir(&archive));
        fs::write(archive.join("Packages"), packages).expect("write the index");
        fs::remove_file(archive.join("Release")).ok();
        let field = |name: &str, value: &str| format!("APT::FTPArchive::Release::{name}={value}");
        let release = Self::run(
            Command::new("apt-ftparchive")
                .args(["-o", &field("Origin", "Debian"), "-o", &field("Label", "Debian-Security")])
                .args([
                    "-o",
                    &field("Suite", "oldstable-security"),
                    "-o",
                    &field("Codename", "bookworm-security"),
                ])
                .args(["-o", &field("Version", "12"), "release", "."])
                .current_dir(&archive),
        );
        let undated = |line: &&str| !line.starts_with("Date:") && !line.starts_with("Valid-Until:");
        let release = release.lines().filter(undated).collect::<Vec<_>>().join("\n") + "\n";
        let dated =
            release.replacen("Suite:", &format!("Date: {date}\nValid-Until: {valid_until}\nSuite:"), 1);
        fs::write(archive.join("Release"), dated).expect("write the release file");
        let root = self.root();
        Self::run(
            Command::new("apt-get")
                .arg("-oDir=".to_owned() + &root.to_string_lossy())
                .arg(format!("-oDir::State::status={}/var/lib/dpkg/status", root.display()))
                .args([
                    "-oAPT::Sandbox::User=root",
                    "-oAcquire::Check-Valid-Until=false",
                    "-oAcquire::Check-Date=false",
                ])
                .args(["-oAcquire::Languages=none", "update"]),
        );
    }

    fn palisade(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_palisade"))
            .arg("check")
            .arg("--root")
            .arg(self.root())
            .arg("--cache")
            .arg(self.top.path().join("cache"))
            .args(arguments)
            .env_remove("COLUMNS")
            .output()
            .expect("palisade starts")
    }

    fn check(&self, arguments: &[&str]) -> (i32, Value) {
        let output = self.palisade(&[&["--format", "json"], arguments].concat());
        let report = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code().expect("palisade ended by itself"), report)
    }
}

fn words(value: &Value) -> BTreeSet<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// What could not be judged, in one text.
fn undetermined(report: &Value) -> String {
    report["undetermined"].to_string()
}

#[test]
fn a_pending_security_fix_is_found_with_its_cves_and_the_command_that_fixes_it() {
    let Some(host) = Host::new() else { return };
    let (code, report) = host.check(&[]);
    assert_eq!(code, 1, "{report:#}");
    let entry = &report["entries"][0];
    assert_eq!(entry["source"], "demo-server");
    assert_eq!(words(&entry["closes"]), BTreeSet::from(["CVE-2026-90001", "CVE-2026-90002"]));
    assert_eq!(entry["class"], "security");
    assert_eq!(entry["remedy"]["do"], "upgrade");
    let command = entry["command"].as_str().expect("a command");
    assert!(command.ends_with("demo-server=1.0-1+deb12u2"), "{command}");
    assert_eq!(report["undetermined"].as_array().map(Vec::len), Some(0), "{report:#}");
}

#[test]
fn a_host_with_every_fix_is_clean_and_the_exit_code_says_so() {
    let Some(host) = Host::new() else { return };
    host.install(&host.archive().join("demo-server_1.0-1+deb12u2_all.deb"));
    let (code, report) = host.check(&[]);
    assert_eq!((code, report["entries"].as_array().map(Vec::len)), (0, Some(0)), "{report:#}");
    let table = host.palisade(&[]);
    assert!(String::from_utf8_lossy(&table.stdout).contains("Clean:"));
}

#[test]
fn the_bar_decides_the_exit_code_and_quiet_prints_nothing() {
    let Some(host) = Host::new() else { return };
    let code = |arguments: &[&str]| host.palisade(arguments).status.code();
    assert_eq!(code(&["--fail-on", "any"]), Some(1));
    assert_eq!(code(&["--fail-on", "act"]), Some(0));
    let quiet = host.palisade(&["--quiet"]);
    assert_eq!((quiet.status.code(), quiet.stdout.len()), (Some(1), 0));
    assert!(String::from_utf8_lossy(&quiet.stderr).contains("demo-server"));
}

#[test]
fn every_format_is_what_it_says() {
    let Some(host) = Host::new() else { return };
    let value = |format: &str| -> Value {
        serde_json::from_slice(&host.palisade(&["--format", format]).stdout)
            .unwrap_or_else(|error| panic!("{format}: {error}"))
    };
    let sarif = value("sarif");
    assert_eq!(sarif["version"], "2.1.0");
    let rules: BTreeSet<&str> = sarif["runs"][0]["results"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|result| result["ruleId"].as_str())
        .collect();
    assert_eq!(rules, BTreeSet::from(["CVE-2026-90001", "CVE-2026-90002"]));
    let vex = value("openvex");
    assert_eq!(vex["statements"][0]["status"], "affected");
    assert_eq!(
        vex["statements"][0]["products"][0]["@id"],
        "pkg:deb/debian/demo-server@1.0-1?arch=all&distro=debian-12"
    );
    let bom = value("cyclonedx");
    assert_eq!(
        (&bom["bomFormat"], bom["components"].as_array().map(Vec::len)),
        (&Value::from("CycloneDX"), Some(1))
    );
    assert_eq!(bom["vulnerabilities"][0]["affects"][0]["ref"], bom["components"][0]["bom-ref"]);
    let same = value("openvex");
    assert_eq!(vex["@id"], same["@id"], "the same facts have the same id");
}

#[test]
fn explain_tells_the_rule_the_versions_and_the_document() {
    let Some(host) = Host::new() else { return };
    let output = host.palisade(&["--explain", "cve-2026-90001"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for part in ["1.0-1", "1.0-1+deb12u2", "dpkg", "sha256", "affected; fix"] {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
}

#[test]
fn an_expired_index_is_undetermined_not_clean() {
    let Some(host) = Host::dated("Mon, 05 Oct 2026 00:00:00 UTC", "Mon, 12 Oct 2026 00:00:00 UTC") else {
        return;
    };
    host.install(&host.archive().join("demo-server_1.0-1+deb12u2_all.deb"));
    let (code, report) = host.check(&[]);
    assert_eq!(code, 2, "{report:#}");
    assert!(undetermined(&report).contains("apt-get update"), "{report:#}");
}

#[test]
fn a_fix_that_the_index_promises_and_the_archive_lacks_is_blocked() {
    let Some(host) = Host::new() else { return };
    fs::remove_file(host.archive().join("demo-server_1.0-1+deb12u2_all.deb")).expect("it was there");
    let (code, report) = host.check(&[]);
    assert_eq!(code, 1, "{report:#}");
    assert_eq!(report["entries"][0]["remedy"]["do"], "blocked", "{report:#}");
    assert!(report["entries"][0]["command"].is_null());
}

#[test]
fn a_held_package_is_blocked_and_the_reason_is_the_hold() {
    let Some(host) = Host::new() else { return };
    let status = host.root().join("var/lib/dpkg/status");
    let text = fs::read_to_string(&status).expect("dpkg wrote it");
    fs::write(&status, text.replace("install ok installed", "hold ok installed")).expect("hold it");
    let (_, report) = host.check(&[]);
    let remedy = &report["entries"][0]["remedy"];
    assert_eq!(remedy["do"], "blocked", "{report:#}");
    assert!(remedy["why"].as_str().is_some_and(|why| why.contains("held")), "{remedy:#}");
}

#[test]
fn a_half_written_status_loses_only_its_end_and_is_undetermined() {
    let Some(host) = Host::new() else { return };
    let status = host.root().join("var/lib/dpkg/status");
    let mut text = fs::read(&status).expect("dpkg wrote it");
    text.extend_from_slice(b"\nPackage: demo-other\nStatus: install ok inst");
    fs::write(&status, text).expect("cut it off");
    let (_, report) = host.check(&[]);
    assert_eq!(report["summary"]["packages"], 1, "{report:#}");
    assert!(undetermined(&report).contains("packages"), "{report:#}");
}

#[test]
fn a_root_without_a_package_database_is_undetermined() {
    let empty = tempfile::tempdir().expect("a temporary directory");
    let output = Command::new(env!("CARGO_BIN_EXE_palisade"))
        .args(["check", "--root"])
        .arg(empty.path())
        .output()
        .expect("palisade starts");
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("Not known to be clean"), "{text}");
}

#[test]
fn a_wrong_feed_is_loud() {
    let Some(host) = Host::new() else { return };
    host.install(&host.archive().join("demo-server_1.0-1+deb12u2_all.deb"));
    let other = r#"{"schema_version":"1.6.0","id":"ALSA-2026:1","modified":"2026-11-01T00:00:00Z","affected":[{"package":{"ecosystem":"AlmaLinux:9","name":"demo-server"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"2.0-1"}]}]}]}"#;
    let truncated = "PK\u{3}\u{4}cut";
    for (name, content, told) in [
        ("other.json", other, "AlmaLinux 9"),
        ("cut.zip", truncated, "cut.zip"),
        ("noise", "\0\u{1}noise", "format"),
    ] {
        host.write(name, content);
        let feed = host.top.path().join(name);
        let (code, report) = host.check(&["--feed", &feed.to_string_lossy()]);
        assert_eq!(code, 2, "{name}: {report:#}");
        assert!(undetermined(&report).contains(told), "{name}: {report:#}");
    }
}

#[test]
fn a_bulletin_that_a_feed_names_stands_beside_its_cves() {
    let Some(host) = Host::new() else { return };
    let bulletin = r#"{"schema_version":"1.6.0","id":"DSA-9000-1","modified":"2026-11-02T10:00:00Z","published":"2026-11-02T10:00:00Z","related":["CVE-2026-90002"],"affected":[{"package":{"ecosystem":"Debian:12","name":"demo-server"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"1.0-1+deb12u2"}]}]}]}"#;
    host.write("DSA-9000-1.json", bulletin);
    let feed = host.top.path().join("DSA-9000-1.json");
    let (_, report) = host.check(&["--feed", &feed.to_string_lossy()]);
    let entry = &report["entries"][0];
    assert_eq!(words(&entry["bulletins"]), BTreeSet::from(["DSA-9000-1"]), "{report:#}");
    assert_eq!(words(&entry["closes"]), BTreeSet::from(["CVE-2026-90001", "CVE-2026-90002"]));
}

#[test]
fn a_wrong_command_line_ends_with_64_and_says_why() {
    let ended = |arguments: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_palisade")).args(arguments).output().expect("palisade starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for arguments in [
        &["chek"][..],
        &["check", "--fed", "x"],
        &["check", "--format", "xml"],
        &["check", "--root", "/no/such/root"],
        &["check", "--feed", "/no/such/feed"],
    ] {
        let (code, complaint) = ended(arguments);
        assert_eq!(code, Some(64), "{arguments:?}: {complaint}");
        assert!(!complaint.is_empty());
    }
    assert_eq!(ended(&["--help"]).0, Some(0));
}
