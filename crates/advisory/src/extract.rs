//! What a feed says about one release, in a form that is opened in a moment: reading a feed takes a hundred times longer
//! than looking up what it says about one host. Takes a [`Feed`]; gives bytes, and from bytes the advisories asked for.
//!
//! An extract is a cache, not an exchange format: it is read only by the program that wrote it, and one that is damaged
//! or made for something else is `None`, so that the feed is read again.

use crate::format::Feed;
use crate::{Advisory, EdgeKind, NameKind, Problem, Release, Signals, cve_of};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Begins every extract; the number is the layout's.
const MAGIC: &[u8; 8] = b"PALEXT01";
/// SHA-256 of what an extract was made from and for.
pub type Key = [u8; 32];
/// Magic, key, CRC-32 of the rest.
const HEAD_BYTES: usize = 8 + 32 + 4;

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

/// An extract, as it lies in its bytes.
#[derive(Debug, Serialize, Deserialize)]
pub struct Extract<'a> {
    about: About,
    /// By kind and name: the records that speak about the package.
    #[serde(borrow)]
    names: Vec<(NameKind, &'a str, Vec<u32>)>,
    /// By CVE id: the records that may be its own.
    #[serde(borrow)]
    own: Vec<(&'a str, u32)>,
    /// By CVE id: CVSS vectors, of records about other releases too.
    #[serde(borrow)]
    cvss: Vec<(&'a str, Vec<&'a str>)>,
    /// Where in `records` each record ends.
    ends: Vec<u32>,
    #[serde(borrow)]
    records: &'a [u8],
}

/// The extract of `feed` for `release`; `None` where it holds more than advisories, or cannot be told in 4 GiB.
///
/// Records about other releases are left out but for the first of all, and so are other releases' claims of a record.
pub fn write(feed: &Feed, release: &Release, key: &Key) -> Option<Vec<u8>> {
    let Signals { kev_released, kev, epss_date, epss, ssvc, cvss } = &feed.signals;
    let only_advisories = kev_released.is_none() && kev.is_empty() && epss_date.is_none() && epss.is_empty();
    if !only_advisories || !ssvc.is_empty() || !feed.lifecycle.is_empty() || feed.truncated {
        return None;
    }
    let mut names: BTreeMap<(NameKind, &str), Vec<u32>> = BTreeMap::new();
    let mut own = Vec::new();
    let mut ends = Vec::new();
    let mut records = Vec::new();
    for advisory in &feed.advisories {
        let index = u32::try_from(ends.len()).ok()?;
        let claims = || advisory.claims.iter().filter(|claim| claim.release == *release);
        // The first one stays, so that a feed about other releases still shows as given.
        if claims().next().is_none() && !ends.is_empty() {
            continue;
        }
        for claim in claims() {
            let list = names.entry((claim.name_kind, &claim.name)).or_default();
            if list.last() != Some(&index) {
                list.push(index);
            }
        }
        own.extend(own_cves(advisory).map(|cve| (cve, index)));
        let one = Advisory {
            id: advisory.id.clone(),
            document: advisory.document.clone(),
            summary: advisory.summary.clone(),
            edges: advisory.edges.clone(),
            severities: advisory.severities.clone(),
            claims: claims().cloned().collect(),
            references: advisory.references.clone(),
            ..*advisory
        };
        records = postcard::to_extend(&one, records).ok()?;
        ends.push(u32::try_from(records.len()).ok()?);
    }
    own.sort_unstable();
    let extract = Extract {
        about: About::new(feed, release),
        names: names.into_iter().map(|((kind, name), list)| (kind, name, list)).collect(),
        own,
        cvss: cvss
            .iter()
            .map(|(cve, all)| (cve.as_str(), all.iter().map(String::as_str).collect()))
            .collect(),
        ends,
        records: &records,
    };
    let mut bytes = MAGIC.to_vec();
    bytes.extend(key);
    bytes.extend([0; 4]);
    let mut bytes = postcard::to_extend(&extract, bytes).ok()?;
    let sum = crc32fast::hash(&bytes[HEAD_BYTES..]);
    bytes[HEAD_BYTES - 4..HEAD_BYTES].copy_from_slice(&sum.to_le_bytes());
    Some(bytes)
}

impl<'a> Extract<'a> {
    /// The extract in `bytes`; `None` if it is damaged or was made with another key.
    pub fn open(bytes: &'a [u8], key: &Key) -> Option<Self> {
        let (head, body) = bytes.split_at_checked(HEAD_BYTES)?;
        let sum = crc32fast::hash(body).to_le_bytes();
        if head[..8] != *MAGIC || head[8..40] != *key || head[40..] != sum {
            return None;
        }
        postcard::from_bytes(body).ok()
    }

    /// What the feed is like as a whole.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The advisories that speak about a package that is `wanted`, in the feed's order. If there are none, the first of
    /// all: a feed that says nothing about a host was given nevertheless.
    ///
    /// `None` if the extract is damaged.
    pub fn advisories(&self, wanted: impl Fn(NameKind, &str) -> bool) -> Option<Vec<Advisory>> {
        let named = self.names.iter().filter(|(kind, name, _)| wanted(*kind, name));
        let mut indices: Vec<u32> = named.flat_map(|(_, _, list)| list).copied().collect();
        indices.sort_unstable();
        indices.dedup();
        if indices.is_empty() && !self.ends.is_empty() {
            indices.push(0);
        }
        indices.into_iter().map(|index| self.record(index)).collect()
    }

    /// The advisories that may be the own records of CVEs, whichever packages they speak about. Damaged ones are left out.
    pub fn records_of(&self, cve: &str) -> impl Iterator<Item = Advisory> {
        let first = self.own.partition_point(|(own, _)| *own < cve);
        let same = self.own[first..].iter().take_while(move |(own, _)| *own == cve);
        same.filter_map(|(_, index)| self.record(*index))
    }

    /// Whether it holds CVSS vectors at all.
    pub fn has_cvss(&self) -> bool {
        !self.cvss.is_empty()
    }

    /// The CVSS vectors of a CVE.
    pub fn cvss(&self, cve: &str) -> &[&'a str] {
        self.cvss.binary_search_by(|(known, _)| known.cmp(&cve)).map_or(&[], |at| &self.cvss[at].1)
    }

    fn record(&self, index: u32) -> Option<Advisory> {
        let index = usize::try_from(index).ok()?;
        let end = |index: usize| self.ends.get(index).and_then(|end| usize::try_from(*end).ok());
        let start = if index == 0 { 0 } else { end(index - 1)? };
        postcard::from_bytes(self.records.get(start..end(index)?)?).ok()
    }
}

/// The CVE ids of which an advisory may be the own record: its id and its aliases.
fn own_cves(advisory: &Advisory) -> impl Iterator<Item = &str> {
    let aliases =
        advisory.edges.iter().filter(|edge| edge.kind == EdgeKind::Alias).map(|edge| edge.id.as_str());
    cve_of(&advisory.id).into_iter().chain(aliases.filter(|id| id.starts_with("CVE-")))
}
