//! What an upgrade closes: the entries between the installed version and the candidate, by ancestry.
//!
//! Never by version order. `590-2.1~deb12u2` is older than `590-2.1` to dpkg, yet descends from it and has its fixes.

use super::Entry;
use crate::model::{Advisory, Channel, Claim, Document, Edge, EdgeKind, Kind, NameKind, State};
use crate::release::Release;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What an upgrade closes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// CVE ids that the passed entries close and none of them reopens, sorted. With [`Basis::Unknown`] a lower bound.
    pub cves: Vec<String>,
    /// Versions passed through, newest first.
    pub entries: Vec<String>,
    /// What kind of update that makes.
    pub kind: Kind,
    /// How it was told.
    pub basis: Basis,
    /// When the newest of the passed entries was made.
    pub date: Option<Timestamp>,
    /// The beginning of the newest entry that closes something, or else of the newest.
    pub summary: String,
}

/// How it was told which entries an upgrade passes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Basis {
    /// The installed version is an ancestor: it has its own entry in the candidate's changelog.
    Ancestor,
    /// It has none, but its own changelog and the candidate's share entries.
    OwnChangelog,
    /// Cannot be told. Only the candidate's own entry was counted: there may be more.
    Unknown,
}

impl Closed {
    /// What is known of an upgrade whose changelog could not be had: nothing.
    pub fn unread() -> Self {
        closed("", None, &[])
    }
}

/// What an upgrade from source version `installed` to the newest entry of `candidate` closes.
///
/// `installed_changelog` is the changelog on the host; it is needed only where the installed version descends from
/// another line of uploads than the candidate (see [`Basis`]).
pub fn closed(installed: &str, installed_changelog: Option<&[Entry]>, candidate: &[Entry]) -> Closed {
    let installed = source_of(installed);
    if let Some(at) = candidate.iter().position(|entry| source_of(&entry.version) == installed) {
        return told(&candidate[..at].iter().collect::<Vec<_>>(), &BTreeSet::new(), Basis::Ancestor);
    }
    if let Some(own) = installed_changelog
        && let Some((passed, backported)) = beside(own, candidate)
    {
        return told(&passed, &backported, Basis::OwnChangelog);
    }
    told(&candidate.iter().take(1).collect::<Vec<_>>(), &BTreeSet::new(), Basis::Unknown)
}

/// The candidate's entries that the installed package does not have, and the CVE ids that the installed package has
/// closed on its own line. `None` if the changelogs share no entry.
fn beside<'a>(own: &'a [Entry], candidate: &'a [Entry]) -> Option<(Vec<&'a Entry>, BTreeSet<&'a str>)> {
    let had: BTreeSet<&str> = own.iter().map(|entry| source_of(&entry.version)).collect();
    let offered: BTreeSet<&str> = candidate.iter().map(|entry| source_of(&entry.version)).collect();
    // Below the oldest shared entry one of them was merely cut shorter (debhelper trims changelogs).
    let shared = candidate.iter().rposition(|entry| had.contains(source_of(&entry.version)))?;
    let passed =
        candidate[..shared].iter().filter(|entry| !had.contains(source_of(&entry.version))).collect();
    let alone = own.iter().filter(|entry| !offered.contains(source_of(&entry.version)));
    let backported = alone.flat_map(|entry| &entry.cves).map(String::as_str).collect();
    Some((passed, backported))
}

fn told(passed: &[&Entry], backported: &BTreeSet<&str>, basis: Basis) -> Closed {
    let mut cves = BTreeSet::new();
    let mut repaired_only = true;
    // Oldest first: a fix that is taken back later is not a fix, one that is made again is.
    for entry in passed.iter().rev() {
        for id in &entry.reverted {
            cves.remove(id);
        }
        for id in entry.cves.iter().filter(|id| !backported.contains(id.as_str())) {
            repaired_only &= entry.repaired.contains(id);
            cves.insert(id.clone());
        }
    }
    let telling = passed.iter().find(|entry| !entry.cves.is_empty()).or(passed.first());
    Closed {
        kind: kind_of(passed, !cves.is_empty(), repaired_only),
        cves: cves.into_iter().collect(),
        entries: passed.iter().map(|entry| entry.version.clone()).collect(),
        basis,
        date: passed.first().and_then(|entry| entry.date),
        summary: telling.map(|entry| entry.summary.clone()).unwrap_or_default(),
    }
}

