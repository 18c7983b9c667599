//! From inventory, advisories and signals to the report.

use super::command::command;
use super::reach::{is_kernel, reach};
use super::{Change, Entry, Finding, Other, Remedy, Report, Seen, Summary, Unjudged};
use crate::inventory::{Action, ArchiveClass, Candidate, Fetch, Inventory, Manager, Origin, Package, PackageState};
use crate::judge::{Context, judge};
use crate::ssvc::{Deadlines, Decision, Mission, rank};
use crate::verdict::{Fix, Verdict};
use advisory::format::lifecycle::{Lifecycle, Support};
use advisory::{Advisory, Kind, NameKind, Problem, Signals};
use std::collections::{BTreeMap, BTreeSet, HashMap};

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

/// The answer for one host.
pub fn report(facts: &Facts<'_>) -> Report {
    let inventory = facts.inventory;
    let mut undetermined = unread(facts);
    let mut by_source: BTreeMap<&str, Vec<(Kind, Finding)>> = BTreeMap::new();
    let mut unjudged: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for judged in verdicts(facts, |_, _| true) {
        match &judged.finding.verdict {
            Verdict::Affected { .. } | Verdict::FixedStillRunning { .. } => {
                by_source.entry(&judged.package.source).or_default().push((judged.kind, judged.finding));
            }
            Verdict::Undetermined { why } => unjudged
                .entry((judged.package.source.clone(), why.to_string()))
                .or_default()
                .push(judged.finding.advisory),
            Verdict::Fixed | Verdict::NotAffected { .. } => {}
        }
    }
    undetermined.extend(unjudged.into_iter().map(|((source, why), mut advisories)| {
        advisories.dedup();
        let more = if advisories.len() > 1 { format!(" and {} more", advisories.len() - 1) } else { String::new() };
        Unjudged { what: format!("{source} ({}{more})", advisories[0]), why, remedy: String::new() }
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
    entries.extend(ended_support(facts));
    entries.sort_by(|left, right| urgency(left).cmp(&urgency(right)));
    undetermined.sort();
    undetermined.dedup();
    let notes = notes(facts);
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

/// Every verdict on `id` (a CVE, an advisory, a source or binary package), fixed and not affected included.
pub fn explain(facts: &Facts<'_>, id: &str) -> Vec<Finding> {
    let about = |advisory: &Advisory, package: &Package| {
        id.eq_ignore_ascii_case(&advisory.id)
            || package.name == id
            || package.source == id
            || advisory.edges.iter().any(|edge| edge.id.eq_ignore_ascii_case(id))
            || advisory.cves().iter().any(|cve| cve.eq_ignore_ascii_case(id))
    };
    let mut findings: Vec<Finding> = verdicts(facts, about).map(|judged| judged.finding).collect();
    findings.sort();
    findings.dedup();
    findings
}

/// One verdict with what it is about.
struct Judged<'a> {
    package: &'a Package,
    kind: Kind,
    finding: Finding,
}

/// Judges every claim of every advisory that `wanted` lets through against the packages it names.
fn verdicts<'a>(
    facts: &Facts<'a>,
    wanted: impl Fn(&Advisory, &Package) -> bool + 'a,
) -> impl Iterator<Item = Judged<'a>> {
    let inventory = facts.inventory;
    let mut by_name: HashMap<(NameKind, &str), Vec<&Package>> = HashMap::new();
    for package in &inventory.packages {
        by_name.entry((NameKind::Binary, &package.name)).or_default().push(package);
        by_name.entry((NameKind::Source, &package.source)).or_default().push(package);
    }
    let context = Context::new(inventory);
    facts.advisories.iter().flat_map(move |advisory| {
        let mut judged = Vec::new();
        for claim in &advisory.claims {
            let Some(packages) = by_name.get(&(claim.name_kind, claim.name.as_str())) else { continue };
            for package in packages {
                if !wanted(advisory, package) {
                    continue;
                }
                if let Some((verdict, explanation)) = judge(claim, advisory, package, &context) {
                    let cves = advisory.cves().into_iter().map(str::to_owned).collect();
                    let finding = Finding { advisory: advisory.id.clone(), cves, verdict, explanation };
                    judged.push(Judged { package, kind: advisory.kind, finding });
                }
            }
        }
        judged
    })
}

/// What could not be read, of the host and of the feeds.
fn unread(facts: &Facts<'_>) -> Vec<Unjudged> {
    let inventory = facts.inventory;
    let gaps = inventory.gaps.iter().map(|gap| Unjudged {
        what: if gap.object.is_empty() { gap.part.to_string() } else { format!("{}: {}", gap.part, gap.object) },
        why: gap.reason.clone(),
        remedy: gap.remedy.clone(),
    });
    let problems = facts.problems.iter().map(|problem| Unjudged {
        what: format!("{} {}", problem.operation, problem.object),
        why: problem.reason.clone(),
        remedy: problem.remedy.clone(),
    });
    let halves = inventory.packages.iter().filter(|package| package.state == PackageState::HalfInstalled).map(
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
            why: format!("an update from a foreign archive ({}); nothing says whether it closes a hole", candidate.archives.join(", ")),
            remedy: "read its changelog".to_owned(),
        })
    });
    let mut unread: Vec<Unjudged> = gaps.chain(problems).chain(halves).chain(foreign).collect();
    if let Support::Ended { since, .. } = facts.lifecycle.release(&inventory.system.release, inventory.observed) {
        unread.push(Unjudged {
            what: inventory.system.release.to_string(),
            why: format!("support ended on {since}: holes found since then get no bulletin and no fix"),
            remedy: "upgrade to a supported release".to_owned(),
        });
    }
    unread
}

