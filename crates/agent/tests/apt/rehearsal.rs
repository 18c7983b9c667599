//! What a change would do, worked out by the real apt on a made-up root.

use crate::apt_is_here;
use crate::roots::{MAIN, Root, SECURITY, stanza};
use agent::apt::Network;
use agent::rehearse;
use rollout::plan::{Change, Digest, File};
use uuid::Uuid;
use wire::v1::{Rehearse, Rehearsed};

/// One installed package.
fn installed(name: &str, arch: &str, source: &str, status: &str) -> String {
    format!(
        "Package: {name}\nStatus: {status} ok installed\nVersion: 1-1\nArchitecture: {arch}\nSource: {source}\n\
         Maintainer: x\nDescription: x\n\n"
    )
}

/// A lamp of two packages; its next version needs the next wick, whose source has another package, and something new.
fn root(status_of_data: &str, lamp: &str) -> Root {
    let root = Root(tempfile::Builder::new().prefix("a root ").tempdir().unwrap());
    root.write("etc/os-release", "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n");
    let status = [
        installed("lamp", "amd64", "lamp", "install"),
        installed("lamp-data", "all", "lamp", status_of_data),
        installed("libwick1", "amd64", "wick", "install"),
        installed("wick-tools", "amd64", "wick", "install"),
        installed("candle", "amd64", "candle", "install"),
    ];
    root.write("var/lib/dpkg/status", status.concat());
    root.write("var/lib/dpkg/arch", "amd64\n");
    let new = [
        stanza("lamp", "1-2", "amd64", &format!("Source: lamp\n{lamp}\n")),
        stanza("lamp-data", "1-2", "all", "Source: lamp\n"),
        stanza("libwick1", "1-2", "amd64", "Source: wick\n"),
        stanza("wick-tools", "1-2", "amd64", "Source: wick\n"),
        stanza("libspark1", "2:0-1", "amd64", "Source: spark (0-1)\n"),
        stanza("candle", "1-2", "amd64", ""),
    ];
    root.archive("sec.example", "bookworm-security", Some(SECURITY), &new.concat());
    root.archive("main.example", "bookworm", Some(MAIN), &stanza("lamp", "1-1", "amd64", ""));
    root
}

fn ask(root: &Root, source: &str) -> Rehearsed {
    let asked = Rehearse { id: Uuid::now_v7(), sources: vec![source.to_owned()] };
    let before = std::fs::read(root.path().join("var/lib/dpkg/status")).unwrap();
    let found = rehearse(&asked, root.path(), root.path(), Network::None);
    assert_eq!(std::fs::read(root.path().join("var/lib/dpkg/status")).unwrap(), before);
    assert_eq!(found.id, asked.id);
    found
}

const NEEDS: &str = "Depends: libwick1 (>= 1-2), libspark1";

#[test]
fn whole_sources_and_what_they_need_are_named_to_the_file() {
    if !apt_is_here() {
        return;
    }
    let root = root("install", NEEDS);
    root.write("var/cache/apt/archives/libwick1_1-1_amd64.deb", "an old wick");
    let found = ask(&root, "lamp");
    assert_eq!(found.blocks, Vec::<String>::new());
    let told: Vec<_> = found
        .changes
        .iter()
        .map(|Change { name, arch, source, from, to, .. }| {
            format!("{name} {arch} {source} {} {to}", from.as_deref().unwrap_or("-"))
        })
        .collect();
    // The candle has an update as well, and nobody asked for it.
    let expected = [
        "lamp amd64 lamp 1-1 1-2",
        "lamp-data all lamp 1-1 1-2",
        "libspark1 amd64 spark - 2:0-1",
        "libwick1 amd64 wick 1-1 1-2",
        "wick-tools amd64 wick 1-1 1-2",
    ];
    assert_eq!(told, expected);
    let listed = File { sha256: Digest([0; 32]), size_bytes: 10 };
    assert!(found.changes.iter().all(|change| change.file == listed));
    assert!(found.changes.iter().all(|change| change.archive == "Debian-Security:12/oldstable-security"));
    let back: Vec<_> = found.changes.iter().map(|change| change.back.clone()).collect();
    let cached = File { sha256: Digest::of(b"an old wick"), size_bytes: 11 };
    // From an index; nowhere; none was installed; from apt's cache; nowhere.
    assert_eq!(back, [Some(listed), None, None, Some(cached), None]);
    assert_eq!(found.download_bytes, 5 * 10 + 10 + 11);
}

#[test]
fn what_stands_in_the_way_is_named() {
    if !apt_is_here() {
        return;
    }
    let told = |root: &Root, source: &str| ask(root, source).blocks.join("; ");
    let held = told(&root("hold", "Depends: libwick1"), "lamp");
    assert_eq!(held, "lamp-data is held by the operator");
    let removes = told(&root("install", "Conflicts: candle"), "lamp");
    assert!(removes.contains("candle would be removed"), "{removes}");
    let stuck = told(&root("install", "Depends: nowhere"), "lamp");
    assert!(stuck.contains("apt cannot work it out") && stuck.contains("nowhere"), "{stuck}");
    let phased = told(&root("install", "Phased-Update-Percentage: 20"), "lamp");
    assert!(phased.contains("lamp 1-2 is phased in") && phased.contains("20 % of all hosts"), "{phased}");
    // Nothing of it is installed: nothing changes, and nothing is in the way.
    let nothing = ask(&root("install", NEEDS), "spark");
    assert_eq!((nothing.changes, nothing.blocks), (Vec::new(), Vec::new()));
    let bare = Root::new();
    let unknown = told(&bare, "free");
    assert!(unknown.contains("apt-get update"), "{unknown}");
}
