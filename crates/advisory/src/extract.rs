//! What a feed says about one release, in a form that is opened in a moment: reading a feed takes a hundred times longer
//! than looking up what it says about one host. Takes a [`Feed`]; gives bytes, and from bytes the advisories asked for.
//!
//! An extract is a cache, not an exchange format: it is read only by the program that wrote it, and one that is damaged
//! or made for something else is `None`, so that the feed is read again. It is a head, tables and blobs; a look reads
//! the tables, and of the blobs (one per record) only those that may tell something:
//!
//! - `about`: the [`About`];
//! - `names`: by kind and name, the records that speak about the package, in groups (see `Group`);
//! - `naming`, `scored`: by the CRC-32 of a CVE's id, the records that name it, and the blob of its CVSS vectors;
//! - `places`: where each blob ends, and its CRC-32.

use crate::format::Feed;
use crate::{Advisory, Channel, Claim, NameKind, Problem, Release, Signals, State, Version};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;

/// Begins every extract; the number is the layout's.
const MAGIC: &[u8; 8] = b"PALEXT02";
/// SHA-256 of what an extract was made from and for.
pub type Key = [u8; 32];
/// How many tables there are.
const TABLES: usize = 5;
/// Magic, key, the tables' sizes, CRC-32 of the sizes and the tables.
const HEAD_BYTES: usize = 8 + 32 + 4 * TABLES + 4;

/// Releases of a feed that are named to a person.
const RELEASES_TOLD: usize = 5;

/// What a feed is like as a whole: all that is asked of its records besides what they say about one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Records it holds.
    pub records: usize,
    /// When the newest of them was changed or published.
    pub newest: Option<Timestamp>,
    /// Whether any of them speaks about the release.
    pub speaks: bool,
    /// The first few releases that they speak about, in order.
    pub releases: Vec<Release>,
    /// What could not be read.
    pub problems: Vec<Problem>,
}

impl About {
    /// Looks through a feed on behalf of `release`.
    pub fn new(feed: &Feed, release: &Release) -> Self {
        let releases: BTreeSet<&Release> = feed
            .advisories
            .iter()
            .flat_map(|advisory| &advisory.claims)
            .map(|claim| &claim.release)
            .collect();
        Self {
            records: feed.advisories.len(),
            newest: feed
                .advisories
                .iter()
                .filter_map(|advisory| advisory.modified.or(advisory.published))
                .max(),
            speaks: releases.contains(release),
            releases: releases.into_iter().take(RELEASES_TOLD).cloned().collect(),
            problems: feed.problems.clone(),
        }
    }
}

/// Two numbers of a table, big-endian, so that sorted bytes are sorted numbers.
type Pair = [u8; 8];

/// Records that say the same about a package as far as its version decides: the key of the version from which on they
/// say only that the hole is fixed, and their numbers. Without a key more than the version decides; that group comes
/// first, the others after it, latest version first.
type Group<'a> = (Option<&'a [u8]>, Vec<u32>);

/// Groups being made.
type Groups = BTreeMap<Option<Version>, Vec<u32>>;

/// The extract of `feed` for `release`; `None` where it holds more than advisories, or cannot be told in 4 GiB.
///
/// Records about other releases are left out but for the first of all, and so are other releases' claims of a record.
pub fn write(feed: &Feed, release: &Release, key: &Key) -> Option<Vec<u8>> {
    let Signals { kev_released, kev, epss_date, epss, ssvc, cvss } = &feed.signals;
    let only_advisories = kev_released.is_none() && kev.is_empty() && epss_date.is_none() && epss.is_empty();
    if !only_advisories || !ssvc.is_empty() || !feed.lifecycle.is_empty() || feed.truncated {
        return None;
    }
    let mut by_name: BTreeMap<(NameKind, &str), Groups> = BTreeMap::new();
    let mut naming = BTreeSet::new();
    let mut blobs = Blobs::default();
    for advisory in &feed.advisories {
        let claims = || advisory.claims.iter().filter(|claim| claim.release == *release);
        // The first one stays, so that a feed about other releases still shows as given.
        if claims().next().is_none() && !blobs.places.is_empty() {
            continue;
        }
        let number = if claims().count() == advisory.claims.len() {
            blobs.add(advisory)?
        } else {
            blobs.add(&Advisory {
                id: advisory.id.clone(),
                document: advisory.document.clone(),
                summary: advisory.summary.clone(),
                edges: advisory.edges.clone(),
                severities: advisory.severities.clone(),
                claims: claims().cloned().collect(),
                references: advisory.references.clone(),
                ..*advisory
            })?
        };
        let mut said: BTreeMap<(NameKind, &str), Option<Version>> = BTreeMap::new();
        for claim in claims() {
            let from = fixed_from(advisory, claim);
            // Of several claims about one package the last one to be fixed decides, and any that is not plain.
            said.entry((claim.name_kind, &claim.name))
                .and_modify(|all| *all = all.take().zip(from.clone()).map(|(one, other)| one.max(other)))
                .or_insert(from);
        }
        for (name, from) in said {
            by_name.entry(name).or_default().entry(from).or_default().push(number);
        }
        naming.extend(advisory.cves().into_iter().map(|cve| pair(crc32fast::hash(cve.as_bytes()), number)));
    }
    let mut scored = BTreeSet::new();
    for (cve, vectors) in cvss {
        scored.insert(pair(crc32fast::hash(cve.as_bytes()), blobs.add(&(cve, vectors))?));
    }
    let mut names = Vec::new();
    for ((kind, name), groups) in by_name {
        let mut list = Vec::new();
        let (plain, rest): (Vec<_>, Vec<_>) = groups.iter().rev().partition(|(from, _)| from.is_some());
        for (from, numbers) in rest.into_iter().chain(plain) {
            let group: Group<'_> = (from.as_ref().map(Version::key), numbers.clone());
            list = postcard::to_extend(&group, list).ok()?;
        }
        names = postcard::to_extend(&(kind, name, list.as_slice()), names).ok()?;
    }
    let about = postcard::to_stdvec(&About::new(feed, release)).ok()?;
    let flat = |pairs: BTreeSet<Pair>| pairs.into_iter().flatten().collect::<Vec<u8>>();
    let tables = [about, names, flat(naming), flat(scored), blobs.places];
    let mut bytes = MAGIC.to_vec();
    bytes.extend(key);
    for table in &tables {
        bytes.extend(u32::try_from(table.len()).ok()?.to_be_bytes());
    }
    bytes.extend(checksum(&bytes[40..], &tables.concat()).to_be_bytes());
    bytes.extend(tables.into_iter().flatten());
    bytes.extend(blobs.bytes);
    Some(bytes)
}

