//! The fleet's index against the judge, over random histories: whatever came in whatever order, the index must say
//! what the judge says of every host, what a rebuild says, and its changes must add up to it.

mod common;

use advisory::{Advisory, Channel, Claim, Family, Module, NameKind, Release, State};
use common::{advisory, gap, inventory, kernel, maps_stale, package};
use exposure::Inventory;
use exposure::index::{Index, Sets, Snapshot, Subject};
use exposure::inventory::{Origin, Package, PackageState, Part, Process};
use exposure::judge::{Host, judge};
use exposure::verdict::Verdict;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::BTreeMap;
use std::sync::Arc;

const BINARIES: [&str; 6] =
    ["a", "b", "linux-image-6.1.0-1-amd64", "linux-image-6.1.0-2-amd64", "kernel-core", "linux-libc-dev"];
const SOURCES: [&str; 5] = ["a", "b", "linux", "linux-signed-amd64", "kernel"];
/// Equal ones, flavoured ones, modular ones, and ones that no order takes.
const VERSIONS: [&str; 11] = [
    "1.0-1",
    "0:1.0-1",
    "1.0-1+b1",
    "1.0-2",
    "1.0-3",
    "1.1-1",
    "2.0-1",
    "2:1.0-2.ksplice1.el9",
    "1.0-2.module_el9.1",
    "not a version",
    "",
];

#[derive(Clone, Debug)]
enum Step {
    Host(u32, Box<Inventory>),
    HostGone(u32),
    Bulletin(Box<Advisory>),
    BulletinGone(String),
}

fn release() -> impl Strategy<Value = (Release, &'static str)> {
    prop_oneof![
        4 => Just((Release::new(Family::Debian, "12"), "12")),
        2 => Just((Release::new(Family::AlmaLinux, "9"), "9.4")),
        2 => Just((Release::new(Family::AlmaLinux, "9"), "9.5")),
        1 => Just((Release::new(Family::Other("plan9".into()), "4"), "4")),
    ]
}

fn stream() -> impl Strategy<Value = Option<Module>> {
    let streams =
        select(vec!["", "18", "20"]).prop_map(|stream| Module { name: "m".into(), stream: stream.into() });
    option::weighted(0.2, streams)
}

fn version() -> impl Strategy<Value = String> {
    prop_oneof![6 => select(&VERSIONS[..7]), 1 => select(&VERSIONS[7..])].prop_map(str::to_owned)
}

fn packages() -> impl Strategy<Value = Package> {
    let state = prop_oneof![
        8 => Just(PackageState::Installed), 1 => Just(PackageState::Unpacked), 1 => Just(PackageState::HalfInstalled)
    ];
    let origin = prop_oneof![
        8 => Just(Origin::Vendor), 1 => Just(Origin::Unknown), 1 => Just(Origin::Local),
        1 => Just(Origin::Foreign("ppa".into())),
    ];
    let names =
        (select(&BINARIES[..]), select(&SOURCES[..]), prop_oneof![4 => Just("amd64"), 1 => Just("all")]);
    (names, version(), option::weighted(0.3, version()), state, origin, stream()).prop_map(
        |((name, source, arch), version, source_version, state, origin, module)| Package {
            arch: arch.into(),
            source: source.into(),
            source_version: source_version.unwrap_or_else(|| version.clone()),
            state,
            origin,
            module,
            ..package(name, &version)
        },
    )
}

fn process() -> impl Strategy<Value = Process> {
    (select(&BINARIES[..]), option::of(version()))
        .prop_map(|(package, version)| maps_stale(1, "a.service", package, version.as_deref()))
}

fn hosts() -> impl Strategy<Value = Inventory> {
    let booted = option::of(select(vec!["6.1.0-1-amd64", "6.1.0-2-amd64", "other"]));
    let gaps = vec(select(vec![Part::Kernel, Part::Processes, Part::Candidates]), 0..2);
    (release(), vec(packages(), 0..7), vec(process(), 0..2), booted, gaps).prop_map(
        |((release, version_id), packages, processes, booted, gaps)| {
            let kernels: Vec<(String, String, String)> = packages
                .iter()
                .filter(|package| package.name.starts_with("linux-image-") || package.name == "kernel-core")
                .map(|package| {
                    let release = package.name.strip_prefix("linux-image-").unwrap_or("6.1.0-2-amd64");
                    (release.to_owned(), package.name.clone(), package.version.clone())
                })
                .collect();
            let kernels: Vec<(&str, &str, &str)> =
                kernels.iter().map(|(release, name, version)| (&**release, &**name, &**version)).collect();
            let mut host = inventory(&release, packages);
            host.kernel = kernel(booted, &kernels);
            host.system.version_id = version_id.into();
            host.processes = processes;
            host.gaps = gaps.into_iter().map(gap).collect();
            host
        },
    )
}

