//! A fleet of 10,000 hosts against 96,000 and 960,000 claims: time of a rebuild, of one bulletin, of one host's report,
//! and the memory. `cargo bench -p exposure --bench fleet [-- quick] [rebuild]`; `quick` is a twentieth of everything,
//! `rebuild` leaves out what comes after one.
//!
//! Every figure stands beside a limit measured in the same run: what the same answer costs at least, or by asking the judge
//! host by host. The fleet is made up from a seed: 60 roles, each an image of 600 packages; every host lags behind its
//! image by its own drift. Half runs Debian (claims about sources, one per CVE), half AlmaLinux (claims about binaries, a
//! dozen per advisory and now and then five hundred).

use advisory::{Advisory, Channel, Claim, Document, Family, Kind, NameKind, Release, State};
use exposure::Inventory;
use exposure::index::{Index, Snapshot};
use exposure::inventory::{Kernel, Manager, Origin, Package, PackageState, System};
use exposure::judge::{Host, judge};
use jiff::Timestamp;
use rayon::prelude::*;
use roaring::RoaringBitmap;
use rustix::time::{ClockId, clock_gettime};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

const SEED: u64 = 2001;
const ROLES: u64 = 60;
const PACKAGES: u64 = 600;
/// Names each release has; an image holds the commonest 250 and 350 of the others.
const NAMES: u64 = 2048;
const COMMON: u64 = 250;

/// SplitMix64: the same fleet on every machine.
struct Random(u64);

