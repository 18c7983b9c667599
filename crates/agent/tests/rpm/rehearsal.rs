//! What a change would do to a host that dnf keeps, worked out by the real dnf.

use crate::{run, spec};
use agent::apt::Network;
use rollout::plan::{Change, Digest};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use uuid::Uuid;
use wire::v1::{Rehearse, Rehearsed};

/// A host with old packages, and a repository with old and new ones: a lamp of two packages, whose next version needs the
/// next wick, whose source has another package, and something new.
struct Bench(TempDir);

impl Bench {
    /// `None`, visibly, where a tool is missing.
    fn new() -> Option<Self> {
        let bench = Self(tempfile::tempdir().unwrap());
        let tools = "%package tools\nSummary: t\n%description tools\nt\n%files tools\n";
        let specs = [
            spec("glibc", 0, "1", "Provides: system-release = 9"),
            spec("lamp", 1, "1.0", ""),
            spec("lamp", 1, "2.0", "Requires: wick >= 2\nRecommends: shade"),
            spec("wick", 0, "1.0", tools),
            spec("wick", 0, "2.0", &format!("Requires: spark\n{tools}")),
            spec("spark", 2, "1", ""),
            spec("shade", 0, "1", ""),
            spec("candle", 0, "1.0", ""),
            spec("candle", 0, "2.0", "Requires: wax"),
            spec("torch", 0, "1.0", ""),
            spec("torch", 0, "2.0", "Obsoletes: candle"),
        ];
        for (number, text) in specs.iter().enumerate() {
            let file = bench.at(&format!("{number}.spec"));
            fs::write(&file, text).unwrap();
            let define = format!("_topdir {}", bench.at("build"));
            if !run("rpmbuild", &["-bb", "--quiet", "--define", &define, &file]) {
                return None;
            }
        }
        for directory in ["repo", "root/etc/yum.repos.d", "root/etc/dnf/plugins", "root/usr/lib/sysimage/rpm"]
        {
            fs::create_dir_all(bench.at(directory)).unwrap();
        }
        for file in fs::read_dir(bench.at("build/RPMS/noarch")).unwrap() {
            let file = file.unwrap();
            // The archive has the old lamp still, and no longer the old wick.
            let name = file.file_name().into_string().unwrap();
            if !["glibc", "wick-1.0", "wick-tools-1.0"].iter().any(|gone| name.starts_with(gone)) {
                fs::copy(file.path(), bench.at(&format!("repo/{name}"))).unwrap();
            }
        }
        fs::write(bench.at("root/etc/os-release"), "ID=almalinux\nVERSION_ID=9.4\n").unwrap();
        fs::write(bench.at("root/etc/dnf/dnf.conf"), "[main]\ngpgcheck=0\n").unwrap();
        let repository = format!("[bed]\nname=Bed\nbaseurl=file://{}\n", bench.at("repo"));
        fs::write(bench.at("root/etc/yum.repos.d/bed.repo"), repository).unwrap();
        let old = ["glibc-1", "lamp-1.0", "wick-1.0", "wick-tools-1.0", "candle-1.0", "torch-1.0"];
        let old = old.map(|name| bench.at(&format!("build/RPMS/noarch/{name}-1.el9.noarch.rpm")));
        let root = bench.at("root");
        let install = ["--root", &root, "--dbpath", "/usr/lib/sysimage/rpm", "-i", "--nodeps"];
        let install: Vec<&str> = install.into_iter().chain(old.iter().map(String::as_str)).collect();
        let installroot = format!("--installroot={root}");
        let is_there = run("createrepo_c", &["-q", &bench.at("repo")])
            && run("rpm", &install)
            && run("dnf", &["-q", "--disableplugin=local", &installroot, "makecache"]);
        is_there.then_some(bench)
    }

    fn at(&self, path: &str) -> String {
        self.0.path().join(path).to_str().unwrap().to_owned()
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("root")
    }

    fn ask(&self, source: &str, network: Network) -> Rehearsed {
        let asked = Rehearse { id: Uuid::now_v7(), sources: vec![source.to_owned()] };
        let before = seen(&self.root());
        let found = agent::rehearse(&asked, &self.root(), &self.root(), network);
        assert_eq!(seen(&self.root()), before, "nothing of the host is changed");
        found
    }

    fn digest(&self, file: &str) -> Digest {
        Digest::of(&fs::read(self.at(&format!("repo/{file}"))).unwrap())
    }
}

/// Every file, with its size.
fn seen(directory: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(seen(&entry.path()));
        } else {
            found.push((entry.path(), entry.metadata().unwrap().len()));
        }
    }
    found.sort();
    found
}

#[test]
fn dnf_tells_what_a_change_would_do_to_the_file_and_what_stands_in_its_way() {
    let Some(bench) = Bench::new() else { return };
    let found = bench.ask("lamp", Network::Archives);
    assert_eq!(found.blocks, [""; 0]);
    let plain = |change: &Change| {
        let from = change.from.clone().unwrap_or_default();
        format!("{} {} {from} -> {} {}", change.source, change.name, change.to, change.archive)
    };
    // Whole sources and what they need; what is only recommended stays away.
    let expected = [
        "lamp lamp 1:1.0-1.el9 -> 1:2.0-1.el9 bed",
        "spark spark  -> 2:1-1.el9 bed",
        "wick wick 1.0-1.el9 -> 2.0-1.el9 bed",
        "wick wick-tools 1.0-1.el9 -> 2.0-1.el9 bed",
    ];
    assert_eq!(found.changes.iter().map(plain).collect::<Vec<_>>(), expected);
    let lamp = &found.changes[0];
    assert_eq!(lamp.file.sha256, bench.digest("lamp-2.0-1.el9.noarch.rpm"));
    let back = lamp.back.as_ref().expect("the archive has the old one");
    assert_eq!(back.sha256, bench.digest("lamp-1.0-1.el9.noarch.rpm"));
    assert!(found.changes[2].back.is_none(), "of the wick it has none");
    let size = |name: &str| fs::metadata(bench.at(&format!("repo/{name}.noarch.rpm"))).unwrap().len();
    let names =
        ["lamp-1.0-1.el9", "lamp-2.0-1.el9", "spark-1-1.el9", "wick-2.0-1.el9", "wick-tools-2.0-1.el9"];
    assert_eq!(found.download_bytes, names.into_iter().map(size).sum::<u64>());

    let unmet = bench.ask("candle", Network::None);
    assert!(unmet.changes.is_empty(), "{unmet:?}");
    assert!(
        unmet.blocks[0].contains("dnf cannot work it out") && unmet.blocks[0].contains("wax"),
        "{unmet:?}"
    );
    let removing = bench.ask("torch", Network::None);
    assert_eq!(removing.blocks, ["candle would be removed"]);
    fs::write(bench.at("root/etc/dnf/plugins/versionlock.list"), "wick-0:1.0-1.el9.*\n").unwrap();
    let held = bench.ask("wick", Network::None);
    assert_eq!(held.blocks, ["wick is held by the operator"], "{held:?}");

    // What was fetched some day is not what the archive has today.
    fs::rename(bench.at("repo"), bench.at("gone")).unwrap();
    let gone = bench.ask("lamp", Network::Archives);
    assert!(gone.changes.is_empty() && gone.blocks[0].contains("bed"), "{gone:?}");
    fs::remove_dir_all(bench.at("root/var/cache/dnf")).unwrap();
    assert!(bench.ask("lamp", Network::None).blocks[0].contains("dnf makecache"));
}
