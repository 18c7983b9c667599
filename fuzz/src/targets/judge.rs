//! Judging: whatever versions, names and labels a feed and a host make up, the judge does not panic, an unparsable version
//! never comes out clean, and the fleet's index says what the judge says.

use advisory::{Advisory, Channel, Claim, Document, Family, Kind, Module, NameKind, Order, Release, State};
use exposure::index::Index;
use exposure::inventory::{
    Gap, InstalledKernel, Inventory, Kernel, Manager, Origin, Package, PackageState, Part, Process,
    StaleFile, System,
};
use exposure::judge::{Host, Shelf, judge};
use exposure::verdict::Verdict;
use std::sync::Arc;

const FAMILIES: [Family; 7] = [
    Family::Debian,
    Family::AlmaLinux,
    Family::Alpine,
    Family::PyPi,
    Family::Npm,
    Family::CratesIo,
    Family::Other(String::new()),
];
const STATES: [State; 7] = [
    State::Fixed,
    State::Affected,
    State::NotAffected,
    State::WontFix,
    State::Deferred,
    State::EndOfLife,
    State::Undetermined,
];

// Three bytes choose, the rest is one text to a line.
pub fn run(data: &[u8]) {
    let [which, flags, more, texts @ ..] = data else { return };
    let texts = String::from_utf8_lossy(texts);
    let mut texts = texts.split('\n').map(str::to_owned);
    let mut text = || texts.next().unwrap_or_default();
    let maybe = |given: bool, text: &mut dyn FnMut() -> String| given.then(text);
    let release = Release::new(FAMILIES[usize::from(*which) % FAMILIES.len()].clone(), "9");
    let (name, version, source_version) = (text(), text(), text());
    let fixed = maybe(flags & 1 != 0, &mut text);
    let introduced = maybe(flags & 2 != 0, &mut text);
    let last_affected = maybe(flags & 4 != 0, &mut text);
    let listed = maybe(flags & 8 != 0, &mut text);
    let stale = maybe(flags & 16 != 0, &mut text);
    let booted = maybe(flags & 32 != 0, &mut text);
    let module = maybe(flags & 64 != 0, &mut text).map(|stream| Module { name: name.clone(), stream });
    let claimed_module =
        maybe(flags & 128 != 0, &mut text).map(|stream| Module { name: name.clone(), stream });
    let claim = Claim {
        release: release.clone(),
        channel: if more & 1 != 0 { Channel::Eus(text()) } else { Channel::Main },
        name_kind: if more & 2 != 0 { NameKind::Source } else { NameKind::Binary },
        name: name.clone(),
        module: claimed_module,
        flavour: maybe(more & 4 != 0, &mut text),
        arch: maybe(more & 8 != 0, &mut text),
        introduced,
        fixed,
        last_affected,
        versions: listed.into_iter().collect(),
        state: STATES[usize::from(*which) / FAMILIES.len() % STATES.len()],
        reason: String::new(),
    };
    let package = Package {
        name: name.clone(),
        arch: "amd64".into(),
        version: version.clone(),
        source: if more & 16 != 0 { "linux-signed-amd64".into() } else { name.clone() },
        source_version: source_version.clone(),
        state: PackageState::Installed,
        held: false,
        essential: false,
        module,
        vendor: String::new(),
        origin: if more & 32 != 0 { Origin::Unknown } else { Origin::Vendor },
    };
    let document = Document { feed: String::new(), entry: String::new(), sha256: String::new() };
    let advisory =
        Advisory { claims: vec![claim], ..Advisory::new("CVE-1", Kind::Security, Arc::new(document)) };
    let kernels = booted.iter().map(|release| InstalledKernel {
        release: release.clone(),
        package: Some(name.clone()),
        version: (more & 64 != 0).then(|| version.clone()),
    });
    let inventory = Inventory {
        host: String::new(),
        observed: Default::default(),
        root: "/".into(),
        system: System {
            release: release.clone(),
            version_id: "9.4".into(),
            codename: String::new(),
            pretty: String::new(),
            arch: "amd64".into(),
            manager: Manager::Unknown,
        },
        packages: vec![package],
        archives: Vec::new(),
        candidates: Vec::new(),
        kernel: Kernel { booted: booted.clone(), installed: kernels.collect() },
        processes: vec![Process {
            pid: 1,
            started: None,
            name: String::new(),
            unit: None,
            executable: None,
            packages: Vec::new(),
            stale: vec![StaleFile { path: String::new(), package: Some(name), version: stale }],
            sockets: Vec::new(),
            hidden: false,
        }],
        gaps: if more & 128 != 0 {
            vec![Gap {
                part: Part::Kernel,
                object: String::new(),
                reason: String::new(),
                remedy: String::new(),
            }]
        } else {
            Vec::new()
        },
    };
    let host = Host::new(&inventory);
    let found = judge(&advisory, &advisory.claims[0], &inventory.packages[0], &host);
    let _ = Shelf::new([&advisory], &release).findings(&inventory.packages[0], &host);
    if let Some((verdict, explanation)) = &found {
        check_clean(&advisory.claims[0], verdict, &explanation.installed, release.family.order());
    }
    let mut index = Index::new();
    index.upsert_host(7, &inventory);
    index.upsert_advisory(&advisory);
    let sets = index.sets("CVE-1");
    let told = found.map(|(verdict, _)| verdict);
    assert_eq!(sets.affected.contains(7), matches!(told, Some(Verdict::Affected { .. })));
    assert_eq!(sets.still_running.contains(7), matches!(told, Some(Verdict::FixedStillRunning { .. })));
    assert_eq!(sets.undetermined.contains(7), matches!(told, Some(Verdict::Undetermined { .. })));
}

/// "Fixed" needs both versions read. "Not affected" by comparison needs the installed one; by the vendor's word, none.
fn check_clean(claim: &Claim, verdict: &Verdict, installed: &str, order: Option<Order>) {
    let reads = |text: &str| order.is_some_and(|order| order.parse(text).is_ok());
    match verdict {
        Verdict::Fixed => assert!(reads(installed) && claim.fixed.as_deref().is_some_and(reads)),
        Verdict::NotAffected { .. } if claim.state != State::NotAffected => {
            let bounded =
                claim.introduced.is_some() || claim.fixed.is_some() || claim.last_affected.is_some();
            assert!(!bounded || reads(installed));
        }
        Verdict::NotAffected { .. }
        | Verdict::Affected { .. }
        | Verdict::FixedStillRunning { .. }
        | Verdict::Undetermined { .. } => {}
    }
}
