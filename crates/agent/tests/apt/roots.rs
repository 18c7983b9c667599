//! Made-up roots: what real ones rarely show.

use crate::{apt_is_here, debian_12, installed};
use agent::apt::{Apt, View, installed_changelog};
use exposure::inventory::{Action, ArchiveClass, Origin, Part};
use std::io::Write;
use std::path::{Path, PathBuf};

const STATUS: &str = "\
Package: free\nStatus: install ok installed\nVersion: 1.0-1\nArchitecture: amd64\nMaintainer: x\nDescription: x\n\n\
Package: held\nStatus: hold ok installed\nVersion: 1.0-1\nArchitecture: amd64\nMaintainer: x\nDescription: x\n\n\
Package: pinned\nStatus: install ok installed\nVersion: 1.0-1\nArchitecture: all\nMaintainer: x\nDescription: x\n\n\
Package: stuck\nStatus: install ok installed\nVersion: 1.0-1\nArchitecture: amd64\nMaintainer: x\nDescription: x\n\n\
Package: libold1\nSource: free (1.0-1)\nStatus: install ok installed\nVersion: 1.0-1\nArchitecture: amd64\nMaintainer: x\nDescription: x\n\n\
Package: rebuilt\nStatus: install ok installed\nVersion: 1.0-1+mine1\nArchitecture: amd64\nMaintainer: x\nDescription: x\n\n\
Package: handmade\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\nMaintainer: x\nDescription: x\n\n\
Package: theirs\nStatus: install ok installed\nVersion: 5\nArchitecture: amd64\nMaintainer: x\nDescription: x\n";

pub(crate) fn stanza(name: &str, version: &str, arch: &str, more: &str) -> String {
    format!(
        "Package: {name}\nVersion: {version}\nArchitecture: {arch}\nMaintainer: x\nFilename: pool/{name}_{version}.deb\n\
         Size: 10\nSHA256: {}\nDescription: x\n{more}\n",
        "0".repeat(64)
    )
}

pub(crate) struct Root(pub(crate) tempfile::TempDir);