fn claims() -> impl Strategy<Value = Claim> {
    let channel = prop_oneof![
        6 => Just(Channel::Main), 1 => Just(Channel::Esm), 1 => Just(Channel::Eus("9.4".into())),
    ];
    let name = prop_oneof![
        select(&SOURCES[..]).prop_map(|name| (NameKind::Source, name)),
        select(&BINARIES[..]).prop_map(|name| (NameKind::Binary, name)),
    ];
    let state = prop_oneof![
        6 => Just(State::Fixed), 2 => Just(State::Affected),
        3 => select(vec![State::NotAffected, State::WontFix, State::Deferred, State::EndOfLife, State::Undetermined]),
    ];
    let bounds = (
        option::weighted(0.3, version()),
        option::weighted(0.7, version()),
        option::weighted(0.2, version()),
        vec(version(), 0..2),
    );
    let narrow = (
        stream(),
        option::weighted(0.1, select(vec!["ksplice", "realtime"]).prop_map(str::to_owned)),
        option::weighted(0.2, select(vec!["amd64", "all", "i386"])),
    );
    (release(), channel, name, narrow, bounds, state).prop_map(
        |(
            (release, _),
            channel,
            (name_kind, name),
            (module, flavour, arch),
            (introduced, fixed, last_affected, versions),
            state,
        )| Claim {
            channel,
            module,
            flavour,
            arch: arch.map(str::to_owned),
            introduced,
            fixed,
            last_affected,
            versions,
            state,
            ..common::claim(&release, name_kind, name, None)
        },
    )
}

fn bulletins() -> impl Strategy<Value = Advisory> {
    (0..4_u32, vec(claims(), 0..5), prop::bool::weighted(0.1)).prop_map(|(id, claims, withdrawn)| {
        let mut advisory = advisory(&format!("ADV-{id}"), claims);
        advisory.withdrawn = withdrawn.then_some(jiff::Timestamp::UNIX_EPOCH);
        advisory
    })
}

/// One name, many versions, minor releases: hosts crowd into long lists of versions.
fn crowded_hosts() -> impl Strategy<Value = Inventory> {
    let release = Release::new(Family::AlmaLinux, "9");
    let versions = vec((0..14_u32).prop_map(|number| package("a", &format!("1.0-{number}"))), 0..4);
    (versions, select(vec!["9.4", "9.5"])).prop_map(move |(packages, minor)| {
        let mut host = inventory(&release, packages);
        host.system.version_id = minor.into();
        host
    })
}

fn crowded_bulletins() -> impl Strategy<Value = Advisory> {
    let release = Release::new(Family::AlmaLinux, "9");
    let channel = prop_oneof![3 => Just(Channel::Main), 2 => Just(Channel::Eus("9.4".into()))];
    let bound = |weight| option::weighted(weight, (0..15_u32).prop_map(|number| format!("1.0-{number}")));
    (0..3_u32, channel, bound(0.2), bound(0.9)).prop_map(move |(id, channel, introduced, fixed)| {
        let claim =
            Claim { channel, introduced, ..common::claim(&release, NameKind::Binary, "a", fixed.as_deref()) };
        advisory(&format!("ADV-{id}"), vec![claim])
    })
}

fn step(
    hosts: impl Strategy<Value = Inventory>,
    bulletins: impl Strategy<Value = Advisory>,
    ids: u32,
) -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..ids, hosts).prop_map(|(id, host)| Step::Host(id, Box::new(host))),
        1 => (0..ids).prop_map(Step::HostGone),
        4 => bulletins.prop_map(|advisory| Step::Bulletin(Box::new(advisory))),
        1 => (0..4_u32).prop_map(|id| Step::BulletinGone(format!("ADV-{id}"))),
    ]
}

