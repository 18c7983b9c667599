//! Eight hosts whose upgrades an apt worked out elsewhere: ours, aimed at a root directory, agrees.

use crate::{apt_is_here, debian_12, installed};
use agent::apt::Apt;
use exposure::inventory::{Action, ArchiveClass};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

const BULLETINS: &str = concat!(env!("PALISADE_REFERENCE"), "/bulletins");

fn unpacked(name: &str) -> Vec<u8> {
    let packed = std::fs::read(format!("{BULLETINS}/{name}")).unwrap();
    let mut bytes = Vec::new();
    ruzstd::decoding::StreamingDecoder::new(&packed[..]).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

/// A root with Debian 12's indexes; the hosts differ in their dpkg status only. Says whether main's index is whole: the
/// reference data has only a few fields of it, but where this machine has fetched the very same index, we take that.
fn lay(root: &Path) -> bool {
    for directory in
        ["etc/apt/preferences.d", "var/lib/apt/lists/partial", "var/lib/dpkg", "var/cache/apt/archives"]
    {
        std::fs::create_dir_all(root.join(directory)).unwrap();
    }
    let sources = "deb http://deb.debian.org/debian bookworm main\n\
                   deb http://deb.debian.org/debian-security bookworm-security main\n";
    std::fs::write(root.join("etc/apt/sources.list"), sources).unwrap();
    let lists = root.join("var/lib/apt/lists");
    let archive = "debian-archive/bookworm";
    let mut whole = false;
    for (suite, file) in [("debian", "bookworm"), ("debian-security", "bookworm-security")] {
        let prefix = format!("deb.debian.org_{suite}_dists_{file}_");
        let release = std::fs::read(format!("{BULLETINS}/{archive}/{file}.InRelease")).unwrap();
        let machine = Path::new("/var/lib/apt/lists");
        let index = format!("{prefix}main_binary-amd64_Packages");
        let packed = machine.join(format!("{index}.lz4"));
        let same =
            std::fs::read(machine.join(format!("{prefix}InRelease"))).is_ok_and(|bytes| bytes == release);
        std::fs::write(lists.join(format!("{prefix}InRelease")), release).unwrap();
        if suite == "debian-security" {
            let packages = unpacked(&format!("{archive}/{file}_main_amd64.Packages.zst"));
            std::fs::write(lists.join(index), packages).unwrap();
        } else if same && packed.is_file() {
            std::fs::copy(&packed, lists.join(format!("{index}.lz4"))).unwrap();
            whole = true;
        } else {
            let packages = unpacked(&format!("{archive}/{file}_main_amd64.Packages.slim.zst"));
            let text = String::from_utf8(packages).unwrap();
            // apt counts on a package being somewhere.
            std::fs::write(
                lists.join(index),
                text.replace("\nVersion: ", "\nFilename: pool/x.deb\nVersion: "),
            )
            .unwrap();
        }
    }
    whole
}

/// Packages by name: from, to.
type Changes = BTreeMap<String, (String, String)>;

fn expected(oracle: &serde_json::Value) -> (Changes, BTreeSet<String>, BTreeSet<String>) {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let names = |key: &str| {
        let list = oracle[key].as_array().unwrap();
        list.iter().map(|entry| text(if entry.is_array() { &entry[0] } else { entry })).collect()
    };
    let upgrades = oracle["upgrades"].as_array().unwrap();
    let upgrades = upgrades.iter().map(|one| (text(&one[0]), (text(&one[1]), text(&one[2])))).collect();
    (upgrades, names("new"), names("removed"))
}

#[test]
fn eight_hosts_agree_with_the_apt_they_were_recorded_with() {
    if !apt_is_here() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let whole = lay(root.path());
    let mut files = BTreeMap::new();
    let tar = unpacked("hosts-apt-oracle/bookworm.tar.zst");
    for member in tar::Archive::new(&tar[..]).entries().unwrap() {
        let mut member = member.unwrap();
        let name = member.path().unwrap().to_string_lossy().into_owned();
        let mut text = String::new();
        member.read_to_string(&mut text).unwrap();
        files.insert(name, text);
    }
    let hosts: Vec<_> = files.keys().filter_map(|name| name.strip_suffix(".status")).collect();
    assert_eq!(hosts.len(), 8);
    let mut compared = 0;
    let mut kept_back = BTreeSet::new();
    for host in hosts {
        let status = &files[&format!("{host}.status")];
        let oracle: serde_json::Value = serde_json::from_str(&files[&format!("{host}.oracle.json")]).unwrap();
        std::fs::write(root.path().join("var/lib/dpkg/status"), status).unwrap();
        let apt = Apt::open(root.path(), &debian_12()).unwrap();
        let begun = std::time::Instant::now();
        let view = apt.look(&installed(status), "2026-11-23T12:00:00Z".parse().unwrap());
        println!("{host}: {:?}, gaps {:?}", begun.elapsed(), view.gaps);
        assert_eq!(view.gaps, [], "{host}");
        let (mut upgrades, mut new, mut removed) = (Changes::new(), BTreeSet::new(), BTreeSet::new());
        // In an index cut down to no dependencies, apt takes the same version for another build.
        for candidate in view.candidates.iter().filter(|candidate| whole || candidate.from != candidate.to) {
            let name = candidate.name.clone();
            match &candidate.action {
                Action::Upgrade => {
                    let versions = (candidate.from.clone().unwrap(), candidate.to.clone().unwrap());
                    upgrades.insert(name.clone(), versions);
                }
                Action::Install => drop(new.insert(name.clone())),
                Action::Remove => drop(removed.insert(name.clone())),
                Action::KeptBack(_) => drop(kept_back.insert(format!("{host} {name}"))),
            }
            let security = candidate.archives.iter().any(|name| name.starts_with("Debian-Security:"));
            assert_eq!(candidate.class == ArchiveClass::Security, security, "{host} {candidate:?}");
        }
        let mut theirs = expected(&oracle);
        if !whole {
            // What an upgrade newly needs is not known without dependencies.
            (new, theirs.1) = (BTreeSet::new(), BTreeSet::new());
        }
        compared += theirs.0.len();
        assert_eq!((upgrades, new, removed), theirs, "{host}");
    }
    println!(
        "{compared} upgrades compared, with {}",
        if whole { "all of the index" } else { "a part of the index" }
    );
    // Its dependencies are in a release this host does not have: visible, but not installable.
    assert_eq!(kept_back, ["host002 rust-web-lldb".to_owned()].into());
    let left: Vec<_> = std::fs::read_dir(root.path().join("var/cache/apt")).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing was written into the root: {left:?}");
}
