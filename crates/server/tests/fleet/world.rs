//! A small installation: hosts that report, a feed that is a file, and a second opinion on every finding.

use crate::store_for_tests::Fresh;
use advisory::{Advisory, Family, NameKind, Release};
use exposure::index::Plight;
use exposure::inventory::{
    Inventory, Kernel, Manager, Origin, Package, PackageState, Process, StaleFile, System,
};
use exposure::judge::{Host, judge};
use exposure::verdict::Verdict;
use jiff::{SignedDuration, Timestamp};
use server::App;
use server::config::{self, Config};
use server::feeds::{self, Limits, Reading};
use server::fleet::Fleet;
use server::store::audit::Actor;
use server::store::inventories::{self, Replaced};
use server::store::{Store, advisories, commit, count, events, findings};
use sqlx::Row;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use tokio::sync::Notify;
use wire::v1::{Report, split};

/// Host's number, advisory, package, verdict.
pub(crate) type Found = BTreeSet<(u32, String, String, &'static str)>;

pub(crate) struct World {
    pub(crate) app: Arc<App>,
    pub(crate) now: Timestamp,
    pub(crate) directory: tempfile::TempDir,
}

impl World {
    pub(crate) fn new(fresh: &Fresh) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let feed = |name: &str| config::Feed {
            name: name.into(),
            location: directory.path().join(name).display().to_string(),
            every_minutes: 60,
            stale_days: 0,
            release: String::new(),
        };
        let config = Config { feeds: vec![feed("one"), feed("two")], ..Config::default() };
        Self {
            app: app(fresh.store.clone(), config),
            now: Timestamp::from_second(1_790_000_000).unwrap(),
            directory,
        }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.app.store
    }

    /// A minute later, so that leases of the dead run out.
    pub(crate) fn later(&mut self) -> Timestamp {
        self.now += SignedDuration::from_secs(61);
        self.now
    }

    /// A new host; its number.
    pub(crate) async fn host(&self, id: &str) -> u32 {
        let mut writing = self.store().begin().await.unwrap();
        let number = count(&mut writing, "host").await.unwrap();
        sqlx::query(
            "INSERT INTO hosts (id, number, name, state, reason, host_group, labels, release, agent, address, machine, \
             enrolled_at, seen_at, revision) VALUES ($1, $2, $1, 'active', '', '', '{}', '', '', '', '', 0, 0, 1)",
        )
        .bind(id.to_owned())
        .bind(number)
        .execute(&mut *writing)
        .await
        .unwrap();
        commit(writing, "test").await.unwrap();
        u32::try_from(number).unwrap()
    }

    pub(crate) async fn report(&self, host: &str, inventory: &Inventory, closes: &[Advisory]) {
        let pieces = split(inventory, closes);
        let report = Report { observed_at: 0, parts: pieces.parts, bodies: pieces.bodies };
        let replaced = inventories::replace(self.store(), self.now, host, self.now, &report).await.unwrap();
        assert!(matches!(replaced, Replaced::Stored(_) | Replaced::Unchanged(_)), "{replaced:?}");
    }

    /// The feed says this from now on; a person has looked at it.
    pub(crate) async fn publish(&self, feed: &str, records: &[Record]) {
        std::fs::write(self.directory.path().join(feed), osv(records)).unwrap();
        self.read(feed, Some(&Actor::Server)).await;
    }

    pub(crate) async fn read(&self, feed: &str, accept: Option<&Actor>) -> Reading {
        feeds::read_within(&self.app, feed, accept, self.now, Limits::default()).await.unwrap()
    }

    /// Lets a fleet come to rest.
    pub(crate) async fn settle(&self, fleet: &Fleet) {
        while fleet.seq() < events::last(self.store()).await.unwrap() {
            fleet.step(self.now).await.unwrap();
        }
    }

    /// What the judge says of every host and every word that is said about it.
    pub(crate) async fn judged(&self) -> Found {
        let mut said = Vec::new();
        let mut pages = advisories::all_current(self.store(), None);
        loop {
            let page = pages.next().await.unwrap();
            if page.is_empty() {
                break;
            }
            said.extend(page.iter().map(|packed| packed.open().unwrap()));
        }
        said.retain(|current| !current.feed.starts_with("hosts:"));
        let said: Vec<Advisory> = said.into_iter().map(|current| current.advisory).collect();
        let mut found = Found::new();
        let rows = sqlx::query("SELECT id, number FROM hosts WHERE state <> 'revoked'")
            .fetch_all(self.store().reader())
            .await
            .unwrap();
        for row in rows {
            let number = u32::try_from(row.get::<i64, _>(1)).unwrap();
            let Some(stored) = inventories::current(self.store(), row.get(0)).await.unwrap() else {
                continue;
            };
            let host = Host::new(&stored.inventory);
            for advisory in said.iter().chain(&stored.closes) {
                for claim in &advisory.claims {
                    for package in &stored.inventory.packages {
                        let Some((verdict, _)) = judge(advisory, claim, package, &host) else { continue };
                        let plight = match verdict {
                            Verdict::Affected { .. } => Plight::Affected,
                            Verdict::FixedStillRunning { .. } => Plight::StillRunning,
                            Verdict::Undetermined { .. } => Plight::Undetermined,
                            Verdict::Fixed | Verdict::NotAffected { .. } => continue,
                        };
                        let name = match claim.name_kind {
                            NameKind::Source => format!("source:{}", claim.name),
                            NameKind::Binary => format!("binary:{}", claim.name),
                        };
                        found.insert((number, advisory.id.clone(), name, plight.word()));
                    }
                }
            }
        }
        found
    }

    /// What is stored as open.
    pub(crate) async fn open(&self) -> Found {
        let open = findings::open(self.store()).await.unwrap();
        open.iter()
            .flat_map(|open| {
                open.hosts
                    .iter()
                    .map(|host| (host, open.advisory.clone(), open.package.clone(), open.plight.word()))
            })
            .collect()
    }

    /// Intervals end after they begin, and none of one finding overlaps the next.
    pub(crate) async fn assert_intervals(&self) {
        let rows = sqlx::query(
            "SELECT topic, host, from_at, until_at, evidence FROM finding_hosts ORDER BY topic, host, from_at",
        )
        .fetch_all(self.store().reader())
        .await
        .unwrap();
        let mut before: BTreeMap<(i64, i64), Option<i64>> = BTreeMap::new();
        for row in rows {
            let (from, until): (i64, Option<i64>) = (row.get(2), row.get(3));
            assert!(until.is_none_or(|until| until > from), "from {from} until {until:?}");
            if let Some(ended) = before.insert((row.get(0), row.get(1)), until) {
                assert!(ended.is_some_and(|ended| ended <= from), "{ended:?} overlaps {from}");
            }
        }
        let words: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM finding_evidence WHERE words LIKE 'what it said then%'")
                .fetch_one(self.store().reader())
                .await
                .unwrap();
        assert_eq!(words, 0, "a finding without evidence");
    }
}

