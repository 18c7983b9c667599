//! Builds real RPM packages, installs them into a root, and reads that root back.

use crate::{run, spec};
use agent::observe::observe;
use exposure::inventory::{Action, Manager, Origin, Part};
use jiff::Timestamp;
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// A root with old packages installed, a repository with new ones, and dnf's cache filled from it.
fn rpm_root() -> Option<TempDir> {
    let bench = tempfile::tempdir().unwrap();
    let at = |path: &str| bench.path().join(path).to_str().unwrap().to_owned();
    let specs = [
        ("glibc-1", spec("glibc", 0, "1", "Vendor: Bed, inc\nProvides: system-release = 9")),
        ("web-1", spec("web", 1, "1.0", "Vendor: Bed, inc")),
        ("web-2", spec("web", 1, "2.0", "Vendor: Bed, inc")),
        ("tool-1", spec("tool", 0, "1.0", "Vendor: Elsewhere\nModularityLabel: tools:5:901:abc")),
        ("kept-1", spec("kept", 0, "1.0", "")),
        ("kept-2", spec("kept", 0, "2.0", "")),
    ];
    for (name, text) in &specs {
        fs::write(at(&format!("{name}.spec")), text).unwrap();
        let define = format!("_topdir {}", at("build"));
        if !run("rpmbuild", &["-bb", "--quiet", "--define", &define, &at(&format!("{name}.spec"))]) {
            return None;
        }
    }
    let package = |name: &str| at(&format!("build/RPMS/noarch/{name}-1.el9.noarch.rpm"));
    fs::create_dir_all(at("repo")).unwrap();
    for name in ["web-2.0", "kept-2.0"] {
        fs::copy(package(name), at(&format!("repo/{name}.rpm"))).unwrap();
    }
    fs::write(at("updateinfo.xml"), "<?xml version=\"1.0\"?>\n<updates></updates>\n").unwrap();
    if !run("createrepo_c", &["-q", &at("repo")])
        || !run("modifyrepo_c", &["--mdtype=updateinfo", &at("updateinfo.xml"), &at("repo/repodata")])
    {
        return None;
    }
    for directory in ["root/etc/yum.repos.d", "root/etc/dnf", "root/usr/lib/sysimage/rpm"] {
        fs::create_dir_all(at(directory)).unwrap();
    }
    fs::write(at("root/etc/os-release"), "ID=almalinux\nVERSION_ID=9.4\n").unwrap();
    fs::write(at("root/etc/dnf/dnf.conf"), "[main]\ngpgcheck=0\n").unwrap();
    let repository =
        format!("[bed]\nname=Bed\nbaseurl=file://{}\nexclude=kept\n[off]\nenabled=0\n", at("repo"));
    fs::write(at("root/etc/yum.repos.d/bed.repo"), repository).unwrap();
    let database = ["--root", &at("root"), "--dbpath", "/usr/lib/sysimage/rpm", "-i", "--nodeps"];
    let packages = ["glibc-1", "web-1.0", "tool-1.0", "kept-1.0"].map(package);
    let arguments = database.into_iter().chain(packages.iter().map(String::as_str)).collect::<Vec<_>>();
    run("rpm", &arguments).then_some(bench)
}

/// All files below `directory`, with their sizes.
fn files(directory: &Path) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push((entry.path().display().to_string(), entry.metadata().unwrap().len()));
        }
    }
    found.sort();
    found
}

#[test]
fn an_rpm_root_gives_packages_repositories_and_upgrades_and_stays_untouched() {
    let Some(bench) = rpm_root() else { return };
    let root = bench.path().join("root");
    let before = observe(&root, Some("host"), Timestamp::now(), &mut |_| ());
    assert_eq!(before.inventory.system.manager, Manager::Rpm);
    let never = before.inventory.gaps_in(Part::Candidates).next().expect("nothing is cached yet");
    assert!(never.reason.contains("no repository has cached metadata"), "{never:?}");
    let database = root.join("usr/lib/sysimage/rpm");
    let format = "%{NAME} %|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE} %{ARCH}\n";
    let listed =
        Command::new("rpm").arg("--dbpath").arg(&database).args(["-qa", "--qf", format]).output().unwrap();
    let mut listed = String::from_utf8(listed.stdout).unwrap().replace(" 0:", " ");
    listed.insert(0, '\n');
    let ours = before.inventory.packages.iter();
    let ours = ours.map(|package| format!("{} {} {}", package.name, package.version, package.arch));
    let ours = ours.collect::<Vec<_>>();
    assert_eq!(ours.len(), listed.trim().lines().count());
    assert!(ours.iter().all(|line| listed.contains(&format!("\n{line}\n"))), "{ours:?} {listed}");
    let package = |name: &str| before.inventory.packages.iter().find(|package| package.name == name).unwrap();
    assert_eq!(package("web").source_version, "1:1.0-1.el9");
    assert_eq!(package("web").origin, Origin::Vendor);
    assert_eq!(package("tool").origin, Origin::Foreign("Elsewhere".to_owned()));
    assert_eq!(package("tool").module.as_ref().map(ToString::to_string).as_deref(), Some("tools:5"));
    assert_eq!(package("kept").origin, Origin::Local);

    let installroot = format!("--installroot={}", root.display());
    if !run("dnf", &["-q", "--disableplugin=local", &installroot, "makecache"]) {
        return;
    }
    let untouched = files(&root);
    let after = observe(&root, Some("host"), Timestamp::now(), &mut |_| ());
    assert_eq!(files(&root), untouched);
    let candidates = after.inventory.candidates.iter().map(|candidate| {
        let versions = (candidate.from.as_deref().unwrap(), candidate.to.as_deref().unwrap());
        (candidate.name.as_str(), versions, candidate.action.clone(), candidate.archives.join(" "))
    });
    let kept = Action::KeptBack("excluded by dnf's configuration".to_owned());
    let expected = [
        ("kept", ("1.0-1.el9", "2.0-1.el9"), kept, "bed".to_owned()),
        ("web", ("1:1.0-1.el9", "1:2.0-1.el9"), Action::Upgrade, "bed".to_owned()),
    ];
    assert_eq!(candidates.collect::<Vec<_>>(), expected, "{:#?}", after.inventory.gaps);
    assert_eq!(after.inventory.candidates[1].source, "web");
    let archive = &after.inventory.archives[0];
    assert_eq!((after.inventory.archives.len(), archive.suite.as_str(), archive.trusted), (1, "bed", false));
    assert!(archive.date.is_some());
    assert_eq!(after.feeds.len(), 1);
    assert!(after.feeds[0].starts_with(&root) && after.feeds[0].is_file(), "{:?}", after.feeds);
    assert_eq!(after.inventory.gaps_in(Part::Packages).count(), 0, "{:#?}", after.inventory.gaps);

    let later = Timestamp::now() + jiff::SignedDuration::from_hours(50);
    let stale = observe(&root, Some("host"), later, &mut |_| ());
    let stale = stale.inventory.gaps_in(Part::Archives).next().expect("fifty hours are too old");
    assert!(stale.reason.contains("50 hours ago") && stale.remedy.contains("makecache"), "{stale:?}");
}

#[test]
fn a_broken_rpm_database_is_a_gap() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("var/lib/rpm")).unwrap();
    fs::write(root.path().join("var/lib/rpm/rpmdb.sqlite"), "no database at all").unwrap();
    let inventory = observe(root.path(), Some("host"), Timestamp::now(), &mut |_| ()).inventory;
    assert_eq!(inventory.system.manager, Manager::Rpm);
    assert!(inventory.packages.is_empty() && inventory.gaps_in(Part::Packages).count() > 0);
}
