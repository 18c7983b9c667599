//! Advisories arranged by what they speak about, and which of them holds where several speak of the same hole. Takes
//! advisories and a host; gives findings, one per hole and package.

use super::Case;
use super::installed::{Host, Parsed, names};
use super::terms::Terms;
use crate::inventory::{ArchiveClass, Package};
use crate::verdict::{Explanation, Fix, Undetermined, Verdict};
use advisory::{Advisory, Channel, Claim, EdgeKind, NameKind, Release, cve_of};
use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// What one claim means for one package.
#[derive(Clone, Debug)]
pub struct Opinion<'a> {
    /// Whose claim.
    pub advisory: &'a Advisory,
    /// The claim.
    pub claim: &'a Claim,
    /// What it means.
    pub verdict: Verdict,
    case: Case<'a>,
}

impl Opinion<'_> {
    /// How the verdict was reached. Worded only when asked for: of most opinions nobody ever asks.
    pub fn explanation(&self) -> Explanation {
        self.case.explanation()
    }

    /// Whether `other`, an opinion by the same claim on the same host, has the same verdict in the same words.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        self.case.is_worded_as(&other.case) && self.verdict == other.verdict
    }
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
    by_source: HashMap<&'a str, Vec<Shelved<'a>>>,
    by_binary: HashMap<&'a str, Vec<Shelved<'a>>>,
    /// Holes of which a record of their own says which packages they are in.
    told: HashSet<&'a str>,
}

/// One claim, and what of it is the same for every package.
#[derive(Debug)]
struct Shelved<'a> {
    advisory: &'a Advisory,
    claim: &'a Claim,
    /// Parsed for the first package that bears the claim's name; few claims of a feed ever meet one.
    terms: OnceCell<Terms>,
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
                by_name.entry(&claim.name).or_default().push(Shelved {
                    advisory,
                    claim,
                    terms: OnceCell::new(),
                });
                if advisory.withdrawn.is_none() {
                    shelf.told.extend(own_hole(advisory));
                }
            }
        }
        shelf
    }

    /// Whether any claim is about this name.
    pub(crate) fn speaks(&self, kind: NameKind, name: &str) -> bool {
        match kind {
            NameKind::Source => self.by_source.contains_key(name),
            NameKind::Binary => self.by_binary.contains_key(name),
        }
    }

    /// Every opinion about a package, unsettled: several claims may speak of the same hole.
    pub fn opinions<'s>(&'s self, package: &'s Package, host: &'s Host<'s>) -> Vec<Opinion<'s>> {
        let mut opinions = Vec::new();
        for (kind, name) in names(package) {
            let by_name = match kind {
                NameKind::Source => &self.by_source,
                NameKind::Binary => &self.by_binary,
            };
            let Some(shelved) = by_name.get(&*name) else { continue };
            let Some(installed) = host.installed(package, kind, &name).map(Rc::new) else { continue };
            let parsed = Parsed::new(&installed, host.order());
            opinions.extend(shelved.iter().filter_map(|Shelved { advisory, claim, terms }| {
                let terms = terms.get_or_init(|| Terms::new(advisory, claim));
                let case = Case::new(advisory, claim, terms, package, host, &installed, &parsed)?;
                Some(Opinion { advisory, claim, verdict: case.verdict(), case })
            }));
        }
        opinions
    }

    /// What holds for each hole of a package, sorted by hole.
    pub fn findings<'s>(&'s self, package: &'s Package, host: &'s Host<'s>) -> Vec<Finding<'s>> {
        let opinions = self.opinions(package, host);
        self.prevailing(&opinions, host)
            .into_iter()
            .map(|(hole, opinion)| Finding { hole, package, opinion: opinion.clone() })
            .collect()
    }

    /// Of all `opinions` about one package the one that holds for each hole, sorted by hole.
    ///
    /// Where a hole has a record of its own for this release and that does not speak about the package, an advisory that
    /// names several holes does not bring this one to it. For the rest see `Rank`.
    pub fn prevailing<'o, 's>(
        &self,
        opinions: &'o [Opinion<'s>],
        host: &Host<'_>,
    ) -> Vec<(&'s str, &'o Opinion<'s>)> {
        let esm = host.inventory.archives.iter().any(|archive| archive.class == ArchiveClass::Esm);
        // Asked for only by advisories about several holes, which many packages have none of.
        let recorded = OnceCell::new();
        let is_recorded = |hole: &str| {
            recorded
                .get_or_init(|| {
                    let live = opinions.iter().filter(|opinion| opinion.advisory.withdrawn.is_none());
                    live.filter_map(|opinion| own_hole(opinion.advisory)).collect::<HashSet<_>>()
                })
                .contains(hole)
        };
        let mut standing: Vec<(&'s str, Rank, &'o Opinion<'s>)> = Vec::with_capacity(opinions.len());
        for opinion in opinions {
            if let Some(own) = own_hole(opinion.advisory) {
                standing.push((own, Rank::new(opinion, true, esm), opinion));
                continue;
            }
            let named = holes(opinion.advisory);
            let several = named.len() > 1;
            let rank = Rank::new(opinion, false, esm);
            for hole in named {
                if !(several && self.told.contains(hole) && !is_recorded(hole)) {
                    standing.push((hole, rank, opinion));
                }
            }
        }
        // Stable: of two that weigh the same the first holds.
        standing
            .sort_by(|(hole, rank, _), (other, other_rank, _)| hole.cmp(other).then(other_rank.cmp(rank)));
        standing.dedup_by(|later, first| later.0 == first.0);
        standing.into_iter().map(|(hole, _, opinion)| (hole, opinion)).collect()
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
    if let Some(own) = cve_of(&advisory.id) {
        return Some(own);
    }
    let mut aliases = advisory.edges.iter().filter(|edge| edge.kind == EdgeKind::Alias && cve(&edge.id));
    match (aliases.next(), aliases.next()) {
        (Some(alias), None) => Some(&alias.id),
        _ => None,
    }
}

/// The holes that an advisory without a hole of its own is about: the CVE ids it names, or itself under the first of its
/// names.
fn holes(advisory: &Advisory) -> Vec<&str> {
    let cves = advisory.cves();
    if !cves.is_empty() {
        return cves;
    }
    let aliases =
        advisory.edges.iter().filter(|edge| edge.kind == EdgeKind::Alias).map(|edge| edge.id.as_str());
    aliases.chain([advisory.id.as_str()]).min().into_iter().collect()
}