/// Pending candidates by source of the candidate.
fn pending_by_source(inventory: &Inventory) -> BTreeMap<&str, Vec<&Candidate>> {
    let mut by_source: BTreeMap<&str, Vec<&Candidate>> = BTreeMap::new();
    for candidate in &inventory.candidates {
        match &candidate.action {
            Action::Upgrade | Action::KeptBack(_) => {
                by_source.entry(&candidate.source).or_default().push(candidate);
            }
            Action::Install | Action::Remove => {}
        }
    }
    by_source
}

enum Assembled {
    Entry(Box<Entry>),
    Other(Other),
    Nothing,
}

/// Makes one source's entry from its findings and its candidates.
fn assemble(
    facts: &Facts<'_>,
    source: &str,
    findings: Vec<(Kind, Finding)>,
    candidates: &[&Candidate],
) -> Assembled {
    let inventory = facts.inventory;
    let class = candidates.iter().map(|candidate| candidate.class).min();
    // `Kind` is ordered by gravity, security first.
    let kind = findings.iter().map(|(kind, _)| *kind).min();
    let security = match (kind, class) {
        (Some(Kind::Security | Kind::Regression | Kind::EndOfLife), _) => true,
        // The security suite speaks for itself, even where no changelog could be read.
        (None | Some(Kind::PointRelease | Kind::Maintenance), Some(ArchiveClass::Security | ArchiveClass::Esm)) => true,
        (None | Some(Kind::PointRelease | Kind::Maintenance), _) => false,
    };
    let changes = changes(inventory, source, &findings, candidates);
    if !security {
        let Some(class) = class else { return Assembled::Nothing };
        if class == ArchiveClass::Foreign {
            return Assembled::Nothing;
        }
        let note = match kind {
            Some(_) => "names no CVE".to_owned(),
            None if candidates.iter().all(|candidate| rebuilt(inventory, candidate)) => "rebuild of the same source".to_owned(),
            None => "what it changes could not be read".to_owned(),
        };
        return Assembled::Other(Other { source: source.to_owned(), changes, class, note });
    }
    let findings: Vec<Finding> = findings.into_iter().map(|(_, finding)| finding).collect();
    let (closes, stay_open) = cves(&findings);
    let remedy = remedy(inventory, source, &findings, candidates);
    let binaries: BTreeSet<&str> = inventory
        .packages
        .iter()
        .filter(|package| package.source == source)
        .map(|package| package.name.as_str())
        .collect();
    let reach = reach(inventory, source, &binaries);
    let published = facts
        .advisories
        .iter()
        .filter(|advisory| findings.iter().any(|finding| finding.advisory == advisory.id))
        .filter_map(|advisory| advisory.published)
        .min();
    let all: Vec<String> = closes.iter().chain(&stay_open).cloned().collect();
    let rank = rank(&all, reach.exposure, reach.because(), facts.mission, published, facts.signals, facts.deadlines);
    let bulletins = findings
        .iter()
        .filter(|finding| !finding.advisory.contains('/'))
        .map(|finding| finding.advisory.clone())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let command = command(inventory, &remedy, &changes);
    Assembled::Entry(Box::new(Entry {
        source: source.to_owned(),
        kind: kind.unwrap_or(Kind::Security),
        rank,
        changes,
        remedy,
        command,
        class,
        closes,
        stay_open,
        bulletins,
        reach,
        findings,
    }))
}

