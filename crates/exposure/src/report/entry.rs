//! One source's entry: its findings and candidates put together.

use super::build::{Facts, Findings};
use super::command::command;
use super::reach::{is_kernel, reach};
use super::{Change, Entry, Finding, Other, Remedy};
use crate::inventory::{Action, ArchiveClass, Candidate, Fetch, Inventory, Package};
use crate::ssvc::{Hole, rank};
use crate::verdict::{Fix, Verdict};
use advisory::Kind;
use advisory::format::lifecycle::Support;
use std::collections::{BTreeMap, BTreeSet};

/// Pending candidates by source of the candidate.
pub(super) fn pending_by_source(inventory: &Inventory) -> BTreeMap<&str, Vec<&Candidate>> {
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

/// What a source's findings and candidates amount to.
pub(super) enum Assembled {
    Entry(Box<Entry>),
    Other(Other),
    Nothing,
}

/// Makes one source's entry from its findings and its candidates.
pub(super) fn assemble(
    facts: &Facts<'_>,
    source: &str,
    found: Findings<'_>,
    candidates: &[&Candidate],
) -> Assembled {
    let inventory = facts.inventory;
    let class = candidates.iter().map(|candidate| candidate.class).min();
    let kind = found.kind;
    let findings: Vec<Finding> = found.all.into_iter().collect();
    // What could not be read may close a hole: it counts as if it did.
    let rebuild = candidates.iter().all(|candidate| rebuilt(inventory, candidate));
    let unread = found.unread || (kind.is_none() && facts.advisories.is_empty() && !rebuild);
    // The security suite speaks for itself, even where no changelog could be read.
    let security = matches!(kind, Some(Kind::Security | Kind::Regression | Kind::EndOfLife))
        || (unread && class.is_some_and(|class| class != ArchiveClass::Foreign))
        || matches!(class, Some(ArchiveClass::Security | ArchiveClass::Esm));
    let changes = changes(inventory, source, &findings, candidates);
    if !security {
        let Some(class) = class else { return Assembled::Nothing };
        if class == ArchiveClass::Foreign {
            return Assembled::Nothing;
        }
        let note = match kind {
            Some(_) => "names no CVE",
            None if rebuild => "rebuild of the same source",
            None => "no bulletin names it",
        };
        let note = note.to_owned();
        return Assembled::Other(Other { source: source.to_owned(), changes, class, note });
    }
    let (closes, stay_open) = cves(&findings);
    let remedy = remedy(source, &findings, candidates);
    let binaries: BTreeSet<&str> = inventory
        .packages
        .iter()
        .filter(|package| package.source == source)
        .map(|package| package.name.as_str())
        .collect();
    let reach = reach(inventory, source, &binaries);
    let all: Vec<String> = closes.iter().chain(&stay_open).cloned().collect();
    let hole = Hole { cves: &all, unread, published: found.published };
    let rank = rank(hole, reach.exposure, reach.because(), facts.mission, facts.signals, facts.deadlines);
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
        unread,
        bulletins: found.bulletins.into_iter().collect(),
        reach,
        findings,
    }))
}

/// CVEs that something at hand closes, and CVEs that stay open. One that is in both stays open.
fn cves(findings: &[Finding]) -> (Vec<String>, Vec<String>) {
    let (mut closes, mut open) = (BTreeSet::new(), BTreeSet::new());
    for finding in findings {
        let into = match &finding.verdict {
            Verdict::Affected { fix: Fix::Fetchable { .. } } | Verdict::FixedStillRunning { .. } => {
                &mut closes
            }
            Verdict::Affected { fix: Fix::Announced { .. } | Fix::None { .. } } => &mut open,
            Verdict::Fixed | Verdict::NotAffected { .. } | Verdict::Undetermined { .. } => continue,
        };
        into.extend(finding.cves.iter().cloned());
    }
    (closes.difference(&open).cloned().collect(), open.into_iter().collect())
}

fn remedy(source: &str, findings: &[Finding], candidates: &[&Candidate]) -> Remedy {
    let upgrades = || candidates.iter().filter(|candidate| candidate.action == Action::Upgrade);
    if let Some(missing) = upgrades().find_map(|candidate| match &candidate.fetch {
        Fetch::Missing(why) => {
            Some(format!("{} {}: {why}", candidate.name, candidate.to.as_deref().unwrap_or_default()))
        }
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
        Action::KeptBack(why) => {
            Some(format!("{} {}: {why}", candidate.name, candidate.to.as_deref().unwrap_or_default()))
        }
        Action::Upgrade | Action::Install | Action::Remove => None,
    });
    if let Some(why) = kept_back.or(blocked) {
        return Remedy::Blocked { why };
    }
    Remedy::None { why: none.unwrap_or_else(|| "no fix is known".to_owned()) }
}

/// What would change, by binary package; without candidates, the packages the findings are about.
fn changes(
    inventory: &Inventory,
    source: &str,
    findings: &[Finding],
    candidates: &[&Candidate],
) -> Vec<Change> {
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
                findings.iter().any(|finding| {
                    finding.explanation.package == package.name
                        || finding.explanation.package == package.source
                })
            })
            .map(Change::none)
            .collect();
    }
    changes.sort();
    changes.dedup();
    changes
}

/// Whether a candidate is the installed source built again.
fn rebuilt(inventory: &Inventory, candidate: &Candidate) -> bool {
    inventory.packages.iter().any(|package| {
        package.name == candidate.name
            && package.arch == candidate.arch
            && package.source_version == candidate.source_version
    })
}

/// Installed sources whose security support has ended: an entry each, because nothing will ever close their holes.
pub(super) fn ended_support(facts: &Facts<'_>, support: &BTreeMap<&str, Support>) -> Vec<Entry> {
    let inventory = facts.inventory;
    // Where the whole release has ended, that is told once, not for each of its packages.
    if matches!(facts.release_support(), Support::Ended { .. }) {
        return Vec::new();
    }
    let mut entries = Vec::new();
    for (&source, support) in support {
        let Support::Ended { since, reason } = support else { continue };
        let packages: Vec<&Package> =
            inventory.packages.iter().filter(|package| package.source == source).collect();
        let binaries: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
        let reach = reach(inventory, source, &binaries);
        let hole = Hole { cves: &[], unread: false, published: None };
        let mut rank =
            rank(hole, reach.exposure, reach.because(), facts.mission, facts.signals, facts.deadlines);
        rank.reasons.push(format!("security support ended on {since}"));
        let changes = packages.into_iter().map(Change::none).collect();
        entries.push(Entry {
            source: source.to_owned(),
            kind: Kind::EndOfLife,
            rank,
            changes,
            remedy: Remedy::None { why: format!("security support ended on {since}: {reason}") },
            command: None,
            class: None,
            closes: Vec::new(),
            stay_open: Vec::new(),
            unread: false,
            bulletins: Vec::new(),
            reach,
            findings: Vec::new(),
        });
    }
    entries
}
