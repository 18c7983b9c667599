//! From inventory, advisories and signals to the report.

use super::entry::{Assembled, assemble, ended_support, pending_by_source};
use super::{Entry, Finding, Other, Remedy, Report, Seen, Summary, Unjudged};
use crate::inventory::{Action, ArchiveClass, Inventory, Manager, Origin, Package, PackageState};
use crate::judge::{Host, Installed, Opinion, Shelf, names};
use crate::ssvc::{Deadlines, Decision, Mission};
use crate::verdict::Verdict;
use advisory::format::lifecycle::{Lifecycle, Support};
use advisory::{Advisory, Claim, Kind, Problem, Signals};
use jiff::civil::Date;
use jiff::{Timestamp, tz::TimeZone};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// The feed that the host's own package manager is, in [`advisory::Document::feed`].
const PACKAGE_MANAGER: &str = "apt";

/// Everything a report is made from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The host.
    pub inventory: &'a Inventory,
    /// Advisories of all feeds, the package manager's among them.
    pub advisories: &'a [Advisory],
    /// Exploitation signals.
    pub signals: &'a Signals,
    /// When support of releases and sources ends.
    pub lifecycle: &'a Lifecycle,
    /// What could not be read of the feeds.
    pub problems: &'a [Problem],
    /// What the host is for.
    pub mission: Mission,
    /// Days that each decision allows.
    pub deadlines: Deadlines,
}

impl Facts<'_> {
    /// The day of the look, in UTC.
    pub(super) fn day(&self) -> Date {
        TimeZone::UTC.to_datetime(self.inventory.observed).date()
    }

    /// The support phase of the host's release.
    pub(super) fn release_support(&self) -> Support {
        self.lifecycle.support(&self.inventory.system.release, "", self.day())
    }

    /// Support of each installed source.
    fn support(&self) -> BTreeMap<&str, Support> {
        let phase = self.lifecycle.phase(&self.inventory.system.release, self.day());
        let sources: BTreeSet<&str> =
            self.inventory.packages.iter().map(|package| package.source.as_str()).collect();
        sources.into_iter().map(|source| (source, phase.support(source))).collect()
    }
}

/// The answer for one host.
pub fn report(facts: &Facts<'_>) -> Report {
    let inventory = facts.inventory;
    let mut undetermined = unread(facts);
    let mut unjudged: BTreeMap<(&str, String), BTreeSet<&str>> = BTreeMap::new();
    let host = Host::new(inventory);
    let shelf = Shelf::new(facts.advisories, &inventory.system.release);
    let mut by_source: BTreeMap<&str, Findings<'_>> = BTreeMap::new();
    // Sources that were found clean, as judging sees them: their other binary packages are clean for the same reasons.
    let mut clean: HashSet<Installed> = HashSet::new();
    for package in &inventory.packages {
        let names: Vec<Installed> = names(package)
            .filter(|(kind, name)| shelf.speaks(*kind, name))
            .filter_map(|(kind, name)| host.installed(package, kind, &name))
            .collect();
        if names.iter().all(|name| clean.contains(name)) {
            continue;
        }
        let opinions = shelf.opinions(package, &host);
        let is_clean =
            |opinion: &Opinion<'_>| matches!(opinion.verdict, Verdict::Fixed | Verdict::NotAffected { .. });
        if opinions.iter().all(is_clean) {
            clean.extend(names);
            continue;
        }
        for (hole, opinion) in shelf.prevailing(&opinions, &host) {
            match &opinion.verdict {
                Verdict::Affected { .. } | Verdict::FixedStillRunning { .. } => {
                    by_source.entry(&package.source).or_default().add(hole, opinion);
                }
                Verdict::Undetermined { why } => {
                    unjudged.entry((&package.source, why.to_string())).or_default().insert(hole);
                }
                Verdict::Fixed | Verdict::NotAffected { .. } => {}
            }
        }
        if let Some(findings) = by_source.get_mut(package.source.as_str()) {
            findings.bulletins.extend(opinions.iter().filter_map(bulletin));
        }
    }
    undetermined.extend(unjudged.into_iter().map(|((source, why), holes)| {
        let first = holes.first().copied().unwrap_or_default();
        let more = if holes.len() > 1 { format!(" and {} more", holes.len() - 1) } else { String::new() };
        Unjudged { what: format!("{source} ({first}{more})"), why, remedy: String::new() }
    }));
    let mut entries = Vec::new();
    let mut other = Vec::new();
    let pending = pending_by_source(inventory);
    let sources: BTreeSet<&str> = by_source.keys().chain(pending.keys()).copied().collect();
    for source in sources {
        let findings = by_source.remove(source).unwrap_or_default();
        let candidates = pending.get(source).map_or(&[][..], Vec::as_slice);
        match assemble(facts, source, findings, candidates) {
            Assembled::Entry(entry) => entries.push(*entry),
            Assembled::Other(update) => other.push(update),
            Assembled::Nothing => {}
        }
    }
    let support = facts.support();
    entries.extend(ended_support(facts, &support));
    entries.sort_by(|left, right| urgency(left).cmp(&urgency(right)));
    undetermined.sort();
    undetermined.dedup();
    let notes = notes(facts, &support);
    let summary = summarise(inventory, &entries, &other, &undetermined);
    Report {
        schema: "palisade.check/1".to_owned(),
        host: inventory.host.clone(),
        root: inventory.root.clone(),
        observed: inventory.observed,
        system: inventory.system.clone(),
        entries,
        other,
        undetermined,
        notes,
        summary,
    }
}

