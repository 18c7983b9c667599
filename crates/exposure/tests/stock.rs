//! The stock against inventories taken whole: the same builds for every host, whatever hangs on it.

mod common;

use advisory::{Family, Release};
use common::{gap, inventory, kernel, maps_stale, package};
use exposure::Inventory;
use exposure::index::{Batch, Fresh, Own, Snapshot, Stock};
use exposure::inventory::{Package, Part};
use exposure::judge::Installed;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::{BTreeMap, BTreeSet};

const PACKAGES: [(&str, &str); 8] = [
    ("apache", "apache"),
    ("libapache", "apache"),
    ("bash", "bash"),
    ("linux-image-6.1.0-1-amd64", "linux-signed-amd64"),
    ("linux-image-6.1.0-2-amd64", "linux-signed-amd64"),
    ("linux-libc-dev", "linux"),
    ("less", "less"),
    ("own-kernel-1", "own-kernel"),
];
const VERSIONS: [&str; 4] = ["1.0-1", "1.0-1+b1", "1.0-2", "not a version"];

fn packages() -> impl Strategy<Value = Vec<Package>> {
    let one = (select(&PACKAGES[..]), select(&VERSIONS[..]))
        .prop_map(|((name, source), version)| Package { source: source.into(), ..package(name, version) });
    vec(one, 0..9)
}

fn hosts() -> impl Strategy<Value = Inventory> {
    let release = select(vec![Release::new(Family::Debian, "12"), Release::new(Family::AlmaLinux, "9")]);
    let names: Vec<&str> = PACKAGES.iter().map(|(name, _)| *name).collect();
    let process = (select(names), option::of(select(&VERSIONS[..])))
        .prop_map(|(name, version)| maps_stale(1, "a.service", name, version));
    let booted = option::of(select(vec!["6.1.0-1-amd64", "1", "other"]));
    (release, packages(), vec(process, 0..2), booted, any::<bool>()).prop_map(
        |(release, packages, processes, booted, has_gap)| {
            let kernels: Vec<(String, String, String)> = packages
                .iter()
                .filter_map(|package| {
                    let name = &package.name;
                    let release = name.strip_prefix("linux-image-").or(name.strip_prefix("own-kernel-"))?;
                    Some((release.to_owned(), name.clone(), package.version.clone()))
                })
                .collect();
            let kernels: Vec<(&str, &str, &str)> =
                kernels.iter().map(|(release, name, version)| (&**release, &**name, &**version)).collect();
            let mut host = inventory(&release, packages);
            host.kernel = kernel(booted, &kernels);
            host.processes = processes;
            host.gaps = if has_gap { vec![gap(Part::Kernel)] } else { Vec::new() };
            host
        },
    )
}

fn by_host(snapshot: &Snapshot) -> BTreeMap<u32, BTreeSet<(Release, Installed)>> {
    let build = |row: &u32| {
        let (release, installed) = &snapshot.rows[*row as usize];
        (release.clone(), (**installed).clone())
    };
    snapshot.hosts.iter().map(|host| (host.id, snapshot.rows_of(host).iter().map(build).collect())).collect()
}

proptest! {
    #[test]
    fn hosts_in_pieces_are_the_hosts(fleet in vec(hosts(), 1..8)) {
        let mut stock = Stock::default();
        let mut put = Vec::new();
        let mut known: BTreeMap<(Release, Vec<Package>), Batch> = BTreeMap::new();
        for (id, host) in (0..).zip(&fleet) {
            let release = &host.system.release;
            let mut batches: BTreeMap<char, Vec<Package>> = BTreeMap::new();
            for package in &host.packages {
                let letter = package.source.chars().next().unwrap_or_default();
                batches.entry(letter).or_default().push(package.clone());
            }
            for packages in batches.values() {
                let key = (release.clone(), packages.clone());
                known.entry(key).or_insert_with(|| {
                    stock.keep(release, Fresh::read(release, packages.clone()))
                });
            }
            let with = |packages: &Vec<Package>| &known[&(release.clone(), packages.clone())];
            let (own, shared): (Vec<_>, Vec<_>) = batches
                .into_values()
                .partition(|packages| with(packages).hangs_on(&host.kernel, &host.processes));
            let own = own.concat();
            let own = Own::read(release, own, &host.kernel, &host.processes, &host.gaps);
            let own = stock.keep_own(release, own);
            put.push(Batch::join(id, &host.system, shared.iter().map(with).chain([&own])));
        }
        let whole = Snapshot::read((0..).zip(&fleet), Some);
        prop_assert_eq!(by_host(&stock.snapshot(put)), by_host(&whole));
    }
}
