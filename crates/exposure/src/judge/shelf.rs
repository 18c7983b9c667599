//! Advisories arranged by what they speak about, and which of them holds where several speak of the same hole. Takes
//! advisories and a host; gives findings, one per hole and package.

use super::installed::Host;
use super::judge;
use crate::inventory::{ArchiveClass, Package};
use crate::verdict::{Explanation, Fix, Undetermined, Verdict};
use advisory::{Advisory, Channel, Claim, EdgeKind, NameKind, Release};
use std::collections::{BTreeMap, HashMap, HashSet};

/// What one claim means for one package.
#[derive(Clone, Debug)]
pub struct Opinion<'a> {
    /// Whose claim.
    pub advisory: &'a Advisory,
    /// The claim.
    pub claim: &'a Claim,
    /// What it means.
    pub verdict: Verdict,
    /// How that was reached.
    pub explanation: Explanation,
}

/// What holds for one hole in one package: the opinion that prevails.
#[derive(Clone, Debug)]
pub struct Finding<'a> {
    /// The hole: a CVE id, or an advisory's own id where it names none.
    pub hole: &'a str,
    /// The installed package.
    pub package: &'a Package,
    /// The opinion that prevails.
    pub opinion: Opinion<'a>,
}

/// The advisories for one release, found by package name.
#[derive(Debug)]
pub struct Shelf<'a> {
    by_source: HashMap<&'a str, Vec<(&'a Advisory, &'a Claim)>>,
    by_binary: HashMap<&'a str, Vec<(&'a Advisory, &'a Claim)>>,
    /// Holes of which a record of their own says which packages they are in.
    told: HashSet<&'a str>,
}

impl<'a> Shelf<'a> {
    /// Arranges what `advisories` say about `release`.
    pub fn new(advisories: impl IntoIterator<Item = &'a Advisory>, release: &Release) -> Self {
        let mut shelf = Self { by_source: HashMap::new(), by_binary: HashMap::new(), told: HashSet::new() };
        for advisory in advisories {
            for claim in advisory.claims.iter().filter(|claim| claim.release == *release) {
                let by_name = match claim.name_kind {
                    NameKind::Source => &mut shelf.by_source,
                    NameKind::Binary => &mut shelf.by_binary,
                };
                by_name.entry(&claim.name).or_default().push((advisory, claim));
                if advisory.withdrawn.is_none() {
                    shelf.told.extend(own_hole(advisory));
                }
            }
        }
        shelf
    }

    /// Every opinion about a package, unsettled: several claims may speak of the same hole.
    pub fn opinions(&self, package: &'a Package, host: &Host<'a>) -> Vec<Opinion<'a>> {
        host.names(package)
            .filter_map(|name| match name.name_kind {
                NameKind::Source => self.by_source.get(&*name.name),
                NameKind::Binary => self.by_binary.get(&*name.name),
            })
            .flatten()
            .filter_map(|&(advisory, claim)| {
                let (verdict, explanation) = judge(advisory, claim, package, host)?;
                Some(Opinion { advisory, claim, verdict, explanation })
            })
            .collect()
    }

    /// What holds for each hole of a package, sorted by hole.
    ///
    /// Where a hole has a record of its own for this release and that does not speak about the package, an advisory that
    /// names several holes does not bring this one to it. For the rest see [`Rank`].
    pub fn findings(&self, package: &'a Package, host: &Host<'a>) -> Vec<Finding<'a>> {
        let esm = host.inventory.archives.iter().any(|archive| archive.class == ArchiveClass::Esm);
        let opinions = self.opinions(package, host);
        let recorded: HashSet<&str> = opinions
            .iter()
            .filter(|opinion| opinion.advisory.withdrawn.is_none())
            .filter_map(|opinion| own_hole(opinion.advisory))
            .collect();
        let mut standing: BTreeMap<&'a str, (Rank, usize)> = BTreeMap::new();
        for (index, opinion) in opinions.iter().enumerate() {
            let own = own_hole(opinion.advisory);
            let named = holes(opinion.advisory);
            let several = named.len() > 1;
            for hole in named {
                if several && self.told.contains(hole) && !recorded.contains(hole) {
                    continue;
                }
                let rank = Rank::new(opinion, own == Some(hole), esm);
                let best = standing.entry(hole).or_insert((rank, index));
                if best.0 < rank {
                    *best = (rank, index);
                }
            }
        }
        standing
            .into_iter()
            .map(|(hole, (_, index))| Finding { hole, package, opinion: opinions[index].clone() })
            .collect()
    }
}