/// Every verdict on `id` (a CVE, an advisory, a source or binary package), fixed and not affected included, also those
/// that another document's claim outweighs.
pub fn explain(facts: &Facts<'_>, id: &str) -> Vec<Finding> {
    let named = |package: &Package| package.name == id || package.source == id;
    let about = |advisory: &Advisory| {
        id.eq_ignore_ascii_case(&advisory.id)
            || advisory.edges.iter().any(|edge| edge.id.eq_ignore_ascii_case(id))
            || advisory.cves().iter().any(|cve| cve.eq_ignore_ascii_case(id))
    };
    let host = Host::new(facts.inventory);
    let shelf = Shelf::new(facts.advisories, &facts.inventory.system.release);
    let mut findings = BTreeSet::new();
    for package in &facts.inventory.packages {
        let opinions = shelf.opinions(package, &host).into_iter();
        findings.extend(opinions.filter(|opinion| named(package) || about(opinion.advisory)).map(
            |opinion| Finding {
                advisory: opinion.advisory.id.clone(),
                cves: opinion.advisory.cves().into_iter().map(str::to_owned).collect(),
                explanation: opinion.explanation(),
                verdict: opinion.verdict,
            },
        ));
    }
    findings.into_iter().collect()
}

/// Every verdict on this host: what a statement about the whole host (VEX) is made from.
pub fn verdicts(facts: &Facts<'_>) -> Vec<Finding> {
    let host = Host::new(facts.inventory);
    let shelf = Shelf::new(facts.advisories, &facts.inventory.system.release);
    let packages = facts.inventory.packages.iter();
    let findings: BTreeSet<Finding> = packages
        .flat_map(|package| shelf.findings(package, &host))
        .map(|found| finding(found.hole, &found.opinion))
        .collect();
    findings.into_iter().collect()
}

/// What was found in one source.
#[derive(Default)]
pub(super) struct Findings<'a> {
    pub(super) kind: Option<Kind>,
    pub(super) published: Option<Timestamp>,
    pub(super) all: BTreeSet<Finding>,
    /// By hole and claim the opinion that was worded last: packages built from one source mostly share it.
    worded: HashMap<(&'a str, *const Claim), Opinion<'a>>,
    pub(super) bulletins: BTreeSet<String>,
    /// A changelog could not be read, or does not reach back to the installed version.
    pub(super) unread: bool,
}

