//! A repository with updateinfo, built on the spot with the real rpmbuild and createrepo_c; hosts installed from it with
//! the real dnf. What `palisade check` finds is what `dnf updateinfo list --security` lists.

use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Programs the test needs; where one is missing it says so and is skipped.
const NEEDS: [&str; 4] = ["rpmbuild", "createrepo_c", "modifyrepo_c", "dnf"];

/// One package in two versions: name, epoch, `version-release` installed and in the repository, advisory's type.
const PACKAGES: [(&str, &str, &str, &str, &str); 7] = [
    ("demo-plain", "0", "1.0-1.el9", "1.0-2.el9", "security"),
    // dnf and we must both see that 2:1.1~rc1 is newer than 2:1.0 and older than 2:1.1.
    ("demo-epoch", "2", "1.0-1.el9", "1.1~rc1-1.el9", "security"),
    ("demo-caret", "0", "3-1.el9", "3^git1-1.el9", "security"),
    ("demo-letters", "0", "1.0a-1.el9", "1.0b-1.el9", "security"),
    ("demo-digits", "0", "1.9-1.el9", "1.10-1.el9", "security"),
    ("demo-bugfix", "0", "1.0-1.el9", "1.0-2.el9", "bugfix"),
    // Already at the fixed version.
    ("demo-fixed", "0", "1.0-2.el9", "1.0-2.el9", "security"),
];

struct Bed {
    top: tempfile::TempDir,
}

impl Bed {
    fn path(&self, name: &str) -> PathBuf {
        self.top.path().join(name)
    }

    fn root(&self) -> PathBuf {
        self.path("root")
    }

    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(self.top.path())
            .env("LC_ALL", "C")
            .output()
            .unwrap_or_else(|error| panic!("start {program}: {error}"));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{program} {arguments:?}: {text}{complaint}");
        text
    }

    fn dnf(&self, arguments: &[&str]) -> String {
        let root = self.root();
        let at = |option: &str, path: &str| format!("{option}{}", root.join(path).display());
        let mut all = vec![
            "-q".to_owned(),
            "-y".to_owned(),
            at("--installroot=", ""),
            "--releasever=9".to_owned(),
            "--disableplugin=*".to_owned(),
            at("--setopt=reposdir=", "etc/yum.repos.d"),
            at("--setopt=cachedir=", "var/cache/dnf"),
        ];
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self.run("dnf", &all.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn build(&self, name: &str, epoch: &str, version: &str) {
        let (number, release) = version.split_once('-').expect("version-release");
        let spec = format!(
            "Name: {name}\nEpoch: {epoch}\nVersion: {number}\nRelease: {release}\nSummary: demo\nLicense: MIT\n\
             BuildArch: noarch\nVendor: AlmaLinux\nAutoReqProv: no\n%description\ndemo\n%files\n"
        );
        let file = self.path(&format!("{name}-{version}.spec"));
        fs::write(&file, spec).expect("write the spec");
        let define = |name: &str, folder: &str| format!("{name} {}", self.path(folder).display());
        self.run(
            "rpmbuild",
            &[
                "-bb",
                "--quiet",
                "--define",
                &define("_topdir", "build"),
                "--define",
                &define("_rpmdir", "repository"),
                &file.to_string_lossy(),
            ],
        );
    }

    /// A repository with both versions of each package and updateinfo for the newer ones, and a host with the older.
    fn new() -> Self {
        let bed = Self { top: tempfile::tempdir().expect("a temporary directory") };
        let mut updates = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<updates>\n");
        for (place, (name, epoch, from, to, kind)) in PACKAGES.iter().enumerate() {
            bed.build(name, epoch, from);
            if from != to {
                bed.build(name, epoch, to);
            }
            let (version, release) = to.split_once('-').expect("version-release");
            writeln!(
                updates,
                "<update from=\"demo\" status=\"final\" type=\"{kind}\" version=\"1\"><id>DEMO-2026:{place}</id><title>{name}</title>\
                 <severity>Important</severity><issued date=\"2026-11-01 00:00:00\"/><updated date=\"2026-11-01 00:00:00\"/>\
                 <references><reference href=\"http://demo\" id=\"CVE-2026-900{place}\" type=\"cve\" title=\"demo\"/></references>\
                 <pkglist><collection short=\"demo\"><name>demo</name><package name=\"{name}\" version=\"{version}\" release=\"{release}\" \
                 epoch=\"{epoch}\" arch=\"noarch\"><filename>{name}-{to}.noarch.rpm</filename></package></collection></pkglist></update>"
            )
            .expect("a string takes everything");
        }
        updates.push_str("</updates>\n");
        fs::write(bed.path("updateinfo.xml"), updates).expect("write updateinfo");
        bed.run("createrepo_c", &["-q", "repository"]);
        bed.run("modifyrepo_c", &["--mdtype=updateinfo", "updateinfo.xml", "repository/repodata"]);
        let root = bed.root();
        for folder in ["etc/yum.repos.d", "var/lib/rpm", "root"] {
            fs::create_dir_all(root.join(folder)).expect("make the root");
        }
        // Debian's rpm keeps its database in root's home; a real RPM host has it here.
        symlink("../var/lib/rpm", root.join("root/.rpmdb")).expect("link the database");
        let os_release =
            "ID=almalinux\nVERSION_ID=\"9.4\"\nNAME=\"AlmaLinux\"\nPRETTY_NAME=\"AlmaLinux 9.4 (demo)\"\n";
        fs::write(root.join("etc/os-release"), os_release).expect("write os-release");
        let repository = format!(
            "[demo]\nname=demo\nbaseurl=file://{}\nenabled=1\ngpgcheck=0\n",
            bed.path("repository").display()
        );
        fs::write(root.join("etc/yum.repos.d/demo.repo"), repository).expect("write the repository");
        let installed: Vec<String> =
            PACKAGES.iter().map(|(name, epoch, from, _, _)| format!("{name}-{epoch}:{from}")).collect();
        let mut install = vec!["install"];
        install.extend(installed.iter().map(String::as_str));
        bed.dnf(&install);
        bed
    }

    fn check(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let output = Command::new(env!("CARGO_BIN_EXE_palisade"))
            .args(["check", "--offline", "--format", "json", "--root"])
            .arg(self.root())
            .args(arguments)
            .output()
            .expect("palisade starts");
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        let report = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("the answer is no JSON: {error}: {complaint}"));
        (output.status.code(), report)
    }
}