impl Random {
    fn of(parts: &[u64]) -> Self {
        let mut random = Self(SEED);
        for part in parts {
            random.0 = random.next() ^ part.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        }
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Small numbers are common: 0 half of the time, 1 a quarter, …
    fn halving(&mut self, end: u64) -> u64 {
        u64::from(self.next().trailing_zeros()).min(end - 1)
    }
}

/// Even: Debian, by source. Odd: AlmaLinux, by binary.
fn release(number: u64) -> Release {
    match number {
        0 => Release::new(Family::Debian, "12"),
        1 => Release::new(Family::AlmaLinux, "9"),
        2 => Release::new(Family::Debian, "13"),
        _ => Release::new(Family::AlmaLinux, "8"),
    }
}

/// How many versions of a name were ever published.
fn versions_of(release: u64, source: u64) -> u64 {
    4 + Random::of(&[1, release, source]).halving(20) * 8 + Random::of(&[2, release, source]).below(24)
}

fn version(release: u64, source: u64, number: u64) -> String {
    let upstream = Random::of(&[3, release, source]).below(9) + 1;
    if release.is_multiple_of(2) {
        format!("{upstream}.{}.{}-{}+deb12u{}", number / 16, number / 4 % 4, 1 + number % 4, number % 3)
    } else {
        format!("{upstream}.{}.{}-{}.el9_{}", number / 16, number / 4 % 4, 1 + number % 4, number % 5)
    }
}

/// Two binaries to a source.
fn source_of(name: u64) -> u64 {
    name / 2
}

fn package(release: u64, name: u64, number: u64) -> Package {
    let source = source_of(name);
    let version = version(release, source, number);
    Package {
        name: format!("package-{name}"),
        arch: if release.is_multiple_of(2) { "amd64" } else { "x86_64" }.into(),
        source: format!("source-{source}"),
        source_version: version.clone(),
        version,
        state: PackageState::Installed,
        held: false,
        essential: false,
        module: None,
        vendor: String::new(),
        origin: Origin::Vendor,
    }
}

/// A host; `patched` is how many of its packages (of 1,000) were brought up to date since.
fn host(id: u64, patched: u64) -> Inventory {
    let role = Random::of(&[4, id]).below(ROLES);
    let number = role % 4;
    let mut random = Random::of(&[5, id]);
    let lag = random.halving(10);
    let mut packages = Vec::with_capacity(usize::try_from(PACKAGES).unwrap_or_default());
    for nth in 0..PACKAGES {
        let name = if nth < COMMON {
            nth
        } else {
            // The role's own part of the pool, each name once: steps of five from the role's place.
            COMMON
                + (role * 131 + (nth - COMMON) * 5 + Random::of(&[6, role, nth]).below(5)) % (NAMES - COMMON)
        };
        let published = versions_of(number, source_of(name));
        let image = Random::of(&[7, role, source_of(name)]).below(4);
        let drift = lag + image + Random::of(&[8, id, source_of(name)]).halving(4);
        let current = Random::of(&[9, id, source_of(name)]).below(1000) < patched;
        let behind = if current { 0 } else { drift };
        packages.push(package(number, name, (published - 1).saturating_sub(behind)));
    }
    let release = release(number);
    Inventory {
        host: format!("host-{id}"),
        observed: Timestamp::UNIX_EPOCH,
        root: "/".into(),
        system: System {
            version_id: release.version.clone(),
            codename: String::new(),
            pretty: release.to_string(),
            arch: "amd64".into(),
            manager: if number.is_multiple_of(2) { Manager::Dpkg } else { Manager::Rpm },
            release,
        },
        packages,
        archives: Vec::new(),
        candidates: Vec::new(),
        kernel: Kernel::default(),
        processes: Vec::new(),
        gaps: Vec::new(),
    }
}

/// A bulletin. A quarter of all claims are Debian's.
fn bulletin(id: u64) -> Advisory {
    let mut random = Random::of(&[10, id]);
    let debian = random.below(10) < 8;
    let number = 2 * random.below(2) + u64::from(!debian);
    // Common packages get more bulletins: half of all go to an eighth of the names.
    let common = random.below(2) * 3;
    let name = random.below(NAMES >> common);
    let size = match random.below(200) {
        _ if debian => 1,
        0 => 500,
        1..=9 => 60,
        _ => 1 + random.below(16),
    };
    let document = Document { feed: "bench".into(), entry: String::new(), sha256: String::new() };
    let claims = (0..size).map(|nth| {
        let name = (name + nth) % NAMES;
        let source = source_of(name);
        let fixed = versions_of(number, source).saturating_sub(1 + random.halving(16)).max(1);
        Claim {
            release: release(number),
            channel: Channel::Main,
            name_kind: if debian { NameKind::Source } else { NameKind::Binary },
            name: if debian { format!("source-{source}") } else { format!("package-{name}") },
            module: None,
            flavour: None,
            arch: None,
            introduced: None,
            fixed: Some(version(number, source, fixed)),
            last_affected: None,
            versions: Vec::new(),
            state: State::Fixed,
            reason: String::new(),
        }
    });
    Advisory {
        claims: claims.collect(),
        ..Advisory::new(format!("ADV-{id}"), Kind::Security, Arc::new(document))
    }
}

/// Bulletins until `claims` claims have been made.
fn bulletins(claims: usize) -> impl Iterator<Item = Advisory> {
    let mut made = 0;
    (0..).map(bulletin).take_while(move |advisory| {
        let more = made < claims;
        made += advisory.claims.len();
        more
    })
}

/// Wall time, and time on the processor: on a machine that does other things too only the second says what the work costs.
#[derive(Clone, Copy, Default)]
struct Time {
    wall: Duration,
    cpu: Duration,
}

impl Time {
    fn saturating_sub(self, other: Self) -> Self {
        Self { wall: self.wall.saturating_sub(other.wall), cpu: self.cpu.saturating_sub(other.cpu) }
    }

    fn print(self, what: &str) {
        println!("  {what:<52} {:>8.3} s, CPU {:>8.3} s", self.wall.as_secs_f64(), self.cpu.as_secs_f64());
    }
}

/// Many times of one kind of work, on one thread.
struct Times(Vec<Time>);

impl Times {
    fn of<T>(count: usize, mut once: impl FnMut(usize) -> (Time, T)) -> Self {
        Self((0..count).map(|nth| once(nth).0).collect())
    }

    fn at(&self, per_mille: usize, part: impl Fn(&Time) -> Duration) -> f64 {
        let mut times: Vec<Duration> = self.0.iter().map(part).collect();
        times.sort_unstable();
        times[(times.len() - 1) * per_mille / 1000].as_secs_f64() * 1e3
    }

