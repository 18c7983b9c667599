//! The running machine.

use crate::{apt_is_here, debian_12, installed};
use agent::apt::{Apt, View};
use exposure::inventory::{Action, Fetch};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

fn look() -> (Apt, View) {
    let packages = installed(&std::fs::read_to_string("/var/lib/dpkg/status").unwrap());
    let begun = Instant::now();
    let apt = Apt::open(Path::new("/"), &debian_12()).unwrap();
    let view = apt.look(&packages, "2026-11-23T12:00:00Z".parse().unwrap());
    println!("look: {:?}, {} candidates, gaps {:#?}", begun.elapsed(), view.candidates.len(), view.gaps);
    (apt, view)
}

#[test]
fn the_candidates_are_what_apt_itself_would_change() {
    if !apt_is_here() {
        return;
    }
    let (_apt, view) = look();
    let plain =
        Command::new("apt-get").args(["-s", "-q", "dist-upgrade"]).env("LC_ALL", "C").output().unwrap();
    let mut theirs: Vec<String> = String::from_utf8(plain.stdout)
        .unwrap()
        .lines()
        .filter(|line| line.starts_with("Inst ") || line.starts_with("Remv "))
        .map(|line| {
            line.replace(['[', ']', '(', ')'], "").split(' ').skip(1).take(3).collect::<Vec<_>>().join(" ")
        })
        .collect();
    let mut ours: Vec<String> = view
        .candidates
        .iter()
        .filter(|candidate| !matches!(candidate.action, Action::KeptBack(_)))
        .map(|candidate| {
            let versions = [&candidate.from, &candidate.to].into_iter().flatten().cloned();
            std::iter::once(candidate.name.clone()).chain(versions).collect::<Vec<_>>().join(" ")
        })
        .collect();
    theirs.sort();
    ours.sort();
    assert_eq!(ours, theirs);
    assert!(view.candidates.iter().all(|candidate| candidate.size_bytes > 0), "sizes come from the indexes");
}

/// Needs the network, so a developer runs it: `cargo test -p agent --test apt -- --ignored`.
#[test]
#[ignore = "asks the machine's archives"]
fn every_candidate_is_asked_for_and_every_changelog_is_had() {
    if !apt_is_here() {
        return;
    }
    let (apt, mut view) = look();
    let begun = Instant::now();
    let asked = apt.check_fetchable(&mut view.candidates, Duration::from_secs(60));
    println!("fetchable: {:?}, {asked:#?}", begun.elapsed());
    let unknown: Vec<_> =
        view.candidates.iter().filter(|candidate| candidate.fetch != Fetch::Fetchable).collect();
    println!("not fetchable: {unknown:#?}");
    let cache = tempfile::tempdir().unwrap();
    let mut had = Vec::new();
    for round in ["first", "second"] {
        let begun = Instant::now();
        let mut count = 0;
        let (changelogs, gaps) = apt.changelogs(
            &view.candidates,
            cache.path(),
            &mut |_, _, _| count += 1,
            agent::apt::Fetching::Within {
                deadline: Duration::from_secs(120),
                unreachable: &asked.unreachable,
            },
        );
        println!(
            "{round} changelogs: {:?}, {}, told {count}, gaps {gaps:#?}",
            begun.elapsed(),
            changelogs.len()
        );
        had.push((changelogs, gaps));
    }
    let entries = |changelogs: &agent::apt::Changelogs| {
        changelogs.iter().map(|(key, changelog)| (key.clone(), changelog.sha256.clone())).collect::<Vec<_>>()
    };
    assert_eq!(entries(&had[0].0), entries(&had[1].0), "the cache gives back what was put in");
    let mut cves = std::collections::BTreeSet::new();
    for candidate in &view.candidates {
        let key = (candidate.source.clone(), candidate.source_version.clone());
        let Some(changelog) = had[0].0.get(&key) else { continue };
        let packages = installed(&std::fs::read_to_string("/var/lib/dpkg/status").unwrap());
        let package = packages.iter().find(|package| package.name == candidate.name).unwrap();
        let own = agent::apt::installed_changelog(Path::new("/"), &package.name);
        let closed = advisory::changelog::closed(&package.source_version, own.as_deref(), &changelog.entries);
        if closed.basis != advisory::changelog::Basis::Ancestor {
            println!("{} {} -> {:?}: {closed:?}", package.name, package.version, candidate.to);
        }
        cves.extend(closed.cves);
    }
    println!("{} CVEs: {}", cves.len(), cves.iter().cloned().collect::<Vec<_>>().join(" "));
}