/// CVEs that something at hand closes, and CVEs that stay open. One that is in both stays open.
fn cves(findings: &[Finding]) -> (Vec<String>, Vec<String>) {
    let (mut closes, mut open) = (BTreeSet::new(), BTreeSet::new());
    for finding in findings {
        let into = match &finding.verdict {
            Verdict::Affected { fix: Fix::Fetchable { .. } } | Verdict::FixedStillRunning { .. } => &mut closes,
            Verdict::Affected { fix: Fix::Announced { .. } | Fix::None { .. } } => &mut open,
            Verdict::Fixed | Verdict::NotAffected { .. } | Verdict::Undetermined { .. } => continue,
        };
        into.extend(finding.cves.iter().cloned());
    }
    (closes.difference(&open).cloned().collect(), open.into_iter().collect())
}

fn remedy(inventory: &Inventory, source: &str, findings: &[Finding], candidates: &[&Candidate]) -> Remedy {
    let upgrades = || candidates.iter().filter(|candidate| candidate.action == Action::Upgrade);
    if let Some(missing) = upgrades().find_map(|candidate| match &candidate.fetch {
        Fetch::Missing(why) => Some(format!("{} {}: {why}", candidate.name, candidate.to.as_deref().unwrap_or_default())),
        Fetch::Fetchable | Fetch::Unchecked(_) => None,
    }) {
        return Remedy::Blocked { why: missing };
    }
    if upgrades().next().is_some() {
        return Remedy::Upgrade;
    }
    let mut running = BTreeSet::new();
    let mut blocked = None;
    let mut none = None;
    for finding in findings {
        match &finding.verdict {
            Verdict::FixedStillRunning { by } => running.extend(by.iter().cloned()),
            Verdict::Affected { fix: Fix::Announced { version, why } } => {
                blocked.get_or_insert_with(|| format!("{version}: {why}"));
            }
            Verdict::Affected { fix: Fix::None { why } } => {
                none.get_or_insert_with(|| why.clone());
            }
            Verdict::Affected { fix: Fix::Fetchable { .. } }
            | Verdict::Fixed
            | Verdict::NotAffected { .. }
            | Verdict::Undetermined { .. } => {}
        }
    }
    if !running.is_empty() {
        let by = running.into_iter().collect();
        return if is_kernel(source) { Remedy::Reboot { by } } else { Remedy::Restart { by } };
    }
    let kept_back = candidates.iter().find_map(|candidate| match &candidate.action {
        Action::KeptBack(why) => Some(format!("{} {}: {why}", candidate.name, candidate.to.as_deref().unwrap_or_default())),
        Action::Upgrade | Action::Install | Action::Remove => None,
    });
    if let Some(why) = kept_back.or(blocked) {
        return Remedy::Blocked { why };
    }
    let _ = inventory;
    Remedy::None { why: none.unwrap_or_else(|| "no fix is known".to_owned()) }
}

/// What would change, by binary package; without candidates, the packages the findings are about.
fn changes(inventory: &Inventory, source: &str, findings: &[(Kind, Finding)], candidates: &[&Candidate]) -> Vec<Change> {
    let mut changes: Vec<Change> = candidates
        .iter()
        .map(|candidate| Change {
            name: candidate.name.clone(),
            arch: candidate.arch.clone(),
            from: candidate.from.clone().unwrap_or_default(),
            to: match candidate.action {
                Action::Upgrade => candidate.to.clone(),
                Action::KeptBack(_) | Action::Install | Action::Remove => None,
            },
        })
        .collect();
    if changes.is_empty() {
        changes = inventory
            .packages
            .iter()
            .filter(|package| package.source == source)
            .filter(|package| {
                findings.iter().any(|(_, finding)| {
                    finding.explanation.package == package.name || finding.explanation.package == package.source
                })
            })
            .map(|package| Change {
                name: package.name.clone(),
                arch: package.arch.clone(),
                from: package.version.clone(),
                to: None,
            })
            .collect();
    }
    changes.sort();
    changes.dedup();
    changes
}

/// Whether a candidate is the installed source built again.
fn rebuilt(inventory: &Inventory, candidate: &Candidate) -> bool {
    inventory.packages.iter().any(|package| {
        package.name == candidate.name && package.arch == candidate.arch && package.source_version == candidate.source_version
    })
}