/// The version from which on a claim says that the hole is fixed, and nothing else: whatever the package's architecture,
/// stream or channel. `None` where more decides.
///
/// An advisory that names no CVE is never taken so: only by CVE ids is it found again (see [`Extract::naming`]).
fn fixed_from(advisory: &Advisory, claim: &Claim) -> Option<Version> {
    let common = match claim.channel {
        Channel::Main | Channel::Security | Channel::PointRelease | Channel::Lts => true,
        Channel::Esm | Channel::Eus(_) => false,
    };
    let whole = claim.module.is_none() && claim.flavour.is_none() && claim.arch.is_none();
    let by_fix = claim.state == State::Fixed && claim.last_affected.is_none() && claim.versions.is_empty();
    if !common || !whole || !by_fix || advisory.withdrawn.is_some() || advisory.cves().is_empty() {
        return None;
    }
    claim.release.family.order()?.parse(claim.fixed.as_deref()?).ok()
}

/// Blobs being written.
#[derive(Default)]
struct Blobs {
    bytes: Vec<u8>,
    places: Vec<u8>,
}

impl Blobs {
    /// Adds a blob, and gives its number.
    fn add(&mut self, value: &impl Serialize) -> Option<u32> {
        let number = u32::try_from(self.places.len() / size_of::<Pair>()).ok()?;
        let start = self.bytes.len();
        self.bytes = postcard::to_extend(value, std::mem::take(&mut self.bytes)).ok()?;
        let end = u32::try_from(self.bytes.len()).ok()?;
        self.places.extend(pair(end, crc32fast::hash(&self.bytes[start..])));
        Some(number)
    }
}

fn pair(first: u32, second: u32) -> Pair {
    (u64::from(first) << 32 | u64::from(second)).to_be_bytes()
}

/// The two numbers of a pair.
fn numbers(pair: Pair) -> (u32, u32) {
    let both = u64::from_be_bytes(pair);
    // Casts that cut on purpose: a half each.
    #[allow(clippy::cast_possible_truncation)]
    ((both >> 32) as u32, both as u32)
}

fn checksum(sizes: &[u8], tables: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(sizes);
    sum.update(tables);
    sum.finalize()
}

/// Which of the records about a package are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// None: it is not installed.
    None,
    /// All of them.
    All,
    /// All but those that say nothing else than that it is fixed from this version on, or from an older one.
    NotFixedAt(Version),
}

/// An extract whose tables were read.
#[derive(Debug)]
pub struct Extract<R> {
    reader: R,
    about: About,
    tables: Vec<u8>,
    /// Where each table lies in `tables`.
    ranges: [Range<usize>; TABLES],
    /// Numbers of the records that were given away.
    given: BTreeSet<u32>,
}