fn missing() -> Option<&'static str> {
    let found = |name: &str| {
        std::env::var_os("PATH").is_some_and(|path| {
            std::env::split_paths(&path).any(|folder| Path::new(&folder).join(name).is_file())
        })
    };
    NEEDS.into_iter().find(|name| !found(name))
}

fn ids(report: &Value, field: &str) -> BTreeSet<String> {
    report["entries"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|entry| entry[field].as_array().into_iter().flatten())
        .filter_map(|id| id.as_str().map(str::to_owned))
        .collect()
}

#[test]
fn verdicts_equal_what_dnf_lists_as_security_updates() {
    if let Some(program) = missing() {
        eprintln!("SKIPPED: needs {program}");
        return;
    }
    let bed = Bed::new();
    let listed: BTreeSet<String> = bed
        .dnf(&["updateinfo", "list", "--security"])
        .lines()
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect();
    assert_eq!(listed.len(), 5, "dnf itself lists something else: {listed:?}");

    // The host's own cache of updateinfo is enough.
    let (code, report) = bed.check(&[]);
    assert_eq!(ids(&report, "bulletins"), listed, "{report:#}");
    assert_eq!(code, Some(1));
    let command = report["entries"][0]["command"].as_str().unwrap_or_default();
    assert!(command.starts_with("dnf --installroot"), "no command to fix it: {command}");

    // The same file given as a feed says the same once more and nothing else.
    let feed = bed.path("updateinfo.xml");
    let (_, with_feed) = bed.check(&["--feed", &feed.to_string_lossy()]);
    assert_eq!(ids(&with_feed, "bulletins"), listed);

    // And the command that fixes one entry does fix it.
    let entry = &report["entries"][0];
    let words: Vec<String> = command.split_whitespace().skip(3).map(str::to_owned).collect();
    bed.dnf(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let (_, after) = bed.check(&[]);
    let left = ids(&after, "bulletins");
    for id in entry["bulletins"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        assert!(!left.contains(id), "{id} is still open after `{command}`");
    }
    assert_eq!(left.len(), listed.len() - 1);
}