/// An app on another connection to the same store, as another server has.
pub(crate) fn app(store: Store, config: Config) -> Arc<App> {
    Arc::new(App { config, store, told: Arc::new(Notify::new()) })
}

/// A record of a feed: id, day it was changed, package, fixed version.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) day: u32,
    pub(crate) package: String,
    pub(crate) fixed: String,
}

pub(crate) fn record(id: &str, day: u32, package: &str, fixed: &str) -> Record {
    Record { id: id.into(), day, package: package.into(), fixed: fixed.into() }
}

/// A list of OSV records.
pub(crate) fn osv(records: &[Record]) -> String {
    let texts: Vec<String> = records.iter().map(osv_record).collect();
    format!("[{}]", texts.join(",\n"))
}

pub(crate) fn osv_record(record: &Record) -> String {
    let Record { id, day, package, fixed } = record;
    let mut text = String::new();
    write!(
        text,
        r#"{{"schema_version":"1.6.0","id":"{id}","modified":"2026-03-{day:02}T00:00:00Z","upstream":["CVE-2026-{:04}"],
        "affected":[{{"package":{{"ecosystem":"Debian:12","name":"{package}"}},
        "ranges":[{{"type":"ECOSYSTEM","events":[{{"introduced":"0"}},{{"fixed":"{fixed}"}}]}}]}}]}}"#,
        id.bytes().map(u32::from).sum::<u32>()
    )
    .unwrap();
    text
}

pub(crate) fn inventory(packages: &[(&str, &str)]) -> Inventory {
    let package = |(name, version): &(&str, &str)| Package {
        name: (*name).into(),
        arch: "amd64".into(),
        version: (*version).into(),
        source: (*name).into(),
        source_version: (*version).into(),
        state: PackageState::Installed,
        held: false,
        essential: false,
        module: None,
        vendor: String::new(),
        origin: Origin::Vendor,
    };
    let release = Release::new(Family::Debian, "12");
    Inventory {
        host: String::new(),
        observed: Timestamp::UNIX_EPOCH,
        root: "/".into(),
        system: System {
            version_id: release.version.clone(),
            codename: String::new(),
            pretty: release.to_string(),
            arch: "amd64".into(),
            manager: Manager::Dpkg,
            release,
        },
        packages: packages.iter().map(package).collect(),
        archives: Vec::new(),
        candidates: Vec::new(),
        kernel: Kernel::default(),
        processes: Vec::new(),
        gaps: Vec::new(),
    }
}

/// A service that still maps files of that version.
pub(crate) fn maps(package: &str, version: &str) -> Process {
    Process {
        pid: 1,
        started: None,
        name: "service".into(),
        unit: Some("a.service".into()),
        executable: None,
        packages: Vec::new(),
        stale: vec![StaleFile {
            path: "/usr/lib/file".into(),
            package: Some(package.into()),
            version: Some(version.into()),
        }],
        sockets: Vec::new(),
        hidden: false,
    }
}