impl<'a> Findings<'a> {
    fn add(&mut self, hole: &'a str, opinion: &Opinion<'a>) {
        let place = (hole, std::ptr::from_ref(opinion.claim));
        if self.worded.get(&place).is_some_and(|worded| worded.says_the_same(opinion)) {
            return;
        }
        self.worded.insert(place, opinion.clone());
        let advisory = opinion.advisory;
        // `Kind` is ordered by gravity, security first.
        self.kind = Some(self.kind.map_or(advisory.kind, |kind| kind.min(advisory.kind)));
        self.published = self.published.into_iter().chain(advisory.published).min();
        // The package manager's own advisories give a reason exactly where a changelog left something open.
        self.unread |= advisory.document.feed == PACKAGE_MANAGER && !opinion.claim.reason.is_empty();
        self.all.insert(finding(hole, opinion));
    }
}

fn finding(hole: &str, opinion: &Opinion<'_>) -> Finding {
    Finding {
        advisory: opinion.advisory.id.clone(),
        cves: if hole.starts_with("CVE-") { vec![hole.to_owned()] } else { Vec::new() },
        verdict: opinion.verdict.clone(),
        explanation: opinion.explanation(),
    }
}

/// The id of a vendor's bulletin about an open hole; the package manager's own records and per-CVE records are none.
fn bulletin(opinion: &Opinion<'_>) -> Option<String> {
    let advisory = opinion.advisory;
    let open = matches!(opinion.verdict, Verdict::Affected { .. } | Verdict::FixedStillRunning { .. });
    let record = advisory.document.feed == PACKAGE_MANAGER || advisory.id.contains("CVE-");
    (open && !record).then(|| advisory.id.clone())
}

/// What could not be read, of the host and of the feeds.
fn unread(facts: &Facts<'_>) -> Vec<Unjudged> {
    let inventory = facts.inventory;
    let gaps = inventory.gaps.iter().map(|gap| Unjudged {
        what: if gap.object.is_empty() {
            gap.part.to_string()
        } else {
            format!("{}: {}", gap.part, gap.object)
        },
        why: gap.reason.clone(),
        remedy: gap.remedy.clone(),
    });
    let problems = facts.problems.iter().map(|problem| Unjudged {
        what: format!("{} {}", problem.operation, problem.object),
        why: problem.reason.clone(),
        remedy: problem.remedy.clone(),
    });
    let halves =
        inventory.packages.iter().filter(|package| package.state == PackageState::HalfInstalled).map(
            |package| Unjudged {
                what: format!("{} {}", package.name, package.version),
                why: "half-installed: files of two versions may lie side by side".to_owned(),
                remedy: format!("reinstall it: apt-get install --reinstall {}", package.name),
            },
        );
    let foreign = inventory.candidates.iter().filter_map(|candidate| {
        let to = candidate.to.as_ref()?;
        (candidate.class == ArchiveClass::Foreign && candidate.from.is_some()).then(|| Unjudged {
            what: format!("{} {} → {to}", candidate.name, candidate.from.as_deref().unwrap_or_default()),
            why: format!(
                "an update from a foreign archive ({}); nothing says whether it closes a hole",
                candidate.archives.join(", ")
            ),
            remedy: "read its changelog".to_owned(),
        })
    });
    let mut unread: Vec<Unjudged> = gaps.chain(problems).chain(halves).chain(foreign).collect();
    let release = inventory.system.release.to_string();
    let esm = inventory.archives.iter().any(|archive| archive.class == ArchiveClass::Esm);
    match facts.release_support() {
        Support::Ended { since, .. } => unread.push(Unjudged {
            what: release,
            why: format!("support ended on {since}: holes found since then get no bulletin and no fix"),
            remedy: "upgrade to a supported release".to_owned(),
        }),
        Support::Elts { until } if !esm => unread.push(Unjudged {
            what: release,
            why: format!(
                "only registered or paid support is left, until {until}, and its archive is not enabled here"
            ),
            remedy: "enable it, or upgrade to a supported release".to_owned(),
        }),
        Support::Elts { .. }
        | Support::Supported { .. }
        | Support::Lts { .. }
        | Support::Limited { .. }
        | Support::Unknown => {}
    }
    unread
}