/// What the judge says of every host, one by one.
fn judged(advisory: &Advisory, fleet: &BTreeMap<u32, Inventory>) -> Sets {
    let mut sets = Sets::default();
    for (&id, inventory) in fleet {
        let host = Host::new(inventory);
        for package in &inventory.packages {
            for claim in &advisory.claims {
                match judge(advisory, claim, package, &host).map(|(verdict, _)| verdict) {
                    Some(Verdict::Affected { .. }) => sets.affected.insert(id),
                    Some(Verdict::FixedStillRunning { .. }) => sets.still_running.insert(id),
                    Some(Verdict::Undetermined { .. }) => sets.undetermined.insert(id),
                    Some(Verdict::Fixed | Verdict::NotAffected { .. }) | None => false,
                };
            }
        }
    }
    sets
}

/// Follows a history, and holds the index to the judge at its end.
fn check(history: Vec<Step>) -> Result<(), TestCaseError> {
    let mut index = Index::new();
    let mut fleet = BTreeMap::new();
    let mut bulletins = BTreeMap::new();
    let mut summed: BTreeMap<(Arc<str>, Arc<Subject>), Sets> = BTreeMap::new();
    for step in history {
        let changes = match step {
            Step::Host(id, host) => {
                let changes = index.upsert_host(id, &host);
                fleet.insert(id, *host);
                changes
            }
            Step::HostGone(id) => {
                fleet.remove(&id);
                index.remove_host(id)
            }
            Step::Bulletin(advisory) => {
                let changes = index.upsert_advisory(&advisory);
                bulletins.insert(advisory.id.clone(), *advisory);
                changes
            }
            Step::BulletinGone(id) => {
                bulletins.remove(&id);
                index.remove_advisory(&id)
            }
        };
        for change in changes {
            let sum = summed.entry((change.advisory, change.subject)).or_default();
            // A change is news: nobody enters twice, nobody leaves who was not there.
            prop_assert_eq!(&change.entered, &change.entered.without(sum));
            prop_assert!(change.left.without(sum).is_empty());
            *sum = sum.without(&change.left);
            *sum |= change.entered;
        }
    }
    let advisories: Vec<Advisory> = bulletins.values().cloned().collect();
    let rebuilt = Index::rebuild(&index.snapshot(), &advisories);
    // Every host first with another's inventory, which must not count.
    let earlier = fleet.keys().zip(fleet.values().rev());
    let read = Snapshot::read(earlier.chain(&fleet).map(|(&id, inventory)| (id, inventory)), Some);
    let reread = Index::rebuild(&read, &advisories);
    for advisory in &advisories {
        let expected = judged(advisory, &fleet);
        prop_assert_eq!(&index.sets(&advisory.id), &expected, "index, {}", advisory.id);
        prop_assert_eq!(&rebuilt.sets(&advisory.id), &expected, "rebuilt, {}", advisory.id);
        prop_assert_eq!(&reread.sets(&advisory.id), &expected, "read anew, {}", advisory.id);
        for (subject, sets) in index.sets_by_subject(&advisory.id) {
            prop_assert_eq!(&summed[&(Arc::from(advisory.id.as_str()), subject)], &sets);
        }
        let mut changes = Sets::default();
        for ((id, _), sum) in &summed {
            if **id == *advisory.id {
                changes |= sum.clone();
            }
        }
        prop_assert_eq!(&changes, &expected, "changes, {}", advisory.id);
    }
    for ((id, _), sum) in &summed {
        prop_assert!(bulletins.contains_key(&**id) || sum.is_empty(), "{} is gone, its hosts are not", id);
    }
    for &id in fleet.keys() {
        let findings = index.findings_of(id);
        prop_assert_eq!(&rebuilt.findings_of(id), &findings);
        prop_assert_eq!(&reread.findings_of(id), &findings);
        prop_assert!(findings.is_sorted());
        for (subject, advisory, standing) in findings {
            let sum = &summed[&(advisory, subject)];
            prop_assert_eq!(standing.affected, sum.affected.contains(id));
            prop_assert_eq!(standing.still_running, sum.still_running.contains(id));
            prop_assert_eq!(standing.undetermined, sum.undetermined.contains(id));
        }
    }
    prop_assert!(index.hosts().iter().eq(fleet.keys().copied()));

    // What was rebuilt knows every build again: the same reports are no news.
    let mut rebuilt = rebuilt;
    for (&id, inventory) in &fleet {
        prop_assert_eq!(rebuilt.upsert_host(id, inventory), Vec::new());
    }
    prop_assert_eq!(rebuilt.snapshot(), index.snapshot());

    // Nothing is left behind when everything is gone.
    for &id in fleet.keys() {
        index.remove_host(id);
    }
    for id in bulletins.keys() {
        index.remove_advisory(id);
    }
    prop_assert_eq!(index.snapshot(), Snapshot::default());
    prop_assert_eq!(index.subjects(), 0);
    Ok(())
}