fn kind_of(passed: &[&Entry], closes: bool, repaired_only: bool) -> Kind {
    let repairs = passed.iter().any(|entry| entry.regression);
    let uploaded = |is: fn(&str) -> bool| {
        passed
            .iter()
            .filter(|entry| !entry.binary_only)
            .flat_map(|entry| &entry.distributions)
            .any(|name| is(name))
    };
    if closes && !repaired_only {
        Kind::Security
    } else if closes || (repairs && uploaded(|name| is_security(name) || is_release(name))) {
        Kind::Regression
    } else if uploaded(is_security) {
        Kind::Security
    } else if uploaded(is_release) {
        Kind::PointRelease
    } else {
        Kind::Maintenance
    }
}

/// `bookworm-security`, `stable-security`, `jammy-security`; not `testing-proposed-updates`.
fn is_security(distribution: &str) -> bool {
    distribution.ends_with("-security")
}

/// Uploaded to a release and not to the development branch.
fn is_release(distribution: &str) -> bool {
    const DEVELOPMENT: [&str; 6] = ["unstable", "sid", "experimental", "unreleased", "frozen", "rc-buggy"];
    !DEVELOPMENT.contains(&distribution.to_ascii_lowercase().as_str())
}

/// The source version of a binary-only rebuild: without its `+bN`.
fn source_of(version: &str) -> &str {
    match version.rsplit_once("+b") {
        Some((source, number)) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => source,
        Some(_) | None => version,
    }
}

/// The advisory that a candidate amounts to, where no vendor's feed is at hand.
///
/// Its id is `apt:SOURCE/VERSION`. `channel` is what the archive that offers it is for; `sha256` is that of the
/// changelog's bytes, empty if the changelog could not be had ([`Closed::unread`]).
pub fn advisory_of(
    release: &Release,
    channel: Channel,
    source: &str,
    source_version: &str,
    closed: &Closed,
    sha256: &str,
) -> Advisory {
    let entry = format!("{source}/{source_version}");
    let document = Document { feed: "apt".to_owned(), entry: entry.clone(), sha256: sha256.to_owned() };
    let mut advisory = Advisory::new(format!("apt:{entry}"), kind_in(&channel, closed), Arc::new(document));
    advisory.published = closed.date;
    advisory.summary.clone_from(&closed.summary);
    advisory.edges = closed.cves.iter().map(|id| Edge { kind: EdgeKind::Related, id: id.clone() }).collect();
    let reason = match closed.basis {
        Basis::Ancestor | Basis::OwnChangelog => String::new(),
        Basis::Unknown if closed.entries.is_empty() => {
            "its changelog could not be read: what it closes is not known".to_owned()
        }
        Basis::Unknown => {
            "the installed version is not in its changelog: it may close more than is listed".to_owned()
        }
    };
    advisory.claims.push(Claim {
        release: release.clone(),
        channel,
        name_kind: NameKind::Source,
        name: source.to_owned(),
        module: None,
        flavour: None,
        arch: None,
        introduced: None,
        fixed: Some(source_version.to_owned()),
        last_affected: None,
        versions: Vec::new(),
        state: State::Fixed,
        reason,
    });
    advisory
}

/// The kind of an update whose changelog names no CVE hangs on where it comes from, too.
fn kind_in(channel: &Channel, closed: &Closed) -> Kind {
    let security = matches!(channel, Channel::Security | Channel::Lts | Channel::Esm);
    let unread = closed.basis == Basis::Unknown && closed.entries.is_empty();
    match closed.kind {
        Kind::Maintenance if unread && security => Kind::Security,
        Kind::Maintenance if unread && *channel == Channel::PointRelease => Kind::PointRelease,
        Kind::Security if closed.cves.is_empty() && *channel == Channel::PointRelease => Kind::PointRelease,
        kind @ (Kind::Security
        | Kind::Regression
        | Kind::PointRelease
        | Kind::EndOfLife
        | Kind::Maintenance) => kind,
    }
}
