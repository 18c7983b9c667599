//! Real bulletins against made-up hosts whose answers are known: all is patched, or nothing is.
#![cfg_attr(not(reference_data), allow(dead_code, reason = "needs the reference data"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use advisory::format::read;
use advisory::{Advisory, Claim, Module, Order, Release, State, Version};
use common::{alma, inventory, package};
use exposure::Inventory;
use exposure::index::{Index, Snapshot};
use exposure::inventory::Package;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::path::Path;

fn almalinux() -> Vec<Advisory> {
    let path =
        Path::new(option_env!("PALISADE_REFERENCE").unwrap_or("")).join("bulletins/almalinux-osv/all.zip");
    let feed = read(None, "almalinux-osv", Cursor::new(std::fs::read(path).unwrap()), None);
    assert_eq!(feed.problems, []);
    feed.advisories
}

fn about(advisories: &[Advisory], speaks: impl Fn(&Claim) -> bool) -> Vec<Advisory> {
    advisories.iter().filter(|advisory| advisory.claims.iter().any(&speaks)).cloned().collect()
}

/// The highest version that claims `of` a release's packages call fixed, by name and stream.
fn newest<'a>(
    advisories: &'a [Advisory],
    release: &Release,
) -> BTreeMap<(&'a str, Option<&'a Module>), &'a str> {
    let mut newest: BTreeMap<_, (Version, &str)> = BTreeMap::new();
    for claim in
        advisories.iter().flat_map(|advisory| &advisory.claims).filter(|claim| claim.release == *release)
    {
        let fixed = claim.fixed.as_deref().unwrap();
        let version = Order::Rpm.parse(fixed).unwrap();
        let known =
            newest.entry((&*claim.name, claim.module.as_ref())).or_insert_with(|| (version.clone(), fixed));
        if known.0 < version {
            *known = (version, fixed);
        }
    }
    newest.into_iter().map(|(name, (_, fixed))| (name, fixed)).collect()
}

/// A host for each choice of streams: the plain packages, and one host per module stream.
fn hosts(advisories: &[Advisory], release: &Release, version: impl Fn(&str) -> String) -> Vec<Inventory> {
    let mut hosts: BTreeMap<Option<&Module>, Vec<Package>> = BTreeMap::new();
    for ((name, module), newest) in newest(advisories, release) {
        if module.is_none_or(|module| !module.stream.is_empty()) {
            let package =
                Package { module: module.cloned(), arch: "x86_64".into(), ..package(name, &version(newest)) };
            hosts.entry(module).or_default().push(package);
        }
    }
    hosts.into_values().map(|packages| inventory(release, packages)).collect()
}

fn fleet(advisories: &[Advisory], hosts: &[Inventory]) -> Index {
    let mut index = Index::rebuild(&Snapshot::default(), advisories);
    for (host, id) in hosts.iter().zip(0..) {
        index.upsert_host(id, host);
    }
    index
}

fn speaks_known(claim: &Claim) -> bool {
    claim.module.as_ref().is_none_or(|module| !module.stream.is_empty())
}

#[test]
#[cfg_attr(not(reference_data), ignore = "needs the reference data")]
fn patched_hosts_are_affected_by_nothing_and_unpatched_ones_by_all() {
    let all = almalinux();
    let releases: BTreeSet<&Release> =
        all.iter().flat_map(|advisory| &advisory.claims).map(|claim| &claim.release).collect();
    assert_eq!(releases.len(), 3);
    let mut told = 0;
    for release in releases {
        let advisories = about(&all, |claim| claim.release == *release);
        let patched = hosts(&advisories, release, str::to_owned);
        let index = fleet(&advisories, &patched);
        for advisory in &advisories {
            assert!(index.affected(&advisory.id).is_empty(), "{} on a patched {release}", advisory.id);
        }
        // A tilde comes before everything, so this is older than every fixed version.
        let unpatched = hosts(&advisories, release, |_| "~0-0".to_owned());
        let index = fleet(&advisories, &unpatched);
        let taken = Index::rebuild(&index.snapshot(), &advisories);
        for advisory in &advisories {
            let here: Vec<&Claim> = advisory
                .claims
                .iter()
                .filter(|claim| claim.release == *release && claim.state == State::Fixed)
                .collect();
            let sets = index.sets(&advisory.id);
            assert_eq!(
                sets.affected.is_empty(),
                !here.iter().any(|claim| speaks_known(claim)),
                "{} on {release}",
                advisory.id
            );
            assert_eq!(sets, taken.sets(&advisory.id));
            told += sets.affected.len();
        }
    }
    assert!(told > 4_000, "{told}");
}

#[test]
#[cfg_attr(not(reference_data), ignore = "needs the reference data")]
fn a_patched_module_stream_gets_no_false_advisory() {
    let release = alma("8");
    let advisories = about(&almalinux(), |claim| claim.release == release && claim.name == "nodejs");
    let module = Module { name: "nodejs".into(), stream: "18".into() };
    let packages: Vec<Package> = newest(&advisories, &release)
        .into_iter()
        .filter(|((_, stream), _)| *stream == Some(&module))
        .map(|((name, _), newest)| Package {
            module: Some(module.clone()),
            arch: "x86_64".into(),
            ..package(name, newest)
        })
        .collect();
    assert!(packages.iter().any(|package| package.name == "nodejs"));
    let host = inventory(&release, packages);
    let affecting = |advisories: &[Advisory]| {
        let index = fleet(advisories, std::slice::from_ref(&host));
        advisories.iter().filter(|advisory| index.affected(&advisory.id).contains(0)).count()
    };
    assert_eq!(affecting(&advisories), 0);
    // What it would be without streams.
    let mut blind = advisories;
    for claim in blind.iter_mut().flat_map(|advisory| &mut advisory.claims) {
        claim.module = claim.module.as_ref().map(|_| module.clone());
    }
    assert_eq!(affecting(&blind), 14);
}