#[test]
fn a_kept_build_that_is_read_otherwise_today_does_not_stand_for_todays() {
    let host = inventory(&Release::new(Family::AlmaLinux, "9"), vec![package("a", "2:1.0-2.ksplice1.el9")]);
    let today = Snapshot::read([(1, &host)], Some);
    let mut kept = today.clone();
    for (_, installed) in &mut kept.rows {
        assert_eq!(installed.flavour.as_deref(), Some("ksplice"));
        Arc::make_mut(installed).flavour = None;
    }
    let mut index = Index::rebuild(&kept, [] as [Advisory; 0]);
    index.upsert_host(1, &host);
    assert!(index.snapshot().rows.iter().all(|row| today.rows.contains(row)));
}

#[test]
fn hosts_by_the_hundred_are_rebuilt_as_they_are_judged() {
    let release = Release::new(Family::Debian, "12");
    let of = |name: &str, version: u32, source: &str| {
        let version = format!("1.0-{version}");
        Package { source: source.into(), source_version: version.clone(), ..package(name, &version) }
    };
    // Three images; one host in fifty differs; "a" is of two sources, so that two lists of a host have the same row.
    let host = |id: u32| {
        let (image, own) = (id % 3, if id.is_multiple_of(50) { id / 50 } else { 0 });
        inventory(
            &release,
            vec![of("a", image, "a"), of("a", id % 2, "b"), of("b", 9 - own, "b"), of("c", image, "c")],
        )
    };
    let fleet: BTreeMap<u32, Inventory> = (0..400).map(|id| (id, host(id))).collect();
    let mut index = Index::new();
    for (&id, inventory) in &fleet {
        index.upsert_host(id, inventory);
    }
    let claim = |(kind, name, version): (NameKind, &str, u32)| {
        let claim = common::claim(&release, kind, name, Some(&format!("1.0-{version}")));
        advisory(&format!("ADV-{name}-{version}"), vec![claim])
    };
    let claims = [(NameKind::Binary, "a", 1), (NameKind::Binary, "a", 2), (NameKind::Source, "b", 9)];
    let bulletins = claims.map(claim);
    let snapshot = index.snapshot();
    // Of "a" and "c" three, of "b" two, and one more for each host that differs.
    assert!(snapshot.lists.len() <= 3 + 3 + 2 + 8, "{} lists", snapshot.lists.len());
    let rebuilt = Index::rebuild(&snapshot, &bulletins);
    for advisory in &bulletins {
        assert_eq!(rebuilt.sets(&advisory.id), judged(advisory, &fleet), "{}", advisory.id);
    }
    assert_eq!(rebuilt.snapshot(), snapshot);
}

#[test]
fn patching_alike_for_long_keeps_as_much_as_hosts_have_now() {
    let release = Release::new(Family::Debian, "12");
    let host = |month: u32| {
        let of = |letter: char| package(&format!("{letter}-package"), &format!("1.0-{month}"));
        inventory(&release, ('a'..='z').map(of).collect())
    };
    let mut index = Index::new();
    for month in 0..30 {
        for id in 0..20 {
            index.upsert_host(id, &host(month));
        }
        let Snapshot { rows, lists, .. } = index.snapshot();
        assert_eq!((rows.len(), lists.len()), (2 * 26, 26));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn an_increment_equals_a_rebuild_equals_the_judge(history in vec(step(hosts(), bulletins(), 4), 1..16)) {
        check(history)?;
    }

    #[test]
    fn and_so_it_does_where_many_versions_crowd(
        history in vec(step(crowded_hosts(), crowded_bulletins(), 8), 1..40)
    ) {
        check(history)?;
    }
}
