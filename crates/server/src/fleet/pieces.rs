//! Inventories from the pieces that hosts share. Takes tables of contents, one for all hosts that have the same; gives the
//! fleet's snapshot. A piece that ten thousand hosts have is read once.

use super::Error;
use super::cold::hashed;
use crate::store::Store;
use crate::store::inventories::{self, Contents};
use crate::task::off_thread;
use advisory::{Advisory, Release};
use exposure::index::{Batch, Fresh, HostRows, Own, Snapshot, Stock};
use exposure::inventory::{Gap, Kernel, Package, Process, System};
use rayon::prelude::*;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use tracing::error;
use wire::v1::Piece;

/// Inventories read at once: 1,000 × some 30 pieces × 150 bytes = 5 MB of contents.
const INVENTORIES_AT_ONCE: usize = 1_000;
/// Kinds of pieces, besides packages, that decide about findings.
const DECIDING: [&str; 5] = ["system", "kernel", "processes", "gaps", "closes"];
const PACKAGES: &str = "packages";

/// What hosts' package managers say, each text with the hash of its content.
pub(super) type Closes = Arc<Vec<(String, Advisory)>>;

/// What all hosts have.
#[derive(Debug)]
pub(super) struct Everything {
    pub(super) snapshot: Snapshot,
    pub(super) closes: Vec<(u32, Closes)>,
    /// Hosts that could be read: id, number, hash of the inventory.
    pub(super) hosts: Vec<(String, u32, String)>,
}