/// How much an opinion about a hole weighs against another one about the same hole and package; the fields decide in
/// this order, larger wins. Names of products (CPE) never come into it: claims are about packages of one release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// The advisory stands.
    live: bool,
    /// The vendor has judged builds like this one.
    judged: bool,
    /// Made for this host's channel: its minor release (EUS), then extended maintenance that it uses.
    channel: u8,
    /// The hole's own record, not an advisory about several.
    record: bool,
    /// Among equals the worst holds, and of the affected the one with most that can be done.
    verdict: u8,
}

impl Rank {
    fn new(opinion: &Opinion<'_>, record: bool, esm: bool) -> Self {
        let channel = match &opinion.claim.channel {
            Channel::Eus(_) => 2,
            // A fix out of ESM may be installed although the archive is gone from the host since.
            Channel::Esm if esm || opinion.verdict == Verdict::Fixed => 1,
            Channel::Esm | Channel::Main | Channel::Security | Channel::PointRelease | Channel::Lts => 0,
        };
        let (judged, verdict) = match &opinion.verdict {
            Verdict::NotAffected { .. } => (true, 0),
            Verdict::Fixed => (true, 1),
            Verdict::Undetermined { why } => {
                let unjudged = match why {
                    Undetermined::Vendor { .. }
                    | Undetermined::Flavour { .. }
                    | Undetermined::ModuleStream => true,
                    Undetermined::InstalledVersion { .. }
                    | Undetermined::ClaimVersion { .. }
                    | Undetermined::ForeignOrigin { .. }
                    | Undetermined::HalfInstalled
                    | Undetermined::Unseen { .. }
                    | Undetermined::NoOrder => false,
                };
                (!unjudged, 2)
            }
            Verdict::FixedStillRunning { .. } => (true, 3),
            Verdict::Affected { fix: Fix::None { .. } } => (true, 4),
            Verdict::Affected { fix: Fix::Announced { .. } } => (true, 5),
            Verdict::Affected { fix: Fix::Fetchable { .. } } => (true, 6),
        };
        Self { live: opinion.advisory.withdrawn.is_none(), judged, channel, record, verdict }
    }
}

/// The one hole that an advisory is the record of: its own id, or its only alias, if that is a CVE id.
fn own_hole(advisory: &Advisory) -> Option<&str> {
    let cve = |id: &'_ str| id.starts_with("CVE-");
    let own = advisory.id.as_str();
    let own = own.strip_prefix("DEBIAN-").or_else(|| own.strip_prefix("UBUNTU-")).unwrap_or(own);
    if cve(own) {
        return Some(own);
    }
    let mut aliases = advisory.edges.iter().filter(|edge| edge.kind == EdgeKind::Alias && cve(&edge.id));
    match (aliases.next(), aliases.next()) {
        (Some(alias), None) => Some(&alias.id),
        _ => None,
    }
}

/// The holes that an advisory is about: its own, or the CVE ids it names, or itself under the first of its names.
fn holes(advisory: &Advisory) -> Vec<&str> {
    if let Some(hole) = own_hole(advisory) {
        return vec![hole];
    }
    let cves = advisory.cves();
    if !cves.is_empty() {
        return cves;
    }
    let aliases =
        advisory.edges.iter().filter(|edge| edge.kind == EdgeKind::Alias).map(|edge| edge.id.as_str());
    aliases.chain([advisory.id.as_str()]).min().into_iter().collect()
}