/// What decides the order of entries: decision, whether something can be done, exploitation that is known, whether a CVE
/// is named, due date, reach, CVEs, name.
fn urgency(entry: &Entry) -> impl Ord {
    let actionable = match entry.remedy {
        Remedy::Upgrade | Remedy::Restart { .. } | Remedy::Reboot { .. } => 0,
        Remedy::Blocked { .. } => 1,
        Remedy::None { .. } => 2,
    };
    (
        std::cmp::Reverse(entry.rank.decision),
        actionable,
        std::cmp::Reverse(entry.rank.exploitation_known.then_some(entry.rank.points.exploitation)),
        entry.closes.is_empty() && entry.stay_open.is_empty() && !entry.unread,
        entry.rank.due.is_none(),
        entry.rank.due,
        std::cmp::Reverse(entry.reach.seen),
        std::cmp::Reverse(entry.closes.len() + entry.stay_open.len()),
        entry.source.clone(),
    )
}

fn notes(facts: &Facts<'_>, support: &BTreeMap<&str, Support>) -> Vec<String> {
    let inventory = facts.inventory;
    let mut notes = Vec::new();
    let release = &inventory.system.release;
    match facts.release_support() {
        Support::Lts { until } => notes.push(format!(
            "{release} has left regular support; long term support until {until} covers a part of its packages"
        )),
        Support::Unknown => notes.push(format!(
            "when support of {release} ends is not known here; install distro-info-data or give its CSV as a feed"
        )),
        Support::Supported { .. } | Support::Elts { .. } | Support::Limited { .. } | Support::Ended { .. } => {}
    }
    let limited: Vec<&str> = support
        .iter()
        .filter(|(_, support)| matches!(support, Support::Limited { .. }))
        .map(|(source, _)| *source)
        .collect();
    if !limited.is_empty() {
        notes.push(format!("security support is limited for {}", limited.join(", ")));
    }
    if facts.signals.kev_released.is_none() || facts.signals.epss_date.is_none() {
        notes.push(
            "without both KEV and EPSS feeds, exploitation is not known and is taken for possible".to_owned(),
        );
    }
    let only_host = facts.advisories.iter().all(|advisory| advisory.document.feed == PACKAGE_MANAGER);
    if only_host && inventory.system.manager != Manager::Unknown {
        notes.push(
            "no feed of bulletins was given: holes that have no fix in the archives cannot be seen"
                .to_owned(),
        );
    }
    let foreign: BTreeSet<&str> = inventory
        .packages
        .iter()
        .filter(|package| match package.origin {
            Origin::Foreign(_) | Origin::Local => true,
            Origin::Vendor | Origin::Unknown => false,
        })
        .map(|package| package.source.as_str())
        .collect();
    if !foreign.is_empty() {
        notes.push(format!(
            "{} not from {}, so its bulletins do not cover {}: {}",
            if foreign.len() == 1 {
                "1 source is".to_owned()
            } else {
                format!("{} sources are", foreign.len())
            },
            inventory.system.release.family,
            if foreign.len() == 1 { "it" } else { "them" },
            foreign.into_iter().collect::<Vec<_>>().join(", ")
        ));
    }
    notes
}

fn summarise(
    inventory: &Inventory,
    entries: &[Entry],
    other: &[Other],
    undetermined: &[Unjudged],
) -> Summary {
    let decided = |decision: Decision| entries.iter().filter(|entry| entry.rank.decision == decision).count();
    let distinct =
        |of: fn(&Entry) -> &Vec<String>| entries.iter().flat_map(of).collect::<BTreeSet<_>>().len();
    Summary {
        packages: inventory.packages.len(),
        act: decided(Decision::Act),
        attend: decided(Decision::Attend),
        track_closely: decided(Decision::TrackClosely),
        track: decided(Decision::Track),
        cves_closed: distinct(|entry| &entry.closes),
        cves_open: distinct(|entry| &entry.stay_open),
        unread: entries.iter().filter(|entry| entry.unread).count(),
        listening: entries.iter().filter(|entry| entry.reach.seen == Seen::Listening).count(),
        running: entries
            .iter()
            .filter(|entry| {
                matches!(entry.reach.seen, Seen::Listening | Seen::ListeningLocally | Seen::Running)
            })
            .count(),
        pending: inventory.candidates.iter().filter(|candidate| candidate.action == Action::Upgrade).count(),
        other: other.len(),
        undetermined: undetermined.len(),
    }
}