/// Kind and hash of a piece: the same bytes may be different things.
type Key = (&'static str, String);

/// What is read so far.
#[derive(Default)]
struct Reader {
    stock: Stock,
    /// By release and hash.
    batches: HashMap<Release, HashMap<String, Batch>>,
    systems: HashMap<String, System>,
    closes: HashMap<String, Closes>,
    of_hosts: Vec<(u32, Closes)>,
    hosts: Vec<(String, u32, String)>,
    rows: Vec<HostRows>,
    /// Batches that hang on hosts, as they are there.
    own: HashMap<OwnKey, Batch>,
}

/// What decides about batches that hang on a host: its release, hashes of its kernel, of its processes (empty where none
/// runs old code) and gaps, and of the batches. Most hosts of one image have the same.
type OwnKey = (Release, [String; 3], Vec<String>);

/// What decides about a host's own batches, and its other batches.
type Keyed = Option<(OwnKey, Vec<String>)>;

/// Pieces of one page, and bodies that may be asked for again.
#[derive(Default)]
struct Page {
    kernels: HashMap<String, Kernel>,
    processes: HashMap<String, Vec<Process>>,
    gaps: HashMap<String, Vec<Gap>>,
    packages: HashMap<String, Vec<Package>>,
}

/// Reads what all hosts have now.
pub(super) async fn read(store: &Store) -> Result<Everything, Error> {
    let mut reader = Reader::default();
    let mut groups = inventories::alike(store).await?;
    while !groups.is_empty() {
        let some = groups.split_off(groups.len().saturating_sub(INVENTORIES_AT_ONCE));
        let (contents, again) = inventories::contents(store, some).await?;
        groups.extend(again);
        let wanted = reader.unread(&contents);
        let bodies = bodies(store, &wanted).await?;
        let (with, contents, page) = off_thread(move || reader.take(wanted, &bodies, contents)).await;
        reader = with;
        // Now that kernels and processes are known: batches that hang on them are read again.
        let again = reader.again(&contents, &page);
        let bodies = bodies_of(store, &again).await?;
        reader = off_thread(move || reader.finish(contents, page, &bodies)).await;
    }
    let Reader { stock, of_hosts, hosts, rows, .. } = reader;
    let snapshot = off_thread(move || stock.snapshot(rows)).await;
    Ok(Everything { snapshot, closes: of_hosts, hosts })
}

async fn bodies(store: &Store, wanted: &BTreeSet<Key>) -> Result<HashMap<String, Vec<u8>>, Error> {
    let hashes: BTreeSet<&str> = wanted.iter().map(|(_, hash)| hash.as_str()).collect();
    inventories::packed(store, &hashes).await
}

async fn bodies_of(store: &Store, hashes: &BTreeSet<String>) -> Result<HashMap<String, Vec<u8>>, Error> {
    inventories::packed(store, &hashes.iter().map(String::as_str).collect()).await
}

impl Reader {
    /// Pieces of these hosts that are to be read.
    fn unread(&self, contents: &[Contents]) -> BTreeSet<Key> {
        let mut wanted = BTreeSet::new();
        for host in contents {
            let release = self.release_of(host);
            for (part, hash) in &host.parts {
                let kind = Piece::kind(part);
                let is_known = match kind {
                    "system" => self.systems.contains_key(hash),
                    "closes" => self.closes.contains_key(hash),
                    PACKAGES => release
                        .and_then(|release| self.batches.get(release))
                        .is_some_and(|batches| batches.contains_key(hash)),
                    _ => false,
                };
                let kind = DECIDING.into_iter().chain([PACKAGES]).find(|deciding| *deciding == kind);
                if let Some(kind) = kind.filter(|_| !is_known) {
                    wanted.insert((kind, hash.clone()));
                }
            }
        }
        wanted
    }

    fn release_of(&self, host: &Contents) -> Option<&Release> {
        Some(&self.systems.get(part(host, "system")?)?.release)
    }

    /// Reads pieces, and puts new batches into the stock.
    fn take(
        mut self,
        wanted: BTreeSet<Key>,
        bodies: &HashMap<String, Vec<u8>>,
        contents: Vec<Contents>,
    ) -> (Self, Vec<Contents>, Page) {
        let read: Vec<(String, Piece)> = wanted
            .into_par_iter()
            .filter_map(|(kind, hash)| {
                // One that cannot be read is missing for its hosts, which tells.
                let text = inventories::unpacked(bodies.get(&hash)?)?;
                Some((hash, Piece::read(kind, &text).ok()??))
            })
            .collect();
        let mut page = Page::default();
        let mut closes = Vec::new();
        for (hash, piece) in read {
            match piece {
                Piece::System(system) => _ = self.systems.insert(hash, system),
                Piece::Kernel(kernel) => _ = page.kernels.insert(hash, kernel),
                Piece::Processes(processes) => _ = page.processes.insert(hash, processes),
                Piece::Gaps(gaps) => _ = page.gaps.insert(hash, gaps),
                Piece::Packages(packages) => _ = page.packages.insert(hash, packages),
                Piece::Closes(advisories) => closes.push((hash, advisories)),
                Piece::Root(_) | Piece::Archives(_) | Piece::Candidates(_) => {}
            }
        }
        let closes: Vec<(String, Closes)> =
            closes.into_par_iter().map(|(hash, closes)| (hash, Arc::new(hashed(&closes)))).collect();
        self.closes.extend(closes);
        let mut new: BTreeSet<(&Release, &String)> = BTreeSet::new();
        for host in &contents {
            let Some(release) = self.release_of(host) else { continue };
            let known = self.batches.get(release);
            let batches =
                batches_of(host).filter(|hash| known.is_none_or(|known| !known.contains_key(*hash)));
            new.extend(batches.map(|hash| (release, hash)));
        }
        let fresh: Vec<(Release, String, Fresh)> = new
            .into_par_iter()
            .filter_map(|(release, hash)| {
                let packages = page.packages.get(hash)?.clone();
                Some((release.clone(), hash.clone(), Fresh::read(release, packages)))
            })
            .collect();
        for (release, hash, fresh) in fresh {
            let batch = self.stock.keep(&release, fresh);
            self.batches.entry(release).or_default().insert(hash, batch);
        }
        (self, contents, page)
    }

    /// Batches that hang on a host's kernel or processes, and are not at hand.
    fn again(&self, contents: &[Contents], page: &Page) -> BTreeSet<String> {
        let mut again = BTreeSet::new();
        for host in contents {
            let Some((system, kernel, processes, _)) = self.deciding(host, page) else { continue };
            let Some(known) = self.batches.get(&system.release) else { continue };
            let hang = |hash: &&String| {
                known.get(*hash).is_some_and(|batch| batch.hangs_on(kernel, processes))
                    && !page.packages.contains_key(*hash)
            };
            again.extend(batches_of(host).filter(hang).cloned());
        }
        again
    }

    fn deciding<'r>(
        &'r self,
        host: &Contents,
        page: &'r Page,
    ) -> Option<(&'r System, &'r Kernel, &'r [Process], &'r [Gap])> {
        Some((
            self.systems.get(part(host, "system")?)?,
            page.kernels.get(part(host, "kernel")?)?,
            page.processes.get(part(host, "processes")?)?,
            page.gaps.get(part(host, "gaps")?)?,
        ))
    }

    /// Puts the hosts into the stock.
    fn finish(mut self, contents: Vec<Contents>, mut page: Page, bodies: &HashMap<String, Vec<u8>>) -> Self {
        let again: Vec<(String, Vec<Package>)> = bodies
            .par_iter()
            .filter_map(|(hash, body)| match Piece::read(PACKAGES, &inventories::unpacked(body)?) {
                Ok(Some(Piece::Packages(packages))) => Some((hash.clone(), packages)),
                _ => None,
            })
            .collect();
        page.packages.extend(again);
        let keyed: Vec<(Contents, Keyed)> = contents
            .into_par_iter()
            .map(|host| {
                let key = self.own_key(&host, &page);
                (host, key)
            })
            .collect();
        let mut new: HashMap<&OwnKey, &Contents> = HashMap::new();
        for (host, key) in &keyed {
            if let Some((key, _)) = key.as_ref().filter(|(key, _)| !self.own.contains_key(key)) {
                new.entry(key).or_insert(host);
            }
        }
        let read: Vec<(OwnKey, Own)> = new
            .into_par_iter()
            .filter_map(|(key, host)| Some((key.clone(), self.own(host, key, &page)?)))
            .collect();
        for (key, own) in read {
            let own = self.stock.keep_own(&key.0, own);
            self.own.insert(key, own);
        }
        let joined: Vec<(Contents, Option<(HostRows, Closes)>)> = keyed
            .into_par_iter()
            .map(|(host, key)| {
                let rows = key.and_then(|(key, shared)| self.joined(&host, &key, &shared));
                (host, rows)
            })
            .collect();
        for (alike, joined) in joined {
            for (id, number) in alike.hosts {
                let Some((rows, closes)) = &joined else {
                    error!(host.id = %id, "read its inventory: a piece is missing or damaged; run \"palisade doctor\"");
                    continue;
                };
                self.rows.push(HostRows { id: number, ..rows.clone() });
                if !closes.is_empty() {
                    self.of_hosts.push((number, Arc::clone(closes)));
                }
                self.hosts.push((id, number, alike.hash.clone()));
            }
        }
        self
    }

    /// What decides about the batches that hang on the host, and the batches that do not; `None` if a piece is missing.
    fn own_key(&self, host: &Contents, page: &Page) -> Keyed {
        let (system, kernel, processes, _) = self.deciding(host, page)?;
        let (mut own, mut shared) = (Vec::new(), Vec::new());
        for hash in batches_of(host) {
            let batch = self.batches.get(&system.release)?.get(hash)?;
            if batch.hangs_on(kernel, processes) { &mut own } else { &mut shared }.push(hash.clone());
        }
        let runs_old = processes.iter().any(|process| !process.stale.is_empty());
        let processes = if runs_old { part(host, "processes")?.clone() } else { String::new() };
        let deciding = [part(host, "kernel")?.clone(), processes, part(host, "gaps")?.clone()];
        Some(((system.release.clone(), deciding, own), shared))
    }

    fn own(&self, host: &Contents, (release, _, batches): &OwnKey, page: &Page) -> Option<Own> {
        let (_, kernel, processes, gaps) = self.deciding(host, page)?;
        let mut packages = Vec::new();
        for hash in batches {
            packages.extend_from_slice(page.packages.get(hash)?);
        }
        Some(Own::read(release, packages, kernel, processes, gaps))
    }

    fn joined(&self, host: &Contents, key: &OwnKey, shared: &[String]) -> Option<(HostRows, Closes)> {
        let system = self.systems.get(part(host, "system")?)?;
        let closes = self.closes.get(part(host, "closes")?)?;
        let own = self.own.get(key)?;
        let known = self.batches.get(&system.release);
        let shared = shared.iter().filter_map(|hash| known?.get(hash));
        // Of no host yet: each that has it gets its number.
        Some((Batch::join(0, system, shared.chain([own])), Arc::clone(closes)))
    }
}

fn part<'h>(host: &'h Contents, name: &str) -> Option<&'h String> {
    host.parts.get(name)
}

fn batches_of(host: &Contents) -> impl Iterator<Item = &String> {
    host.parts.iter().filter(|(part, _)| Piece::kind(part) == PACKAGES).map(|(_, hash)| hash)
}