impl<R: Read + Seek> Extract<R> {
    /// The extract that `reader` holds from its beginning on; `None` if it is damaged or was made with another key.
    pub fn open(mut reader: R, key: &Key) -> Option<Self> {
        let mut head = [0; HEAD_BYTES];
        reader.read_exact(&mut head).ok()?;
        let (sizes, sum) = head[40..].split_last_chunk::<4>()?;
        if head[..8] != *MAGIC || head[8..40] != *key {
            return None;
        }
        let mut ranges = [const { 0..0 }; TABLES];
        let mut end = 0_usize;
        for (range, size) in ranges.iter_mut().zip(sizes.as_chunks::<4>().0) {
            let start = end;
            end = start.checked_add(usize::try_from(u32::from_be_bytes(*size)).ok()?)?;
            *range = start..end;
        }
        let mut tables = Vec::new();
        tables.try_reserve_exact(end).ok()?;
        reader.by_ref().take(u64::try_from(end).ok()?).read_to_end(&mut tables).ok()?;
        if tables.len() != end || checksum(sizes, &tables).to_be_bytes() != *sum {
            return None;
        }
        let about = postcard::from_bytes(&tables[ranges[0].clone()]).ok()?;
        Some(Self { reader, about, tables, ranges, given: BTreeSet::new() })
    }

    /// What the feed is like as a whole.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The advisories that speak about packages and are `wanted` for one of them, in the feed's order. If there are
    /// none, the first of all: a feed that says nothing about a host was given nevertheless.
    ///
    /// `None` if the extract is damaged.
    pub fn advisories(&mut self, wanted: impl Fn(NameKind, &str) -> Wanted) -> Option<Vec<Advisory>> {
        let mut found = Vec::new();
        let mut names = self.table(1);
        while !names.is_empty() {
            let ((kind, name, mut groups), rest): ((NameKind, &str, &[u8]), _) =
                postcard::take_from_bytes(names).ok()?;
            names = rest;
            let newer_than = match wanted(kind, name) {
                Wanted::None => continue,
                Wanted::All => None,
                Wanted::NotFixedAt(version) => Some(version),
            };
            while !groups.is_empty() {
                let ((from, numbers), rest): (Group<'_>, _) = postcard::take_from_bytes(groups).ok()?;
                if from.zip(newer_than.as_ref()).is_some_and(|(from, installed)| from <= installed.key()) {
                    break;
                }
                groups = rest;
                found.extend(numbers);
            }
        }
        if found.is_empty() && !self.table(4).is_empty() {
            found.push(0);
        }
        found.sort_unstable();
        found.dedup();
        found.into_iter().map(|number| self.record(number)).collect()
    }

    /// The advisories that name a CVE, whichever packages they speak about, and were not given before.
    ///
    /// `None` if the extract is damaged.
    pub fn naming(&mut self, cve: &str) -> Option<Vec<Advisory>> {
        let mut records = Vec::new();
        for number in self.numbered(2, cve) {
            if self.given.contains(&number) {
                continue;
            }
            let record = self.record(number)?;
            // Another id may have the same CRC.
            if record.cves().contains(&cve) {
                records.push(record);
            } else {
                self.given.remove(&number);
            }
        }
        Some(records)
    }

    /// The CVSS vectors of a CVE, those of records about other releases too.
    ///
    /// `None` if the extract is damaged.
    pub fn vectors(&mut self, cve: &str) -> Option<Vec<String>> {
        for number in self.numbered(3, cve) {
            let blob = self.blob(number)?;
            let (its, vectors): (&str, Vec<String>) = postcard::from_bytes(&blob).ok()?;
            if its == cve {
                return Some(vectors);
            }
        }
        Some(Vec::new())
    }

    fn table(&self, index: usize) -> &[u8] {
        &self.tables[self.ranges[index].clone()]
    }

    fn pairs(&self, index: usize) -> &[Pair] {
        self.table(index).as_chunks().0
    }

    /// The numbers that stand beside a CVE in a table.
    fn numbered(&self, index: usize, cve: &str) -> Vec<u32> {
        let hash = crc32fast::hash(cve.as_bytes());
        let pairs = self.pairs(index);
        let first = pairs.partition_point(|&pair| numbers(pair).0 < hash);
        let same = pairs[first..].iter().map(|&pair| numbers(pair)).take_while(|(its, _)| *its == hash);
        same.map(|(_, number)| number).collect()
    }

    fn record(&mut self, number: u32) -> Option<Advisory> {
        let record = postcard::from_bytes(&self.blob(number)?).ok()?;
        self.given.insert(number);
        Some(record)
    }

    fn blob(&mut self, number: u32) -> Option<Vec<u8>> {
        let index = usize::try_from(number).ok()?;
        let places = self.pairs(4);
        let (end, sum) = numbers(*places.get(index)?);
        let start = index.checked_sub(1).map_or(0, |before| numbers(places[before]).0);
        let mut blob = vec![0; usize::try_from(end.checked_sub(start)?).ok()?];
        let from = HEAD_BYTES as u64 + self.tables.len() as u64 + u64::from(start);
        self.reader.seek(SeekFrom::Start(from)).ok()?;
        self.reader.read_exact(&mut blob).ok()?;
        (crc32fast::hash(&blob) == sum).then_some(blob)
    }
}