    fn print(&self, what: &str) {
        let at = |per_mille| (self.at(per_mille, |time| time.wall), self.at(per_mille, |time| time.cpu));
        let ((half, half_cpu), (most, most_cpu), (_, max_cpu)) = (at(500), at(990), at(1000));
        println!(
            "  {what:<52} p50 {half:>8.3} ms, CPU {half_cpu:>8.3}   p99 {most:>8.3} ms, CPU {most_cpu:>8.3}   max CPU {max_cpu:>8.3}"
        );
    }

    fn sum(&self) -> Time {
        self.0
            .iter()
            .fold(Time::default(), |sum, time| Time { wall: sum.wall + time.wall, cpu: sum.cpu + time.cpu })
    }
}

/// Time of work on this thread.
fn timed<T>(work: impl FnOnce() -> T) -> (Time, T) {
    timed_by(ClockId::ThreadCPUTime, work)
}

/// Time of work on all threads.
fn timed_all<T>(work: impl FnOnce() -> T) -> (Time, T) {
    timed_by(ClockId::ProcessCPUTime, work)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn timed_by<T>(clock: ClockId, work: impl FnOnce() -> T) -> (Time, T) {
    let cpu = || Duration::try_from(clock_gettime(clock)).expect("processor time is not negative");
    let (start, start_cpu) = (Instant::now(), cpu());
    let done = black_box(work());
    (Time { wall: start.elapsed(), cpu: cpu().saturating_sub(start_cpu) }, done)
}

/// A line of /proc/self/status, in MB; 0 where there is no such file.
fn memory_mb(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|text| text.strip_prefix(line)?.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() / 1024
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "quick");
    let rebuild_only = std::env::args().any(|argument| argument == "rebuild");
    let scale = if quick { 20 } else { 1 };
    let hosts = 10_000 / scale;
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{hosts} hosts × {PACKAGES} packages, {cores} cores, load before: {}", load.trim());

    let mut index = Index::new();
    let times = Times::of(hosts, |id| {
        let inventory = host(id as u64, 0);
        let id = u32::try_from(id).expect("10,000 fit");
        timed(|| index.upsert_host(id, &inventory))
    });
    println!("\ntaking every host's full inventory, no bulletins known");
    times.print("one host");
    times.sum().print("all");
    let snapshot = index.snapshot();
    drop(index);
    // What making the inventories takes is taken off; here it stands for decoding them.
    let (making, _) =
        timed_all(|| (0..hosts).into_par_iter().map(|id| host(id as u64, 0).packages.len()).sum::<usize>());
    let (reading, read) = timed_all(|| {
        Snapshot::read((0..hosts).map(|id| (u32::try_from(id).expect("10,000 fit"), id as u64)), |id| {
            Some(host(id, 0))
        })
    });
    reading.saturating_sub(making).print("all at once, on all cores");
    assert_eq!(read.rows.len(), snapshot.rows.len(), "the same fleet");
    drop(read);
    let installed: usize = snapshot.hosts.iter().map(|host| snapshot.rows_of(host).len()).sum();
    println!(
        "  distinct builds {}, hosts' rows {installed}, in {} distinct lists, RSS {} MB",
        snapshot.rows.len(),
        snapshot.lists.len(),
        memory_mb("VmRSS:")
    );

    for claims in [96_000 / scale, 960_000 / scale] {
        let index = measure_rebuild(&snapshot, claims);
        if !rebuild_only {
            measure(index, hosts, scale);
        }
    }
}

fn measure_rebuild(snapshot: &Snapshot, claims: usize) -> Index {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("\n{claims} claims, load {}", load.trim());
    let (limit, ()) = timed_all(|| bitmaps_alone(snapshot));
    limit.print("limit: the same bitmaps and nothing else");
    let (making, count) = timed_all(|| bulletins(claims).count());
    // A million claims as texts take more memory than all else; they come one by one, as out of a store.
    let (building, index) = timed_all(|| Index::rebuild(snapshot, bulletins(claims)));
    let building = building.saturating_sub(making);
    building.print(&format!("rebuild, {count} bulletins parsed"));
    let ids: Vec<String> = index.advisories().map(str::to_owned).collect();
    let (all, affected) = timed_all(|| ids.par_iter().map(|id| index.affected(id).len()).sum::<u64>());
    all.print("every bulletin's hosts");
    let ratio = (building.cpu + all.cpu).as_secs_f64() / limit.cpu.as_secs_f64();
    println!("  (host, bulletin) pairs affected {affected}; both together {ratio:.1} × the limit's CPU");
    println!("  RSS {} MB, peak {} MB", memory_mb("VmRSS:"), memory_mb("VmHWM:"));
    index
}

fn measure(mut index: Index, hosts: usize, scale: usize) {
    let rounds = 2000 / scale;
    let next = 10_000_000;
    let fresh = |nth: usize| bulletin(next + nth as u64);
    Times::of(rounds, |nth| {
        let advisory = fresh(nth);
        timed(|| index.upsert_advisory(&advisory))
    })
    .print("one new bulletin");
    Times::of(rounds, |nth| {
        let sets = index.sets(&format!("ADV-{}", next + nth as u64));
        timed(|| sets.clone())
    })
    .print("limit: copying its set of hosts");
    let slice = 20;
    let sample: Vec<Inventory> = (0..hosts / slice).map(|id| host(id as u64, 0)).collect();
    Times::of(20, |nth| {
        let advisory = fresh(nth);
        let (time, found) = timed(|| scan(&advisory, &sample));
        let known: Vec<u32> =
            index.affected(&advisory.id).iter().filter(|&id| (id as usize) < sample.len()).collect();
        assert_eq!(found, known, "the index must say what the judge says");
        let times = u32::try_from(slice).expect("20 fits");
        (Time { wall: time.wall * times, cpu: time.cpu * times }, ())
    })
    .print("instead of: asking the judge for every host (1/20)");
    Times::of(rounds, |nth| {
        let advisory = fresh(nth);
        timed(|| index.remove_advisory(&advisory.id))
    })
    .print("one bulletin withdrawn from the index");

    let patched = |nth: usize| (nth * 7 % hosts, 50);
    Times::of(rounds, |nth| {
        let (id, patched) = patched(nth);
        let inventory = host(id as u64, patched);
        timed(|| index.upsert_host(u32::try_from(id).expect("10,000 fit"), &inventory))
    })
    .print("one host's report, 50 of 1,000 packages upgraded");
    Times::of(rounds, |nth| {
        let (id, patched) = patched(nth);
        let inventory = host(id as u64, patched);
        timed(|| index.upsert_host(u32::try_from(id).expect("10,000 fit"), &inventory))
    })
    .print("one host's report, nothing changed");
    Times::of(rounds, |nth| {
        for id in 0..5 {
            let id = (nth * 5 + id) * 3 % hosts;
            index.upsert_host(u32::try_from(id).expect("10,000 fit"), &host(id as u64, 100));
        }
        let advisory = fresh(nth);
        timed(|| index.upsert_advisory(&advisory))
    })
    .print("one new bulletin, five hosts reporting in between");
    Times::of(rounds.min(hosts), |nth| timed(|| index.findings_of(u32::try_from(nth).expect("2,000 fit"))))
        .print("findings of one host");
    println!("  RSS {} MB, peak {} MB", memory_mb("VmRSS:"), memory_mb("VmHWM:"));
}

/// The least a rebuild must do.
fn bitmaps_alone(snapshot: &Snapshot) {
    let mut lists: Vec<Vec<u32>> = vec![Vec::new(); snapshot.rows.len()];
    for host in &snapshot.hosts {
        for &row in host.lists.iter().flat_map(|&list| &*snapshot.lists[list as usize]) {
            lists[row as usize].push(host.id);
        }
    }
    let bitmaps: Vec<_> = lists.into_par_iter().map(RoaringBitmap::from_sorted_iter).collect();
    black_box(bitmaps);
}

/// The hosts of `sample` that the judge calls affected.
fn scan(advisory: &Advisory, sample: &[Inventory]) -> Vec<u32> {
    let affected = |inventory: &Inventory| {
        let host = Host::new(inventory);
        inventory.packages.iter().any(|package| {
            advisory.claims.iter().any(|claim| {
                let found = judge(advisory, claim, package, &host);
                matches!(found, Some((exposure::Verdict::Affected { .. }, _)))
            })
        })
    };
    let numbered = sample.iter().zip(0..);
    numbered.filter(|(inventory, _)| affected(inventory)).map(|(_, id)| id).collect()
}