/// Installed sources whose security support has ended: an entry each, because nothing will ever close their holes.
fn ended_support(facts: &Facts<'_>) -> Vec<Entry> {
    let inventory = facts.inventory;
    let mut by_source: BTreeMap<&str, Vec<&Package>> = BTreeMap::new();
    for package in &inventory.packages {
        by_source.entry(&package.source).or_default().push(package);
    }
    let mut entries = Vec::new();
    for (source, packages) in by_source {
        let support = facts.lifecycle.source(&inventory.system.release, source, inventory.observed);
        let Support::Ended { since, why } = support else { continue };
        let binaries: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
        let reach = reach(inventory, source, &binaries);
        let mut rank =
            rank(&[], reach.exposure, reach.because(), facts.mission, None, facts.signals, facts.deadlines);
        rank.reasons.push(format!("security support ended on {since}"));
        let changes = packages
            .iter()
            .map(|package| Change {
                name: package.name.clone(),
                arch: package.arch.clone(),
                from: package.version.clone(),
                to: None,
            })
            .collect();
        entries.push(Entry {
            source: source.to_owned(),
            kind: Kind::EndOfLife,
            rank,
            changes,
            remedy: Remedy::None { why: format!("security support ended on {since}: {why}") },
            command: None,
            class: None,
            closes: Vec::new(),
            stay_open: Vec::new(),
            bulletins: Vec::new(),
            reach,
            findings: Vec::new(),
        });
    }
    entries
}

/// What decides the order of entries: decision, whether something can be done, due date, reach, CVEs, name.
fn urgency(entry: &Entry) -> impl Ord {
    let actionable = match entry.remedy {
        Remedy::Upgrade | Remedy::Restart { .. } | Remedy::Reboot { .. } => 0,
        Remedy::Blocked { .. } => 1,
        Remedy::None { .. } => 2,
    };
    (
        std::cmp::Reverse(entry.rank.decision),
        actionable,
        entry.rank.due.is_none(),
        entry.rank.due,
        std::cmp::Reverse(entry.reach.seen),
        std::cmp::Reverse(entry.closes.len() + entry.stay_open.len()),
        entry.source.clone(),
    )
}

fn notes(facts: &Facts<'_>) -> Vec<String> {
    let inventory = facts.inventory;
    let mut notes = Vec::new();
    match facts.lifecycle.release(&inventory.system.release, inventory.observed) {
        Support::Lts { until } => notes.push(format!(
            "{} has left regular support; long term support until {until} covers a part of its packages",
            inventory.system.release
        )),
        Support::Unknown => notes.push(format!(
            "when support of {} ends is not known here; install distro-info-data or give its CSV as a feed",
            inventory.system.release
        )),
        Support::Supported { .. } | Support::Elts { .. } | Support::Limited { .. } | Support::Ended { .. } => {}
    }
    if facts.signals.kev_released.is_none() || facts.signals.epss_date.is_none() {
        notes.push("without both KEV and EPSS feeds, exploitation is not known and is taken for possible".to_owned());
    }
    let only_host = facts.advisories.iter().all(|advisory| advisory.document.feed == "apt");
    if only_host && inventory.system.manager != Manager::Unknown {
        notes.push(
            "no feed of bulletins was given: holes that have no fix in the archives cannot be seen".to_owned(),
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
            if foreign.len() == 1 { "1 source is".to_owned() } else { format!("{} sources are", foreign.len()) },
            inventory.system.release.family,
            if foreign.len() == 1 { "it" } else { "them" },
            foreign.into_iter().collect::<Vec<_>>().join(", ")
        ));
    }
    notes
}

fn summarise(inventory: &Inventory, entries: &[Entry], other: &[Other], undetermined: &[Unjudged]) -> Summary {
    let decided = |decision: Decision| entries.iter().filter(|entry| entry.rank.decision == decision).count();
    let distinct = |of: fn(&Entry) -> &Vec<String>| entries.iter().flat_map(of).collect::<BTreeSet<_>>().len();
    Summary {
        packages: inventory.packages.len(),
        act: decided(Decision::Act),
        attend: decided(Decision::Attend),
        track_closely: decided(Decision::TrackClosely),
        track: decided(Decision::Track),
        cves_closed: distinct(|entry| &entry.closes),
        cves_open: distinct(|entry| &entry.stay_open),
        listening: entries.iter().filter(|entry| entry.reach.seen == Seen::Listening).count(),
        running: entries
            .iter()
            .filter(|entry| matches!(entry.reach.seen, Seen::Listening | Seen::ListeningLocally | Seen::Running))
            .count(),
        pending: inventory.candidates.iter().filter(|candidate| candidate.action == Action::Upgrade).count(),
        other: other.len(),
        undetermined: undetermined.len(),
    }
}