impl Root {
    pub(crate) fn new() -> Self {
        let root = Self(tempfile::Builder::new().prefix("a root ").tempdir().unwrap());
        root.write("var/lib/dpkg/status", STATUS);
        root.write("etc/apt/preferences", "Package: pinned\nPin: version 1.0-1\nPin-Priority: 1001\n");
        // A setting that would run a program, and one that is honoured.
        root.write(
            "etc/apt/apt.conf.d/99x",
            "Dir::Bin::dpkg \"/bin/false\";\nDir::State::lists \"/nonexistent\";\n",
        );
        root
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, path: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Adds an archive to the sources, and its index if `header` is given.
    pub(crate) fn archive(&self, host: &str, suite: &str, header: Option<&str>, packages: &str) {
        let sources = self.path().join("etc/apt/sources.list");
        let before = std::fs::read_to_string(&sources).unwrap_or_default();
        self.write(
            "etc/apt/sources.list",
            format!("{before}deb [trusted=yes] http://me:secret@{host}/debian {suite} main\n"),
        );
        if let Some(header) = header {
            let prefix = format!("var/lib/apt/lists/{host}_debian_dists_{suite}_");
            self.write(
                &format!("{prefix}Release"),
                format!("{header}Architectures: amd64\nComponents: main\n"),
            );
            self.write(&format!("{prefix}main_binary-amd64_Packages"), packages);
        }
    }

    fn look(&self) -> View {
        let apt = Apt::open(self.path(), &debian_12()).unwrap();
        apt.look(&installed(STATUS), "2026-11-23T12:00:00Z".parse().unwrap())
    }
}

pub(crate) const MAIN: &str = "Origin: Debian\nLabel: Debian\nSuite: oldstable\nCodename: bookworm\nVersion: 12.1\n\
                    Date: Sat, 21 Nov 2026 00:00:00 UTC\n";
pub(crate) const SECURITY: &str = "Origin: Debian\nLabel: Debian-Security\nSuite: oldstable-security\nVersion: 12\n\
                        Codename: bookworm-security\nDate: Sat, 07 Nov 2026 00:00:00 UTC\n\
                        Valid-Until: Sat, 14 Nov 2026 00:00:00 UTC\n";
const BACKPORTS: &str = "Origin: Debian Backports\nLabel: Debian Backports\nSuite: oldstable-backports\nNotAutomatic: yes\n\
                         Date: Sat, 21 Nov 2026 00:00:00 UTC\n";
const OTHER: &str = "Origin: Somebody\nLabel: Somebody\nSuite: x\nDate: Sat, 21 Nov 2026 00:00:00 UTC\n";

fn full() -> Root {
    let root = Root::new();
    let newer: String = ["free", "held", "pinned", "stuck"]
        .iter()
        .map(|name| {
            let arch = if *name == "pinned" { "all" } else { "amd64" };
            let more = if *name == "stuck" { "Depends: nowhere\n" } else { "Source: src (1.1-0)\n" };
            stanza(name, "1.1-1", arch, more)
        })
        .collect();
    let main = format!("{newer}{}", stanza("rebuilt", "1.0-1", "amd64", ""));
    root.archive("main.example", "bookworm", Some(MAIN), &main);
    let security = stanza("free", "1.1-1", "amd64", "Source: src (1.1-0)\n");
    root.archive("sec.example", "bookworm-security", Some(SECURITY), &security);
    let backports = stanza("libold1", "9", "amd64", "Source: free\n");
    root.archive("back.example", "bookworm-backports", Some(BACKPORTS), &backports);
    root.archive("other.example", "x", Some(OTHER), &stanza("theirs", "5", "amd64", ""));
    root.archive("new.example", "bookworm", None, "");
    root
}

#[test]
fn what_apt_keeps_back_is_listed_with_the_reason() {
    if !apt_is_here() {
        return;
    }
    let view = full().look();
    let told: Vec<(String, String)> = view
        .candidates
        .iter()
        .map(|candidate| {
            let action = match &candidate.action {
                Action::KeptBack(reason) => reason.split([':', ' ']).next().unwrap().to_owned(),
                Action::Upgrade => "upgrade".to_owned(),
                other @ (Action::Install | Action::Remove) => format!("{other:?}"),
            };
            (candidate.name.clone(), action)
        })
        .collect();
    let expected = [("free", "upgrade"), ("held", "held"), ("pinned", "apt"), ("stuck", "not")];
    assert_eq!(told, expected.map(|(name, action)| (name.to_owned(), action.to_owned())));
    let free = &view.candidates[0];
    assert_eq!((free.source.as_str(), free.source_version.as_str()), ("src", "1.1-0"));
    assert_eq!((free.class, free.size_bytes), (ArchiveClass::Security, 10));
    assert_eq!(free.archives.len(), 2, "{free:?}");
}

#[test]
fn every_package_has_an_origin() {
    if !apt_is_here() {
        return;
    }
    let view = full().look();
    let origin = |name: &str| {
        let found = view.origins.iter().find(|((package, _, _), _)| package == name);
        found.unwrap_or_else(|| panic!("no origin of {name}")).1.clone()
    };
    assert_eq!(origin("free"), Origin::Vendor);
    assert_eq!(origin("libold1"), Origin::Vendor);
    assert_eq!(origin("theirs"), Origin::Foreign("Somebody".into()));
    assert_eq!(origin("handmade"), Origin::Local);
    assert_eq!(origin("rebuilt"), Origin::Local, "above all that the distribution offers");
    let bare = Root::new().look();
    assert!(bare.origins.values().all(|origin| *origin == Origin::Unknown));
    assert!(bare.gaps.iter().any(|gap| gap.part == Part::Candidates), "{:?}", bare.gaps);
}

#[test]
fn stale_and_missing_archives_are_told_and_credentials_are_not() {
    if !apt_is_here() {
        return;
    }
    let view = full().look();
    let gaps: Vec<_> = view.gaps.iter().map(|gap| format!("{} {}", gap.object, gap.reason)).collect();
    assert_eq!(gaps.len(), 2, "{gaps:#?}");
    assert!(
        gaps.iter().any(|gap| gap.contains("Debian-Security") && gap.contains("expired 9 days ago")),
        "{gaps:#?}"
    );
    assert!(gaps.iter().any(|gap| gap.contains("new.example") && gap.contains("never fetched")), "{gaps:#?}");
    assert!(view.gaps.iter().all(|gap| gap.remedy == "apt-get update"));
    assert_eq!(view.archives.len(), 4);
    assert!(view.archives.iter().all(|archive| archive.trusted));
    assert!(!format!("{view:?}").contains("secret"));
}

#[test]
fn an_installed_changelog_is_looked_for_inside_the_root_only() {
    let root = Root::new();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(b"x (1) unstable; urgency=low\n\n  * CVE-2026-1111\n").unwrap();
    let packed = packed.finish().unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("changelog.Debian.gz"), &packed).unwrap();
    root.write("usr/share/doc/real/changelog.Debian.gz", &packed);
    let docs = root.path().join("usr/share/doc");
    std::os::unix::fs::symlink("real", docs.join("linked")).unwrap();
    std::os::unix::fs::symlink("/usr/share/doc/real", docs.join("absolute")).unwrap();
    std::os::unix::fs::symlink(outside.path(), docs.join("escaping")).unwrap();
    let up = format!("../../../../../../../../..{}", outside.path().display());
    std::os::unix::fs::symlink(up, docs.join("climbing")).unwrap();
    for name in ["real", "linked", "absolute"] {
        assert_eq!(installed_changelog(root.path(), name).unwrap()[0].cves, ["CVE-2026-1111"], "{name}");
    }
    for name in ["escaping", "climbing", "none", "../doc/real", "..", ""] {
        assert_eq!(installed_changelog(root.path(), name), None, "{name}");
    }
}
